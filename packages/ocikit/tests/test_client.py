"""The registry client against registries that fail, redirect, lie and ask for tokens."""

import base64
import json
import os
import threading
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import parse_qs

import pytest

from ocikit import (
    AuthenticationError,
    BytesBlob,
    Credentials,
    Descriptor,
    Digest,
    DigestMismatchError,
    FileBlob,
    Image,
    Index,
    InvalidDocumentError,
    Layout,
    OcikitError,
    Platform,
    Reference,
    Registry,
    RegistryError,
    RegistryNotFoundError,
    unpack,
)
from ocikit.client import RegistryBlob
from ocikit.client.address import next_place
from ocikit.client.login import Login
from ocikit.client.session import Session
from ocikit.client.transport import Transport

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DIGEST = Digest.of(b"content")
SECRET = Credentials("user", "s3cret-word")


def _tags(_):
    return 200, {}, b'{"tags": ["a"]}'


def _in_turn(*answers):
    """These answers one after another, the last for ever."""
    remaining = list(answers)
    lock = threading.Lock()

    def answer(asked):
        with lock:
            following = remaining.pop(0) if len(remaining) > 1 else remaining[0]
        return following(asked) if callable(following) else following

    return answer


def test_passing_failures_are_tried_again_after_growing_pauses(fake, pauses):
    fake.answer = _in_turn((503, {}, b""), (0, {}, b""), (500, {}, b"oops"), _tags)
    with Registry(fake.host) as registry:
        assert registry.tags("app") == ["a"]
    assert len(pauses) == 3
    assert 0 < pauses[0] < pauses[2] < 5


def test_a_registry_that_says_when_is_asked_then(fake, pauses):
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=55))
    fake.answer = _in_turn(
        (429, {"Retry-After": "7"}, b""),
        (503, {"Retry-After": soon}, b""),
        (503, {"Retry-After": "100000"}, b""),
        _tags,
    )
    with Registry(fake.host) as registry:
        registry.tags("app")
    assert pauses[0] == 7
    assert 0 < pauses[1] <= 55
    assert pauses[2] == 60


def test_failures_that_stay_end_in_an_error_that_says_what(fake, pauses):
    fake.answer = lambda _: (503, {}, b'{"errors": [{"code": "UNAVAILABLE", "message": "down for repair"}]}')
    with Registry(fake.host) as registry, pytest.raises(RegistryError, match="down for repair") as caught:
        registry.tags("app")
    assert (caught.value.status, caught.value.code) == (503, "UNAVAILABLE")
    assert len(fake.asked) == 5


def test_what_is_refused_is_not_tried_again(fake, pauses):
    fake.answer = lambda _: (400, {}, b"no")
    with Registry(fake.host) as registry, pytest.raises(RegistryError):
        registry.tags("app")
    assert len(fake.asked) == 1


def test_an_answer_that_breaks_off_is_asked_for_again(fake, pauses):
    fake.answer = _in_turn((200, {"Content-Length": "500"}, b'{"tags": ["a"'), _tags)
    with Registry(fake.host) as registry:
        assert registry.tags("app") == ["a"]
    assert len(pauses) == 1


@pytest.mark.parametrize("body", [b"", b"[]", b'{"tags": "ab"}', b'{"tags": [1]}', b"\xff", b"[" * 100_000])
def test_tags_that_are_none_are_an_error_of_ours(fake, body):
    fake.answer = lambda _: (200, {}, body)
    with Registry(fake.host) as registry, pytest.raises(RegistryError, match="tags"):
        registry.tags("app")


@pytest.mark.parametrize("body", [b"[" * 60_000, b'{"errors": [{"code": {}}]}', b'{"errors": 7}', b"\xff"])
def test_an_error_that_cannot_be_read_is_still_an_error_of_ours(fake, body):
    fake.answer = lambda _: (418, {}, body)
    with Registry(fake.host) as registry, pytest.raises(RegistryError, match="418"):
        registry.tags("app")


def test_a_digest_that_is_none_is_an_error_of_ours(fake):
    fake.answer = lambda _: (200, {"Docker-Content-Digest": "nonsense"}, b"")
    with Registry(fake.host) as registry, pytest.raises(RegistryError, match="nonsense"):
        registry.digest(Reference(fake.host, "app", "a"))


def test_nobody_listening_is_an_error_of_ours(pauses):
    with Registry("127.0.0.1:9") as registry, pytest.raises(OcikitError):
        registry.tags("app")


def test_a_bearer_token_is_fetched_once_for_each_scope_and_renewed_when_it_ends(fake):
    tokens = Counter()
    valid = set()

    def answer(asked):
        if asked.path.startswith("/token"):
            assert asked.headers["Authorization"] == SECRET.basic()
            tokens[asked.path] += 1
            valid.add(token := f"t{sum(tokens.values())}")
            return 200, {}, json.dumps({"token": token}).encode()
        given = asked.headers.get("Authorization", "")
        if given.removeprefix("Bearer ") not in valid:
            challenge = (
                f'Bearer realm="http://{fake.host}/token",service="registry",scope="repository:app:pull"'
            )
            return 401, {"WWW-Authenticate": challenge}, b"{}"
        return _tags(asked)

    fake.answer = answer
    with Registry(fake.host, credentials=SECRET) as registry:
        registry.tags("app")
        registry.tags("app")
        assert sum(tokens.values()) == 1
        valid.clear()
        registry.tags("app")
    assert sum(tokens.values()) == 2
    assert "service=registry" in next(iter(tokens))


def test_anonymous_is_a_user_too(fake):
    fake.answer = lambda asked: (
        (200, {}, b'{"access_token": "x"}')
        if asked.path.startswith("/token")
        else _tags(asked)
        if asked.headers.get("Authorization") == "Bearer x"
        else (401, {"WWW-Authenticate": f'Bearer realm="http://{fake.host}/token"'}, b"")
    )
    with Registry(fake.host) as registry:
        assert registry.tags("app") == ["a"]
    assert "Authorization" not in fake.asked[1].headers


def test_credentials_are_not_taken_to_a_token_server_in_plain_http(fake, pauses):
    challenge = {"WWW-Authenticate": 'Bearer realm="http://token.example/token"'}
    fake.answer = lambda _: (401, challenge, b"")
    with Registry(fake.host, credentials=SECRET) as registry, pytest.raises(AuthenticationError) as caught:
        registry.tags("app")
    assert "do not go there" in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost:1", "[::1]:1"])
def test_a_registry_elsewhere_sends_nobody_to_a_server_of_this_machine(host):
    login = Login("registry.example", None, Transport(1), insecure=False)
    with pytest.raises(AuthenticationError, match="do not go there"):
        login.answer(f'Bearer realm="http://{host}/admin?stop=1"', ("repository:app:pull",), None)


@pytest.mark.parametrize(
    "realm", ["", "http://[/", "http://127.0.0.1:99999/", "https://host:port/", "file:///etc"]
)
def test_a_token_server_that_cannot_be_is_refused(fake, realm):
    fake.answer = lambda _: (401, {"WWW-Authenticate": f'Bearer realm="{realm}"'}, b"")
    with Registry(fake.host, credentials=SECRET) as registry, pytest.raises(AuthenticationError):
        registry.tags("app")


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"token": 7}', b'{"token": "a\\nb"}', b"[" * 100_000, b'{"access_token": ""}']
)
def test_an_answer_without_a_token_is_refused(fake, body):
    challenge = {"WWW-Authenticate": f'Bearer realm="http://{fake.host}/token"'}
    fake.answer = lambda asked: (200, {}, body) if asked.path.startswith("/token") else (401, challenge, b"")
    with Registry(fake.host) as registry, pytest.raises(AuthenticationError, match="without a token"):
        registry.tags("app")
    assert "Authorization" not in fake.asked[-1].headers


def test_where_we_are_redirected_to_cannot_ask_for_our_credentials(start, fake):
    thief = start()
    challenge = {"WWW-Authenticate": f'Bearer realm="http://{thief.host}/token"'}
    thief.answer = lambda asked: (
        (200, {}, b'{"token": "x"}') if asked.path.startswith("/token") else (401, challenge, b"")
    )
    fake.answer = lambda _: (307, {"Location": f"http://{thief.host}/blob"}, b"")
    descriptor = Descriptor("x", DIGEST, 1)
    with Registry(fake.host, credentials=SECRET) as registry, pytest.raises(AuthenticationError):
        RegistryBlob(registry, "app", descriptor).open()
    assert [asked.path for asked in thief.asked] == ["/blob"]
    assert "Authorization" not in thief.asked[0].headers


def test_a_redirect_is_followed_without_our_credentials(start, fake):
    content = b"layer content"
    store = start()
    store.answer = lambda _: (200, {}, content)

    def answer(asked):
        if asked.headers.get("Authorization") != SECRET.basic():
            return 401, {"WWW-Authenticate": 'Basic realm="x"'}, b""
        return 307, {"Location": f"http://{store.host}/signed?signature=abc"}, b""

    fake.answer = answer
    descriptor = Descriptor("x", Digest.of(content), len(content))
    with (
        Registry(fake.host, credentials=SECRET) as registry,
        RegistryBlob(registry, "app", descriptor).open() as blob,
    ):
        assert blob.read() == content
    assert [asked.headers.get("Authorization") for asked in store.asked] == [None]


def test_an_upload_elsewhere_goes_without_our_credentials(start, fake, make_image, pauses):
    store = start()
    store.answer = lambda _: (201, {}, b"")

    def answer(asked):
        if asked.headers.get("Authorization") != SECRET.basic():
            return 401, {"WWW-Authenticate": 'Basic realm="x"'}, b""
        if asked.method == "HEAD":
            return 404, {}, b""
        if asked.method == "POST":
            return 202, {"Location": f"http://{store.host}/upload?state=1"}, b""
        return 201, {}, b""

    fake.answer = answer
    image = make_image()
    with Registry(fake.host, credentials=SECRET) as registry:
        assert registry.push(image, Reference(fake.host, "app", "a")) == image.digest
    assert len(store.asked) == 2
    assert all("Authorization" not in asked.headers for asked in store.asked)
    assert all("state=1&digest=sha256" in asked.path for asked in store.asked)


@pytest.mark.parametrize(
    "place", ["http://registry.example/v2/app/blobs/uploads/1", "file:///etc/passwd", ""]
)
def test_from_https_nothing_leads_to_plain_http(place):
    with pytest.raises(RegistryError):
        next_place("https://registry.example/v2/", place)


def test_redirects_in_a_circle_end(fake, pauses):
    fake.answer = lambda asked: (302, {"Location": asked.path}, b"")
    with Registry(fake.host) as registry, pytest.raises(RegistryError, match="redirects"):
        registry.tags("app")


def test_only_a_loopback_host_is_spoken_to_in_plain_http():
    for host in ("127.0.0.1:5000", "localhost", "[::1]:80", "127.9.9.9", "a.localhost:5"):
        assert Session(host, None, None).base.startswith("http://")
    for host in ("registry.example:5000", "10.0.0.1", "localhost.example", "127.0.0.1.example"):
        assert Session(host, None, None).base.startswith("https://")
    assert Session("registry.example", None, insecure=True).base.startswith("http://")
    assert Session("localhost", None, insecure=False).base.startswith("https://")


def test_a_download_that_breaks_goes_on_where_it_broke(fake, pauses):
    content = bytes(range(256)) * 5000

    def answer(asked):
        start = int(asked.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        rest = content[start:]
        return 206 if start else 200, {"Content-Length": str(len(rest))}, rest[: len(rest) // 2 + 1]

    fake.answer = answer
    descriptor = Descriptor("x", Digest.of(content), len(content))
    with (
        Registry(fake.host) as registry,
        RegistryBlob(registry, "app", descriptor).open() as blob,
        pytest.raises(RegistryError),
    ):
        blob.read()
    assert len(fake.asked) == 5
    fake.asked.clear()
    fake.answer = lambda asked: (
        answer(asked)
        if len(fake.asked) < 3
        else (206, {}, content[int(asked.headers["Range"].removeprefix("bytes=").removesuffix("-")) :])
    )
    with Registry(fake.host) as registry, RegistryBlob(registry, "app", descriptor).open() as blob:
        assert blob.read() == content


def test_a_registry_that_lies_is_found_out(fake, make_image, tmp_path):
    image = make_image({"hello": b"hello\n"})
    blobs = {image.manifest.config.digest: image.config_bytes, image.layers[0].descriptor.digest: b"evil"}

    def answer(asked):
        if "/manifests/" in asked.path:
            return 200, {"Content-Type": MANIFEST}, image.manifest_bytes
        return 200, {}, blobs[Digest.parse(asked.path.rpartition("/")[2])]

    fake.answer = answer
    reference = Reference(fake.host, "app", "a")
    with Registry(fake.host) as registry:
        with pytest.raises(DigestMismatchError):
            registry.image(reference.with_digest(Digest.of(b"another")))
        lying = registry.image(reference)
        with pytest.raises(OcikitError):
            unpack(lying, tmp_path / "root")
        with pytest.raises(DigestMismatchError):
            Layout(tmp_path / "layout").write(lying, "a")
        assert not (tmp_path / "layout" / "index.json").exists()
        blobs[image.manifest.config.digest] = b"{}"
        with pytest.raises(DigestMismatchError):
            registry.image(reference)


def test_an_endless_manifest_is_not_read_to_its_end(fake):
    fake.answer = lambda _: (200, {"Content-Type": MANIFEST}, bytes(8 << 20))
    with Registry(fake.host) as registry, pytest.raises(RegistryError, match="more than"):
        registry.image(Reference(fake.host, "app", "a"))


def test_the_next_page_of_tags_is_not_looked_for_elsewhere(start, fake):
    other = start()
    fake.answer = lambda _: (200, {"Link": f'<http://{other.host}/more>; rel="next"'}, b'{"tags": []}')
    with Registry(fake.host) as registry, pytest.raises(RegistryError, match="next page"):
        registry.tags("app")
    assert other.asked == []


@pytest.mark.parametrize(
    ("link", "said"), [("?last=a", "circle"), ("http://[::1", "no place"), ("file:///etc/passwd", "no place")]
)
def test_pages_of_tags_that_lead_nowhere_are_an_error_of_ours(fake, link, said):
    fake.answer = lambda _: (200, {"Link": f'<{link}>; rel="next"'}, b'{"tags": ["a"]}')
    with Registry(fake.host) as registry, pytest.raises(RegistryError, match=said):
        registry.tags("app")


def test_pages_of_tags_without_end_end(fake, monkeypatch):
    monkeypatch.setattr("ocikit.client.session._MOST_PAGES", 5)
    fake.answer = lambda _: (200, {"Link": f'<?last={len(fake.asked)}>; rel="next"'}, b'{"tags": ["a"]}')
    with Registry(fake.host) as registry, pytest.raises(RegistryError, match="more than 5 pages"):
        registry.tags("app")


def _indexes(fake, depth):
    """An index under the tag `a` that holds an index, and so on; at the bottom it holds itself."""
    host = Platform.host()
    documents = {"a": b""}
    inner = Descriptor(INDEX, Digest.of(b"itself"), 6, platform=host)
    for number in range(depth):
        raw = Index((inner,), annotations={"depth": str(number)}).to_bytes()
        inner = Descriptor(INDEX, Digest.of(raw), len(raw), platform=host)
        documents[str(inner.digest)] = documents["a"] = raw
    # The innermost names a digest under which the registry answers with the outermost.
    documents[str(Digest.of(b"itself"))] = documents["a"]
    fake.answer = lambda asked: (200, {"Content-Type": INDEX}, documents[asked.path.rpartition("/")[2]])


@pytest.mark.parametrize("depth", [1, 2])
def test_an_index_that_holds_itself_is_found_out_by_its_digest(fake, depth):
    _indexes(fake, depth)
    with Registry(fake.host) as registry, pytest.raises(DigestMismatchError):
        registry.image(Reference(fake.host, "app", "a"))


def test_indexes_too_deep_in_each_other_are_refused(fake):
    _indexes(fake, 12)
    with Registry(fake.host) as registry, pytest.raises(InvalidDocumentError, match="more than 8 indexes"):
        registry.image(Reference(fake.host, "app", "a"))


def test_an_image_is_found_in_an_index_in_an_index(served, make_image):
    image, reference = make_image(), Reference(served.host, "app", "a")
    inner = Descriptor(MANIFEST, image.digest, len(image.manifest_bytes), platform=Platform.host())
    with served.client() as registry:
        registry.push(image, reference)
        for tag in ("b", "c"):
            index = Index((inner,))
            registry.push_manifest(reference.with_tag(tag), index)
            raw = index.to_bytes()
            inner = Descriptor(INDEX, Digest.of(raw), len(raw), platform=Platform.host())
        assert registry.image(reference.with_tag("c")).digest == image.digest


def test_an_identity_token_fetches_tokens_and_goes_nowhere_else(fake):
    def answer(asked):
        if asked.path == "/token":
            assert asked.method == "POST"
            form = parse_qs(asked.body.decode())
            assert form["refresh_token"] == ["r3fresh"]
            assert form["grant_type"] == ["refresh_token"]
            assert form["scope"] == ["repository:app:pull"]
            return 200, {}, b'{"access_token": "short"}'
        if asked.headers.get("Authorization") == "Bearer short":
            return _tags(asked)
        return 401, {"WWW-Authenticate": f'Bearer realm="http://{fake.host}/token",service="s"'}, b""

    fake.answer = answer
    with Registry(fake.host, credentials=Credentials("<token>", "r3fresh")) as registry:
        assert registry.tags("app") == ["a"]
    fake.answer = lambda _: (401, {"WWW-Authenticate": 'Basic realm="x"'}, b"")
    basic = Registry(fake.host, credentials=Credentials("<token>", "r3fresh"))
    with basic, pytest.raises(AuthenticationError):
        basic.tags("app")
    assert all("r3fresh" not in str(asked.headers) for asked in fake.asked)


def test_an_upload_whose_answer_was_lost_is_looked_for_before_it_is_repeated(fake, make_image, pauses):
    stored: set[str] = set()

    def answer(asked):
        digest = asked.path.rpartition("digest=")[2].replace("%3A", ":")
        if asked.method == "POST":
            return 202, {"Location": "/v2/app/blobs/uploads/1"}, b""
        if asked.method == "PUT" and "digest=" in asked.path:
            stored.add(digest)
            return 504, {}, b""  # it was stored, but nobody is told
        if asked.method == "HEAD":
            return (200 if asked.path.rpartition("/")[2] in stored else 404), {}, b""
        return 201, {}, b""

    fake.answer = answer
    with Registry(fake.host) as registry:
        registry.push(make_image(), Reference(fake.host, "app", "a"))
    assert len(fake.paths("POST")) == 2
    assert len([path for path in fake.paths("PUT") if "digest=" in path]) == 2


def test_an_upload_that_fails_begins_again_from_its_start(fake, make_image, pauses):
    attempts: Counter[str] = Counter()

    def answer(asked):
        if asked.method == "POST":
            return 202, {"Location": f"/v2/app/blobs/uploads/{len(fake.asked)}"}, b""
        if asked.method == "PUT" and "digest=" in asked.path:
            digest = asked.path.rpartition("digest=")[2]
            attempts[digest] += 1
            if attempts[digest] < 3:
                return 500, {}, b""
            assert str(Digest.of(asked.body)) == digest.replace("%3A", ":")
            return 201, {}, b""
        return (404 if asked.method == "HEAD" else 201), {}, b""

    fake.answer = answer
    with Registry(fake.host) as registry:
        registry.push(make_image(), Reference(fake.host, "app", "a"))
    assert set(attempts.values()) == {3}


def test_an_upload_whose_connection_is_cut_begins_again(make_image, start, pauses):
    """The first connection of each blob's upload is cut in the middle of its body."""
    fake = start()
    attempts: Counter[str] = Counter()
    stored: dict[str, bytes] = {}

    def answer(asked):
        if asked.method == "POST":
            return 202, {"Location": "/v2/app/blobs/uploads/1"}, b""
        if asked.method == "PUT" and "digest=" in asked.path:
            stored[asked.path.rpartition("digest=")[2]] = asked.body
        return (404 if asked.method == "HEAD" else 201), {}, b""

    def cut(asked):
        if asked.method != "PUT" or "digest=" not in asked.path:
            return False
        attempts[asked.path] += 1
        return attempts[asked.path] == 1

    fake.answer, fake.cut = answer, cut
    image = make_image({"a": os.urandom(3 << 20)})
    with Registry(fake.host) as registry:
        registry.push(image, Reference(fake.host, "app", "a"))
    assert {Digest.of(body) for body in stored.values()} == {
        image.manifest.config.digest,
        image.layers[0].descriptor.digest,
    }
    assert list(attempts.values()) == [2, 2]


def test_pushing_what_is_there_asks_once_and_sends_nothing(served, make_image):
    image, reference = make_image(), Reference(served.host, "app", "a")
    sent: list[tuple[str, int]] = []
    with served.client() as registry:
        registry.push(image, reference, progress=lambda digest, count: sent.append((digest, count)))
        assert {digest for digest, _ in sent} == {
            str(image.manifest.config.digest),
            str(image.layers[0].descriptor.digest),
        }
        assert sum(count for _, count in sent) == len(image.config_bytes) + image.layers[0].descriptor.size
        sent.clear()
        before = len(served.pushes)
        registry.push(image, reference, progress=lambda digest, count: sent.append((digest, count)))
        assert (sent, len(served.pushes)) == ([], before)


def test_only_new_layers_travel(served, make_image):
    first = make_image({"base": b"1" * 1000})
    more = make_image({"more": b"2"})
    second = first.append(more.layers[0], more.config.history[0])
    sent: set[str] = set()
    with served.client() as registry:
        registry.push(first, Reference(served.host, "app", "a"))
        registry.push(second, Reference(served.host, "app", "b"), progress=lambda digest, _: sent.add(digest))
    assert sent == {str(second.manifest.config.digest), str(more.layers[0].descriptor.digest)}


def test_an_image_is_copied_between_registries_without_unpacking(served, make_image, tmp_path):
    image = make_image({"a": b"1"}, {"b": b"2"})
    with served.client() as registry:
        registry.push(image, Reference(served.host, "one", "a"))
        pulled = registry.image(Reference(served.host, "one", "a"))
        assert pulled.digest == image.digest
        assert registry.push(pulled, Reference(served.host, "two", "b")) == image.digest
        assert registry.image(Reference(served.host, "two", "b")).digest == image.digest


def test_a_layer_that_changed_on_disk_is_not_pushed(served, make_image):
    image = make_image({"a": b"1" * 100})
    blob = image.layers[0].blob
    assert isinstance(blob, FileBlob)
    blob.path.write_bytes(blob.path.read_bytes()[:-1] + b"x")
    with served.client() as registry:
        with pytest.raises(DigestMismatchError):
            registry.push(image, Reference(served.host, "app", "a"))
        assert registry.digest(Reference(served.host, "app", "a")) is None
        short = replace(image.layers[0], blob=BytesBlob(b"short"))
        with pytest.raises(DigestMismatchError):
            registry.push(Image(image.config, (short,)), Reference(served.host, "app", "a"))


def test_what_is_not_there_is_none_or_an_error(served):
    with served.client() as registry:
        assert registry.digest(Reference(served.host, "app", "none")) is None
        with pytest.raises(RegistryNotFoundError) as caught:
            registry.image(Reference(served.host, "app", "none"))
    assert (caught.value.status, caught.value.code) == (404, "MANIFEST_UNKNOWN")


def test_a_push_in_progress_is_interrupted_and_leaves_no_tag(served, make_image):
    image = make_image({"a": b"1"}, {"b": b"2"})

    def stop(*_):
        raise KeyboardInterrupt

    with served.client() as registry, pytest.raises(KeyboardInterrupt):
        registry.push(image, Reference(served.host, "app", "a"), progress=stop)
    time.sleep(0.05)
    assert served.storage.tags("app") == []


def test_credentials_become_basic_as_rfc_7617_says():
    assert base64.b64decode(SECRET.basic().removeprefix("Basic ")) == b"user:s3cret-word"
