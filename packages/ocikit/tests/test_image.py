"""Images as values: changed into new ones, copied without a change."""

import json
from dataclasses import replace

import pytest

from ocikit import (
    BytesBlob,
    ContainerConfig,
    Descriptor,
    Digest,
    History,
    Image,
    InvalidDocumentError,
    Layer,
    Layout,
    Manifest,
)

DIGEST = Digest.of(b"content")


def test_an_image_from_elsewhere_keeps_its_bytes_until_it_is_changed():
    config = json.dumps(
        {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": []}, "odd": [1, 2]},
        indent=3,
    ).encode()
    descriptor = Descriptor("application/vnd.oci.image.config.v1+json", Digest.of(config), len(config))
    manifest = json.dumps(json.loads(Manifest(descriptor, ()).to_bytes()), indent=2).encode()
    image = Image.from_bytes(manifest, config, ())
    assert image.digest == Digest.of(manifest)
    assert image.config_bytes == config
    changed = replace(image, config=replace(image.config, created="1970-01-01T00:00:00Z"))
    assert changed.digest != image.digest
    assert json.loads(changed.config_bytes)["created"] == "1970-01-01T00:00:00Z"
    assert image.digest == Digest.of(manifest)


def test_what_is_put_upon_an_image_of_dockers_is_an_image_of_oci(make_image):
    image = make_image()
    docker = "application/vnd.docker"
    layers = tuple(
        replace(
            layer,
            descriptor=replace(layer.descriptor, media_type=f"{docker}.image.rootfs.diff.tar.gzip"),
        )
        for layer in image.layers
    )
    theirs = Manifest(
        replace(image.manifest.config, media_type=f"{docker}.container.image.v1+json"),
        tuple(layer.descriptor for layer in layers),
        media_type=f"{docker}.distribution.manifest.v2+json",
    ).to_bytes()
    taken = Image.from_bytes(theirs, image.config_bytes, layers)
    assert taken.manifest_bytes == theirs
    changed = taken.append(make_image().layers[0], History(created_by="test"))
    assert {layer.media_type for layer in changed.manifest.layers} == {
        "application/vnd.oci.image.layer.v1.tar+gzip"
    }


def test_an_image_whose_layers_and_configuration_disagree_is_refused(make_image):
    image = make_image({"a": b"1"}, {"b": b"2"})
    with pytest.raises(InvalidDocumentError):
        Image.from_bytes(image.manifest_bytes, image.config_bytes, image.layers[:1])


def test_layers_are_equal_by_what_they_are_not_by_where_they_lie():
    descriptor = Descriptor("application/vnd.oci.image.layer.v1.tar", DIGEST, 7)
    assert Layer(descriptor, DIGEST, BytesBlob(b"content")) == Layer(descriptor, DIGEST, BytesBlob(b""))


def test_a_change_answers_a_new_image_and_leaves_the_old(make_image):
    image = make_image({"a": b"1"})
    before = image.digest
    more = make_image({"b": b"2"}).layers[0]
    longer = image.append(more, History(created_by="more"))
    assert (image.digest, len(image.layers)) == (before, 1)
    assert longer.layers == (*image.layers, more)
    assert longer.config.diff_ids == (*image.config.diff_ids, more.diff_id)
    assert longer.config.history[-1] == History(created_by="more")
    assert longer.config.config == image.config.config
    other = image.with_config(ContainerConfig(cmd=("/other",)))
    assert image.config.config.cmd == ("/hello",)
    assert (other.layers, other.config.config.cmd) == (image.layers, ("/other",))
    assert len({image.digest, longer.digest, other.digest}) == 3
    assert other.with_config(image.config.config).digest == image.digest


def test_an_image_from_elsewhere_that_is_changed_is_written_anew(make_image, tmp_path):
    layout = Layout(tmp_path / "layout")
    layout.write(make_image({"a": b"1"}), "a")
    stored = layout.image("a")
    assert replace(stored).manifest_bytes == stored.manifest_bytes
    for changed in (
        replace(stored, layers=(), config=replace(stored.config, diff_ids=())),
        replace(stored, annotations={"a": "b"}),
        stored.with_config(ContainerConfig(cmd=("/other",))),
    ):
        assert changed.digest != stored.digest
        layout.write(changed, "b")
        assert layout.image("b") == changed
        assert layout.image("b").digest == changed.digest


def test_an_image_reads_no_layer_before_it_is_asked_to(make_image):
    class Untouchable:
        def open(self):
            raise AssertionError("a layer was opened")

    image = make_image({"a": b"1"})
    lazy = replace(image, layers=tuple(replace(layer, blob=Untouchable()) for layer in image.layers))
    assert lazy.digest == image.digest
    assert lazy.append(image.layers[0], History()).with_config(ContainerConfig()).manifest.layers
