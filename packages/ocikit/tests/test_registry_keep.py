"""What a registry's host may say of manifests: which must stay, which there are, and that all of them go."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
import urllib3
from obstore.store import LocalStore, MemoryStore

from ocikit import Digest
from ocikit.registry import Storage, create_app
from ocikit.registry.storage import StoredManifest

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OLD, NEW = (StoredManifest(Digest.of(data), MANIFEST, data) for data in (b"{}", b"{ }"))


@pytest.fixture
def storage():
    """Two manifests in `app`, one in `app/more`; `latest` is the newer one."""
    storage = Storage(MemoryStore())

    async def fill():
        for repository, manifest in (("app", OLD), ("app", NEW), ("app/more", OLD)):
            await storage.add_manifest(repository, manifest)
            await storage.link_blob(repository, manifest.digest)
        await storage.set_tag("app", "latest", NEW.digest, mutable=True)

    asyncio.run(fill())
    return storage


def test_a_manifest_that_the_host_keeps_is_not_deleted(storage, serving):
    async def keep(repository, digest):
        return f"{repository} needs it" if digest == NEW.digest else None

    app = create_app(storage.store, authorize=lambda *_: None, keep=keep)
    with serving(app) as port, urllib3.PoolManager() as pool:
        url = f"http://127.0.0.1:{port}/v2/app/manifests"
        kept = pool.request("DELETE", f"{url}/{NEW.digest}")
        assert (kept.status, kept.json()["errors"][0]["code"]) == (403, "DENIED")
        assert "app needs it" in kept.json()["errors"][0]["message"]
        assert pool.request("DELETE", f"{url}/{OLD.digest}").status == 202
        assert pool.request("DELETE", f"{url}/latest").status == 202, "a tag is not the manifest"
        assert pool.request("GET", f"{url}/{NEW.digest}").status == 200


def test_manifests_are_listed_with_when_they_came(storage):
    listed = asyncio.run(storage.list_manifests("app"))
    assert listed.keys() == {OLD.digest, NEW.digest}
    assert all(abs(datetime.now(UTC) - pushed) < timedelta(minutes=1) for pushed in listed.values())
    assert asyncio.run(storage.list_manifests("nowhere")) == {}


def test_a_repository_goes_without_those_whose_names_begin_alike(storage):
    asyncio.run(storage.remove_repository("app"))
    assert asyncio.run(storage.list_manifests("app")) == {}
    assert storage.tags("app") == []
    assert not asyncio.run(storage.has_repository("app"))
    assert asyncio.run(storage.list_manifests("app/more")).keys() == {OLD.digest}


def test_what_is_gone_already_can_be_removed_again(tmp_path):
    """As after a crash between two steps of a removal."""
    storage = Storage(LocalStore(tmp_path))
    subject = {"mediaType": MANIFEST, "digest": str(OLD.digest), "size": 2}
    data = json.dumps({"subject": subject}).encode()
    about = StoredManifest(Digest.of(data), MANIFEST, data)

    async def remove():
        await storage.add_manifest("app", about)
        for _ in range(2):
            await storage.remove_manifest("app", about.digest)
            await storage.remove_tag("app", "latest")
        return await storage.list_manifests("app")

    assert asyncio.run(remove()) == {}
