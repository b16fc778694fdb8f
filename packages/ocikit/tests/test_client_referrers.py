"""What is about an image: artifacts pushed, listed and deleted, at registries with and without the list."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from obstore.store import MemoryStore

from ocikit import (
    BytesBlob,
    Descriptor,
    Digest,
    Index,
    Manifest,
    Reference,
    Registry,
    RegistryError,
    RegistryNotFoundError,
)
from ocikit.client.referrers import referrers_tag
from ocikit.registry import create_app

SBOM = "application/spdx+json"
SIGNATURE = "application/vnd.example.signature"
EMPTY = Descriptor("application/vnd.oci.empty.v1+json", Digest.of(b"{}"), 2)
INDEX = "application/vnd.oci.image.index.v1+json"
SUBJECT = Digest.of(b"subject")


class Old:
    """A registry of before the list: no referrers, and no word of a subject."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        async def sending(message):
            if message["type"] == "http.response.start":
                headers = message["headers"]
                message = message | {"headers": [pair for pair in headers if pair[0] != b"oci-subject"]}
            await send(message)

        if "/referrers/" in scope["path"]:
            scope = scope | {"path": "/none"}
        await self.app(scope, receive, sending)


@pytest.fixture(params=["new", "old"])
def registry(request, serving):
    app = create_app(MemoryStore(), authorize=lambda *_: None)
    with (
        serving(Old(app) if request.param == "old" else app) as port,
        Registry(f"127.0.0.1:{port}") as registry,
    ):
        yield registry


def _artifact(subject, kind, note="one"):
    data = f"{kind} {note}".encode()
    layer = Descriptor(kind, Digest.of(data), len(data))
    manifest = Manifest(EMPTY, (layer,), subject=subject, artifact_type=kind, annotations={"note": note})
    return manifest, {EMPTY.digest: BytesBlob(b"{}"), layer.digest: BytesBlob(data)}


def _push(registry, reference, manifest, blobs):
    name = Digest.of(manifest.to_bytes())
    assert registry.push_manifest(reference.with_digest(name), manifest, blobs) == name
    return name


def test_an_artifact_is_found_by_what_it_is_about(registry, make_image):
    image, reference = make_image(), Reference(registry.host, "app", "a")
    registry.push(image, reference)
    subject = Descriptor(image.manifest.media_type, image.digest, len(image.manifest_bytes))
    assert registry.referrers(reference) == ()
    pushed = {}
    for kind in (SBOM, SIGNATURE):
        manifest, blobs = _artifact(subject, kind)
        pushed[kind] = _push(registry, reference, manifest, blobs)
        _push(registry, reference, manifest, blobs)  # once more changes nothing
    found = registry.referrers(reference)
    assert {entry.digest for entry in found} == set(pushed.values())
    (sbom,) = registry.referrers(reference.with_digest(image.digest), SBOM)
    assert (sbom.digest, sbom.artifact_type, dict(sbom.annotations)) == (pushed[SBOM], SBOM, {"note": "one"})
    read = registry.manifest(reference.with_digest(sbom.digest))
    assert read == _artifact(subject, SBOM)[0]
    with registry.open_blob("app", read.layers[0]) as source:
        assert source.read() == b"application/spdx+json one"
    registry.delete(reference.with_digest(sbom.digest))
    assert [entry.digest for entry in registry.referrers(reference)] == [pushed[SIGNATURE]]
    with pytest.raises(RegistryNotFoundError):
        registry.manifest(reference.with_digest(sbom.digest))


def test_an_index_has_referrers_and_may_be_one(registry, make_image):
    image, reference = make_image(), Reference(registry.host, "app", "a")
    registry.push(image, reference)
    entry = Descriptor(image.manifest.media_type, image.digest, len(image.manifest_bytes))
    index = Index((entry,))
    registry.push_manifest(reference.with_tag("all"), index)
    about = Descriptor(INDEX, Digest.of(index.to_bytes()), len(index.to_bytes()))
    listing = Index((entry,), subject=about, artifact_type=SBOM)
    _push(registry, reference, listing, {})
    (found,) = registry.referrers(reference.with_tag("all"))
    assert (found.media_type, found.artifact_type) == (INDEX, SBOM)


def test_a_config_s_type_stands_for_an_artifact_s(registry):
    subject = Descriptor(INDEX, SUBJECT, 7)
    config = Descriptor(SIGNATURE, Digest.of(b"{}"), 2)
    reference = Reference(registry.host, "app")
    _push(registry, reference, Manifest(config, (), subject=subject), {config.digest: BytesBlob(b"{}")})
    assert [entry.artifact_type for entry in registry.referrers(reference.with_digest(SUBJECT))] == [
        SIGNATURE
    ]


def test_many_who_push_referrers_at_once_are_all_found(registry):
    """Where there is only the tag, it is changed on the condition that nobody else has."""
    subject = Descriptor(INDEX, SUBJECT, 7)
    reference = Reference(registry.host, "app")

    def push(number):
        return _push(registry, reference, *_artifact(subject, SBOM, f"note {number}"))

    with ThreadPoolExecutor(4) as pool:
        pushed = set(pool.map(push, range(12)))
    assert {entry.digest for entry in registry.referrers(reference.with_digest(SUBJECT))} == pushed


def test_nobody_refers_to_what_is_not_there(registry):
    assert registry.referrers(Reference(registry.host, "app").with_digest(SUBJECT)) == ()
    with pytest.raises(RegistryNotFoundError):
        registry.referrers(Reference(registry.host, "app", "none"))


def test_the_tag_is_as_the_schema_says():
    assert referrers_tag(Digest("sha256", "a" * 64)) == "sha256-" + "a" * 64
    assert referrers_tag(Digest("sha512", "a" * 128)) == "sha512-" + "a" * 64


def _entry(number):
    return {"mediaType": INDEX, "digest": str(Digest.of(b"%d" % number)), "size": 1, "artifactType": SBOM}


def _page(entries):
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()


def test_a_registry_that_does_not_filter_is_filtered(fake):
    other = _entry(2) | {"artifactType": SIGNATURE}
    fake.answer = lambda _: (200, {}, _page([_entry(1), other]))
    with Registry(fake.host) as registry:
        found = registry.referrers(Reference(fake.host, "app").with_digest(SUBJECT), SBOM)
    assert [entry.artifact_type for entry in found] == [SBOM]


def test_pages_are_put_together_and_none_is_counted_twice(fake):
    def answer(asked):
        number = int(asked.path.partition("page=")[2] or 0)
        link = (
            {"Link": f'<{asked.path.partition("?")[0]}?page={number + 1}>; rel="next"'} if number < 3 else {}
        )
        return 200, link, _page([_entry(number), _entry(number + 1)])

    fake.answer = answer
    with Registry(fake.host) as registry:
        assert len(registry.referrers(Reference(fake.host, "app").with_digest(SUBJECT))) == 5


@pytest.mark.parametrize(
    ("status", "headers", "body", "said"),
    [
        (200, {}, b"<html>", "no index"),
        (200, {}, b'{"schemaVersion": 2, "manifests": [{}]}', "no index"),
        (200, {}, b" " * (5 << 20), "more than"),
        (200, {"Link": '<https://elsewhere.example/>; rel="next"'}, _page([]), "next page"),
        (200, {"Link": '<?again>; rel="next"'}, _page([]), "circle"),
        (400, {}, b"no", "400"),
    ],
)
def test_a_list_that_makes_no_sense_is_an_error_of_ours(fake, status, headers, body, said):
    fake.answer = lambda _: (status, headers, body)
    with Registry(fake.host) as registry, pytest.raises(RegistryError, match=said):
        registry.referrers(Reference(fake.host, "app").with_digest(SUBJECT))


def test_another_thing_under_the_tag_is_not_overwritten(fake):
    def answer(asked):
        if asked.method == "GET":
            return (404, {}, b"") if "/referrers/" in asked.path else (200, {}, b'{"schemaVersion": 2}')
        return 404 if asked.method == "HEAD" else 201, {"Location": "/v2/app/blobs/uploads/1"}, b""

    fake.answer = answer
    manifest, blobs = _artifact(Descriptor(INDEX, SUBJECT, 7), SBOM)
    with Registry(fake.host) as registry, pytest.raises(RegistryError, match="no index"):
        _push(registry, Reference(fake.host, "app"), manifest, blobs)
    assert [path for path in fake.paths("PUT") if referrers_tag(SUBJECT) in path] == []
