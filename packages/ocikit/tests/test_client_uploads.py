"""Uploads of the client: mounted, resumed, begun anew, given up."""

import hashlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from ocikit import (
    AuthenticationError,
    BytesBlob,
    Credentials,
    Descriptor,
    Digest,
    DigestMismatchError,
    FileBlob,
    History,
    Image,
    Layer,
    Layout,
    Platform,
    Reference,
    Registry,
    RegistryError,
)
from ocikit.client.session import Session
from ocikit.client.unfinished import noted
from ocikit.client.uploads import Content, provide

MIB = 1 << 20
SECRET = Credentials("user", "s3cret")
LAYER = "application/vnd.oci.image.layer.v1.tar"


def _image(data, digest=None):
    digest = digest or Digest.of(data)
    layer = Layer(Descriptor(LAYER, digest, len(data)), digest, BytesBlob(data))
    return Image.empty(Platform.host()).append(layer, History())


class Sent:
    """Counts the bytes of each blob that are sent."""

    def __init__(self):
        self.bytes: dict[str, int] = {}

    def __call__(self, digest, count):
        self.bytes[digest] = self.bytes.get(digest, 0) + count


class Cutting:
    """A way to a server on which each connection breaks after so many bytes on their way there.

    The server has read what came until then when the client sees the connection cut.
    """

    def __init__(self, host: str, limits: list[int]) -> None:
        name, _, port = host.partition(":")
        self._target = name, int(port)
        self._limits = limits
        self._lock = threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._there, args=(client,), daemon=True).start()

    def _there(self, client: socket.socket) -> None:
        passed = 0
        with client, suppress(OSError), socket.create_connection(self._target) as server:
            back = threading.Thread(target=self._back, args=(client, server), daemon=True)
            back.start()
            try:
                while data := _received(client):
                    passed += len(data)
                    server.sendall(data)  # fails if it has refused the request before the end of it
                    if self._is_to_cut(passed):
                        break
            finally:
                with suppress(OSError):
                    server.shutdown(socket.SHUT_WR)
                back.join()

    def _is_to_cut(self, passed: int) -> bool:
        with self._lock:
            if not self._limits or passed < self._limits[0]:
                return False
            self._limits.pop(0)
            return True

    def _back(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := _received(server):
                client.sendall(data)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


def _received(end: socket.socket) -> bytes:
    try:
        return end.recv(1 << 16)
    except OSError:
        return b""


@pytest.fixture
def cutting(served) -> Iterator:
    ways = []

    def cutting(*limits):
        ways.append(Cutting(served.host, list(limits)))
        return ways[-1].host

    yield cutting
    for way in ways:
        way.close()


USER = Credentials("AWS", "open-sesame")


def test_a_layer_that_went_ahead_is_not_sent_again_with_its_image(served):
    told = []
    image = _image(os.urandom(MIB))
    layer, digest = image.layers[0], str(image.layers[0].descriptor.digest)
    with Registry(served.host, credentials=USER) as registry:
        for _ in range(2):
            registry.push_layer(layer, "app", progress=lambda *one: told.append(one))
        assert sum(count for _, count in told) == MIB
        registry.push(image, Reference(served.host, "app", "a"), progress=lambda *one: told.append(one))
        assert registry.image(Reference(served.host, "app", "a")).digest == image.digest
    assert sum(count for name, count in told if name == digest) == MIB


def test_a_layer_that_went_ahead_and_was_lost_is_sent_again(served, make_image):
    image = make_image({"a": os.urandom(1000)})
    with Registry(served.host, credentials=USER) as registry:
        registry.push_layer(image.layers[0], "app")
        for file in served.directory.rglob("*"):
            if file.is_file():
                file.unlink()
        registry.push(image, Reference(served.host, "app", "a"))
        assert registry.image(Reference(served.host, "app", "a")).digest == image.digest


def test_a_registry_that_is_closed_sends_no_more(fake):
    trickle = Trickle(2000 * MIB)
    fake.answer = lambda asked: (
        (202, {"Location": f"{asked.path}1"}, b"") if asked.method == "POST" else (404, {}, b"")
    )
    layer = Layer(Descriptor(LAYER, Digest.of(b"?"), trickle.left), Digest.of(b"?"), trickle)
    registry = Registry(fake.host)
    failed = []

    def push():
        try:
            registry.push_layer(layer, "app")
        except RegistryError as error:
            failed.append(error)

    thread = threading.Thread(target=push)
    thread.start()
    assert trickle.begun.wait(60)
    registry.close()
    thread.join(60)
    assert len(failed) == 1
    assert trickle.left > 1000 * MIB


def test_what_has_to_be_sent_is_announced_and_then_counted(served):
    told = []
    image = _image(b"x" * 3 * MIB)
    with Registry(served.host, credentials=USER) as registry:
        registry.push(image, Reference(served.host, "app", "a"), progress=lambda *one: told.append(one))
        layer, config = image.layers[0].descriptor.digest, image.manifest.config.digest
        for digest, size in ((layer, 3 * MIB), (config, len(image.config_bytes))):
            counts = [count for name, count in told if name == str(digest)]
            assert (counts[0], sum(counts)) == (0, size)
        told.clear()
        registry.push(image, Reference(served.host, "app", "b"), progress=lambda *one: told.append(one))
    assert told == []


def test_an_upload_that_breaks_goes_on_where_the_registry_is(served, cutting):
    data, sent = os.urandom(24 * MIB), Sent()
    image = _image(data)
    host = cutting(20 * MIB)
    with Registry(host, credentials=USER) as registry:
        registry.push(image, Reference(host, "app", "a"), progress=sent)
    assert sent.bytes[str(Digest.of(data))] < 36 * MIB
    with served.storage.image("app", "a").layers[0].blob.open() as blob:
        assert blob.read() == data


def test_a_connection_that_always_breaks_is_enough_as_long_as_something_gets_through(
    served, cutting, pauses, monkeypatch
):
    monkeypatch.setattr("ocikit.client.uploads._STEP", MIB)
    data, sent = os.urandom(24 * MIB), Sent()
    host = cutting(*[3 * MIB] * 10)
    with Registry(host, credentials=USER) as registry:
        registry.push(_image(data), Reference(host, "app", "a"), progress=sent)
    assert sent.bytes[str(Digest.of(data))] < 48 * MIB
    assert served.storage.image("app", "a").layers[0].descriptor.digest == Digest.of(data)


def test_a_registry_that_gets_nowhere_is_given_up(served, cutting, pauses):
    host = cutting(*[2 * MIB] * 100)
    image = _image(os.urandom(4 * MIB))
    with Registry(host, credentials=USER) as registry:
        registry._session.request = _forgetful(served, registry._session.request)
        with pytest.raises(RegistryError):
            registry.push(image, Reference(host, "app", "a"))
    assert served.storage.tags("app") == []


def _forgetful(served, request):
    """Before the client can ask how far an upload got, the server has lost it."""

    def asked(method, url, *arguments, **more):
        if method == "GET" and "/uploads/" in url:
            for upload in (served.directory / "uploads").iterdir():
                upload.unlink(missing_ok=True)  # its server may have just moved it
        return request(method, url, *arguments, **more)

    return asked


class Chunked:
    """Makes a fake registry take uploads, fail in the first PUT, and say how far it got: as `status` does."""

    def __init__(self, fake, data, status=lambda kept: (204, {"Range": f"0-{len(kept) - 1}"}, b"")):
        self.data = data
        self.kept = b""
        self.patches: list[tuple[str, int]] = []
        self.puts = self.posts = 0
        self.refuse = False
        self.least = 0
        self.status = status
        fake.answer = self.answer

    def answer(self, asked):
        answers = {"POST": self._post, "GET": self._get, "PATCH": self._patch, "PUT": self._put}
        if asked.method == "HEAD":
            return 404, {}, b""
        status, headers, body = answers[asked.method](asked)
        return status, {"Location": f"/v2/app/blobs/uploads/{self.posts}"} | headers, body

    def _post(self, _):
        self.posts += 1
        self.kept = b""
        return 202, {"OCI-Chunk-Min-Length": str(self.least)} if self.least else {}, b""

    def _get(self, _):
        return self.status(self.kept)

    def _patch(self, asked):
        self.patches.append((asked.headers["Content-Range"], len(asked.body)))
        if self.refuse:
            return 416, {}, b""
        self.kept += asked.body
        return 202, {}, b""

    def _put(self, asked):
        if self.data in (asked.body, self.kept + asked.body):  # and not the configuration
            self.puts += 1
            if self.puts == 1:
                self.kept = self.data[:1000]
                return 503, {}, b""
            self.kept += asked.body
        return 201, {}, b""


def _push(fake, data):
    with Registry(fake.host) as registry:
        registry.push(_image(data), Reference(fake.host, "app", "a"))


@pytest.fixture
def one_at_a_time(monkeypatch):
    monkeypatch.setattr("ocikit.client.registry.PARALLEL", 1)


def test_the_rest_goes_in_chunks_no_smaller_than_the_registry_takes(fake, pauses, monkeypatch, one_at_a_time):
    monkeypatch.setattr("ocikit.client.uploads._STEP", 100)
    data = os.urandom(5000)
    chunked = Chunked(fake, data)
    chunked.least = 1500
    _push(fake, data)
    assert chunked.patches == [("1000-2499", 1500), ("2500-3999", 1500), ("4000-4999", 1000)]
    assert chunked.kept == data


def test_a_registry_that_takes_no_chunks_gets_all_anew(fake, pauses, one_at_a_time):
    data = os.urandom(5000)
    chunked = Chunked(fake, data)
    chunked.refuse = True
    _push(fake, data)
    assert (chunked.puts, chunked.kept) == (2, data)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Range": "0-0"},
        {"Range": "0-5000"},
        {"Range": "1000-2000"},
        {"Range": "0-x"},
        {"Range": f"0-{'9' * 500}"},
        {"Range": "0-999", "Location": "file:///etc/passwd"},
    ],
)
def test_a_registry_whose_word_makes_no_sense_gets_all_anew(fake, pauses, headers, one_at_a_time):
    data = os.urandom(5000)
    chunked = Chunked(fake, data, lambda _: (204, headers, b""))
    _push(fake, data)
    assert (chunked.patches, chunked.puts, chunked.kept) == ([], 2, data)


def test_content_that_is_not_what_it_should_be_cancels_its_upload(fake):
    fake.answer = lambda asked: (
        (404, {}, b"") if asked.method == "HEAD" else (202, {"Location": "/v2/app/blobs/uploads/1"}, b"")
    )
    image = _image(b"content" * MIB)
    wrong = Image(image.config, (replace(image.layers[0], blob=BytesBlob(b"CONTENT" * MIB)),))
    with Registry(fake.host) as registry, pytest.raises(DigestMismatchError):
        registry.push(wrong, Reference(fake.host, "app", "a"))
    assert "/v2/app/blobs/uploads/1" in fake.paths("DELETE")


def test_small_content_that_is_not_what_it_should_be_is_not_sent(fake):
    fake.answer = lambda _: (404, {}, b"")
    with Registry(fake.host) as registry, pytest.raises(DigestMismatchError):
        registry.push_layer(replace(_image(b"content").layers[0], blob=BytesBlob(b"CONTENT")), "app")
    assert not fake.paths("POST")
    assert not [path for path in fake.paths("PUT") if "/manifests/" in path]


@pytest.mark.parametrize("place", ["", "file:///etc/passwd", "http://[::1", "ftp://x/y"])
def test_an_upload_to_nowhere_is_an_error_of_ours(fake, place):
    fake.answer = lambda asked: (404, {}, b"") if asked.method == "HEAD" else (202, {"Location": place}, b"")
    with Registry(fake.host) as registry, pytest.raises(RegistryError, match="no place to go"):
        registry.push(_image(b"content"), Reference(fake.host, "app", "a"))


def test_of_a_repository_that_is_not_known_no_layer_is_asked_for(fake):
    """Small blobs go in one request, where the registry takes them so."""

    def answer(asked):
        if asked.path.startswith("/v2/app/tags/list"):
            return 404, {}, b'{"errors": [{"code": "NAME_UNKNOWN"}]}'
        if asked.method == "POST" and "?digest=" not in asked.path:
            return 202, {"Location": "/v2/app/blobs/uploads/1"}, b""
        return (404 if asked.method in ("GET", "HEAD") else 201), {}, b""

    fake.answer = answer
    large, small = _image(os.urandom(MIB)), _image(b"small")
    image = large.append(small.layers[0], History())
    with Registry(fake.host) as registry:
        registry.push(image, Reference(fake.host, "app", "a"))
        digests = [layer.descriptor.digest for layer in image.layers]
        whole = {
            f"/v2/app/blobs/uploads/?digest={str(one).replace(':', '%3A')}"
            for one in (digests[1], image.manifest.config.digest)
        }
        assert whole < set(fake.paths("POST"))
        methods = [asked.method for asked in fake.asked]
        assert [methods.count(one) for one in ("GET", "HEAD", "POST", "PUT")] == [2, 0, 3, 2]
        fake.asked.clear()
        registry.push_layer(_image(b"later").layers[0], "app")  # an image is there now
    assert [asked.method for asked in fake.asked] == ["HEAD", "POST"]


def test_what_a_push_that_broke_off_has_left_in_an_unknown_repository_is_not_sent_again(served):
    image, sent = _image(os.urandom(MIB)), Sent()
    layer = image.layers[0]
    with served.client() as registry:
        registry.push_layer(layer, "app")
    with served.client() as registry:
        registry.push(image, Reference(served.host, "app", "a"), progress=sent)
    assert set(sent.bytes) == {str(image.manifest.config.digest)}
    assert served.storage.image("app", "a").digest == image.digest


@pytest.mark.parametrize(
    "refusal", [(202, {"Location": "/v2/app/blobs/uploads/1"}, b""), (405, {}, b""), (400, {}, b"")]
)
def test_a_registry_that_takes_no_blob_in_one_request_is_not_asked_twice(fake, refusal):
    def answer(asked):
        if asked.method == "POST":
            return (
                refusal if "?digest=" in asked.path else (202, {"Location": "/v2/app/blobs/uploads/2"}, b"")
            )
        return (201 if asked.method == "PUT" else 404), {}, b""

    fake.answer = answer
    with Registry(fake.host) as registry:
        for content in (b"one", b"two"):
            registry.push_layer(_image(content).layers[0], "app", is_new=True)
    assert len([path for path in fake.paths("POST") if "?digest=" in path]) == 1
    assert [asked.body for asked in fake.asked if asked.method == "PUT"] == [b"one", b"two"]


def test_a_blob_in_one_request_whose_answer_was_lost_is_looked_for(fake, pauses):
    lost = []

    def answer(asked):
        if asked.method == "POST":
            lost.append(asked)
            return 0, {}, b""
        return 200, {}, b""

    fake.answer = answer
    with Registry(fake.host) as registry:
        registry.push_layer(_image(b"content").layers[0], "app", is_new=True)
    assert ([asked.method for asked in fake.asked], len(pauses)) == (["POST", "HEAD"], 1)


def test_what_another_repository_of_the_registry_has_is_mounted(served, make_image):
    image, sent = make_image({"a": os.urandom(1000)}), Sent()
    with served.client() as registry:
        registry.push(image, Reference(served.host, "base", "a"))
        pulled = registry.image(Reference(served.host, "base", "a"))
        registry.push(pulled, Reference(served.host, "two", "a"), progress=sent)
        assert str(image.layers[0].descriptor.digest) not in sent.bytes
        registry.push(image, Reference(served.host, "three", "a"), mount_from="base", progress=sent)
        blob = FileBlob(Path("not needed"), origin=(served.host, "base"))
        kept = replace(image, layers=(replace(image.layers[0], blob=blob),))
        registry.push(kept, Reference(served.host, "four", "a"), progress=sent)
    assert str(image.layers[0].descriptor.digest) not in sent.bytes
    for repository in ("two", "three", "four"):
        assert served.storage.image(repository, "a").digest == image.digest


@pytest.mark.parametrize("source", ["empty", "private/base", "missing/base"])
def test_what_cannot_be_mounted_is_sent(served, make_image, source):
    image, sent = make_image({"a": os.urandom(1000)}), Sent()
    with served.client() as registry:
        registry.push(image, Reference(served.host, "private/base", "a"))
    with served.client(Credentials("team", "only-its-own")) as registry:
        registry.push(image, Reference(served.host, "two", "a"), mount_from=source, progress=sent)
    assert sent.bytes[str(image.layers[0].descriptor.digest)] == image.layers[0].descriptor.size
    assert served.storage.image("two", "a").digest == image.digest


def test_a_registry_that_refuses_to_mount_is_sent_the_blob(fake, make_image):
    """Of a repository that is not there; the specification has it begin an upload."""

    def answer(asked):
        if "from=gone" in asked.path:
            return 404, {}, b'{"errors": [{"code": "NAME_UNKNOWN"}]}'
        if asked.method == "POST":
            return 202, {"Location": "/upload"}, b""
        return (404 if asked.method == "HEAD" else 201), {}, b""

    fake.answer = answer
    image, sent = make_image(), Sent()
    digest = str(image.layers[0].descriptor.digest)
    with Registry(fake.host, places={digest: "gone"}) as registry:
        registry.push(image, Reference(fake.host, "app", "a"), progress=sent)
    assert any("from=gone" in path for path in fake.paths("POST"))
    assert sent.bytes[digest] == image.layers[0].descriptor.size


def test_who_mounts_asks_for_a_token_that_may_read_there(fake, make_image):
    def answer(asked):
        if asked.path.startswith("/token"):
            return 200, {}, json.dumps({"token": "x"}).encode()
        if asked.headers.get("Authorization") != "Bearer x":
            challenge = f'Bearer realm="http://{fake.host}/token",scope="repository:app:pull,push"'
            return 401, {"WWW-Authenticate": challenge}, b""
        return (404 if asked.method == "HEAD" else 201), {}, b""

    fake.answer = answer
    with Registry(fake.host) as registry:
        registry.push(make_image(), Reference(fake.host, "app", "a"), mount_from="base")
    assert any("scope=repository%3Abase%3Apull" in path for path in fake.paths() if "/token" in path)
    assert any("mount=sha256" in path and "from=base" in path for path in fake.paths("POST"))


def test_a_blob_of_another_algorithm_is_announced(served):
    data = os.urandom(1000)
    digest = Digest("sha512", hashlib.sha512(data).hexdigest())
    image = _image(data, digest)
    with served.client() as registry:
        registry.push(image, Reference(served.host, "app", "a"))
        with registry.image(Reference(served.host, "app", "a")).layers[0].blob.open() as blob:
            assert blob.read() == data


# What the repository has already


def test_of_the_image_that_has_the_tag_now_no_layer_is_asked_for(fake, make_image):
    """Twenty layers are the same: one question for the manifest, and none for each of them."""
    shared = make_image(*({f"file{n}": b"%d" % n} for n in range(20)))
    before = shared.append(make_image({"app": b"1"}).layers[0], shared.config.history[0])
    after = shared.append(make_image({"app": b"2"}).layers[0], shared.config.history[0])

    def answer(asked):
        if "/manifests/" in asked.path and asked.method in ("HEAD", "GET"):
            headers = {
                "Docker-Content-Digest": str(before.digest),
                "Content-Type": before.manifest.media_type,
            }
            return 200, headers, before.manifest_bytes
        if asked.method == "POST":
            return 202, {"Location": "/v2/app/blobs/uploads/1"}, b""
        return (404 if asked.method == "HEAD" else 201), {}, b""

    fake.answer = answer
    with Registry(fake.host) as registry:
        registry.push(after, Reference(fake.host, "app", "a"))
    new = {str(after.layers[-1].descriptor.digest), str(after.manifest.config.digest)}
    assert {path.rpartition("/")[2] for path in fake.paths("HEAD") if "/blobs/" in path} == new
    assert len(fake.asked) <= 10


def test_what_the_registry_has_lost_since_is_pushed_after_all(served, make_image):
    shared = {"shared": os.urandom(1000)}
    before, after = make_image(shared, {"app": b"1"}), make_image(shared, {"app": b"2"})
    with served.client() as client:
        client.push(before, Reference(served.host, "app", "a"))
        lost = before.layers[0].descriptor.digest
        (served.directory / "blobs" / lost.path).unlink()
        client.push(after, Reference(served.host, "app", "a"))
        with client.image(Reference(served.host, "app", "a")).layers[0].blob.open() as blob:
            assert Digest.of(blob.read()) == lost


class Slow:
    """A registry that begins to take an upload, which sets `sending`, and does not read it."""

    def __init__(self, fake):
        self.fake = fake
        fake.answer, fake.cut = self.answer, self.cut
        self.sending = threading.Event()
        self.ended = threading.Event()

    def answer(self, asked):
        if asked.method == "POST":
            return 202, {"Location": f"{asked.path}1"}, b""
        return 404, {}, b""

    def cut(self, asked):
        if asked.method == "PUT":
            self.sending.set()
            self.ended.wait(60)
        return False


@pytest.fixture
def slow(fake):
    slow = Slow(fake)
    yield slow
    slow.ended.set()


INTERRUPTED = """
import os, signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs the tests may have had it ignored
from ocikit import Layout, Reference, Registry
image = Layout(Path(sys.argv[2])).image()
try:
    with Registry(sys.argv[1]) as registry:
        registry.push(image, Reference(sys.argv[1], "app", "a"))
except KeyboardInterrupt:
    print("interrupted", flush=True)
    os._exit(130)
"""


@pytest.mark.parametrize(
    ("number", "said", "code"), [(signal.SIGINT, "interrupted\n", 130), (signal.SIGKILL, "", -9)]
)
def test_a_push_that_is_ended_ends_at_once_and_has_given_no_tag(slow, tmp_path, number, said, code):
    Layout(tmp_path / "layout").write(_image(os.urandom(32 * MIB)))
    command = [sys.executable, "-c", INTERRUPTED, slow.fake.host, tmp_path / "layout"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert slow.sending.wait(60)
        process.send_signal(number)
        assert process.communicate(timeout=60) == (said, None)
    assert process.returncode == code
    assert not any("/manifests/" in path for path in slow.fake.paths("PUT"))  # no tag without its layers


# Uploads that outlive their process

KILLED = """
import io, sys, time
from pathlib import Path
from ocikit import Credentials, Layout, Registry
layer = Layout(Path(sys.argv[2])).image().layers[0]
size = int(sys.argv[4])

class Stalling(io.BytesIO):
    def read(self, wanted=-1):
        if self.tell() >= size:
            time.sleep(600)
        return super().read(min(wanted, size - self.tell()))

class Blob:
    def open(self):
        with layer.blob.open() as source:
            return Stalling(source.read())

from dataclasses import replace
user, notes = Credentials("AWS", "open-sesame"), Path(sys.argv[3])
with Registry(sys.argv[1], credentials=user, uploads=notes) as registry:
    registry.push_layer(replace(layer, blob=Blob()), "app")
"""


def test_an_upload_whose_process_was_killed_goes_on_in_the_next_one(served, tmp_path):
    size, sent_before, notes = 9 * MIB, 8 * MIB, tmp_path / "notes"
    image, sent = _image(os.urandom(size)), Sent()
    Layout(tmp_path / "layout").write(image)
    command = [sys.executable, "-c", KILLED, served.host, tmp_path / "layout", notes, str(sent_before)]
    with subprocess.Popen(command) as process:
        deadline = time.monotonic() + 60
        while _received_so_far(served) != sent_before:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()
    with Registry(served.host, credentials=USER, uploads=notes) as registry:
        registry.push(image, Reference(served.host, "app", "a"), progress=sent)
        assert registry.image(Reference(served.host, "app", "a")).digest == image.digest
    # The registry may be still at work on what broke off when the rest comes, which then comes again.
    assert sent.bytes[str(image.layers[0].descriptor.digest)] <= 4 * (size - sent_before)
    assert list(notes.iterdir()) == []


def _received_so_far(served):
    return sum(file.stat().st_size for file in (served.directory / "uploads").glob("*"))


@pytest.mark.parametrize(
    "note",
    [
        "no JSON",
        [1],
        {"url": 1, "least": 0},
        {"url": "http://{host}/v2/app/blobs/uploads/forgotten", "least": 0},
        {"url": "http://127.0.0.1:1/v2/app/blobs/uploads/elsewhere", "least": 0},
        {"url": "http://user:word@{host}/v2/app/blobs/uploads/forgotten", "least": 0},
        {"url": "http://[::1", "least": 0},
    ],
)
def test_a_note_that_leads_nowhere_is_no_harm(served, tmp_path, note):
    image, sent, notes = _image(os.urandom(5 * MIB)), Sent(), tmp_path / "notes"
    digest = str(image.layers[0].descriptor.digest)
    with noted(notes, f"http://{served.host}/v2", "app", digest) as made:
        made.write(json.loads(json.dumps(note).replace("{host}", served.host)))
    if note == "no JSON":
        next(notes.iterdir()).write_bytes(b"{")
    with Registry(served.host, credentials=USER, uploads=notes) as registry:
        registry.push(image, Reference(served.host, "app", "a"), progress=sent)
    assert sent.bytes[digest] == 5 * MIB
    assert list(notes.iterdir()) == []


def test_what_is_noted_holds_no_place_elsewhere_and_nothing_that_is_secret(fake, tmp_path):
    """An upload that the registry sends elsewhere may be signed by its address."""
    stop = threading.Event()
    stop.set()  # so that it ends with its first byte
    content = Content(Digest.of(b""), 5 * MIB, lambda: io.BytesIO(bytes(5 * MIB)), is_new=True)
    elsewhere = f"http://localhost:{fake.host.rpartition(':')[2]}/upload?signature=s3cret"
    for place, kept in ((elsewhere, b""), ("/upload", b"/upload")):
        fake.answer = lambda _, place=place: (202, {"Location": place}, b"")
        with pytest.raises(RegistryError, match="interrupted"):
            provide(Session(fake.host, SECRET, None, tmp_path), "app", content, None, stop)
        (file,) = tmp_path.iterdir()
        assert kept in file.read_bytes()
        assert (len(file.read_bytes()) > 0) == bool(kept)
        assert b"s3cret" not in file.read_bytes()
        assert file.stat().st_mode & 0o777 == 0o600


def test_a_note_is_one_process_s_and_ends_with_its_upload(tmp_path):
    with noted(tmp_path, "one") as note:
        assert note.read() is None
        note.write({"a": 1})
        with noted(tmp_path, "one") as other:
            other.write({"b": 2})
            assert other.read() is None
            other.is_over = True
        assert note.read() == {"a": 1}
    with noted(tmp_path, "one") as note:
        assert note.read() == {"a": 1}
        note.is_over = True
    assert list(tmp_path.iterdir()) == []


def test_old_notes_go_and_there_are_never_many(tmp_path):
    for number in range(120):
        with noted(tmp_path, str(number)) as note:
            note.write(number)
    files = list(tmp_path.iterdir())
    assert len(files) == 100
    for file in files:
        os.utime(file, (0, 0))
    with noted(tmp_path, "new") as note:
        note.write(1)
    assert len(list(tmp_path.iterdir())) == 1
    with noted(tmp_path / "new" / "folder", "one"), noted(Path("/proc/none"), "one") as note:
        note.write(1)
        assert note.read() is None


class Trickle(io.RawIOBase):
    """Slowly gives `size` bytes; `begun` is set with the first."""

    def __init__(self, size):
        super().__init__()
        self.left = size
        self.begun = threading.Event()

    def open(self):
        return io.BufferedReader(self, MIB)

    def readable(self):
        return True

    def readinto(self, buffer):
        if self.begun.is_set():
            time.sleep(0.05)
        self.begun.set()
        count = min(len(buffer), self.left)
        self.left -= count
        return count


def test_a_layer_that_is_refused_stops_those_that_are_being_sent(fake):
    trickle = Trickle(2000 * MIB)

    def answer(asked):
        if asked.method == "POST":
            return 202, {"Location": f"{asked.path}{len(fake.asked)}"}, b""
        if asked.method == "PUT" and int(asked.headers["Content-Length"]) < MIB:
            trickle.begun.wait(60)
            return 403, {}, b""
        return 404, {}, b""

    fake.answer = answer
    slow = Layer(Descriptor(LAYER, Digest.of(b"?"), trickle.left), Digest.of(b"?"), trickle)
    image = _image(b"small").append(slow, History())
    with Registry(fake.host) as registry, pytest.raises(AuthenticationError):
        registry.push(image, Reference(fake.host, "app", "a"))
    assert trickle.left > 1000 * MIB
    assert not any("/manifests/" in path for path in fake.paths("PUT"))
