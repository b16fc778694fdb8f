"""S3's API, driven by boto3: what an app and its tools need of it, and how the rest is refused."""

from __future__ import annotations

import asyncio
import base64
import errno
import hashlib
import io
import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.auth import S3SigV4Auth
from hypothesis import given, settings
from hypothesis import strategies as st

from homeport.credentials import AccessKey
from homeport.s3.app import S3

_PATH_STYLE = {"addressing_style": "path"}


def _get(s3: Any, key: str, **arguments: Any) -> bytes:
    body: bytes = s3.get_object(Bucket="box", Key=key, **arguments)["Body"].read()
    return body


def _keys(s3: Any, **arguments: Any) -> list[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket="box", **arguments)
    return [entry["Key"] for page in pages for entry in page.get("Contents", [])]


def _files(harbour: Any) -> list[Path]:
    """All files below the buckets, and what uploads have left."""
    folders = (harbour.data / "buckets", harbour.data / "buckets-uploads")
    return [path for folder in folders for path in folder.rglob("*") if path.is_file()]


def _until(held: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not held():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_object_is_kept_described_and_removed(s3: Any, error_of: Any) -> None:
    etag = s3.put_object(Bucket="box", Key="a/b.txt", Body=b"hello")["ETag"]
    got = s3.get_object(Bucket="box", Key="a/b.txt")
    assert got["Body"].read() == b"hello"
    head = s3.head_object(Bucket="box", Key="a/b.txt")
    assert head["ETag"] == got["ETag"] == etag
    assert head["ContentLength"] == 5
    assert abs(head["LastModified"] - datetime.now(UTC)) < timedelta(minutes=1)
    (listed,) = s3.list_objects_v2(Bucket="box")["Contents"]
    assert (listed["Key"], listed["Size"], listed["ETag"]) == ("a/b.txt", 5, etag)
    s3.delete_object(Bucket="box", Key="a/b.txt")
    assert error_of(s3.get_object, Bucket="box", Key="a/b.txt") == "NoSuchKey"
    assert error_of(s3.head_object, Bucket="box", Key="a/b.txt") == "404"
    s3.delete_object(Bucket="box", Key="a/b.txt")


def test_a_key_can_be_given_another_content(s3: Any) -> None:
    first = s3.put_object(Bucket="box", Key="a", Body=b"one")["ETag"]
    second = s3.put_object(Bucket="box", Key="a", Body=b"two")["ETag"]
    assert first != second
    assert _get(s3, "a") == b"two"


def test_an_empty_object_is_an_object(s3: Any) -> None:
    s3.put_object(Bucket="box", Key="a", Body=b"")
    assert _get(s3, "a") == b""
    assert s3.head_object(Bucket="box", Key="a")["ContentLength"] == 0


# Buckets


def test_buckets_are_made_listed_and_removed(harbour: Any, s3: Any, error_of: Any) -> None:
    s3.create_bucket(Bucket="another")
    s3.create_bucket(Bucket="another")
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["another", "box"]
    s3.head_bucket(Bucket="another")
    assert s3.get_bucket_location(Bucket="another")["LocationConstraint"] is None
    s3.put_object(Bucket="another", Key="a/b/c", Body=b"")
    assert error_of(s3.delete_bucket, Bucket="another") == "BucketNotEmpty"
    s3.delete_object(Bucket="another", Key="a/b/c")
    s3.delete_bucket(Bucket="another")
    assert error_of(s3.delete_bucket, Bucket="another") == "NoSuchBucket"
    assert error_of(s3.head_bucket, Bucket="another") == "404"
    assert not (harbour.data / "buckets/another").exists()


def test_the_owners_bucket_must_be_there_before_its_objects(s3: Any, error_of: Any) -> None:
    assert error_of(s3.put_object, Bucket="none", Key="a", Body=b"") == "NoSuchBucket"
    assert error_of(s3.get_object, Bucket="none", Key="a") == "NoSuchBucket"
    assert error_of(s3.list_objects_v2, Bucket="none") == "NoSuchBucket"


@pytest.mark.parametrize(
    "name", ["..", "a", "UPPER", "a_b_c", "-abc", "abc-", "a" * 64, "a.b.c", "%2e%2e", "a%00b"]
)
def test_a_name_that_no_bucket_has_is_refused(harbour: Any, name: str) -> None:
    before = sorted(harbour.data.rglob("*"))
    reply = harbour.signed("s3", "PUT", f"/{name}")
    assert (reply.status, b"InvalidBucketName" in reply.body) == (400, True)
    assert sorted(harbour.data.rglob("*")) == before


# Keys


@pytest.mark.parametrize(
    "key",
    [
        "with space",
        " around ",
        "grüße/日本語/😀",
        "e\u0301 is not é",
        "a+b",
        "100%",
        "a%2Fb",
        "%00",
        "a?b=c&d",
        "a#b",
        "a#1",
        "a\\b",
        "*",
        "~",
        ".hidden",
        "...",
        "a'\"<&>b",
        "a:b;c,d",
        "x" * 255,
        "é" * 127,
        "/".join(["k" * 200] * 5),
    ],
)
def test_an_odd_key_is_a_key_like_any_other(harbour: Any, s3: Any, key: str) -> None:
    s3.put_object(Bucket="box", Key=key, Body=key.encode())
    assert _get(s3, key) == key.encode()
    assert _keys(s3) == [key]
    assert _keys(s3, Prefix=key) == [key]
    assert _files(harbour) == [harbour.data / "buckets/box" / key]
    s3.delete_objects(Bucket="box", Delete={"Objects": [{"Key": key}]})
    assert _keys(s3) == []


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("..", "InvalidArgument"),
        ("../other", "InvalidArgument"),
        ("%2e%2e/other", "InvalidArgument"),
        ("..%2fother", "InvalidArgument"),
        ("a/../../other", "InvalidArgument"),
        ("a/./b", "InvalidArgument"),
        (".", "InvalidArgument"),
        ("/absolute", "InvalidArgument"),
        ("%2Fetc/passwd", "InvalidArgument"),
        ("a//b", "InvalidArgument"),
        ("folder/", "InvalidArgument"),
        ("nul%00", "InvalidArgument"),
        ("line%0Afeed", "InvalidArgument"),
        ("%EF%BF%BF", "InvalidArgument"),
        ("x" * 256, "InvalidArgument"),
        ("x/" * 600 + "x", "KeyTooLongError"),
        ("%FF", "InvalidURI"),
        ("%C0%AE%C0%AE/x", "InvalidURI"),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "GET", "DELETE"])
def test_a_key_that_can_be_no_file_is_refused(
    harbour: Any, s3: Any, path: str, code: str, method: str
) -> None:
    reply = harbour.signed("s3", method, f"/box/{path}", body=b"x" if method == "PUT" else b"")
    assert (reply.status, f"<Code>{code}</Code>" in reply.body.decode()) == (400, True)
    assert _files(harbour) == []


@settings(max_examples=60)
@given(raw=st.text(st.sampled_from("ab./\\%~ \x00é😀\ud7ff"), min_size=1, max_size=12))
def test_whatever_the_key_it_comes_back_or_is_refused_and_nothing_escapes(
    harbour: Any, s3: Any, raw: str
) -> None:
    target = "/box/" + quote(raw, safe="/")
    reply = harbour.signed("s3", "PUT", target, body=b"mine")
    if reply.status == 200:
        assert harbour.signed("s3", "GET", target).body == b"mine"
        assert _keys(s3) == [raw]
        assert harbour.signed("s3", "DELETE", target).status == 204
    else:
        assert (reply.status, b"<Code>Invalid" in reply.body) == (400, True)
    assert _files(harbour) == []
    assert list((harbour.data / "buckets").iterdir()) == [harbour.data / "buckets/box"]


def test_no_key_can_be_below_another(s3: Any, error_of: Any) -> None:
    s3.put_object(Bucket="box", Key="a", Body=b"file")
    s3.put_object(Bucket="box", Key="d/e", Body=b"below")
    for condition in ({}, {"IfNoneMatch": "*"}):
        assert error_of(s3.put_object, Bucket="box", Key="a/b/c", Body=b"", **condition) == "InvalidArgument"
        assert error_of(s3.put_object, Bucket="box", Key="d", Body=b"", **condition) == "InvalidArgument"
    assert error_of(s3.get_object, Bucket="box", Key="a/b") == "NoSuchKey"
    assert error_of(s3.get_object, Bucket="box", Key="d") == "NoSuchKey"
    s3.delete_object(Bucket="box", Key="a/b")
    s3.delete_object(Bucket="box", Key="d")
    assert _keys(s3) == ["a", "d/e"]


def test_a_folder_goes_with_its_last_object(harbour: Any, s3: Any) -> None:
    s3.put_object(Bucket="box", Key="a/b/c/d", Body=b"")
    s3.put_object(Bucket="box", Key="a/x", Body=b"")
    s3.delete_object(Bucket="box", Key="a/b/c/d")
    assert sorted(path.name for path in (harbour.data / "buckets/box").rglob("*")) == ["a", "x"]
    s3.delete_object(Bucket="box", Key="a/x")
    assert list((harbour.data / "buckets/box").iterdir()) == []
    s3.put_object(Bucket="box", Key="a", Body=b"now an object")


def test_objects_of_one_folder_come_and_go_at_once(s3: Any) -> None:
    def work(number: int) -> None:
        for turn in range(15):
            s3.put_object(Bucket="box", Key=f"a/b/{number}", Body=b"%d" % turn)
            assert _get(s3, f"a/b/{number}") == b"%d" % turn
            s3.delete_object(Bucket="box", Key=f"a/b/{number}")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert _keys(s3) == []


# Lists


@pytest.fixture
def shelf(s3: Any) -> Any:
    for key in ("a", "a-b", "a/1", "a/2", "a/b/3", "b/1", "c", "é"):
        s3.put_object(Bucket="box", Key=key.replace("a/", "A/"), Body=b"")
    return s3


def test_keys_are_listed_in_order_across_folders(s3: Any) -> None:
    names = ["a!", "a-b", "a/1", "a/b", "a0", "aa/x", "b", "z/y/x", "é", "\uffee", "😀"]
    for name in reversed(names):
        s3.put_object(Bucket="box", Key=name, Body=b"")
    for size in (1, 2, 3, 1000):
        assert _keys(s3, PaginationConfig={"PageSize": size}) == names


def test_a_prefix_need_not_be_a_folder(shelf: Any) -> None:
    assert _keys(shelf, Prefix="a") == ["a", "a-b"]
    assert _keys(shelf, Prefix="A/") == ["A/1", "A/2", "A/b/3"]
    assert _keys(shelf, Prefix="A/b") == ["A/b/3"]
    assert _keys(shelf, Prefix="A/b/3") == ["A/b/3"]
    assert _keys(shelf, Prefix="c/") == []


@pytest.mark.parametrize(
    "prefix", ["nope", "nope/", "..", "../", "/", "//", "a//", "./", "a\x00/", "x" * 5000 + "/"]
)
def test_a_prefix_that_no_key_has_lists_nothing(shelf: Any, prefix: str) -> None:
    assert _keys(shelf, Prefix=prefix) == []


@pytest.mark.parametrize("size", [1, 2, 1000])
def test_keys_are_folded_at_a_delimiter(shelf: Any, size: int) -> None:
    def listed(**arguments: Any) -> tuple[list[str], list[str]]:
        pages = shelf.get_paginator("list_objects_v2").paginate(
            Bucket="box", PaginationConfig={"PageSize": size}, **arguments
        )
        keys, common = [], []
        for page in pages:
            assert page["KeyCount"] <= size
            keys += [entry["Key"] for entry in page.get("Contents", [])]
            common += [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]
        return keys, common

    assert listed(Delimiter="/") == (["a", "a-b", "c", "é"], ["A/", "b/"])
    assert listed(Delimiter="/", Prefix="A/") == (["A/1", "A/2"], ["A/b/"])
    assert listed(Delimiter="/", Prefix="A") == ([], ["A/"])
    assert listed(Delimiter="-") == (["A/1", "A/2", "A/b/3", "a", "b/1", "c", "é"], ["a-"])
    assert listed(Delimiter="/b") == (["A/1", "A/2", "a", "a-b", "b/1", "c", "é"], ["A/b"])


@settings(max_examples=40, deadline=None)
@given(
    keys=st.sets(st.text(st.sampled_from("ab/-."), min_size=1, max_size=6), max_size=8),
    prefix=st.text(st.sampled_from("ab/-"), max_size=3),
    delimiter=st.sampled_from(["", "/", "-", "a"]),
    size=st.integers(1, 4),
)
def test_a_list_is_what_the_set_of_keys_says(
    s3: Any, keys: set[str], prefix: str, delimiter: str, size: int
) -> None:
    kept = []
    for key in keys:
        try:
            s3.put_object(Bucket="box", Key=key, Body=b"")
            kept.append(key)
        except s3.exceptions.ClientError:
            pass  # no file's name, or below another
    expected = []
    for key in sorted(key for key in kept if key.startswith(prefix)):
        head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
        entry = (prefix + head + found, True) if found else (key, False)
        if entry not in expected:
            expected.append(entry)
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket="box", Prefix=prefix, Delimiter=delimiter, PaginationConfig={"PageSize": size}
    )
    listed = []
    for page in pages:
        entries = [(entry["Key"], False) for entry in page.get("Contents", [])]
        entries += [(entry["Prefix"], True) for entry in page.get("CommonPrefixes", [])]
        assert len(entries) <= size
        listed += sorted(entries)
    for key in kept:
        s3.delete_object(Bucket="box", Key=key)
    assert listed == expected


def test_a_list_can_start_after_a_key(shelf: Any) -> None:
    assert _keys(shelf, StartAfter="A/1") == ["A/2", "A/b/3", "a", "a-b", "b/1", "c", "é"]
    assert _keys(shelf, StartAfter="A/1a", Prefix="A/") == ["A/2", "A/b/3"]
    assert _keys(shelf, StartAfter="é") == []


def test_a_page_of_no_keys_is_the_last(shelf: Any) -> None:
    page = shelf.list_objects_v2(Bucket="box", MaxKeys=0)
    assert (page["KeyCount"], page["IsTruncated"]) == (0, False)


@pytest.mark.parametrize(
    "query", ["max-keys=x", "max-keys=-1", "continuation-token=%C3%A9", "max-keys=" + "9" * 5000]
)
def test_a_list_asked_for_wrongly_is_refused(harbour: Any, s3: Any, query: str) -> None:
    reply = harbour.signed("s3", "GET", f"/box?list-type=2&{query}")
    assert (reply.status, b"InvalidArgument" in reply.body) == (400, True)


def test_many_objects_are_deleted_at_once_and_bad_keys_are_told(s3: Any, error_of: Any) -> None:
    for key in ("a", "b/c"):
        s3.put_object(Bucket="box", Key=key, Body=b"")
    wanted = [{"Key": key} for key in ("a", "b/c", "not there", "../x")]
    answer = s3.delete_objects(Bucket="box", Delete={"Objects": wanted})
    assert [entry["Key"] for entry in answer["Deleted"]] == ["a", "b/c", "not there"]
    assert [(entry["Key"], entry["Code"]) for entry in answer["Errors"]] == [("../x", "InvalidArgument")]
    assert _keys(s3) == []
    too_many = [{"Key": str(number)} for number in range(1001)]
    assert error_of(s3.delete_objects, Bucket="box", Delete={"Objects": too_many}) == "MalformedXML"


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<Delete>",
        b"<Remove><Object><Key>a</Key></Object></Remove>",
        b"<Delete/>",
        b'<!DOCTYPE a [<!ENTITY b "c">]><Delete><Object><Key>&b;</Key></Object></Delete>',
        '<!DOCTYPE a [<!ENTITY b "c">]><Delete><Object><Key>&b;</Key></Object></Delete>'.encode("utf-16"),
        b"\xff\xfe<\x00",
    ],
)
def test_a_document_that_makes_no_sense_is_refused(harbour: Any, s3: Any, document: bytes) -> None:
    reply = harbour.signed("s3", "POST", "/box?delete", body=document)
    assert (reply.status, b"MalformedXML" in reply.body) == (400, True)
    huge = harbour.signed("s3", "POST", "/box?delete", body=b" " * ((2 << 20) + 1))
    assert (huge.status, b"EntityTooLarge" in huge.body) == (400, True)


# Parts of objects, and conditions


@pytest.mark.parametrize(
    ("wanted", "expected", "shown"),
    [
        ("bytes=0-3", b"0123", "bytes 0-3/10"),
        ("bytes=4-", b"456789", "bytes 4-9/10"),
        ("bytes=-3", b"789", "bytes 7-9/10"),
        ("bytes=8-100", b"89", "bytes 8-9/10"),
        ("bytes=-100", b"0123456789", None),
        ("bytes=nonsense", b"0123456789", None),
        ("lines=1-2", b"0123456789", None),
        ("bytes=0-1,3-4", b"0123456789", None),
    ],
)
def test_a_part_of_an_object_can_be_had(s3: Any, wanted: str, expected: bytes, shown: str | None) -> None:
    s3.put_object(Bucket="box", Key="a", Body=b"0123456789")
    got = s3.get_object(Bucket="box", Key="a", Range=wanted)
    assert got["Body"].read() == expected
    assert got.get("ContentRange") == shown
    assert got["ResponseMetadata"]["HTTPStatusCode"] == (206 if shown else 200)


@pytest.mark.parametrize("wanted", ["bytes=10-", "bytes=100-200", "bytes=5-4", "bytes=-0"])
def test_a_part_beyond_the_end_is_refused(s3: Any, error_of: Any, wanted: str) -> None:
    s3.put_object(Bucket="box", Key="a", Body=b"0123456789")
    assert error_of(s3.get_object, Bucket="box", Key="a", Range=wanted) == "InvalidRange"
    too_long = "bytes=" + "9" * 5000 + "-"
    assert error_of(s3.get_object, Bucket="box", Key="a", Range=too_long) == "InvalidArgument"


def test_a_read_can_depend_on_what_the_object_is(s3: Any, error_of: Any) -> None:
    etag = s3.put_object(Bucket="box", Key="a", Body=b"x")["ETag"]
    hour = timedelta(hours=1)
    now = datetime.now(UTC)
    assert _get(s3, "a", IfMatch=etag) == b"x"
    assert _get(s3, "a", IfNoneMatch='"another"') == b"x"
    assert _get(s3, "a", IfModifiedSince=now - hour) == b"x"
    assert _get(s3, "a", IfUnmodifiedSince=now + hour) == b"x"
    for condition, code in (
        ({"IfMatch": '"another"'}, "PreconditionFailed"),
        ({"IfUnmodifiedSince": now - hour}, "PreconditionFailed"),
        ({"IfNoneMatch": etag}, "304"),
        ({"IfModifiedSince": now}, "304"),
    ):
        assert error_of(s3.get_object, Bucket="box", Key="a", **condition) == code


def test_a_read_is_of_one_content_while_the_key_changes(s3: Any) -> None:
    old, new = b"o" * (4 << 20), b"n" * (3 << 20)
    s3.put_object(Bucket="box", Key="a", Body=old)
    got = s3.get_object(Bucket="box", Key="a")
    s3.put_object(Bucket="box", Key="a", Body=new)
    assert got["Body"].read() == old
    s3.delete_object(Bucket="box", Key="a")


def test_an_object_can_be_made_only_where_there_is_none(s3: Any, error_of: Any) -> None:
    s3.put_object(Bucket="box", Key="a", Body=b"first", IfNoneMatch="*")
    code = error_of(s3.put_object, Bucket="box", Key="a", Body=b"second", IfNoneMatch="*")
    assert code == "PreconditionFailed"
    assert _get(s3, "a") == b"first"
    s3.delete_object(Bucket="box", Key="a")
    s3.put_object(Bucket="box", Key="a", Body=b"third", IfNoneMatch="*")


def test_of_racing_creations_exactly_one_wins(harbour: Any, s3: Any) -> None:
    clients = [harbour.client("s3", s3=_PATH_STYLE) for _ in range(16)]
    together = threading.Barrier(16)

    def create(number: int, key: str) -> str:
        together.wait()
        try:
            clients[number].put_object(Bucket="box", Key=key, Body=b"%d" % number, IfNoneMatch="*")
        except clients[number].exceptions.ClientError as error:
            return str(error.response["Error"]["Code"])
        return "made"

    with ThreadPoolExecutor(16) as pool:
        for turn in range(3):
            key = f"new/{turn}/a"
            won = list(pool.map(lambda number, key=key: create(number, key), range(16)))
            assert sorted(won) == ["PreconditionFailed"] * 15 + ["made"]
            assert _get(s3, key) == b"%d" % won.index("made")


def test_an_acknowledged_object_is_on_the_disk_with_its_folders(
    harbour: Any, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = harbour.data / "buckets/box"
    synced = []
    fsync = os.fsync

    def noted(handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").readlink()
        synced.append((path, (box / "a/b").exists()))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    s3.put_object(Bucket="box", Key="a/b", Body=b"content")
    (content, seen), *folders = synced
    assert (content.parent, seen) == (harbour.data / "buckets-uploads", False), "the content comes first"
    assert folders == [(box / "a", True), (box, True)]


# Uploads that go wrong


def test_a_body_that_is_not_what_was_signed_is_not_stored(harbour: Any, s3: Any) -> None:
    signed = harbour.sign("s3", "PUT", "/box/a", body=b"what was meant")
    reply = harbour.send("PUT", "/box/a", signed, b"what arrived!!")
    assert (reply.status, b"XAmzContentSHA256Mismatch" in reply.body) == (400, True)
    assert _files(harbour) == []


@pytest.mark.parametrize(
    ("header", "algorithm"),
    [("Content-MD5", "md5"), ("x-amz-checksum-sha256", "sha256"), ("x-amz-checksum-crc32", "")],
)
def test_a_body_that_is_not_what_its_checksum_says_is_not_stored(
    harbour: Any, s3: Any, header: str, algorithm: str
) -> None:
    wrong = hashlib.new(algorithm, b"another").digest() if algorithm else b"1234"
    headers = {header: base64.b64encode(wrong).decode()}
    for target in ("/box/a", f"/box/a?partNumber=1&uploadId={_begin(s3)}"):
        reply = harbour.signed("s3", "PUT", target, headers=headers, body=b"content")
        assert (reply.status, b"BadDigest" in reply.body) == (400, True)
    assert _keys(s3) == []


@pytest.mark.parametrize("promise", ["STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "", "0" * 63])
def test_a_body_signed_in_another_way_is_refused(
    harbour: Any, s3: Any, promise: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(S3SigV4Auth, "payload", lambda _signer, _request: promise)
    reply = harbour.signed("s3", "PUT", "/box/a", body=b"content")
    assert (reply.status, b"NotImplemented" in reply.body) == (501, True)
    assert _files(harbour) == []


def test_an_interrupted_upload_leaves_nothing(harbour: Any, s3: Any) -> None:
    body = os.urandom(1 << 20)
    signed = harbour.sign("s3", "PUT", "/box/a", body=body)
    host, port = harbour.host.split(":")
    for sent in (0, 1, len(body) - 1):
        with socket.create_connection((host, int(port))) as connection:
            lines = [f"{name}: {value}" for name, value in signed.items()]
            head = "\r\n".join(["PUT /box/a HTTP/1.1", *lines, f"Content-Length: {len(body)}", "", ""])
            connection.sendall(head.encode() + body[:sent])
            _until(lambda: len(_files(harbour)) == 1)
        _until(lambda: _files(harbour) == [])
    assert _keys(s3) == []


def test_who_stops_sending_is_not_waited_for(harbour: Any, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("homeport.s3.body._PATIENCE", 0.1)
    signed = harbour.sign("s3", "PUT", "/box/a", body=b"content")
    host, port = harbour.host.split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        lines = [f"{name}: {value}" for name, value in signed.items()]
        connection.sendall(
            "\r\n".join(["PUT /box/a HTTP/1.1", *lines, "Content-Length: 7", "", "con"]).encode()
        )
        assert b" 400 " in connection.recv(1000)
    _until(lambda: _files(harbour) == [])


def test_what_would_be_lost_is_refused(s3: Any, error_of: Any) -> None:
    for arguments in (
        {"Metadata": {"a": "b"}},
        {"Tagging": "a=b"},
        {"ServerSideEncryption": "AES256"},
        {"IfMatch": '"x"'},
        {"IfNoneMatch": '"x"'},
        {"ACL": "public-read"},
        {"StorageClass": "GLACIER"},
        {"WriteOffsetBytes": 1},
        {"CacheControl": "no-store"},
        {"ContentDisposition": "attachment"},
        {"ContentEncoding": "gzip"},
        {"ContentLanguage": "en"},
        {"Expires": datetime(2030, 1, 1, tzinfo=UTC)},
    ):
        assert error_of(s3.put_object, Bucket="box", Key="a", Body=b"", **arguments) == "NotImplemented"
    s3.put_object(Bucket="box", Key="a", Body=b"kept", ACL="private", StorageClass="STANDARD")
    acl = {"Bucket": "box", "Key": "a", "ACL": "private"}
    assert error_of(s3.put_object_acl, **acl) == "NotImplemented"
    tags = {"Bucket": "box", "Key": "a", "Tagging": {"TagSet": []}}
    assert error_of(s3.put_object_tagging, **tags) == "NotImplemented"
    assert error_of(s3.get_object_tagging, Bucket="box", Key="a") == "NotImplemented"
    assert error_of(s3.delete_object, Bucket="box", Key="a", VersionId="1") == "NotImplemented"
    assert error_of(s3.get_bucket_versioning, Bucket="box") == "NotImplemented"
    assert error_of(s3.delete_bucket_policy, Bucket="box") == "NotImplemented"
    assert error_of(s3.list_objects, Bucket="box") == "NotImplemented"
    assert _get(s3, "a") == b"kept"


def test_what_is_deleted_only_if_is_not_deleted(s3: Any, error_of: Any) -> None:
    etag = s3.put_object(Bucket="box", Key="a", Body=b"kept")["ETag"]
    for wanted in ('"another"', etag, "*"):
        assert error_of(s3.delete_object, Bucket="box", Key="a", IfMatch=wanted) == "NotImplemented"
    entries = [{"Key": "a", "ETag": '"another"'}, {"Key": "a", "VersionId": "1"}, {"Key": "a", "Size": 1}]
    answer = s3.delete_objects(Bucket="box", Delete={"Objects": entries})
    assert [(error["Key"], error["Code"]) for error in answer["Errors"]] == [("a", "NotImplemented")] * 3
    assert _keys(s3) == ["a"]


def test_a_thousand_of_the_longest_keys_can_be_deleted_at_once(s3: Any) -> None:
    below = "/".join(["k" * 255] * 3)
    longest = [{"Key": f"{number:0255}/{below}"} for number in range(1000)]
    assert len(s3.delete_objects(Bucket="box", Delete={"Objects": longest})["Deleted"]) == 1000


# Copies


def test_an_object_is_copied_within_a_bucket_and_to_another(s3: Any, error_of: Any) -> None:
    s3.create_bucket(Bucket="other")
    s3.put_object(Bucket="box", Key="a b/é", Body=b"content")
    copied = s3.copy_object(Bucket="other", Key="c", CopySource={"Bucket": "box", "Key": "a b/é"})
    assert copied["CopyObjectResult"]["ETag"] == s3.head_object(Bucket="other", Key="c")["ETag"]
    s3.copy_object(Bucket="box", Key="a b/é", CopySource="other/c")  # also onto what is there
    assert s3.get_object(Bucket="other", Key="c")["Body"].read() == b"content"
    assert _get(s3, "a b/é") == b"content"
    nothing = {"Bucket": "box", "Key": "d", "CopySource": "box/none"}
    assert error_of(s3.copy_object, **nothing) == "NoSuchKey"
    assert error_of(s3.copy_object, **nothing | {"CopySource": "nowhere/a"}) == "NoSuchBucket"
    assert error_of(s3.copy_object, **nothing | {"CopySource": "box"}) == "InvalidArgument"
    assert error_of(s3.copy_object, **nothing | {"CopySource": "box/../a"}) == "InvalidArgument"
    version = {"CopySource": {"Bucket": "other", "Key": "c", "VersionId": "1"}}
    assert error_of(s3.copy_object, **nothing | version) == "NotImplemented"
    condition = {"CopySource": "other/c", "CopySourceIfMatch": '"x"'}
    assert error_of(s3.copy_object, **nothing | condition) == "NotImplemented"
    metadata = {"CopySource": "other/c", "Metadata": {"a": "b"}, "MetadataDirective": "REPLACE"}
    assert error_of(s3.copy_object, **nothing | metadata) == "NotImplemented"
    create = {"CopySource": "other/c", "IfNoneMatch": "*", "Key": "a b/é"}
    assert error_of(s3.copy_object, **nothing | create) == "PreconditionFailed"
    assert _keys(s3) == ["a b/é"]


def test_a_large_object_is_copied_in_parts(s3: Any, error_of: Any) -> None:
    body = bytes(range(256)) * 4096
    s3.put_object(Bucket="box", Key="large", Body=body)
    upload = _begin(s3)
    part = {"Bucket": "box", "Key": "a", "UploadId": upload, "CopySource": "box/large"}
    assert (
        error_of(s3.upload_part_copy, **part, PartNumber=1, CopySourceRange="bytes=9-1048576")
        == "InvalidRange"
    )
    assert (
        error_of(s3.upload_part_copy, **part, PartNumber=1, CopySourceRange="bytes=9-8") == "InvalidArgument"
    )
    first = s3.upload_part_copy(**part, PartNumber=1, CopySourceRange="bytes=0-99")
    second = s3.upload_part_copy(**part, PartNumber=2, CopySourceRange="bytes=100-1048575")
    parts = [
        {"PartNumber": number, "ETag": copied["CopyPartResult"]["ETag"]}
        for number, copied in ((1, first), (2, second))
    ]
    s3.complete_multipart_upload(Bucket="box", Key="a", UploadId=upload, MultipartUpload={"Parts": parts})
    assert _get(s3, "a") == body


def test_a_service_copies_from_its_own_buckets_alone(s3: Any, harbour: Any, error_of: Any) -> None:
    _, key = harbour.service_key("blog")
    blog = harbour.client("s3", key, s3={"addressing_style": "path"})
    s3.put_object(Bucket="box", Key="a", Body=b"not for others")
    assert error_of(blog.copy_object, Bucket="blog", Key="a", CopySource="box/a") == "AccessDenied"
    blog.put_object(Bucket="blog", Key="b", Body=b"own")
    blog.copy_object(Bucket="blog-more", Key="c", CopySource="blog/b")
    assert blog.get_object(Bucket="blog-more", Key="c")["Body"].read() == b"own"


# Uploads in parts


def _begin(s3: Any, key: str = "a") -> str:
    return str(s3.create_multipart_upload(Bucket="box", Key=key)["UploadId"])


def _part(s3: Any, upload: str, number: int, body: bytes, key: str = "a") -> dict[str, Any]:
    part = s3.upload_part(Bucket="box", Key=key, UploadId=upload, PartNumber=number, Body=body)
    return {"PartNumber": number, "ETag": part["ETag"]}


def _complete(s3: Any, upload: str, parts: list[dict[str, Any]], key: str = "a", **more: Any) -> Any:
    return s3.complete_multipart_upload(
        Bucket="box", Key=key, UploadId=upload, MultipartUpload={"Parts": parts}, **more
    )


def test_a_large_file_goes_up_in_parts_and_comes_down(harbour: Any, s3: Any) -> None:
    content = os.urandom(20 << 20)
    transfer = TransferConfig(multipart_threshold=1 << 20, multipart_chunksize=6 << 20)
    s3.upload_fileobj(io.BytesIO(content), "box", "big/file", Config=transfer)
    back = io.BytesIO()
    s3.download_fileobj("box", "big/file", back, Config=transfer)
    assert hashlib.sha256(back.getvalue()).digest() == hashlib.sha256(content).digest()
    assert _files(harbour) == [harbour.data / "buckets/box/big/file"]


def test_parts_are_joined_by_number_and_the_last_upload_of_a_number_counts(s3: Any) -> None:
    upload = _begin(s3)
    second = _part(s3, upload, 2, b"two")
    _part(s3, upload, 1, b"wrong")
    first = _part(s3, upload, 1, b"one ")
    _part(s3, upload, 3, b"not listed")
    etag = _complete(s3, upload, [first, second])["ETag"]
    assert _get(s3, "a") == b"one two"
    assert s3.head_object(Bucket="box", Key="a")["ETag"] == etag


def test_parts_that_do_not_fit_are_refused(s3: Any, error_of: Any) -> None:
    upload = _begin(s3)
    old = _part(s3, upload, 1, b"old")
    one = _part(s3, upload, 1, b"one")
    two = _part(s3, upload, 2, b"two")
    for parts, code in (
        ([two, one], "InvalidPartOrder"),
        ([one, one], "InvalidPartOrder"),
        ([old, two], "InvalidPart"),
        ([one, {"PartNumber": 3, "ETag": two["ETag"]}], "InvalidPart"),
        ([{"PartNumber": 1, "ETag": "../../../etc/passwd"}], "InvalidPart"),
        ([{"PartNumber": -1, "ETag": one["ETag"]}], "InvalidPart"),
    ):
        assert error_of(_complete, s3=s3, upload=upload, parts=parts) == code
    assert _keys(s3) == []
    _complete(s3, upload, [one, two])


@pytest.mark.parametrize("number", ["0", "10001", "-1", "x", "", "9" * 5000, "1.5", "%C2%B2"])
def test_a_part_must_have_a_number(harbour: Any, s3: Any, number: str) -> None:
    target = f"/box/a?partNumber={number}&uploadId={_begin(s3)}"
    reply = harbour.signed("s3", "PUT", target, body=b"x")
    assert (reply.status, b"InvalidArgument" in reply.body) == (400, True)


def test_an_upload_is_of_one_key_alone(s3: Any, error_of: Any) -> None:
    upload = _begin(s3)
    part = _part(s3, upload, 1, b"x")
    for wrong, key in ((upload, "b"), ("0" * 32, "a"), ("..", "a"), ("../buckets", "a"), ("", "a")):
        if wrong:
            assert error_of(_part, s3=s3, upload=wrong, number=1, body=b"", key=key) == "NoSuchUpload"
        assert error_of(_complete, s3=s3, upload=wrong, parts=[part], key=key) in ("NoSuchUpload", "404")
        if wrong:
            abort = {"Bucket": "box", "Key": key, "UploadId": wrong}
            assert error_of(s3.abort_multipart_upload, **abort) == "NoSuchUpload"


def test_an_aborted_upload_leaves_nothing(harbour: Any, s3: Any, error_of: Any) -> None:
    upload = _begin(s3)
    part = _part(s3, upload, 1, b"x")
    s3.abort_multipart_upload(Bucket="box", Key="a", UploadId=upload)
    assert error_of(_complete, s3=s3, upload=upload, parts=[part]) == "NoSuchUpload"
    assert _files(harbour) == []


def test_an_upload_in_parts_can_be_of_a_new_object_only(s3: Any, error_of: Any) -> None:
    s3.put_object(Bucket="box", Key="a", Body=b"first")
    upload = _begin(s3)
    parts = [_part(s3, upload, 1, b"second")]
    code = error_of(_complete, s3=s3, upload=upload, parts=parts, IfNoneMatch="*")
    assert code == "PreconditionFailed"
    assert _get(s3, "a") == b"first"
    _complete(s3, upload, parts)
    assert _get(s3, "a") == b"second"


def test_completing_twice_at_once_makes_the_object_once(harbour: Any, s3: Any) -> None:
    content = os.urandom(3 << 20)
    upload = _begin(s3)
    parts = [_part(s3, upload, 1, content), _part(s3, upload, 2, b"end")]
    together = threading.Barrier(6)

    def complete(client: Any) -> str:
        together.wait()
        try:
            _complete(client, upload, parts)
        except client.exceptions.ClientError as error:
            return str(error.response["Error"]["Code"])
        return "made"

    clients = [harbour.client("s3", s3=_PATH_STYLE) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(complete, clients))
    assert "made" in results
    assert set(results) <= {"made", "NoSuchUpload", "InvalidPart"}
    assert _get(s3, "a") == content + b"end"
    assert _files(harbour) == [harbour.data / "buckets/box/a"]


# Who may do what


def test_a_service_has_its_own_buckets_and_no_others(harbour: Any, s3: Any, error_of: Any) -> None:
    _, key = harbour.service_key("blog")
    mine = harbour.client("s3", key, s3=_PATH_STYLE)
    assert mine.list_objects_v2(Bucket="blog-data")["KeyCount"] == 0
    mine.put_object(Bucket="blog-data", Key="a", Body=b"x")
    mine.put_object(Bucket="blog", Key="a", Body=b"x")
    s3.put_object(Bucket="box", Key="secret", Body=b"x")
    assert [bucket["Name"] for bucket in mine.list_buckets()["Buckets"]] == ["blog", "blog-data"]
    for bucket in ("box", "blogger", "shop-blog"):
        assert error_of(mine.get_object, Bucket=bucket, Key="secret") == "AccessDenied"
        assert error_of(mine.put_object, Bucket=bucket, Key="a", Body=b"") == "AccessDenied"
        assert error_of(mine.list_objects_v2, Bucket=bucket) == "AccessDenied"
        assert error_of(mine.create_bucket, Bucket=bucket) == "AccessDenied"
        assert error_of(mine.create_multipart_upload, Bucket=bucket, Key="a") == "AccessDenied"
    assert error_of(mine.head_object, Bucket="box", Key="secret") == "403"
    reply = harbour.signed("s3", "GET", "/blog/../box/secret", key=key)
    assert b"InvalidArgument" in reply.body
    reply = harbour.signed("s3", "GET", "//box/secret", key=key)
    assert (reply.status, b"AccessDenied" in reply.body) == (403, True)


def test_a_deleted_services_key_is_no_key(harbour: Any, error_of: Any) -> None:
    arn, key = harbour.service_key("blog")
    mine = harbour.client("s3", key, s3=_PATH_STYLE)
    mine.put_object(Bucket="blog-data", Key="a", Body=b"x")
    harbour.client("apprunner").delete_service(ServiceArn=arn)
    assert _status(mine) == 200, "an instance that drains still needs its data"
    harbour.controller.finish(arn)
    assert error_of(mine.get_object, Bucket="blog-data", Key="a") == "InvalidAccessKeyId"


def _status(client: Any) -> int:
    answer = client.get_object(Bucket="blog-data", Key="a")
    answer["Body"].close()
    return int(answer["ResponseMetadata"]["HTTPStatusCode"])


def test_a_new_service_of_an_old_name_has_another_key(harbour: Any, error_of: Any) -> None:
    arn, old = harbour.service_key("blog")
    harbour.client("apprunner").delete_service(ServiceArn=arn)
    harbour.controller.finish(arn)
    _, new = harbour.service_key("blog")
    assert error_of(harbour.client("s3", old, s3=_PATH_STYLE).list_buckets) == "InvalidAccessKeyId"
    harbour.client("s3", new, s3=_PATH_STYLE).list_buckets()


def test_a_wrong_key_is_told_by_s3s_own_codes(harbour: Any, error_of: Any) -> None:
    liar = harbour.client("s3", AccessKey(harbour.root.id, "wrong"), s3=_PATH_STYLE)
    assert error_of(liar.list_buckets) == "SignatureDoesNotMatch"
    stranger = harbour.client("s3", AccessKey("HPROOTNOBODY", "wrong"), s3=_PATH_STYLE)
    assert error_of(stranger.list_buckets) == "InvalidAccessKeyId"
    forged = AccessKey(harbour.keyring.service_key("blog", "0" * 32).id, "wrong")
    assert error_of(harbour.client("s3", forged, s3=_PATH_STYLE).list_buckets) == "InvalidAccessKeyId"
    assert b"<Code>AccessDenied</Code>" in harbour.send("GET", "/box/a").body
    headers = {"X-Amz-Content-SHA256": hashlib.sha256().hexdigest()}
    other = harbour.sign("apprunner", "GET", "/", headers=headers)
    assert b"AuthorizationHeaderMalformed" in harbour.send("GET", "/", other).body


def test_an_unsigned_upload_is_refused_before_it_is_read(harbour: Any) -> None:
    host, port = harbour.host.split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(b"PUT /box/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n")
        assert b" 403 " in connection.recv(1000)


@pytest.mark.parametrize(("number", "said"), [(errno.ENOSPC, "its disk is full"), (errno.EIO, "try again")])
def test_a_store_that_fails_says_whether_there_is_room(number: int, said: str) -> None:
    def fail(*_: object) -> Any:
        raise OSError(number, os.strerror(number), "/var/lib/homeport/secret-place")

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "PUT", "raw_path": b"/box/key", "headers": []}
    asyncio.run(S3(None, None, fail, fail)(scope, None, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 500
    assert said in sent[1]["body"].decode()
    assert "secret-place" not in sent[1]["body"].decode()
