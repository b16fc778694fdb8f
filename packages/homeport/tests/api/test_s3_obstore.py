"""S3's API as apps reach it: by obstore with AWS's usual settings, and by bucketlog through it."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import obstore
import pytest
from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError
from obstore.store import S3Store

import bucketlog


@pytest.fixture
def instance(harbour: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings that an instance of the service `blog` finds in its environment."""
    _, key = harbour.service_key("blog")
    for name, value in {
        "AWS_ENDPOINT_URL": harbour.endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "local-1",
        "AWS_ACCESS_KEY_ID": key.id,
        "AWS_SECRET_ACCESS_KEY": key.secret,
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def store(instance: None) -> S3Store:
    return S3Store.from_url("s3://blog-data")


def test_the_first_write_makes_the_bucket(store: S3Store) -> None:
    obstore.put(store, "a/b", b"content")
    assert bytes(obstore.get(store, "a/b").bytes()) == b"content"
    head = obstore.head(store, "a/b")
    assert (head["size"], head["path"]) == (7, "a/b")
    obstore.delete(store, "a/b")
    with pytest.raises(FileNotFoundError):
        obstore.get(store, "a/b")


def test_a_list_is_there_before_the_first_write(store: S3Store) -> None:
    assert list(obstore.list(store)) == []


@pytest.mark.parametrize("key", ["with space", "grüße/😀", "a+b", "100%", "a%2Fb", "a=b&c", "~", "a'(b)*!"])
def test_odd_keys_come_back(store: S3Store, key: str) -> None:
    obstore.put(store, key, key.encode())
    assert bytes(obstore.get(store, key).bytes()) == key.encode()
    assert [entry["path"] for batch in obstore.list(store) for entry in batch] == [key]


def test_an_object_is_created_once(store: S3Store) -> None:
    def create(number: int) -> bool:
        try:
            obstore.put(store, "new", b"%d" % number, mode="create")
        except AlreadyExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(create, range(8)))
    assert won.count(True) == 1
    assert bytes(obstore.get(store, "new").bytes()) == b"%d" % won.index(True)


def test_more_keys_than_a_page_are_listed(store: S3Store) -> None:
    async def fill() -> None:
        await asyncio.gather(*(obstore.put_async(store, f"log/{number:04}", b"") for number in range(1100)))

    asyncio.run(fill())
    listed = [entry["path"] for batch in obstore.list(store, "log") for entry in batch]
    assert listed == [f"log/{number:04}" for number in range(1100)]
    later = [entry["path"] for batch in obstore.list(store, "log", offset="log/1097") for entry in batch]
    assert later == ["log/1098", "log/1099"]
    folded = obstore.list_with_delimiter(store)
    assert (list(folded["common_prefixes"]), list(folded["objects"])) == (["log"], [])


def test_a_large_object_goes_up_in_parts_and_comes_down_by_range(store: S3Store) -> None:
    content = os.urandom(12 << 20)
    obstore.put(store, "large", content, use_multipart=True, chunk_size=5 << 20)
    assert bytes(obstore.get(store, "large").bytes()) == content
    assert bytes(obstore.get_range(store, "large", start=6 << 20, length=100)) == content[6 << 20 :][:100]
    ranges = obstore.get_ranges(store, "large", starts=[0, 11 << 20], lengths=[10, 10])
    assert [bytes(part) for part in ranges] == [content[:10], content[11 << 20 :][:10]]


def test_a_read_can_depend_on_the_content(store: S3Store) -> None:
    etag = obstore.put(store, "a", b"one")["e_tag"]
    assert bytes(obstore.get(store, "a", options={"if_match": etag}).bytes()) == b"one"
    obstore.put(store, "a", b"two")
    with pytest.raises(BaseError, match="412"):
        obstore.get(store, "a", options={"if_match": etag})


def test_another_services_bucket_is_out_of_reach(instance: None) -> None:
    with pytest.raises(PermissionDeniedError, match="AccessDenied"):
        obstore.get(S3Store.from_url("s3://shop-data"), "a")


def test_a_database_in_a_bucket_is_shared_by_its_writers(instance: None) -> None:
    schema = [
        {
            ":db/ident": ":post/slug",
            ":db/valueType": ":db.type/string",
            ":db/cardinality": ":db.cardinality/one",
            ":db/unique": ":db.unique/identity",
        }
    ]
    url = "s3://blog-data/db"
    with bucketlog.connect(url) as one, bucketlog.connect(url) as two:
        for connection in (one, two):
            connection.transact(schema)

        def write(number: int) -> None:
            (one, two)[number % 2].transact([{":post/slug": f"post-{number}"}])

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, range(20)))
        expected = sorted(f"post-{number}" for number in range(20))
        query = "[:find [?slug ...] :where [_ :post/slug ?slug]]"
        for connection in (one, two):
            assert sorted(connection.sync().q(query)) == expected
