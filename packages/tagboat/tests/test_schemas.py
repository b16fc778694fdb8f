"""Every document that is written is one by the image specification's own JSON schemas, as Debian has them."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft4Validator
from referencing import Registry as Schemas
from referencing.jsonschema import DRAFT4

from ocikit import Reference, Registry
from ocikit.manifest import OCI_INDEX

FOLDER = Path("/usr/share/gocode/src/github.com/opencontainers/image-spec/schema")


def read(name: str) -> dict:
    """A schema without the identifiers inside of it, which its references are not relative to."""

    def plain(value):
        if isinstance(value, dict):
            inner = {key: plain(one) for key, one in value.items()}
            return {key: one for key, one in inner.items() if key != "id" or not isinstance(one, str)}
        return [plain(one) for one in value] if isinstance(value, list) else value

    return plain(json.loads((FOLDER / name).read_text())) | {"id": f"file:///{name}"}


@pytest.fixture(scope="session")
def check():
    """Raises ValidationError for what is not as a schema wants it."""
    schemas = {file.name: read(file.name) for file in FOLDER.glob("*.json")}
    known = Schemas().with_resources(
        (schema["id"], DRAFT4.create_resource(schema)) for schema in schemas.values()
    )

    def check(document, kind):
        Draft4Validator(schemas[f"{kind}.json"], registry=known).validate(document)

    return check


def test_images_layouts_and_indexes(check, tagboat, project, built):
    platforms = ("--platform", "linux/amd64", "--platform", "linux/arm64")
    done = tagboat("build", *platforms, "--output", "oci:image")
    assert done.returncode == 0, done.stderr
    layout = project.directory / "image"
    check(json.loads((layout / "oci-layout").read_text()), "image-layout-schema")
    index = json.loads((layout / "index.json").read_text())
    check(index, "image-index-schema")
    check(index["manifests"][0], "content-descriptor")
    inner = json.loads(blob(layout, index["manifests"][0]))
    check(inner, "image-index-schema")
    assert len(inner["manifests"]) == 2
    for entry in inner["manifests"]:
        manifest = json.loads(blob(layout, entry))
        check(manifest, "image-manifest-schema")
        check(json.loads(blob(layout, manifest["config"])), "config-schema")


def blob(layout: Path, descriptor: dict) -> bytes:
    return (layout / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes()


def test_what_is_left_beside_an_image(check, tagboat, registry, tmp_path):
    tagboat("key", str(tmp_path / "release"))
    documents = ("--sbom", "spdx", "--sbom", "cyclonedx", "--provenance", "--key", f"{tmp_path}/release.key")
    done = tagboat("push", *documents, f"{registry}/team/shop:1")
    assert done.returncode == 0, done.stderr
    with Registry(registry) as client:
        referrers = client.referrers(Reference(registry, "team/shop", "1"))
        assert len(referrers) == 3
        for entry in referrers:
            check(entry.to_json(), "content-descriptor")
            manifest = client.manifest(Reference(registry, "team/shop", digest=entry.digest))
            check(json.loads(manifest.to_bytes()), "image-manifest-schema")
        for name in client.tags("team/shop"):  # the signature has one
            document = client.manifest(Reference(registry, "team/shop", name))
            kind = "index" if document.media_type == OCI_INDEX else "manifest"
            check(json.loads(document.to_bytes()), f"image-{kind}-schema")
