"""Pages: what the image's SQLite file consists of, most of it still in the bucket until it is read.

A snapshot divides the pages of an image into chunks of `CHUNK_PAGES` neighbours, each an immutable object
named by its content, and carries some pages itself ("inline"): the inner nodes of the B-trees, so that any
row is one chunk away, or all pages when they are few. What was written since then stays here until the
next snapshot.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

__all__ = [
    "CHUNK_PAGES",
    "INNER_NODES",
    "PAGE_SIZE",
    "Base",
    "MissingPagesError",
    "Pages",
    "WatchedPageError",
    "children",
]

PAGE_SIZE: Final = 16384
"""Bytes of a page. Large pages keep the inner nodes few: about a thousandth of the image."""

CHUNK_PAGES: Final = 8
_KEPT_CHUNKS: Final = 256  # unpacked ones: 32 MiB
_MAX_AHEAD: Final = 32

_EMPTY: Final = bytes(PAGE_SIZE)

INNER_NODES: Final = frozenset({2, 5})
"""The first byte of an inner node of an index or a table B-tree."""


class MissingPagesError(Exception):
    """A page was not here and was not to be fetched now."""


class WatchedPageError(Exception):
    """A page was read that must be changed before it is."""


@dataclass(frozen=True, slots=True)
class Base:
    """The pages of a snapshot: `count` in all, names of the chunks in order, and the inline ones by number.

    Pages count from 0. A chunk holds zeros in the place of a page that is inline.
    """

    count: int = 0
    chunks: tuple[str, ...] = ()
    inline: Mapping[int, bytes] = field(default_factory=dict)


Fetch = Callable[[Sequence[str]], list[bytes]]
"""Gives the unpacked pages of the chunks of these names; raises `StoreError`."""


class Pages:
    """The pages of one image, as a file that SQLite reads and writes. Used by one thread at a time."""

    def __init__(self, base: Base, fetch: Fetch) -> None:
        self._base = base
        self._fetch = fetch
        self._written: dict[int, bytes] = {}
        self._count = base.count
        self._chunks: OrderedDict[int, bytes] = OrderedDict()
        self._misses = 0
        self.fetched = 0
        """How many chunks have been fetched."""
        self.touched = False
        """Whether a page was read since somebody watches it."""
        self._watched: frozenset[int] = frozenset()
        self._wanted: set[int] | None = None
        self._before: Mapping[int, Sequence[int]] = {}
        self._before_in_base: Mapping[int, Sequence[int]] | None = None  # the inner nodes are read once

    @property
    def count(self) -> int:
        """How many pages there are."""
        return self._count

    @property
    def base(self) -> Base:
        """The snapshot that these pages are built on."""
        return self._base

    def fork(self) -> Pages:
        """An independent copy, which shares what neither of them writes."""
        copy = Pages(self._base, self._fetch)
        copy._written = dict(self._written)
        copy._count = self._count
        return copy

    def read(self, page: int) -> bytes:
        """The bytes of a page, fetched if need be; zeros for one that was never written."""
        if page in self._watched:
            self.touched = True
            raise WatchedPageError
        found = self._written.get(page) or self._base.inline.get(page)
        if found is not None:
            return found
        number, place = divmod(page, CHUNK_PAGES)
        if number >= len(self._base.chunks):
            return _EMPTY
        if self._wanted is not None and number not in self._chunks:
            self._wanted.add(number)
            beside = {other // CHUNK_PAGES for other in self._before.get(page, ())}
            self._wanted |= beside - self._chunks.keys()
            raise MissingPagesError
        start = place * PAGE_SIZE
        return self._chunk(number)[start : start + PAGE_SIZE] or _EMPTY

    def write(self, page: int, data: bytes) -> None:
        """Replace a page; what lies between the end and a page beyond it becomes zeros."""
        for skipped in range(self._count, page):
            self._written[skipped] = _EMPTY
        self._written[page] = data
        self._count = max(self._count, page + 1)

    def truncate(self, count: int) -> None:
        """Drop all pages from `count` on."""
        for page in [page for page in self._written if page >= count]:
            del self._written[page]
        self._count = count

    def watch(self, pages: frozenset[int]) -> None:
        """From here on reads of these pages raise `WatchedPageError`, and of no others."""
        self._watched = pages
        self.touched = False

    @contextmanager
    def collecting(self, *, dividing: bool = False) -> Iterator[None]:
        """Reads of what is not here raise `MissingPagesError`; it is fetched in the end, all at once.

        When pages are `dividing`, what is missed is the last of up to three neighbours that SQLite reads, so
        that the two before it are fetched as well.
        """
        wanted: set[int] = set()
        self._wanted = wanted
        if dividing and self._before_in_base is None:
            self._before_in_base = _leaves_before(self._base)
        self._before = self._before_in_base or {} if dividing else {}
        try:
            yield
        finally:
            self._wanted = None
        self._load(sorted(wanted))

    def rebase(self, base: Base, written: Mapping[int, bytes]) -> None:
        """Stand on a snapshot that was made of these pages when `written` were the ones written.

        Pages written again since then stay.
        """
        self._base = base
        self._before_in_base = None
        self._chunks.clear()
        for page, data in written.items():
            if self._written.get(page) is data:
                del self._written[page]

    def written(self) -> dict[int, bytes]:
        """The pages that are not the base's."""
        return dict(self._written)

    def _chunk(self, number: int) -> bytes:
        chunk = self._chunks.get(number)
        if chunk is not None:
            return chunk
        # Who reads one row gets one chunk; who goes on missing is scanning, and gets ever more at once.
        ahead = min(_MAX_AHEAD, 1 << self._misses // 2)
        self._misses += 1
        following = range(number + 1, len(self._base.chunks))
        self._load([number, *[n for n in following if n not in self._chunks][: ahead - 1]])
        return self._chunks[number]

    def _load(self, numbers: list[int]) -> None:
        if not numbers:
            return
        loaded = self._fetch([self._base.chunks[number] for number in numbers])
        self.fetched += len(numbers)
        self._chunks.update(zip(numbers, loaded, strict=True))
        while len(self._chunks) > max(_KEPT_CHUNKS, len(numbers)):
            self._chunks.popitem(last=False)


def children(base: Base) -> Iterator[list[int]]:
    """Of each inner node the pages that it names, in the order of their keys.

    An inner node is (https://www.sqlite.org/fileformat2.html#b_tree_pages) a byte that says so, in bytes 3
    and 4 the number of cells, in 8 to 11 the last child, from 12 on the cells' places of two bytes each. A
    cell begins with its child's number, counted from 1.
    """
    for page, data in base.inline.items():
        if page and data[0] in INNER_NODES:
            (cells,) = struct.unpack_from(">H", data, 3)
            places = struct.unpack_from(f">{cells}H", data, 12)
            yield [struct.unpack_from(">I", data, place)[0] - 1 for place in (*places, 8)]


def _leaves_before(base: Base) -> dict[int, Sequence[int]]:
    """Of each page that an inner node names, the two that the same node names before it."""
    return {
        child: named[max(0, number - 2) : number]
        for named in children(base)
        for number, child in enumerate(named)
    }
