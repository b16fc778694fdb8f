"""OCI layouts and docker-archives: read and written, by us and by others."""

import json
import os
import shutil
import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from ocikit import (
    BytesBlob,
    ContainerConfig,
    Digest,
    DigestMismatchError,
    History,
    Image,
    InvalidDocumentError,
    LayerWriter,
    Layout,
    NotFoundError,
    OcikitError,
    Platform,
    read_docker_archive,
    unpack,
    write_docker_archive,
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


def _shell(writer: LayerWriter) -> None:
    """The machine's own shell and the libraries it needs."""
    shell = Path(shutil.which("sh") or "/bin/sh").resolve()
    listed = subprocess.run(["ldd", shell], check=True, capture_output=True, text=True).stdout
    libraries = {word for line in listed.splitlines() for word in line.split() if word.startswith("/")}
    names = {"bin/sh": shell} | {name.removeprefix("/"): Path(name).resolve() for name in libraries}
    written: set[str] = set()
    for name, path in sorted(names.items()):
        for parent in reversed(Path(name).parents[:-1]):
            if str(parent) not in written:
                written.add(str(parent))
                writer.directory(str(parent))
        writer.file(name, path, 0o755)


def test_umoci_unpacks_what_we_wrote_and_runc_runs_it(run, tmp_path):
    image = Image.empty(Platform.host())
    with LayerWriter(tmp_path / "shell.tar.gz") as writer:
        _shell(writer)
        image = image.append(writer.finish(), History(created_by="the shell"))
    with LayerWriter(tmp_path / "app.tar.gz") as writer:
        writer.file("greeting", b"hello from a layer\n")
        image = image.append(writer.finish(), History(created_by="the app"))
    script = 'while read line; do echo "$line"; done </greeting; echo "$GREETED"'
    image = image.with_config(
        ContainerConfig(
            user="65532:65532", env=("GREETED=world",), entrypoint=("/bin/sh", "-c"), cmd=(script,)
        )
    )
    Layout(tmp_path / "layout").write(image, "app")
    bundle = tmp_path / "bundle"
    run("umoci", "unpack", "--image", f"{tmp_path}/layout:app", bundle)
    config = json.loads((bundle / "config.json").read_text())
    config["process"]["terminal"] = False
    # The kernel of the test machine decides about limits and their controllers; the image is what is tested.
    config["linux"].pop("resources", None)
    (bundle / "config.json").write_text(json.dumps(config))
    name = f"ocikit-test-{os.getpid()}"
    assert run("runc", "run", "--bundle", bundle, name) == "hello from a layer\nworld\n"
    unpack(image, tmp_path / "root")
    theirs = {
        path.relative_to(bundle / "rootfs") for path in (bundle / "rootfs").rglob("*") if path.is_file()
    }
    ours = {path.relative_to(tmp_path / "root") for path in (tmp_path / "root").rglob("*") if path.is_file()}
    assert ours <= theirs
    assert Path("greeting") in ours
    assert Digest.of((tmp_path / "root" / "greeting").read_bytes()) == Digest.of(b"hello from a layer\n")
