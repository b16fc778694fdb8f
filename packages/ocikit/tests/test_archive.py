"""docker-archives: read and written, by us and by skopeo."""

import json
import tarfile
from dataclasses import replace

import pytest

from ocikit import (
    BytesBlob,
    Digest,
    DigestMismatchError,
    Image,
    InvalidDocumentError,
    Layout,
    OcikitError,
    read_docker_archive,
    unpack,
    write_docker_archive,
)


def test_a_docker_archive_is_read_back_by_us_and_by_skopeo(make_image, run, tmp_path):
    image = make_image({"hello": b"hello\n"}, {"more": b"x" * 5000})
    write_docker_archive(image, tmp_path / "image.tar", ["app:1"])
    write_docker_archive(image, tmp_path / "again.tar", ["app:1"])
    assert (tmp_path / "image.tar").read_bytes() == (tmp_path / "again.tar").read_bytes()
    assert read_docker_archive(tmp_path / "image.tar").config == image.config
    inspected = json.loads(run("skopeo", "inspect", f"docker-archive:{tmp_path}/image.tar"))
    assert inspected["Labels"] == {"a": "b"}
    run("skopeo", "copy", f"docker-archive:{tmp_path}/image.tar", f"oci:{tmp_path}/layout:one")
    unpack(Layout(tmp_path / "layout").image("one"), tmp_path / "root")
    assert (tmp_path / "root" / "hello").read_bytes() == b"hello\n"


def test_a_docker_archive_of_skopeo_is_read_by_us(make_image, run, tmp_path):
    image = make_image({"hello": b"hello\n"}, {"more": b"x" * 5000})
    Layout(tmp_path / "layout").write(image, "one")
    run("skopeo", "copy", f"oci:{tmp_path}/layout:one", f"docker-archive:{tmp_path}/image.tar:app:1")
    found = read_docker_archive(tmp_path / "image.tar")
    assert found.config.diff_ids == image.config.diff_ids
    unpack(found, tmp_path / "root")
    assert (tmp_path / "root" / "more").read_bytes() == b"x" * 5000


@pytest.mark.parametrize(
    "documents",
    [
        {},
        {"manifest.json": b"{"},
        {"manifest.json": b"[]"},
        {"manifest.json": b'[{"Config": "../../etc/passwd", "Layers": []}]'},
        {"manifest.json": b'[{"Config": "c", "Layers": ["l"]}]', "c": b"{}"},
        {"manifest.json": b'[{"Config": 7, "Layers": 7}]'},
    ],
)
def test_what_is_no_docker_archive_is_refused(tmp_path, documents):
    with tarfile.open(tmp_path / "image.tar", "w") as archive:
        for name, data in documents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, BytesBlob(data).open())
    with pytest.raises(InvalidDocumentError):
        read_docker_archive(tmp_path / "image.tar")
    assert [path.name for path in tmp_path.iterdir()] == ["image.tar"]
    (tmp_path / "noise.tar").write_bytes(b"noise")
    with pytest.raises(OcikitError):
        read_docker_archive(tmp_path / "noise.tar")


def test_a_layer_that_is_a_link_to_another_is_refused_by_name(tmp_path):
    """As docker wrote them before it kept blobs by digest."""
    digest = Digest.of(b"")
    config = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [str(digest)]}}
    documents = {"manifest.json": [{"Config": "c", "Layers": ["b/layer.tar"]}], "c": config}
    with tarfile.open(tmp_path / "image.tar", "w") as archive:
        for name, document in documents.items():
            data = json.dumps(document).encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, BytesBlob(data).open())
        link = tarfile.TarInfo("b/layer.tar")
        link.type, link.linkname = tarfile.SYMTYPE, "../a/layer.tar"
        archive.addfile(link)
    with pytest.raises(InvalidDocumentError, match="is no plain file"):
        read_docker_archive(tmp_path / "image.tar")


def test_an_archive_of_a_layer_that_is_not_what_it_says_is_not_there(make_image, tmp_path):
    image = make_image()
    wrong = replace(image.layers[0], blob=BytesBlob(b"else"))
    with pytest.raises(DigestMismatchError):
        write_docker_archive(Image(image.config, (wrong,)), tmp_path / "image.tar", ["app:1"])
    assert not list(tmp_path.glob("*image.tar*"))
