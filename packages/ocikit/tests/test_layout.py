"""OCI layouts: read and written, by us and by skopeo."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from ocikit import (
    BytesBlob,
    DigestMismatchError,
    Image,
    Layout,
    NotFoundError,
    Platform,
)


def test_an_image_is_read_back_as_it_was_written(make_image, tmp_path):
    first, second = make_image({"a": b"1"}, {"b": b"2"}), make_image({"c": b"3"})
    layout = Layout(tmp_path / "layout")
    layout.write(first, "first")
    layout.write(second, "second")
    assert sorted(layout.names()) == ["first", "second"]
    assert layout.image("first") == first
    assert layout.image("first").digest == first.digest
    layout.write(second, "first")
    assert layout.image("first").digest == second.digest
    with pytest.raises(NotFoundError, match="second"):
        layout.image("third")
    with pytest.raises(NotFoundError):
        layout.image()
    with pytest.raises(NotFoundError):
        Layout(tmp_path / "none").image()


def test_skopeo_inspects_and_copies_a_layout(make_image, run, tmp_path):
    image = make_image({"hello": b"hello\n"}, {"é" * 60: b"x"})
    Layout(tmp_path / "layout").write(image, "one")
    inspected = json.loads(run("skopeo", "inspect", f"oci:{tmp_path}/layout:one"))
    assert inspected["Digest"] == str(image.digest)
    assert inspected["Labels"] == {"a": "b"}
    assert inspected["Architecture"] == Platform.host().architecture
    run("skopeo", "copy", f"oci:{tmp_path}/layout:one", f"oci:{tmp_path}/copy:two")
    assert Layout(tmp_path / "copy").image().digest == image.digest


def test_a_layer_that_is_not_what_it_says_is_not_written(make_image, tmp_path):
    image = make_image()
    wrong = replace(image.layers[0], blob=BytesBlob(b"else"))
    layout = Layout(tmp_path / "layout")
    with pytest.raises(DigestMismatchError):
        layout.write(Image(image.config, (wrong,)), "a")
    assert [path for path in (tmp_path / "layout").rglob("*") if path.is_file()] == []


def test_a_blob_that_was_changed_is_noticed(make_image, tmp_path):
    image = make_image()
    Layout(tmp_path / "layout").write(image, "a")
    blob = tmp_path / "layout" / "blobs" / image.manifest.config.digest.path
    blob.write_bytes(blob.read_bytes().replace(b"linux", b"minix"))
    with pytest.raises(DigestMismatchError):
        Layout(tmp_path / "layout").image("a")
    blob.unlink()
    with pytest.raises(NotFoundError):
        Layout(tmp_path / "layout").image("a")


def test_writers_at_the_same_time_lose_nothing(make_image, tmp_path):
    images = {f"i{number}": make_image({"a": bytes([number])}) for number in range(12)}
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda name: Layout(tmp_path / "layout").write(images[name], name), images))
    layout = Layout(tmp_path / "layout")
    assert {name: layout.image(name).digest for name in layout.names()} == {
        name: image.digest for name, image in images.items()
    }
