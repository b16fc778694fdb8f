"""The distribution specification's cases, by endpoint and category, against a served registry.

Identifiers such as `end-4b` and `code-5` are the specification's own (its "Endpoints" and "Error Codes").
"""

import base64
import hashlib
import http.client
import itertools
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from obstore.store import LocalStore, MemoryStore

from ocikit.registry import create_app

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
EMPTY = "application/vnd.oci.empty.v1+json"
FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
BYTES = "application/octet-stream"
CODES = {
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "UNSUPPORTED",
}
ALGORITHMS = ("sha256", "sha512")
_numbers = itertools.count()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def place(self) -> str:
        return self.headers["Location"]

    @property
    def json(self):
        return json.loads(self.body)

    def refused(self, status: int, code: str) -> bool:
        """Whether it is this error, in the form of "Error Codes"."""
        errors = self.json["errors"]
        assert re.fullmatch("[A-Z_]+", errors[0]["code"])
        assert errors[0]["message"]
        return (self.status, errors[0]["code"]) == (status, code)


@dataclass
class Peer:
    """A client of the protocol that has no mind of its own, and a repository that is nobody else's."""

    host: str
    repository: str = field(default_factory=lambda: f"conformance/repo{next(_numbers)}")

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection(self.host, timeout=60)
        try:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, sent, encode_chunked=not isinstance(body, bytes | None))
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def at(self, path: str) -> str:
        return f"/v2/{self.repository}/{path}"

    def elsewhere(self) -> "Peer":
        return Peer(self.host)

    def begin(self, query: str = "") -> str:
        answer = self.ask("POST", self.at(f"blobs/uploads/{query}"), b"")
        assert answer.status == 202
        assert "-" not in answer.place.rpartition("/")[2]
        return answer.place

    def blob(self, data: bytes, algorithm: str = "sha256") -> str:
        name = digest(data, algorithm)
        assert self.ask("POST", self.at(f"blobs/uploads/?digest={name}"), data).status == 201
        return name

    def described(self, media_type: str, data: bytes, **more: object) -> dict[str, object]:
        """Push a blob; its descriptor."""
        return {"mediaType": media_type, "digest": self.blob(data), "size": len(data), **more}

    def put(self, identifier: str, document: dict | bytes, media_type: str | None = None) -> Answer:
        data = document if isinstance(document, bytes) else dump(document)
        kind = media_type or json.loads(data)["mediaType"]
        return self.ask("PUT", self.at(f"manifests/{identifier}"), data, Content_Type=kind)

    def pushed(self, document: dict) -> dict[str, object]:
        """Push a manifest by digest; its descriptor."""
        data = dump(document)
        assert self.put(digest(data), data).status == 201
        return {"mediaType": document["mediaType"], "digest": digest(data), "size": len(data)}


def digest(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def dump(document: dict) -> bytes:
    return json.dumps(document, indent=1).encode()


@pytest.fixture(scope="module", params=["folder", "memory"])
def host(request, serving, tmp_path_factory) -> Iterator[str]:
    """The registry over a folder, and over a store that is none."""
    store = MemoryStore() if request.param == "memory" else LocalStore(tmp_path_factory.mktemp("registry"))
    with serving(create_app(store, authorize=lambda *_: None)) as port:
        yield f"127.0.0.1:{port}"


@pytest.fixture
def peer(host) -> Peer:
    return Peer(host)


def test_end_1_says_that_this_is_a_registry(peer):
    assert [peer.ask(method, "/v2/").status for method in ("GET", "HEAD")] == [200, 200]


# Pushing blobs


def _post_only(peer: Peer, data: bytes, name: str) -> Answer:
    return peer.ask("POST", peer.at(f"blobs/uploads/?digest={name}"), data, Content_Type=BYTES)


def _post_put(peer: Peer, data: bytes, name: str) -> Answer:
    return peer.ask("PUT", f"{peer.begin()}?digest={name}", data, Content_Type=BYTES)


def _in_chunks(peer: Peer, data: bytes, name: str, count: int = 3, *, last_by_put: bool = False) -> Answer:
    algorithm = name.partition(":")[0]
    place = peer.begin("" if algorithm == "sha256" else f"?digest-algorithm={algorithm}")
    step = len(data) // count + 1
    parts = [(start, data[start : start + step]) for start in range(0, len(data), step)]
    final = parts.pop() if last_by_put and parts else None
    for start, part in parts:
        end = start + len(part) - 1
        answer = peer.ask("PATCH", place, part, Content_Type=BYTES, Content_Range=f"{start}-{end}")
        assert (answer.status, answer.headers["Range"]) == (202, f"0-{end}")
        place = answer.place
    if final is None:
        return peer.ask("PUT", f"{place}?digest={name}", b"")
    start, part = final
    span = f"{start}-{start + len(part) - 1}"
    return peer.ask("PUT", f"{place}?digest={name}", part, Content_Type=BYTES, Content_Range=span)


def _streamed(peer: Peer, data: bytes, name: str) -> Answer:
    parts = [data[start : start + 100] for start in range(0, len(data), 100)]
    answer = peer.ask("PATCH", peer.begin(), iter(parts), Content_Type=BYTES, Transfer_Encoding="chunked")
    assert answer.status == 202
    return peer.ask("PUT", f"{answer.place}?digest={name}", b"")


WAYS: dict[str, Callable[[Peer, bytes, str], Answer]] = {
    "end-4b-post-only": _post_only,
    "end-6-post-put": _post_put,
    "end-5-one-chunk": lambda *given: _in_chunks(*given, 1),
    "end-5-three-chunks": _in_chunks,
    "end-5-last-chunk-by-put": lambda *given: _in_chunks(*given, last_by_put=True),
    "end-5-stream": _streamed,
}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("data", [os.urandom(512), b"{}", b""], ids=["random", "json", "nothing"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_blob_is_pushed_pulled_and_deleted(peer, way, data, algorithm):
    name = digest(data, algorithm)
    assert peer.ask("GET", peer.at(f"blobs/{name}")).refused(404, "BLOB_UNKNOWN")
    answer = way(peer, data, name)
    assert (answer.status, answer.headers["Docker-Content-Digest"]) == (201, name)
    for place in (answer.place, peer.at(f"blobs/{name}")):
        pulled, head = peer.ask("GET", place), peer.ask("HEAD", place)
        assert (pulled.status, pulled.body, head.status, head.body) == (200, data, 200, b"")
        for found in (pulled, head):
            assert found.headers["Docker-Content-Digest"] == name
            assert found.headers["Content-Length"] == str(len(data))
    assert peer.ask("DELETE", peer.at(f"blobs/{name}")).status == 202
    for method in ("GET", "HEAD", "DELETE"):
        assert peer.ask(method, peer.at(f"blobs/{name}")).status == 404


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_blob_that_is_not_what_its_digest_says_is_refused(peer, way, algorithm):
    name = digest(os.urandom(8), algorithm)
    assert way(peer, os.urandom(512), name).refused(400, "DIGEST_INVALID")
    assert peer.ask("HEAD", peer.at(f"blobs/{name}")).status == 404


@pytest.mark.parametrize("bad", ["sha256:baddigeststring", "md5:" + "0" * 32, "sha256", ""])
@pytest.mark.parametrize("end", ["end-4b", "end-6", "end-2", "end-12a"])
def test_a_digest_that_is_none_is_refused(peer, end, bad):
    if end in ("end-2", "end-12a"):
        answer = peer.ask("GET", peer.at(f"{'blobs' if end == 'end-2' else 'referrers'}/{bad}"))
        assert answer.status == (400 if bad else 404)
    else:
        place = peer.at("blobs/uploads/") if end == "end-4b" else peer.begin()
        method = "POST" if end == "end-4b" else "PUT"
        assert peer.ask(method, f"{place}?digest={bad}", b"x").refused(400, "DIGEST_INVALID")


def test_end_4c_an_algorithm_that_is_not_known_is_refused(peer):
    answer = peer.ask("POST", peer.at("blobs/uploads/?digest-algorithm=md5"))
    assert answer.refused(400, "DIGEST_INVALID")


@pytest.mark.parametrize("last_by_put", [False, True])
def test_end_5_chunks_out_of_order_are_refused_and_the_upload_goes_on(peer, last_by_put):
    data = os.urandom(300)
    place, name = peer.begin(), digest(data)
    for start in (0, 100, 200):
        wrong = 200 if start == 0 else 0
        method, query = ("PUT", f"?digest={name}") if last_by_put and wrong else ("PATCH", "")
        answer = peer.ask(method, place + query, data[:100], Content_Range=f"{wrong}-{wrong + 99}")
        assert answer.refused(416, "BLOB_UPLOAD_INVALID")
        status = peer.ask("GET", place)
        assert (status.status, status.headers["Range"]) == (204, f"0-{max(0, start - 1)}")
        place = status.place
        final = last_by_put and start == 200
        answer = peer.ask(
            "PUT" if final else "PATCH",
            place + (f"?digest={name}" if final else ""),
            data[start : start + 100],
            Content_Range=f"{start}-{start + 99}",
        )
        assert answer.status == (201 if final else 202)
    if not last_by_put:
        answer = peer.ask("PUT", f"{place}?digest={name}")
    assert peer.ask("GET", answer.place).body == data


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("length", [99, 101])
def test_end_5_a_chunk_of_another_length_than_it_says_leaves_the_upload_as_it_was(peer, length, streamed):
    place = peer.begin()
    peer.ask("PATCH", place, b"x" * 10, Content_Range="0-9")
    body = iter([b"y" * length]) if streamed else b"y" * length
    more = {"Transfer_Encoding": "chunked"} if streamed else {}
    answer = peer.ask("PATCH", place, body, Content_Range="10-109", **more)
    assert answer.refused(400, "SIZE_INVALID")
    assert peer.ask("GET", place).headers["Range"] == "0-9"
    assert peer.ask("PUT", f"{place}?digest={digest(b'x' * 10)}").status == 201


def test_end_13_and_end_14_an_upload_is_asked_about_and_cancelled(peer):
    place = peer.begin()
    peer.ask("PATCH", place, b"x" * 10)
    for method in ("GET", "HEAD"):
        answer = peer.ask(method, place)
        assert (answer.status, answer.headers["Range"], answer.place) == (204, "0-9", place)
    assert peer.ask("DELETE", place).status == 204
    for method in ("GET", "PATCH", "PUT", "DELETE"):
        assert peer.ask(method, f"{place}?digest={digest(b'')}").status == 404
    assert peer.ask("GET", place).refused(404, "BLOB_UPLOAD_UNKNOWN")


def test_an_upload_is_known_in_its_own_repository_only(peer):
    place = peer.begin().replace(peer.repository, "conformance/other")
    assert peer.ask("PUT", f"{place}?digest={digest(b'')}").refused(404, "BLOB_UPLOAD_UNKNOWN")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("known", [True, False], ids=["from", "anonymous"])
def test_end_11_a_blob_is_mounted(peer, known, algorithm):
    other, data = peer.elsewhere(), os.urandom(100)
    name = other.blob(data, algorithm)
    source = f"&from={other.repository}" if known else ""
    answer = peer.ask("POST", peer.at(f"blobs/uploads/?mount={name}{source}"))
    assert (answer.status, answer.place) == (201, peer.at(f"blobs/{name}"))
    assert peer.ask("GET", answer.place).body == data
    assert other.ask("DELETE", other.at(f"blobs/{name}")).status == 202
    assert peer.ask("GET", answer.place).body == data


@pytest.mark.parametrize("source", ["", "&from=conformance/nobody", "&from=NO", "&from="])
def test_end_11_a_blob_that_is_not_there_is_uploaded_instead(peer, source):
    data = os.urandom(100)
    answer = peer.ask("POST", peer.at(f"blobs/uploads/?mount={digest(data)}{source}"))
    assert answer.status == 202
    assert peer.ask("PUT", f"{answer.place}?digest={digest(data)}", data).status == 201


# Pulling parts and conditions (RFC 9110 sections 13 and 14)

PART = os.urandom(2048)


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("500-1499", 500, 1500), ("500-", 500, 2048), ("-500", 1548, 2048), ("2000-5000", 2000, 2048)],
)
def test_end_2_a_part_is_pulled(peer, asked, start, end):
    answer = peer.ask("GET", peer.at(f"blobs/{peer.blob(PART)}"), Range=f"bytes={asked}")
    assert (answer.status, answer.body) == (206, PART[start:end])
    assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/2048"
    assert answer.headers["Content-Length"] == str(end - start)


@pytest.mark.parametrize("asked", ["500-0", "5000-10000", "2048-", "-0", "-", "x-y"])
def test_end_2_a_part_that_is_not_there_is_refused(peer, asked):
    answer = peer.ask("GET", peer.at(f"blobs/{peer.blob(PART)}"), Range=f"bytes={asked}")
    assert (answer.status, answer.headers["Content-Range"]) == (416, "bytes */2048")


@pytest.mark.parametrize("asked", ["lines=1-2", "bytes=1-2,4-5"])
def test_end_2_a_range_of_another_kind_is_as_if_not_said(peer, asked):
    answer = peer.ask("GET", peer.at(f"blobs/{peer.blob(PART)}"), Range=asked)
    assert (answer.status, answer.body) == (200, PART)


def test_end_2_a_part_of_what_has_changed_is_the_whole(peer):
    name = peer.blob(PART)
    asked = {"Range": "bytes=0-9", "If_Range": '"another"'}
    assert peer.ask("GET", peer.at(f"blobs/{name}"), **asked).status == 200
    assert peer.ask("GET", peer.at(f"blobs/{name}"), **asked | {"If_Range": f'"{name}"'}).status == 206


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_the_client_has_is_not_sent_again(peer, method):
    peer.pushed(_image(peer))
    manifest = peer.put("a", _image(peer)).headers["Docker-Content-Digest"]
    for path in (f"blobs/{peer.blob(PART)}", "manifests/a", f"manifests/{manifest}"):
        etag = peer.ask(method, peer.at(path)).headers["ETag"]
        for known in (etag, f'"x", {etag}', "*", f"W/{etag}"):
            answer = peer.ask(method, peer.at(path), If_None_Match=known)
            assert (answer.status, answer.body, answer.headers["ETag"]) == (304, b"", etag)
        assert peer.ask(method, peer.at(path), If_None_Match='"x"').status == 200


# Pushing manifests


def _image(peer: Peer, **more: object) -> dict:
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": peer.described(CONFIG, os.urandom(16)),
        "layers": [peer.described(LAYER, os.urandom(64)) for _ in range(2)],
        **more,
    }


def _index(*manifests: dict, **more: object) -> dict:
    return {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(manifests), **more}


def _artifact(peer: Peer, **more: object) -> dict:
    empty = peer.described(EMPTY, b"{}")
    return _image(peer, artifactType="application/vnd.example.sbom") | {
        "config": empty,
        "annotations": {"org.example": "one"},
        **more,
    }


def _foreign(peer: Peer) -> dict:
    layer = {"mediaType": FOREIGN, "digest": digest(os.urandom(9)), "size": 123456}
    image = _image(peer)
    return image | {"layers": [{**layer, "urls": ["https://store.example/x"]}, *image["layers"]]}


def _with_data(peer: Peer) -> dict:
    data = os.urandom(30)
    config = peer.described(CONFIG, data) | {"data": base64.b64encode(data).decode()}
    return _image(peer) | {"config": config}


def _missing() -> dict:
    return {"mediaType": MANIFEST, "digest": digest(os.urandom(9)), "size": 123}


def _platforms(peer: Peer, make: Callable[..., dict] = _image) -> dict:
    names = ("amd64", "arm64")
    return _index(
        *(peer.pushed(make(peer)) | {"platform": {"os": "linux", "architecture": name}} for name in names)
    )


KINDS: dict[str, Callable[[Peer], dict]] = {
    "image": _image,
    "no-layers": lambda peer: _image(peer) | {"layers": []},
    "docker-image": lambda peer: (
        _image(peer) | {"mediaType": "application/vnd.docker.distribution.manifest.v2+json"}
    ),
    "large": lambda peer: _image(peer, annotations={"org.example": "x" * ((4 << 20) - 2000)}),
    "index": _platforms,
    "nested-index": lambda peer: _index(peer.pushed(_platforms(peer)), peer.pushed(_image(peer))),
    "empty-index": lambda _: _index(),
    "artifact": _artifact,
    "artifact-without-layers": lambda peer: (
        _artifact(peer) | {"layers": [{"mediaType": EMPTY, "digest": digest(b"{}"), "size": 2}]}
    ),
    "artifact-index": lambda peer: (
        _platforms(peer, _artifact) | {"artifactType": "application/vnd.example.list"}
    ),
    "subject": lambda peer: _artifact(peer, subject=peer.pushed(_image(peer))),
    "subject-without-artifact-type": lambda peer: _image(peer, subject=peer.pushed(_image(peer))),
    "index-with-subject": lambda peer: (
        _platforms(peer) | {"subject": peer.pushed(_image(peer)), "annotations": {"org.example": "two"}}
    ),
    "missing-subject": lambda peer: _artifact(peer, subject=_missing()),
    "data-field": _with_data,
    "nondistributable": _foreign,
    "custom-fields": lambda peer: _image(peer, **{"org.example.more": {"a": [1]}}),
}


@pytest.mark.parametrize("by", ["tag", *ALGORITHMS])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_manifest_is_pushed_pulled_and_deleted(peer, kind, by):
    """end-3, end-7a, end-9, end-12a: the same bytes, by tag and by digest, and nothing once it is deleted."""
    document = kind(peer)
    data, media_type = dump(document), document["mediaType"]
    name = digest(data, "sha256" if by == "tag" else by)
    answer = peer.put("tagged" if by == "tag" else name, data)
    assert (answer.status, answer.headers["Docker-Content-Digest"]) == (201, name)
    subject = document.get("subject")
    assert answer.headers["OCI-Subject"] == (subject["digest"] if subject else None)
    places = [answer.place, peer.at(f"manifests/{name}")]
    for place in places:
        pulled, head = peer.ask("GET", place, Accept=f"{MANIFEST}, {INDEX}"), peer.ask("HEAD", place)
        assert (pulled.status, pulled.body, head.status, head.body) == (200, data, 200, b"")
        for found in (pulled, head):
            assert found.headers["Content-Type"] == media_type
            assert found.headers["Docker-Content-Digest"] == name
            assert found.headers["Content-Length"] == str(len(data))
    if subject:
        listed = peer.ask("GET", peer.at(f"referrers/{subject['digest']}")).json["manifests"]
        expected = {"mediaType": media_type, "digest": name, "size": len(data)}
        if artifact_type := document.get("artifactType") or document.get("config", {}).get("mediaType"):
            expected["artifactType"] = artifact_type
        if "annotations" in document:
            expected["annotations"] = document["annotations"]
        assert listed == [expected]
    assert peer.ask("DELETE", places[1]).status == 202
    for place in places:
        for method in ("GET", "HEAD", "DELETE"):
            assert peer.ask(method, place).status == 404
    if subject:
        assert peer.ask("GET", peer.at(f"referrers/{subject['digest']}")).json["manifests"] == []


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_end_7b_a_manifest_gets_many_tags_at_once(peer, algorithm):
    data = dump(_image(peer))
    name, tags = digest(data, algorithm), [f"t{number}" for number in range(12)]
    answer = peer.put(f"{name}?{'&'.join(f'tag={tag}' for tag in tags)}", data)
    assert answer.status == 201
    assert [tag.strip() for tag in answer.headers["OCI-Tag"].split(",")] == tags
    assert peer.ask("GET", peer.at("tags/list")).json["tags"] == sorted(tags)
    for tag in tags:
        found = peer.ask("GET", peer.at(f"manifests/{tag}"))
        assert (found.body, found.headers["Docker-Content-Digest"]) == (data, name)


def test_end_7b_too_many_tags_and_what_is_no_tag_are_refused(peer):
    data = dump(_image(peer))
    many = "&".join(f"tag={number}" for number in range(101))
    assert peer.put(f"{digest(data)}?{many}", data).status == 414
    assert peer.put(f"{digest(data)}?tag=a&tag=-b", data).status == 400
    assert peer.ask("GET", peer.at("tags/list")).json["tags"] == []


def test_end_7a_a_manifest_that_names_missing_content_is_refused(peer):
    """code-5."""
    absent = {"mediaType": LAYER, "digest": digest(b"absent"), "size": 6}
    for document in (
        _image(peer) | {"layers": [absent]},
        _image(peer) | {"config": {**absent, "mediaType": CONFIG}},
        _index(_missing()),
    ):
        assert peer.put("a", document).refused(400, "MANIFEST_BLOB_UNKNOWN")
    assert peer.ask("GET", peer.at("manifests/a")).refused(404, "MANIFEST_UNKNOWN")


@pytest.mark.parametrize("identifier", ["sha256:baddigeststring", digest(b"other"), digest(b"x", "sha512")])
def test_end_7a_a_manifest_under_a_wrong_digest_is_refused(peer, identifier):
    assert peer.put(identifier, _image(peer)).refused(400, "DIGEST_INVALID")
    assert peer.ask("GET", peer.at(f"manifests/{identifier}")).status in (400, 404)


def test_end_7a_a_manifest_of_more_than_4_mib_is_refused(peer):
    answer = peer.put("a", _image(peer, annotations={"org.example": "x" * (4 << 20)}))
    assert answer.refused(413, "SIZE_INVALID")


@pytest.mark.parametrize(
    ("data", "media_type"),
    [(b"{", MANIFEST), (b"[]", INDEX), (b"{}", "text/plain"), (b"\xff", ""), (b"", MANIFEST)],
)
def test_end_7a_what_is_no_manifest_is_refused(peer, data, media_type):
    """code-6."""
    assert peer.put("a", data, media_type or "-").refused(400, "MANIFEST_INVALID")


def test_end_7a_a_type_with_parameters_and_no_type_at_all_are_the_documents(peer):
    data = dump(_image(peer))
    assert peer.put("a", data, f"{MANIFEST}; charset=utf-8").status == 201
    assert peer.ask("PUT", peer.at("manifests/b"), data).status == 201
    for tag in ("a", "b"):
        assert peer.ask("GET", peer.at(f"manifests/{tag}")).headers["Content-Type"] == MANIFEST


def test_end_7a_a_tag_is_moved_on_a_condition(peer):
    first, second, place = dump(_image(peer)), dump(_image(peer)), peer.at("manifests/a")

    def put(data: bytes, **condition: str) -> int:
        return peer.ask("PUT", place, data, Content_Type=MANIFEST, **condition).status

    assert put(first, If_Match="*") == 412
    assert put(first, If_None_Match="*") == 201
    assert put(second, If_None_Match="*") == 412
    assert put(second, If_Match='"x"') == 412
    assert peer.ask("GET", place).body == first
    assert put(second, If_Match=peer.ask("HEAD", place).headers["ETag"]) == 201
    assert peer.ask("GET", place).body == second


# Content discovery


def test_end_8_tags_are_listed_in_order_and_in_pages(peer):
    assert peer.ask("GET", peer.at("tags/list")).refused(404, "NAME_UNKNOWN")
    image = _image(peer)
    assert peer.ask("GET", peer.at("tags/list")).json == {"name": peer.repository, "tags": []}
    tags = sorted(["latest", "1.0", "V1", "_x", "a.b-c", "z" * 128])
    for tag in tags:
        assert peer.put(tag, image).status == 201
    for query, expected in (
        ("", tags),
        ("?n=3", tags[:3]),
        ("?n=0", []),
        ("?n=100", tags),
        (f"?last={tags[1]}", tags[2:]),
        (f"?n=2&last={tags[1]}", tags[2:4]),
        ("?last=zzz", [tag for tag in tags if tag > "zzz"]),
        ("?last=not-one-of-them", [tag for tag in tags if tag > "not-one-of-them"]),
    ):
        answer = peer.ask("GET", peer.at(f"tags/list{query}"))
        assert (answer.status, answer.json) == (200, {"name": peer.repository, "tags": expected})
    assert "Link" not in peer.ask("GET", peer.at("tags/list?n=0")).headers
    assert peer.ask("HEAD", peer.at("tags/list")).status == 200
    place, found = peer.at("tags/list?n=2"), []
    while place:
        answer = peer.ask("GET", place)
        found += answer.json["tags"]
        link = answer.headers["Link"]
        place = link and re.fullmatch(r'<(.+)>; rel="next"', link)[1]
    assert found == tags


def test_end_12_who_refers_to_a_manifest_is_listed_and_filtered(peer):
    subject = _missing()
    kinds = ("application/vnd.example.sbom", "application/vnd.example.signature")
    pushed = [
        peer.pushed(_artifact(peer, subject=subject, artifactType=kind)) for kind in kinds for _ in "ab"
    ]
    peer.pushed(_artifact(peer, subject=_missing()))
    place = peer.at(f"referrers/{subject['digest']}")
    answer = peer.ask("GET", place)
    assert (answer.status, answer.headers["Content-Type"]) == (200, INDEX)
    assert (answer.json["schemaVersion"], answer.json["mediaType"]) == (2, INDEX)
    assert {entry["digest"] for entry in answer.json["manifests"]} == {entry["digest"] for entry in pushed}
    assert "OCI-Filters-Applied" not in answer.headers
    for kind in (*kinds, "application/none"):
        answer = peer.ask("GET", f"{place}?artifactType={kind}")
        assert answer.headers["OCI-Filters-Applied"] == "artifactType"
        assert [entry["artifactType"] for entry in answer.json["manifests"]] == [kind] * (kind in kinds) * 2
    assert peer.ask("HEAD", place).status == 200
    empty = peer.ask("GET", peer.at(f"referrers/{digest(b'none')}"))
    assert (empty.status, empty.json["manifests"]) == (200, [])


def test_end_12_what_does_not_fit_into_one_document_comes_in_pages(peer):
    subject, note = _missing(), {"org.example": "x" * (3 << 19)}
    pushed = {peer.pushed(_artifact(peer, subject=subject, annotations=note))["digest"] for _ in range(5)}
    place, found, pages = peer.at(f"referrers/{subject['digest']}"), [], 0
    place += "?artifactType=application/vnd.example.sbom"
    while place:
        answer = peer.ask("GET", place)
        assert len(answer.body) <= 4 << 20
        assert answer.headers["OCI-Filters-Applied"] == "artifactType"
        found += [entry["digest"] for entry in answer.json["manifests"]]
        link, pages = answer.headers["Link"], pages + 1
        place = link and re.fullmatch(r'<(.+)>; rel="next"', link)[1]
    assert (sorted(found), pages) == (sorted(pushed), 3)


# Content management


def test_end_9_a_tag_is_deleted_and_the_manifest_stays(peer):
    image = _image(peer)
    name = peer.pushed(image)["digest"]
    for tag in ("a", "b"):
        peer.put(tag, image)
    assert peer.ask("DELETE", peer.at("manifests/a")).status == 202
    assert peer.ask("GET", peer.at("manifests/a")).refused(404, "MANIFEST_UNKNOWN")
    assert peer.ask("DELETE", peer.at("manifests/a")).status == 404
    assert peer.ask("GET", peer.at("tags/list")).json["tags"] == ["b"]
    assert peer.ask("GET", peer.at(f"manifests/{name}")).status == 200
    assert peer.ask("DELETE", peer.at(f"manifests/{name}")).status == 202
    assert peer.ask("GET", peer.at("manifests/b")).status == 404
    assert peer.put("a", image).status == 201


@pytest.mark.parametrize("path", [f"manifests/{digest(b'')}", "manifests/none", f"blobs/{digest(b'')}"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_what_is_in_no_repository_is_not_found(peer, method, path):
    assert peer.ask(method, peer.at(path)).status == 404


@pytest.mark.parametrize("name", ["UPPER", "a..b", "a//b", "-a", "a_", "a" * 256, "a/%2e%2e/b", "\xe9"])
def test_a_name_that_is_none_is_refused(peer, name):
    """code-8."""
    path = f"/v2/{name}/manifests/a".replace("\xe9", "%C3%A9")
    assert peer.ask("GET", path).refused(400, "NAME_INVALID")


@pytest.mark.parametrize("tag", [".a", "-a", "a" * 129, "a%20b", "a+b"])
def test_a_tag_that_is_none_is_refused(peer, tag):
    assert peer.put(tag, _image(peer)).status == 400


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "manifests/a", "GET, PUT, DELETE, HEAD"),
        ("PUT", "blobs/" + digest(b""), "GET, DELETE, HEAD"),
        ("GET", "blobs/uploads/", "POST"),
        ("DELETE", "tags/list", "GET, HEAD"),
        ("PATCH", "referrers/" + digest(b""), "GET, HEAD"),
    ],
)
def test_another_method_is_refused_with_those_that_are_allowed(peer, method, path, allowed):
    answer = peer.ask(method, peer.at(path))
    assert answer.refused(405, "UNSUPPORTED")
    assert answer.headers["Allow"] == allowed


def test_each_refusal_has_its_code(peer):
    asked = [
        ("GET", peer.at("manifests/none")),
        ("GET", peer.at("blobs/" + digest(b""))),
        ("GET", peer.at("tags/list")),
        ("PATCH", peer.at("blobs/uploads/" + "0" * 32)),
        ("PUT", peer.at("manifests/a")),
        ("GET", "/v2/UPPER/tags/list"),
        ("POST", peer.at("tags/list")),
    ]
    assert {peer.ask(method, path, b"").json["errors"][0]["code"] for method, path in asked} == CODES
