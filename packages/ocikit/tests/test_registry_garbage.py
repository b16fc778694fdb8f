"""Collecting garbage: what nothing names goes, what anybody needs or is pushing stays."""

import asyncio
import itertools
import json
import os
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from obstore.store import LocalStore, MemoryStore
from starlette.responses import JSONResponse

from ocikit import Descriptor, Digest, Index, Manifest, Reference, Registry, RegistryError
from ocikit.registry import Collected, Storage, create_app
from ocikit.registry.garbage import collect
from ocikit.registry.storage import StoredManifest

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


@pytest.fixture(autouse=True)
def _young(monkeypatch):
    """Whoever relies on a blob makes it young, however young it is."""
    monkeypatch.setattr("ocikit.registry.storage._FRESH", timedelta(0))


class Collecting:
    """A registry that collects garbage, of any age or none, when `/collect/SECONDS` is asked for."""

    def __init__(self, directory):
        self.app = create_app(LocalStore(directory, mkdir=True), authorize=lambda *_: None)

    async def __call__(self, scope, receive, send):
        if not scope["path"].startswith("/collect/"):
            await self.app(scope, receive, send)
            return
        gone = await self.app.collect_garbage(timedelta(seconds=float(scope["path"].rpartition("/")[2])))
        await JSONResponse([gone.blobs, gone.bytes, gone.links])(scope, receive, send)


@dataclass
class Served:
    host: str
    storage: Storage

    def collect(self, grace: float = 0) -> Collected:
        with urllib.request.urlopen(f"http://{self.host}/collect/{grace}") as answer:
            return Collected(*json.load(answer))


@pytest.fixture
def served(serving, tmp_path):
    directory = tmp_path / "registry"
    with serving(Collecting(directory)) as port:
        yield Served(f"127.0.0.1:{port}", Storage(LocalStore(directory)))


@pytest.fixture
def registry(served):
    with Registry(served.host) as registry:
        yield registry


def _whole(registry, reference):
    image = registry.image(reference)
    for layer in image.layers:
        with layer.blob.open() as source:
            assert Digest.of(source.read()) == layer.descriptor.digest
    return image


def _ask(served, method, path):
    asked = urllib.request.Request(f"http://{served.host}/v2/{path}", method=method)
    with urllib.request.urlopen(asked) as answer:
        return answer.status


def test_what_is_named_stays(served, registry, make_image):
    image = make_image({"a": b"1"}, {"b": b"2"})
    registry.push(image, Reference(served.host, "one", "a"))
    registry.push(image, Reference(served.host, "two", digest=image.digest))
    assert served.collect() == Collected(0, 0, 0)
    for reference in (Reference(served.host, "one", "a"), Reference(served.host, "two", digest=image.digest)):
        assert _whole(registry, reference).digest == image.digest


def test_what_is_deleted_everywhere_goes_and_what_others_share_stays(served, registry, make_image):
    base = make_image({"base": b"1" * 1000})
    image = base.append(make_image({"app": b"2"}).layers[0], base.config.history[0])
    registry.push(base, Reference(served.host, "one", "base"))
    registry.push(image, Reference(served.host, "one", "app"))
    registry.push(image, Reference(served.host, "two", "app"))
    _ask(served, "DELETE", f"one/manifests/{image.digest}")
    assert served.collect().blobs == 0
    _ask(served, "DELETE", f"two/manifests/{image.digest}")
    gone = served.collect()
    sizes = (len(image.manifest_bytes), len(image.config_bytes), image.layers[1].descriptor.size)
    assert (gone.blobs, gone.bytes) == (3, sum(sizes))
    assert _whole(registry, Reference(served.host, "one", "base")).digest == base.digest


def test_the_young_stay_for_their_grace(served, registry, make_image):
    image = make_image()
    registry.push(image, Reference(served.host, "one", "a"))
    _ask(served, "DELETE", f"one/manifests/{image.digest}")
    assert served.collect(3600) == Collected(0, 0, 0)
    assert served.collect().blobs == 3


def test_a_blob_that_its_pusher_found_there_is_young_again(served, registry, make_image):
    image = make_image()
    registry.push(image, Reference(served.host, "one", "a"))
    _ask(served, "DELETE", f"one/manifests/{image.digest}")
    layer = image.layers[0].descriptor.digest
    for file in served.storage.folder.rglob("*"):
        if file.is_file():
            os.utime(file, (0, 0))
    _ask(served, "HEAD", f"one/blobs/{layer}")
    assert served.collect(3600).blobs == 2
    assert _ask(served, "HEAD", f"one/blobs/{layer}") == 200


def test_an_upload_under_way_is_not_garbage(served):
    asked = urllib.request.Request(f"http://{served.host}/v2/one/blobs/uploads/", method="POST")
    with urllib.request.urlopen(asked) as answer:
        place = answer.headers["Location"]
    served.collect()
    data = b"content"
    asked = urllib.request.Request(
        f"http://{served.host}{place}?digest={Digest.of(data)}", data=data, method="PUT"
    )
    with urllib.request.urlopen(asked) as answer:
        assert answer.status == 201


def test_where_a_manifest_cannot_be_read_everything_may_be_needed(served, registry, make_image):
    images = [make_image({"a": bytes([number])}) for number in range(2)]
    for number, image in enumerate(images):
        registry.push(image, Reference(served.host, "one", f"t{number}"))
    _ask(served, "DELETE", f"one/manifests/{images[0].digest}")
    (served.storage.folder / "blobs" / images[1].digest.path).write_bytes(b"damaged")
    assert served.collect() == Collected(1, len(images[0].manifest_bytes), 0)


@pytest.mark.parametrize("grace", [0, 3600])
def test_while_a_collector_loops_every_image_that_is_pushed_pulls_whole(served, make_image, grace):
    """With a grace no push fails. Without one a push may be refused, but what is accepted is whole."""
    base = make_image({"base": b"shared by all" * 5000})
    images = [
        base.append(make_image({"app": bytes([number % 3])}).layers[0], base.config.history[0])
        for number in range(9)
    ]
    done, refused, accepted, collections = threading.Event(), [], [], []

    def collector():
        while not done.is_set():
            collections.append(served.collect(grace))

    def pusher(number):
        turns = itertools.count()
        with Registry(served.host) as registry:
            while (turn := next(turns)) < 12 or len(collections) < 4 or not accepted:
                image = images[(number + turn) % len(images)]
                reference = Reference(served.host, f"team{number}", f"t{turn}")
                try:
                    registry.push(image, reference)
                except RegistryError as error:
                    if error.code != "MANIFEST_BLOB_UNKNOWN":
                        raise
                    refused.append(reference)
                    continue
                accepted.append(reference)
                assert _whole(registry, reference).digest == image.digest
                _ask(served, "DELETE", f"team{number}/manifests/{image.digest}")

    with ThreadPoolExecutor(6) as pool:
        looping = pool.submit(collector)
        try:
            list(pool.map(pusher, range(4)))
        finally:
            done.set()
        looping.result()
    if grace:
        assert refused == []
    served.collect()
    assert list((served.storage.folder / "blobs").rglob("*/*")) == []


LAYERS = [f"layer {number}".encode() for number in range(4)]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.sampled_from("ab"), st.sets(st.sampled_from(LAYERS))),
        st.tuples(st.just("upload"), st.sampled_from("ab"), st.sampled_from(LAYERS)),
        st.tuples(st.just("mount"), st.sampled_from("ab"), st.sampled_from(LAYERS)),
        st.tuples(st.just("index"), st.sampled_from("ab"), st.integers(0, 9)),
        st.tuples(st.just("delete"), st.sampled_from("ab"), st.integers(0, 9)),
        st.tuples(st.just("collect"), st.none(), st.none()),
    ),
    max_size=25,
)


@given(steps=STEPS)
def test_after_any_history_all_that_is_needed_is_there_and_nothing_else(steps, tmp_path):
    asyncio.run(_live_through(steps, tmp_path))


async def _live_through(steps, tmp_path):
    storage = Storage(MemoryStore())
    kept = {"a": {}, "b": {}}  # manifest digest -> what it needs

    async def upload(repository, data):
        path = tmp_path / "upload"
        path.write_bytes(data)
        await storage.add_blob(repository, Digest.of(data), path)
        return Descriptor("x", Digest.of(data), len(data))

    async def keep(repository, document, media_type, needs):
        data = document.to_bytes()
        await storage.add_manifest(repository, StoredManifest(Digest.of(data), media_type, data))
        kept[repository][Digest.of(data)] = needs

    async def check():
        await collect(storage, timedelta(seconds=-1))
        needed = set()
        for repository, manifests in kept.items():
            for digest, blobs in manifests.items():
                assert await storage.find_manifest(repository, str(digest)) is not None
                assert all([await storage.blob_size(repository, blob) is not None for blob in blobs])
                needed |= {digest, *blobs}
        found = [entry["path"] for batch in storage.store.list("blobs/") for entry in batch]
        assert sorted(found) == sorted(f"blobs/{digest.path}" for digest in needed)

    for step, repository, value in steps:
        if step == "push":
            layers = tuple([await upload(repository, data) for data in sorted(value)])
            config = await upload(repository, b"{}")
            blobs = {config.digest, *(layer.digest for layer in layers)}
            await keep(repository, Manifest(config, layers), MANIFEST, blobs)
        elif step == "upload":
            await upload(repository, value)
        elif step == "mount":
            if await storage.blob_size("ba"["ab".index(repository)], Digest.of(value)) is not None:
                await storage.link_blob(repository, Digest.of(value))
        elif step == "index" and kept[repository]:
            digest = sorted(kept[repository])[value % len(kept[repository])]
            await keep(repository, Index((Descriptor(MANIFEST, digest, 1),)), INDEX, set())
        elif step == "delete" and kept[repository]:
            digest = sorted(kept[repository])[value % len(kept[repository])]
            await storage.remove_manifest(repository, digest)
            del kept[repository][digest]
        else:
            await check()
    await check()
