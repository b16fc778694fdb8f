"""What a store is asked for is counted, and what it costs is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from obstore.exceptions import AlreadyExistsError, GenericError
from obstore.store import HTTPStore, MemoryStore

from bucketlog import Connection
from bucketlog.directory import DirectoryStore
from bucketlog.requests import PRICES, MeteredStore, Requests


@pytest.fixture
def store() -> MeteredStore:
    """An empty store in memory."""
    return MeteredStore(MemoryStore())  # type: ignore[arg-type]


def _counts(store: MeteredStore) -> dict[str, int]:
    return {kind: count for kind, count in store.requests.counts.items() if count}


def test_requests_are_counted_by_kind_and_bytes_by_direction(store: MeteredStore) -> None:
    store.put("a", b"12345")
    store.put("b", b"123", mode="create")
    assert (store.get("a"), store.get("b"), store.get("a")) == (b"12345", b"123", b"12345")
    assert [item["path"] for batch in store.list() for item in batch] == ["a", "b"]
    store.delete(["a", "b"])
    assert _counts(store) == {"put": 2, "get": 3, "list": 1, "delete": 2}
    assert (store.requests.bytes_read, store.requests.bytes_written) == (13, 8)


def test_a_request_that_fails_was_one_too(store: MeteredStore) -> None:
    store.put("a", b"12345")
    with pytest.raises(AlreadyExistsError):
        store.put("a", b"1", mode="create")
    with pytest.raises(FileNotFoundError):
        store.get("b")
    assert _counts(store) == {"put": 2, "get": 1}
    assert store.requests.bytes_read == 0


@pytest.mark.parametrize(("objects", "lists"), [(0, 1), (1, 1), (999, 1), (1000, 2), (1001, 2), (2500, 3)])
def test_a_listing_is_a_request_for_each_thousand_objects(
    store: MeteredStore, objects: int, lists: int
) -> None:
    for number in range(objects):
        store.inner.put(f"log/{number:05}", b"")
    assert [item["path"] for batch in store.list("log/") for item in batch] == [
        f"log/{number:05}" for number in range(objects)
    ]
    assert _counts(store) == {"list": lists}


def test_a_listing_that_is_not_read_to_its_end_asks_for_no_more(store: MeteredStore) -> None:
    for number in range(1500):
        store.inner.put(f"log/{number:05}", b"")
    next(iter(store.list("log/")))
    assert _counts(store) == {"list": 1}


def test_a_listing_begins_after_what_it_is_told(store: MeteredStore) -> None:
    for number in range(10):
        store.put(f"log/{number}", b"")
    assert [item["path"] for batch in store.list("log/", offset="log/7") for item in batch] == [
        "log/8",
        "log/9",
    ]


class Breaking:
    """A store of nothing but listings, which break off, or are refused, as often as it is told."""

    def __init__(self, failures: list[str]) -> None:
        self.failures = failures

    def list(self, *arguments: Any, **options: Any) -> Any:
        if self.failures:
            raise GenericError(self.failures.pop())
        return iter([[{"path": "log/1"}]])


def test_a_listing_that_breaks_off_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("bucketlog.requests.time", SimpleNamespace(sleep=slept.append))
    inner = Breaking(["Generic S3 error: Error getting list response body: HTTP error"] * 4)
    store = MeteredStore(inner)  # type: ignore[arg-type]
    assert [item["path"] for batch in store.list("log/") for item in batch] == ["log/1"]
    assert slept == [0.1, 0.3, 1.0, 3.0]
    inner.failures += ["Generic S3 error: Error getting list response body: HTTP error"] * 9
    with pytest.raises(GenericError, match="body"):
        list(store.list("log/"))
    assert len(inner.failures) == 4
    inner.failures[:] = ["Generic S3 error: nobody listens there"]  # the client has tried that again itself
    with pytest.raises(GenericError, match="nobody"):
        list(store.list("log/"))


def test_deleting_what_is_not_there_is_nothing(tmp_path: Path) -> None:
    for inner in (MemoryStore(), DirectoryStore(tmp_path)):
        store = MeteredStore(inner)  # type: ignore[arg-type]
        store.put("a", b"1")
        store.delete(["a", "b"])
        store.delete(["a"])
        store.delete([])
        assert list(store.list("")) == []


def test_what_a_month_of_a_site_costs_is_said_in_dollars() -> None:
    month = Requests({"put": 1_000, "get": 100_000, "list": 2_000, "delete": 50}, 0, 0)
    assert month.dollars == pytest.approx(0.005 + 0.04 + 0.01)
    assert Requests().dollars == 0
    assert set(PRICES) == {"put", "get", "list", "delete"}


def test_the_requests_since_an_earlier_moment_are_a_difference(store: MeteredStore) -> None:
    store.put("a", b"12345")
    before = store.requests
    store.put("b", b"1")
    store.get("a")
    since = store.requests - before
    assert {kind: count for kind, count in since.counts.items() if count} == {"put": 1, "get": 1}
    assert (since.bytes_read, since.bytes_written) == (5, 1)
    assert before.counts["put"] == 1


def test_threads_are_counted_together(store: MeteredStore) -> None:
    store.put("a", b"12345")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: store.get("a"), range(500)))
    assert (_counts(store)["get"], store.requests.bytes_read) == (500, 2500)


def test_a_plain_web_address_cannot_be_listed(store: MeteredStore) -> None:
    assert store.can_list
    assert not MeteredStore(HTTPStore.from_url("https://example.com/db")).can_list  # type: ignore[arg-type]


class _Counting:
    """A store that counts by itself."""

    def __init__(self) -> None:
        self.inner = MemoryStore()
        self.calls: Counter[str] = Counter()

    def put(self, path: str, file: bytes, *, mode: Any = None) -> Any:
        self.calls["put"] += 1
        if self.calls["put"] % 5 == 0:
            raise GenericError("503 later")
        return self.inner.put(path, file, mode=mode)

    def get(self, path: str) -> Any:
        self.calls["get"] += 1
        return self.inner.get(path)

    def list(self, prefix: str | None = None, *, offset: str | None = None, chunk_size: int = 50) -> Any:
        self.calls["list"] += 1
        return self.inner.list(prefix, offset=offset, chunk_size=chunk_size)

    def delete(self, paths: Any) -> Any:
        self.calls["delete"] += len(paths)
        return self.inner.delete(paths)


def test_a_connection_tells_every_request_that_it_made(
    connect: Callable[..., Connection], schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bucketlog.store.time", SimpleNamespace(sleep=lambda _: None))
    store = _Counting()
    conn = connect(store)
    conn.transact(schema)
    for n in range(10):
        conn.transact([{":user/name": f"u{n}"}])
    conn.sync()
    requests = conn.stats().requests
    assert {kind: count for kind, count in requests.counts.items() if count} == store.calls
    assert requests.bytes_written > 1000
    assert requests.dollars > 0
