"""Pages: a file that reads as it was written, most of it in chunks that are fetched when they are needed."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from contextlib import suppress

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from bucketlog.pages import CHUNK_PAGES, PAGE_SIZE, Base, MissingPagesError, Pages

_EMPTY = bytes(PAGE_SIZE)


def _page(byte: int) -> bytes:
    return bytes([byte]) * PAGE_SIZE


class _Chunks:
    """Chunks by name, and the fetches that asked for them."""

    def __init__(self) -> None:
        self.chunks: dict[str, bytes] = {}
        self.fetches: list[list[str]] = []

    def fetch(self, names: Sequence[str]) -> list[bytes]:
        self.fetches.append(list(names))
        return [self.chunks[name] for name in names]

    def store(self, pages: Sequence[bytes], inline: Sequence[int]) -> Base:
        """A snapshot of a file of these pages, with those of numbers `inline` in itself."""
        names = []
        for start in range(0, len(pages), CHUNK_PAGES):
            part = enumerate(pages[start : start + CHUNK_PAGES], start)
            data = b"".join(_EMPTY if number in inline else page for number, page in part)
            names.append(f"{len(self.chunks)}")
            self.chunks[names[-1]] = data
        return Base(len(pages), tuple(names), {number: pages[number] for number in inline})


class FileMachine(RuleBasedStateMachine):
    """Any number of forks of one file, each beside a list of pages that it must read as."""

    files = Bundle("files")
    snapshots = Bundle("snapshots")

    def __init__(self) -> None:
        super().__init__()
        self.chunks = _Chunks()
        self.models: dict[int, tuple[Pages, list[bytes]]] = {}

    def _add(self, pages: Pages, model: list[bytes]) -> int:
        self.models[len(self.models)] = (pages, model)
        return len(self.models) - 1

    @initialize(
        target=files,
        count=st.integers(0, 3 * CHUNK_PAGES),
        inline=st.sets(st.integers(0, 3 * CHUNK_PAGES - 1), max_size=4),
    )
    def open(self, count: int, inline: set[int]) -> int:
        content = [_page(number + 1) for number in range(count)]
        base = self.chunks.store(content, sorted(number for number in inline if number < count))
        return self._add(Pages(base, self.chunks.fetch), content)

    @rule(file=files, page=st.integers(0, 4 * CHUNK_PAGES), byte=st.integers(0, 255))
    def write(self, file: int, page: int, byte: int) -> None:
        pages, model = self.models[file]
        pages.write(page, _page(byte))
        model.extend([_EMPTY] * (page + 1 - len(model)))
        model[page] = _page(byte)

    @rule(file=files, count=st.integers(0, 4 * CHUNK_PAGES))
    def truncate(self, file: int, count: int) -> None:
        pages, model = self.models[file]
        count = min(count, len(model))
        pages.truncate(count)
        del model[count:]

    @rule(target=files, file=files)
    def fork(self, file: int) -> int:
        pages, model = self.models[file]
        return self._add(pages.fork(), list(model))

    @rule(file=files, page=st.integers(0, 4 * CHUNK_PAGES))
    def read(self, file: int, page: int) -> None:
        pages, model = self.models[file]
        if page < len(model):
            assert pages.read(page) == model[page]

    @rule(target=snapshots, file=files, inline=st.sets(st.integers(0, 4 * CHUNK_PAGES), max_size=3))
    def begin_snapshot(self, file: int, inline: set[int]) -> object:
        pages, model = self.models[file]
        if not model:
            return multiple()
        base = self.chunks.store(model, sorted(number for number in inline if number < len(model)))
        return file, base, pages.written(), pages.base

    @rule(snapshot=consumes(snapshots))
    def end_snapshot(self, snapshot: tuple[int, Base, dict[int, bytes], Base]) -> None:
        file, base, written, before = snapshot
        pages, _ = self.models[file]
        if pages.base is before:  # snapshots of one file are written one after the other
            pages.rebase(base, written)

    @invariant()
    def every_file_is_as_long_as_its_model(self) -> None:
        assert all(pages.count == len(model) for pages, model in self.models.values())

    def teardown(self) -> None:
        for pages, model in self.models.values():
            assert [pages.read(number) for number in range(pages.count)] == model


FileMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestAFileReadsAsItWasWrittenHoweverItIsForkedCutAndRebased = FileMachine.TestCase


def _stored(chunks: int, inline: Sequence[int] = ()) -> tuple[Pages, list[bytes], _Chunks]:
    store = _Chunks()
    content = [_page(number % 255 + 1) for number in range(chunks * CHUNK_PAGES)]
    return Pages(store.store(content, inline), store.fetch), content, store


def _probe(pages: Pages, *numbers: int) -> None:
    with suppress(MissingPagesError):
        for number in numbers:
            pages.read(number)


def test_collecting_finds_out_what_is_missing_and_fetches_it_in_one_go() -> None:
    pages, content, store = _stored(9, inline=[3])
    pages.read(CHUNK_PAGES)
    store.fetches.clear()
    wanted = [4 * CHUNK_PAGES, 2 * CHUNK_PAGES + 1, 3, CHUNK_PAGES + 2, 2 * CHUNK_PAGES + 3]
    with pages.collecting():
        for number in wanted:
            _probe(pages, number)
    assert store.fetches == [["2", "4"]]
    assert [pages.read(number) for number in wanted] == [content[number] for number in wanted]
    assert len(store.fetches) == 1


def test_pages_that_divide_bring_the_two_before_them_that_have_the_same_parent() -> None:
    children = [number * CHUNK_PAGES for number in (5, 2, 7, 1)]
    pages, _, store = _stored(9)
    parent = _inner_node(children)
    pages = Pages(Base(pages.count, pages.base.chunks, {8 * CHUNK_PAGES: parent}), store.fetch)
    for missed, fetched in ((0, ["5"]), (3, ["1", "2", "7"])):
        with pages.collecting(dividing=True):
            _probe(pages, children[missed])
        assert store.fetches.pop() == fetched
    with pages.collecting(dividing=True):
        _probe(pages, 3 * CHUNK_PAGES)  # which no node names
    assert store.fetches == [["3"]]


def _inner_node(children: Sequence[int]) -> bytes:
    """A page of a B-tree that leads to these pages, as SQLite has it: cells from the end, the last apart."""
    *first, last = children
    places = [PAGE_SIZE - 8 * (number + 1) for number in range(len(first))]
    head = struct.pack(">BHHHBI", 2, 0, len(first), places[-1], 0, last + 1)
    head += struct.pack(f">{len(places)}H", *places)
    cells = b"".join(struct.pack(">II", child + 1, 0) for child in reversed(first))
    return head + bytes(PAGE_SIZE - len(head) - len(cells)) + cells


def test_a_probe_that_needs_two_pages_gets_the_first() -> None:
    pages, _, store = _stored(3)
    with pages.collecting():
        _probe(pages, 0, 2 * CHUNK_PAGES)
    assert store.fetches == [["0"]]


def test_collecting_what_is_there_fetches_nothing() -> None:
    pages, _, store = _stored(3, inline=[10])
    pages.write(0, _page(9))
    with pages.collecting():
        _probe(pages, 0, 10, 3 * CHUNK_PAGES)
    assert store.fetches == []


def test_after_a_probe_that_raises_pages_are_fetched_again() -> None:
    pages, content, store = _stored(1)
    with suppress(LookupError), pages.collecting():
        raise LookupError
    assert pages.read(0) == content[0]
    assert store.fetches == [["0"]]


def test_who_reads_a_row_here_and_there_gets_one_chunk_each() -> None:
    pages, content, store = _stored(64)
    for number in (40, 3):
        assert pages.read(number * CHUNK_PAGES) == content[number * CHUNK_PAGES]
    assert store.fetches == [["40"], ["3"]]


def test_a_scan_reads_ever_further_ahead_and_no_chunk_twice() -> None:
    pages, content, store = _stored(300)
    pages.read(50 * CHUNK_PAGES)
    assert [pages.read(number) for number in range(len(content))] == content
    sizes = [len(names) for names in store.fetches]
    assert sizes[0] == 1
    assert sizes[:-1] == sorted(sizes[:-1])
    assert max(sizes) == 32
    assert len(sizes) < 20
    assert len({name for names in store.fetches for name in names}) == sum(sizes)


def test_pages_that_were_fetched_long_ago_are_let_go_and_fetched_again() -> None:
    pages, content, store = _stored(600)
    for _ in range(2):
        assert [pages.read(number * CHUNK_PAGES) for number in range(600)] == content[::CHUNK_PAGES]
    names = [name for names in store.fetches for name in names]
    assert len(names) > 600
    assert len(set(names)) == 600


def test_a_fork_reads_what_was_written_before_and_not_what_comes_after() -> None:
    pages, content, _ = _stored(1)
    pages.write(1, _page(200))
    copy = pages.fork()
    pages.write(2, _page(201))
    copy.write(3, _page(202))
    assert [pages.read(number) for number in range(4)] == [content[0], _page(200), _page(201), content[3]]
    assert [copy.read(number) for number in range(4)] == [content[0], _page(200), content[2], _page(202)]


def test_a_page_beyond_the_end_leaves_zeros_between() -> None:
    pages, _, _ = _stored(1)
    pages.truncate(1)
    pages.write(3, _page(9))
    assert [pages.read(number) for number in (1, 2, 3)] == [_EMPTY, _EMPTY, _page(9)]


def test_what_is_written_while_a_snapshot_goes_up_stays() -> None:
    pages, content, store = _stored(1)
    pages.write(1, _page(100))
    pages.write(2, _page(100))
    written = pages.written()
    pages.write(2, _page(101))
    pages.rebase(store.store([content[0], _page(100), _page(100), *content[3:]], []), written)
    assert pages.written() == {2: _page(101)}
    assert [pages.read(number) for number in (1, 2)] == [_page(100), _page(101)]
