"""Snapshots: the image after some transaction as objects of the bucket, so that nobody has to replay the log.

Two kinds of objects, both named by the SHA-256 of their bytes and never changed:

`chunk/<sha256>`: the line `bucketlog/1 chunk` and a line feed, then one Zstandard frame of `CHUNK_PAGES`
pages of `PAGE_SIZE` bytes of a SQLite database file (the last chunk may hold fewer).

`snapshot/<9999999999999999 - t>-<sha256>`: the line `bucketlog/1 snapshot` and a line feed, then one
Zstandard frame of: four bytes, the length of the JSON document that follows, big endian; the document; 32
bytes for each chunk, its name; then the inline pages in the order of their numbers. Keys sort newest first,
so one listing finds the newest snapshot however many there are. The document has `id` (of the log's first
entry), `t`, `instant` (of transaction t, microseconds), `next_entity`, `page_size`, `chunk_pages`, `pages`
(the file's length), `chunks` (how many), `inline` (page numbers, from 0), `schema` (entity, attribute and
value of the datoms that define attributes and idents, values as in the log) and `sizes` (rows by attribute,
for the planner).

The datoms of the file are in the table `datom` (`bucketlog.image`). Whoever cannot use a snapshot replays the
log: it is derived, and the log is the truth.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from bucketlog.errors import FormatError
from bucketlog.frame import pack, unpack
from bucketlog.log import value_from_json, value_to_json
from bucketlog.objects import NamedObjects, name_of
from bucketlog.pages import CHUNK_PAGES, INNER_NODES, PAGE_SIZE, Base, Pages
from bucketlog.value import Stored

__all__ = [
    "CHUNKS",
    "SNAPSHOTS",
    "Snapshot",
    "SnapshotKey",
    "decode_snapshot",
    "encode_snapshot",
    "parse_keys",
    "read_chunks",
    "read_snapshot",
    "write_pages",
    "write_snapshot",
]

CHUNKS: Final = "chunk/"
SNAPSHOTS: Final = "snapshot/"

_CHUNK_HEADER: Final = b"bucketlog/1 chunk\n"
_HEADER: Final = b"bucketlog/1 snapshot\n"
_KEY: Final = re.compile(r"([0-9]{16})-([0-9a-f]{64})")
_NEWEST: Final = 10**16 - 1
_SMALL: Final = 4 << 20
"""Bytes of an image all of whose pages are inline: one read opens it."""
_WRITERS: Final = 16


@dataclass(frozen=True, slots=True, order=True)
class SnapshotKey:
    """Where a snapshot is: of transaction `t`, with the name of its content, below a branch's prefix.

    Tails have such keys too, which begin with another `kind`.
    """

    t: int
    name: str
    branch: str = ""
    kind: str = SNAPSHOTS

    @property
    def prefix(self) -> str:
        """The key without the name."""
        return f"{self.branch}{self.kind}{_NEWEST - self.t:016d}-"

    def __str__(self) -> str:
        return self.prefix + self.name


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An image at rest, and what a connection knows about the end of the log at `t`."""

    id: str
    t: int
    instant: int
    next_entity: int
    schema: Mapping[int, Mapping[int, Stored]]
    sizes: Mapping[int, int]
    base: Base


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """The bytes of a snapshot's object."""
    inline = sorted(snapshot.base.inline)
    document = {
        "id": snapshot.id,
        "t": snapshot.t,
        "instant": snapshot.instant,
        "next_entity": snapshot.next_entity,
        "page_size": PAGE_SIZE,
        "chunk_pages": CHUNK_PAGES,
        "pages": snapshot.base.count,
        "chunks": len(snapshot.base.chunks),
        "inline": inline,
        "schema": [
            [e, a, value_to_json(v)] for e, values in snapshot.schema.items() for a, v in values.items()
        ],
        "sizes": sorted(snapshot.sizes.items()),
    }
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    names = b"".join(bytes.fromhex(name) for name in snapshot.base.chunks)
    pages = b"".join(snapshot.base.inline[page] for page in inline)
    return pack(_HEADER, struct.pack(">I", len(text)) + text + names + pages)


def decode_snapshot(key: str, data: bytes) -> Snapshot:
    """The snapshot that the object `key` holds; raises `FormatError`, which names it, unless it is whole."""
    body = unpack(key, data, _HEADER)
    try:
        (length,) = struct.unpack_from(">I", body)
        document = json.loads(body[4 : 4 + length])
        if (document["page_size"], document["chunk_pages"]) != (PAGE_SIZE, CHUNK_PAGES):
            raise ValueError(f"pages of {document['page_size']} bytes")  # noqa: TRY301 -- one message below
        numbers = [int(page) for page in document["inline"]]
        start = 4 + length
        middle = start + 32 * int(document["chunks"])
        if len(body) != middle + len(numbers) * PAGE_SIZE:
            raise ValueError(f"{len(body)} bytes")  # noqa: TRY301
        names = tuple(body[place : place + 32].hex() for place in range(start, middle, 32))
        inline = {
            page: body[middle + place * PAGE_SIZE : middle + (place + 1) * PAGE_SIZE]
            for place, page in enumerate(numbers)
        }
        schema: dict[int, dict[int, Stored]] = {}
        for e, a, v in document["schema"]:
            schema.setdefault(int(e), {})[int(a)] = value_from_json(v)
        return Snapshot(
            id=str(document["id"]),
            t=int(document["t"]),
            instant=int(document["instant"]),
            next_entity=int(document["next_entity"]),
            schema=schema,
            sizes={int(a): int(size) for a, size in document["sizes"]},
            base=Base(int(document["pages"]), names, inline),
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, struct.error) as error:
        raise FormatError(f"{key} is not a valid snapshot: {type(error).__name__}: {error}") from error


def read_snapshot(objects: NamedObjects, key: SnapshotKey) -> Snapshot:
    """The snapshot at `key`; raises `StoreError` (`MissingObjectError`, `FormatError`)."""
    return decode_snapshot(str(key), objects.read(key.prefix, key.name))


def write_snapshot(objects: NamedObjects, snapshot: Snapshot, branch: str = "") -> SnapshotKey:
    """Write a snapshot whose chunks are in the bucket; this is what makes it one."""
    data = encode_snapshot(snapshot)
    key = SnapshotKey(snapshot.t, name_of(data), branch)
    objects.write(key.prefix, data)
    return key


def read_chunks(objects: NamedObjects, names: Sequence[str]) -> list[bytes]:
    """The pages of chunks, unpacked, read side by side."""
    packed = objects.read_all(CHUNKS, names)
    return [
        unpack(CHUNKS + name, data, _CHUNK_HEADER, CHUNK_PAGES * PAGE_SIZE)
        for name, data in zip(names, packed, strict=True)
    ]


def write_pages(
    objects: NamedObjects, base: Base, written: Mapping[int, bytes], count: int, kept: Collection[str]
) -> Base:
    """Write the chunks of `count` pages, `written` over `base`, and return the new base.

    Chunks of `base` without written pages are taken over if they are among `kept`, which nobody may collect
    before the snapshot is written.
    """
    changed = dict(base.inline) | dict(written)
    changed = {page: data for page, data in changed.items() if page < count}
    if count * PAGE_SIZE <= _SMALL:
        pages = Pages(base, lambda names: read_chunks(objects, names))
        return Base(count, (), {page: changed.get(page) or pages.read(page) for page in range(count)})
    inline = {page: data for page, data in changed.items() if _is_inner(page, data)}
    moved = {page for page, data in changed.items() if page in written or page not in inline}
    if count < base.count:
        moved.add(count - 1)  # pages that are gone end its chunk
    old = Pages(Base(base.count, base.chunks), lambda names: read_chunks(objects, names))
    chunks: list[str | Future[str]] = []
    with ThreadPoolExecutor(_WRITERS, "bucketlog-write") as pool:
        for number in range(-(-count // CHUNK_PAGES)):
            pages_of = range(number * CHUNK_PAGES, min(count, (number + 1) * CHUNK_PAGES))
            if number < len(base.chunks) and base.chunks[number] in kept and moved.isdisjoint(pages_of):
                chunks.append(base.chunks[number])
                continue
            data = b"".join(
                bytes(PAGE_SIZE) if page in inline else changed.get(page) or old.read(page)
                for page in pages_of
            )
            chunks.append(pool.submit(objects.write, CHUNKS, pack(_CHUNK_HEADER, data)))
        names = tuple(chunk if isinstance(chunk, str) else chunk.result() for chunk in chunks)
    return Base(count, names, inline)


def _is_inner(page: int, data: bytes) -> bool:
    """Whether a page is an inner node of a B-tree, or the first one, which every connection reads."""
    return page == 0 or data[0] in INNER_NODES


def parse_keys(branch: str, keys: Iterable[str], kind: str = SNAPSHOTS) -> list[SnapshotKey]:
    """The snapshots, or what `kind` says, among `keys` of the branch with this prefix, newest first."""
    start = branch + kind
    matches = (_KEY.fullmatch(key, len(start)) for key in keys if key.startswith(start))
    return sorted((SnapshotKey(_NEWEST - int(m[1]), m[2], branch, kind) for m in matches if m), reverse=True)
