"""The registry server: its protocol and its refusals."""

import base64
import hashlib
import json
import os
import resource
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import urllib3

from ocikit import (
    AuthenticationError,
    Credentials,
    Descriptor,
    Digest,
    Index,
    InvalidDocumentError,
    Manifest,
    NotFoundError,
    Platform,
    Reference,
    Registry,
    RegistryError,
    RegistryNotFoundError,
    TagExistsError,
    unpack,
)

BASIC = "Basic " + base64.b64encode(b"AWS:open-sesame").decode()
BLOB = b"some content" * 100
DIGEST = Digest.of(BLOB)
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture
def ask(served):
    """One request: status, headers and body of the answer."""
    with urllib3.PoolManager(retries=False) as pool:

        def ask(method, path, body=None, *, authorization=BASIC, **headers):
            url = path if path.startswith("http") else f"http://{served.host}{path}"
            sent = {"Authorization": authorization} if authorization else {}
            sent |= {name.replace("_", "-"): value for name, value in headers.items()}
            answer = pool.request(method, url, body=body, headers=sent, redirect=False)
            return answer.status, answer.headers, answer.data

        yield ask


def _code(answer):
    status, _, body = answer
    return status, json.loads(body)["errors"][0]["code"]


def _push_blob(ask, name="app", data=BLOB):
    status, headers, _ = ask("POST", f"/v2/{name}/blobs/uploads/?digest={Digest.of(data)}", data)
    assert status == 201
    return headers


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (None, 401),
        ("Basic !!", 401),
        ("Basic QVdT", 401),
        ("Basic \xe9\xe9", 401),
        ("Basic /zo=", 401),
        ("Bearer x", 401),
        ("Basic QVdTOndyb25n", 401),
    ],
)
@pytest.mark.parametrize("path", ["/v2/", "/v2/app/manifests/latest", "/v2/app/tags/list"])
def test_who_is_not_known_is_asked_to_log_in(ask, path, authorization, status):
    answer = ask("GET", path, authorization=authorization)
    assert _code(answer) == (status, "UNAUTHORIZED")
    assert answer[1]["WWW-Authenticate"].startswith("Basic ")


def test_who_may_only_pull_is_denied_the_rest(ask):
    reader = "Basic " + base64.b64encode(b"reader:only-looking").decode()
    headers = _push_blob(ask)
    assert ask("GET", headers["Location"], authorization=reader)[2] == BLOB
    assert _code(ask("POST", "/v2/app/blobs/uploads/", authorization=reader)) == (403, "DENIED")
    assert _code(ask("DELETE", headers["Location"], authorization=reader)) == (403, "DENIED")


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/v2/UPPER/manifests/a", (400, "NAME_INVALID")),
        ("GET", "/v2/a..b/tags/list", (400, "NAME_INVALID")),
        ("GET", "/v2/../etc/tags/list", (404, "NAME_UNKNOWN")),
        ("GET", "/v2/%2e%2e/%2e%2e/blobs/sha256:00", (400, "NAME_INVALID")),
        ("GET", "/v2/app/manifests/-tag", (400, "TAG_INVALID")),
        ("GET", "/v2/app/manifests/sha256:00", (400, "DIGEST_INVALID")),
        ("GET", f"/v2/app/blobs/{DIGEST}", (404, "BLOB_UNKNOWN")),
        ("GET", "/v2/app/manifests/none", (404, "MANIFEST_UNKNOWN")),
        ("GET", "/v2/app/tags/list", (404, "NAME_UNKNOWN")),
        ("GET", "/v2/app", (404, "NAME_UNKNOWN")),
        ("POST", "/v2/app/tags/list", (405, "UNSUPPORTED")),
        ("POST", "/v2/missing/app/blobs/uploads/", (404, "NAME_UNKNOWN")),
        ("PATCH", f"/v2/app/blobs/uploads/{'0' * 32}", (404, "BLOB_UPLOAD_UNKNOWN")),
        ("POST", "/v2/app/blobs/uploads/?digest=sha256:00", (400, "DIGEST_INVALID")),
    ],
)
def test_what_is_not_there_or_not_a_name_is_said_in_the_protocols_form(ask, method, path, expected):
    assert _code(ask(method, path)) == expected


def test_a_path_is_what_was_asked_for_and_nothing_else_says_so(ask, served, make_image):
    with served.client() as client:
        client.push(make_image(), Reference(served.host, "app", "a"))
    assert _code(ask("GET", "/v2/app/manifests/a%3Fb")) == (400, "TAG_INVALID")
    assert ask("GET", "/v2/%61pp/manifests/%61")[0] == 200
    assert _code(ask("GET", "/v2/app", Host="x/v2/app/manifests/a?")) == (404, "NAME_UNKNOWN")


def test_an_artifact_is_kept_and_is_no_image(ask, served):
    _push_blob(ask, data=b"{}")
    empty = Descriptor("application/vnd.oci.empty.v1+json", Digest.of(b"{}"), 2)
    bill = Manifest(empty, (empty,), artifact_type="application/spdx+json").to_bytes()
    assert ask("PUT", "/v2/app/manifests/bill", bill, Content_Type=MANIFEST)[0] == 201
    assert ask("GET", "/v2/app/manifests/bill")[2] == bill
    with served.client() as client, pytest.raises(InvalidDocumentError, match="spdx"):
        client.image(Reference(served.host, "app", "bill"))
    with pytest.raises(InvalidDocumentError, match="spdx"):
        served.storage.image("app", "bill")


def test_a_blob_whose_digest_does_not_match_is_refused_and_not_there(ask, served):
    answer = ask("POST", f"/v2/app/blobs/uploads/?digest={DIGEST}", b"something else")
    assert _code(answer) == (400, "DIGEST_INVALID")
    assert served.files() == set()


def test_a_blob_comes_in_chunks_and_an_interrupted_upload_goes_on(ask, served):
    _, headers, _ = ask("POST", "/v2/app/blobs/uploads/")
    place = headers["Location"]
    status, headers, _ = ask("PATCH", place, BLOB[:500], Content_Range="0-499")
    assert (status, headers["Range"]) == (202, "0-499")
    assert served.files() == set()
    for elsewhere in ("900-909", "0-9", "500", "509-500", f"{'5' * 5000}-{'6' * 5000}"):
        answer = ask("PATCH", place, b"0123456789", Content_Range=elsewhere)
        assert _code(answer) == (416, "BLOB_UPLOAD_INVALID")
    status, headers, _ = ask("GET", place)
    assert (status, headers["Range"]) == (204, "0-499")
    assert ask("PATCH", place, BLOB[500:700], Content_Range="500-699")[0] == 202
    status, headers, _ = ask("PUT", f"{place}?digest={DIGEST}", BLOB[700:])
    assert (status, headers["Docker-Content-Digest"]) == (201, str(DIGEST))
    assert ask("GET", headers["Location"])[2] == BLOB
    assert ask("GET", place)[0] == 404


def test_where_there_is_no_room_it_says_so_and_the_upload_goes_on_when_there_is(ask):
    _, headers, _ = ask("POST", "/v2/app/blobs/uploads/")
    place, data = headers["Location"], bytes(range(256)) * 4000
    assert ask("PATCH", place, data[:1000])[0] == 202
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_001, hard))  # the write before the last is cut short
    try:
        answer = ask("PATCH", place, data[1000:])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert _code(answer) == (507, "DENIED")
    assert ask("GET", place)[1]["Range"] == "0-999"
    assert ask("PUT", f"{place}?digest={Digest.of(data)}", data[1000:])[0] == 201
    assert ask("GET", f"/v2/app/blobs/{Digest.of(data)}")[2] == data


def test_an_upload_takes_one_request_at_a_time(ask, served):
    _, headers, _ = ask("POST", "/v2/app/blobs/uploads/")
    place = headers["Location"]
    host, _, port = served.host.partition(":")
    with socket.create_connection((host, int(port))) as slow:
        slow.sendall(
            f"PUT {place}?digest={DIGEST} HTTP/1.1\r\nHost: x\r\nAuthorization: {BASIC}\r\n"
            f"Content-Length: {len(BLOB)}\r\n\r\n".encode()
            + BLOB[:600]
        )
        while ask("GET", place)[1]["Range"] != "0-599":
            time.sleep(0.01)
        for method in ("PATCH", "PUT", "DELETE"):
            answer = ask(method, f"{place}?digest={DIGEST}", b"in between")
            assert _code(answer) == (409, "BLOB_UPLOAD_INVALID")
        slow.sendall(BLOB[600:])
        assert slow.recv(100).startswith(b"HTTP/1.1 201 ")
    assert ask("GET", f"/v2/app/blobs/{DIGEST}")[2] == BLOB


def test_what_is_sent_while_an_upload_is_stored_does_not_get_into_it(ask, served):
    data = bytes(range(256)) * (128 << 10)
    digest = Digest.of(data)
    _, headers, _ = ask("POST", "/v2/app/blobs/uploads/")
    place = headers["Location"]
    ask("PATCH", place, data)
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(ask, "PUT", f"{place}?digest={digest}")
        time.sleep(0.01)
        while not closing.done():
            ask("PATCH", place, b"x" * 100_000, Content_Range=f"{len(data)}-{len(data) + 99_999}")
    stored = served.directory / "blobs" / digest.path
    assert not stored.exists() or Digest.of(stored.read_bytes()) == digest


def test_a_cancelled_upload_leaves_nothing(ask, served):
    _, headers, _ = ask("POST", "/v2/app/blobs/uploads/")
    ask("PATCH", headers["Location"], BLOB)
    assert ask("DELETE", headers["Location"])[0] == 204
    assert ask("PUT", f"{headers['Location']}?digest={DIGEST}")[0] == 404
    assert served.files() == set()


def test_a_digest_may_be_sha512(ask):
    digest = f"sha512:{hashlib.sha512(BLOB).hexdigest()}"
    status, headers, _ = ask("POST", f"/v2/app/blobs/uploads/?digest={digest}", BLOB)
    assert status == 201
    assert ask("GET", headers["Location"])[2] == BLOB


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-3", BLOB[:4]),
        ("bytes=1190-", BLOB[1190:]),
        ("bytes=-5", BLOB[-5:]),
        ("bytes=5-9999", BLOB[5:]),
    ],
)
def test_a_part_of_a_blob_can_be_asked_for(ask, header, expected):
    place = _push_blob(ask)["Location"]
    status, headers, body = ask("GET", place, Range=header)
    assert (status, body) == (206, expected)
    assert headers["Content-Range"].endswith(f"/{len(BLOB)}")
    for unheard in (
        "bytes=5000-",
        "bytes=-0",
        "bytes=-",
        f"bytes={'9' * 5000}-",
    ):
        assert _code(ask("GET", place, Range=unheard)) == (416, "UNSUPPORTED")
    status, headers, body = ask("HEAD", place)
    assert (status, headers["Content-Length"], body) == (200, str(len(BLOB)), b"")


def test_a_blob_is_seen_only_where_it_was_pushed_or_mounted(ask):
    _push_blob(ask, "one")
    assert ask("HEAD", f"/v2/two/blobs/{DIGEST}")[0] == 404
    for source in ("three", "UPPER", ""):
        assert ask("POST", f"/v2/two/blobs/uploads/?mount={DIGEST}&from={source}")[0] == 202
    status, headers, _ = ask("POST", f"/v2/two/blobs/uploads/?mount={DIGEST}&from=one")
    assert (status, headers["Location"]) == (201, f"/v2/two/blobs/{DIGEST}")
    assert ask("GET", f"/v2/two/blobs/{DIGEST}")[2] == BLOB
    assert ask("DELETE", f"/v2/one/blobs/{DIGEST}")[0] == 202
    assert ask("HEAD", f"/v2/one/blobs/{DIGEST}")[0] == 404
    assert ask("HEAD", f"/v2/two/blobs/{DIGEST}")[0] == 200


def test_a_blob_is_not_mounted_from_where_its_user_may_not_pull(ask):
    _push_blob(ask, "private/one")
    team = "Basic " + base64.b64encode(b"team:only-its-own").decode()
    assert _code(ask("GET", f"/v2/private/one/blobs/{DIGEST}", authorization=team)) == (403, "DENIED")
    for source in ("&from=private/one", ""):
        mount = f"/v2/two/blobs/uploads/?mount={DIGEST}{source}"
        assert ask("POST", mount, authorization=team)[0] == 202
        assert ask("HEAD", f"/v2/two/blobs/{DIGEST}")[0] == 404
    assert ask("POST", f"/v2/two/blobs/uploads/?mount={DIGEST}")[0] == 201


def test_a_manifest_that_names_a_missing_blob_is_refused(ask, make_image, served):
    manifest = make_image().manifest
    answer = ask("PUT", "/v2/app/manifests/a", manifest.to_bytes(), Content_Type=MANIFEST)
    assert _code(answer) == (400, "MANIFEST_BLOB_UNKNOWN")
    index = Index((manifest.config,))
    answer = ask("PUT", "/v2/app/manifests/a", index.to_bytes(), Content_Type=INDEX)
    assert _code(answer) == (400, "MANIFEST_BLOB_UNKNOWN")
    assert served.storage.tags("app") == []
    assert served.pushes == []


@pytest.mark.parametrize(
    ("body", "media_type", "expected"),
    [
        (b"{", MANIFEST, (400, "MANIFEST_INVALID")),
        (b"{}", "text/plain", (400, "MANIFEST_INVALID")),
        (b'{"schemaVersion": 2, "manifests": []}', MANIFEST, (400, "MANIFEST_INVALID")),
        (b'{"schemaVersion": 1, "manifests": []}', INDEX, (400, "MANIFEST_INVALID")),
        (b" " * (5 << 20), MANIFEST, (413, "SIZE_INVALID")),
    ],
)
def test_what_is_no_manifest_is_refused(ask, body, media_type, expected):
    assert _code(ask("PUT", "/v2/app/manifests/a", body, Content_Type=media_type)) == expected


def test_a_manifest_under_another_digest_or_type_is_refused(ask):
    data = Index(()).to_bytes()
    path = f"/v2/app/manifests/{Digest.of(b'')}"
    assert _code(ask("PUT", path, data, Content_Type=INDEX)) == (400, "DIGEST_INVALID")
    docker = "application/vnd.docker.distribution.manifest.list.v2+json"
    assert _code(ask("PUT", "/v2/app/manifests/a", data, Content_Type=docker)) == (400, "MANIFEST_INVALID")


def test_a_blob_of_another_size_than_the_manifest_says_is_refused(ask, served, make_image):
    image = make_image()
    with served.client() as client:
        client.push(image, Reference(served.host, "app", "a"))
    wrong = Manifest(image.manifest.config, (replace(image.manifest.layers[0], size=1),))
    answer = ask("PUT", "/v2/app/manifests/b", wrong.to_bytes(), Content_Type=MANIFEST)
    assert _code(answer) == (400, "SIZE_INVALID")


def test_an_immutable_tag_takes_the_same_manifest_again_and_no_other(served, make_image):
    first, second = make_image({"a": b"1"}), make_image({"a": b"2"})
    reference = Reference(served.host, "app", "v1")
    with served.client() as client:
        client.push(first, reference)
        client.push(first, reference)
        with pytest.raises(TagExistsError, match="v1 of app"):
            client.push(second, reference)
        assert client.digest(reference) == first.digest
        assert client.push(second, reference.with_tag("latest")) == second.digest
        assert client.push(first, reference.with_tag("latest")) == first.digest
    assert [tag for _, tag, _, _ in served.pushes] == ["v1", "latest", "latest"]


def test_of_many_who_race_for_an_immutable_tag_one_wins(served, make_image):
    images = [make_image({"a": bytes([number])}) for number in range(16)]
    start = threading.Barrier(len(images))

    def push(image):
        with served.client() as client:
            start.wait()
            try:
                return client.push(image, Reference(served.host, "app", "v1"))
            except TagExistsError:
                return None

    with ThreadPoolExecutor(len(images)) as pool:
        winners = [digest for digest in pool.map(push, images) if digest]
    assert winners == [served.storage.resolve("app", "v1")]


def test_many_push_the_same_blobs_at_once(served, make_image):
    image = make_image({"big": bytes(range(256)) * 20_000}, {"small": b"x"})
    start = threading.Barrier(8)

    def push(number):
        with served.client() as client:
            start.wait()
            return client.push(image, Reference(served.host, f"app{number % 2}", f"t{number}"))

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(push, range(8))) == {image.digest}
    assert served.storage.image("app1", "t3").digest == image.digest
    assert served.storage.repositories() == ["app0", "app1"]


def test_many_small_pushes_at_once_are_all_there(served, make_image):
    images = [make_image({"a": str(number).encode()}) for number in range(64)]
    with served.client() as client, ThreadPoolExecutor(16) as pool:
        pushed = list(
            pool.map(
                lambda number: client.push(images[number], Reference(served.host, "app", f"t{number}")),
                range(64),
            )
        )
    assert pushed == [image.digest for image in images]
    assert {str(served.storage.resolve("app", f"t{number}")) for number in range(64)} == set(map(str, pushed))
    assert len(served.pushes) == 64


def test_tags_come_in_pages_in_order(ask, served, make_image):
    with served.client() as client:
        for tag in ("b", "a", "C", "10", "9"):
            client.push(make_image(), Reference(served.host, "app", tag))
        assert client.tags("app") == ["10", "9", "C", "a", "b"]
    status, headers, body = ask("GET", "/v2/app/tags/list?n=2")
    assert (status, json.loads(body)["tags"]) == (200, ["10", "9"])
    place = headers["Link"].partition(">")[0].removeprefix("<")
    assert json.loads(ask("GET", place)[2])["tags"] == ["C", "a"]
    assert json.loads(ask("GET", "/v2/app/tags/list?n=0")[2])["tags"] == []
    for unheard in ("-1", "x", "9" * 5000):
        assert _code(ask("GET", f"/v2/app/tags/list?n={unheard}")) == (400, "UNSUPPORTED")


def test_deleting_a_manifest_takes_its_tags_with_it(ask, served, make_image):
    image = make_image()
    with served.client() as client:
        client.push(image, Reference(served.host, "app", "a"))
        client.tag(Reference(served.host, "app", "a"), "b")
        assert ask("DELETE", "/v2/app/manifests/a")[0] == 202
        assert client.tags("app") == ["b"]
        assert ask("DELETE", f"/v2/app/manifests/{image.digest}")[0] == 202
        assert client.digest(Reference(served.host, "app", "b")) is None
        with pytest.raises(RegistryNotFoundError):
            client.image(Reference(served.host, "app", "b"))


def test_referrers_are_listed_until_they_are_deleted(ask, served, make_image):
    image = make_image()
    with served.client() as client:
        client.push(image, Reference(served.host, "app", "a"))
    about = Manifest(
        image.manifest.config, (), subject=image.manifest.layers[0], artifact_type="application/x"
    )
    index = Index((), subject=image.manifest.layers[0], artifact_type="application/y")
    for document, kind in ((about, MANIFEST), (index, INDEX)):
        digest = Digest.of(document.to_bytes())
        answer = ask("PUT", f"/v2/app/manifests/{digest}", document.to_bytes(), Content_Type=kind)
        assert (answer[0], answer[1]["OCI-Subject"]) == (201, str(document.subject.digest))
    place = f"/v2/app/referrers/{about.subject.digest}"
    listed = Index.parse(ask("GET", place)[2])
    assert {entry.artifact_type for entry in listed.manifests} == {"application/x", "application/y"}
    _, headers, body = ask("GET", f"{place}?artifactType=application/x")
    assert headers["OCI-Filters-Applied"] == "artifactType"
    assert [entry.artifact_type for entry in Index.parse(body).manifests] == ["application/x"]
    ask("DELETE", f"/v2/app/manifests/{Digest.of(index.to_bytes())}")
    assert len(Index.parse(ask("GET", place)[2]).manifests) == 1


def test_an_index_gives_the_image_for_a_platform(served, ask, make_image):
    images = {}
    for name, platform in (("here", Platform.host()), ("there", Platform("linux", "s390x"))):
        image = make_image({"a": name.encode()})
        images[platform] = replace(image, config=replace(image.config, platform=platform))
    with served.client() as client:
        for image in images.values():
            client.push(image, Reference(served.host, "app", digest=image.digest))
        index = Index(
            tuple(
                Descriptor(MANIFEST, image.digest, len(image.manifest_bytes), platform=platform)
                for platform, image in images.items()
            )
        )
        assert ask("PUT", "/v2/app/manifests/all", index.to_bytes(), Content_Type=INDEX)[0] == 201
        reference = Reference(served.host, "app", "all")
        assert client.image(reference).digest == images[Platform.host()].digest
        other = Platform("linux", "s390x")
        assert client.image(reference, other).digest == images[other].digest
        stored = served.storage.image(reference.repository, reference.identifier)
        assert stored.digest == images[Platform.host()].digest
        stored = served.storage.image(reference.repository, reference.identifier, other)
        assert stored.digest == images[other].digest
        with pytest.raises(NotFoundError, match="s390x"):
            client.image(reference, Platform("linux", "riscv64"))


def test_storage_answers_its_owner_without_a_server(served, make_image, tmp_path):
    image = make_image({"hello": b"hello\n"})
    with served.client() as client:
        client.push(image, Reference(served.host, "team/app", "v1"))
    for name in ("v1", str(image.digest)):
        found = served.storage.image("team/app", name)
        assert found.digest == image.digest
    unpack(found, tmp_path / "root")
    assert (tmp_path / "root" / "hello").read_bytes() == b"hello\n"
    assert served.storage.resolve("team/app", "v2") is None
    with pytest.raises(NotFoundError):
        served.storage.image("team/app", "v2")
    with pytest.raises(NotFoundError):
        served.storage.image("other", str(image.digest))


def test_a_client_that_goes_away_in_the_middle_leaves_nothing_visible(served):
    host, _, port = served.host.partition(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            f"POST /v2/app/blobs/uploads/?digest={DIGEST} HTTP/1.1\r\nHost: x\r\nAuthorization: {BASIC}\r\n"
            f"Content-Length: {len(BLOB)}\r\n\r\n".encode()
            + BLOB[:600]
        )
        time.sleep(0.1)
    with served.client() as client, pytest.raises(RegistryError):
        client.tags("app")
    assert served.files() == set()


def test_wrong_credentials_are_an_error_that_does_not_repeat_them(served):
    wrong = Credentials("AWS", "wr0ng-password")
    with served.client(wrong) as client, pytest.raises(AuthenticationError) as caught:
        client.tags("app")
    assert caught.value.status == 401
    assert caught.value.code == "UNAUTHORIZED"
    assert "wr0ng" not in str(caught.value)
    assert "(as 'AWS')" in str(caught.value)
    with Registry(served.host) as client, pytest.raises(AuthenticationError, match="no credentials for 127"):
        client.tags("app")


def test_what_is_acknowledged_is_on_the_disk(served, make_image, monkeypatch):
    """Content before its name, and then the name: by inode, which stays whatever a file is called."""
    synced, fsync = set(), os.fsync

    def watched(handle):
        fsync(handle)
        synced.add(os.fstat(handle).st_ino)

    monkeypatch.setattr(os, "fsync", watched)
    image = make_image({"a": b"1"}, {"b": b"2"})
    for tag in ("latest", "v1"):  # one that may move, and one that may not
        with served.client() as client:
            client.push(image, Reference(served.host, "app", tag))
    stored = [served.directory / name for name in served.files()]
    content = [path for path in stored if path.stat().st_size]
    folders = {folder for path in stored for folder in path.relative_to(served.directory).parents}
    assert len(content) == 3 + 1 + 1 + 2  # blobs, the manifest and its type, tags
    assert {path.stat().st_ino for path in content} <= synced
    assert {(served.directory / folder).stat().st_ino for folder in folders} <= synced
