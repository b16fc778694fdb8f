"""Writing layers: the same calls, the same bytes; tar that everybody reads."""

import gzip
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocikit import (
    Digest,
    History,
    Image,
    LayerWriter,
    Layout,
    OcikitError,
    Platform,
    read_docker_archive,
    unpack_layer,
    write_docker_archive,
)

NAMES = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=40).filter(
        lambda part: part not in (".", "..") and not part.startswith(".wh.")
    ),
    min_size=1,
    max_size=6,
).map("/".join)


def _read(layer):
    with layer.blob.open() as blob:
        return tarfile.open(fileobj=io.BytesIO(gzip.decompress(blob.read())))


def test_entries_are_what_was_written(tmp_path):
    (tmp_path / "big").write_bytes(b"x" * 3_000_000)
    with LayerWriter(tmp_path / "layer", mtime=7) as writer:
        writer.directory("etc", 0o700, 1, 2)
        writer.file("etc/motd", b"hello", 0o640, 3, 4)
        writer.file("etc/big", tmp_path / "big")
        writer.symlink("etc/link", "/somewhere/else")
        writer.hardlink("etc/other", "etc/motd")
        layer = writer.finish()
    with _read(layer) as archive:
        entries = archive.getmembers()
        assert [entry.name for entry in entries] == ["etc", "etc/motd", "etc/big", "etc/link", "etc/other"]
        assert [(entry.mode, entry.uid, entry.gid) for entry in entries[:2]] == [(0o700, 1, 2), (0o640, 3, 4)]
        assert {entry.mtime for entry in entries} == {7}
        assert {(entry.uname, entry.gname) for entry in entries} == {("", "")}
        assert archive.extractfile("etc/big").read() == b"x" * 3_000_000
        assert entries[3].linkname == "/somewhere/else"
        assert entries[4].islnk()


@given(st.lists(st.tuples(NAMES, st.binary(max_size=600)), max_size=5, unique_by=lambda pair: pair[0]))
def test_any_name_and_content_is_read_back_by_others(tmp_path_factory, files):
    folder = tmp_path_factory.mktemp("layer")
    with LayerWriter(folder / "layer") as writer:
        for name, content in files:
            writer.file(name, content)
        layer = writer.finish()
    with _read(layer) as archive:
        assert [(entry.name, archive.extractfile(entry).read()) for entry in archive] == files
    assert layer.diff_id == Digest.of(gzip.decompress((folder / "layer").read_bytes()))
    assert layer.descriptor.digest == Digest.of((folder / "layer").read_bytes())


def test_a_name_that_is_not_utf_8_keeps_its_bytes(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    odd = os.fsdecode(b"\xff\xfe odd")
    (source / odd).write_bytes(b"odd")
    with LayerWriter(tmp_path / "layer") as writer:
        writer.tree(".", source)
        layer = writer.finish()
    unpack_layer(layer, tmp_path / "root")
    assert [os.fsencode(path.name) for path in (tmp_path / "root").iterdir()] == [b"\xff\xfe odd"]


def test_numbers_too_large_for_the_old_header_are_kept(tmp_path):
    with LayerWriter(tmp_path / "layer") as writer:
        writer.file("a", b"", uid=3_000_000_000, gid=2**21)
        layer = writer.finish()
    with _read(layer) as archive:
        entry = archive.next()
        assert (entry.uid, entry.gid) == (3_000_000_000, 2**21)


_SAME = """
import sys
from pathlib import Path
from ocikit import LayerWriter
with LayerWriter(Path(sys.argv[1])) as writer:
    writer.tree("app", Path(sys.argv[2]))
    print(writer.finish().descriptor.digest)
"""


def test_the_digest_is_the_same_for_every_umask_time_zone_order_and_time(tmp_path):
    found = set()
    for number, (umask, zone, names) in enumerate(((0o077, "Asia/Tokyo", "abc"), (0o002, "UTC", "cab"))):
        source = tmp_path / f"source-{number}"
        previous = os.umask(umask)
        try:
            for name in names:
                (source / name).mkdir(parents=True)
                (source / name / "run").write_text(name)
                (source / name / "run").chmod(0o700 if umask else 0o755)
        finally:
            os.umask(previous)
        os.utime(source / "a" / "run", (number, number))
        environment = {**os.environ, "TZ": zone, "PYTHONHASHSEED": str(number), "LC_ALL": "C"}
        command = [sys.executable, "-c", _SAME, str(tmp_path / f"layer-{number}"), str(source)]
        found.add(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)
    assert len(found) == 1


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "", ".", "a\0b"])
def test_a_name_that_leads_out_is_refused(tmp_path, name):
    with LayerWriter(tmp_path / "layer") as writer, pytest.raises(OcikitError):
        writer.file(name, b"")


def test_a_name_comes_once_and_a_hard_link_after_its_target(tmp_path):
    with LayerWriter(tmp_path / "layer") as writer:
        writer.file("a", b"")
        with pytest.raises(OcikitError, match="already"):
            writer.symlink("a", "b")
        with pytest.raises(OcikitError, match="does not have yet"):
            writer.hardlink("b", "c")


def test_a_tree_goes_below_its_prefix_or_to_the_root(tmp_path):
    (tmp_path / "source" / "d").mkdir(parents=True)
    (tmp_path / "source" / "d" / "f").touch()
    for prefix, names in ((".", ["d", "d/f"]), ("./app/", ["app/d", "app/d/f"])):
        with LayerWriter(tmp_path / "layer") as writer:
            writer.tree(prefix, tmp_path / "source")
            with _read(writer.finish()) as archive:
                assert archive.getnames() == names


@pytest.mark.parametrize("mtime", [-1, 8**11])
def test_a_time_that_no_archive_can_say_is_refused(tmp_path, mtime):
    with pytest.raises(OcikitError, match="mtime"):
        LayerWriter(tmp_path / "layer", mtime=mtime)
    assert list(tmp_path.iterdir()) == []


def test_writers_of_the_same_path_do_not_get_into_each_other(tmp_path):
    with LayerWriter(tmp_path / "layer") as first, LayerWriter(tmp_path / "layer") as second:
        first.file("a", b"1" * 100)
        second.file("b", b"2" * 3000)
        written = second.finish()
        assert Digest.of((tmp_path / "layer").read_bytes()) == written.descriptor.digest
        written = first.finish()
        assert Digest.of((tmp_path / "layer").read_bytes()) == written.descriptor.digest
    assert [path.name for path in tmp_path.iterdir()] == ["layer"]


def test_a_file_that_shrinks_while_it_is_read_leaves_no_layer(tmp_path, monkeypatch):
    (tmp_path / "log").write_bytes(b"x" * 100)
    honest = os.fstat

    def before(handle):
        found = honest(handle)
        os.truncate(tmp_path / "log", 50)
        return found

    with LayerWriter(tmp_path / "layer") as writer:
        monkeypatch.setattr("ocikit.layer.os.fstat", before)
        with pytest.raises(OcikitError, match="shorter"):
            writer.file("log", tmp_path / "log")
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_what_was_not_finished_is_not_there(tmp_path):
    with LayerWriter(tmp_path / "layer") as writer:
        writer.file("a", b"")
    assert list(tmp_path.iterdir()) == []


def test_a_socket_has_no_place_in_a_layer(tmp_path):
    (tmp_path / "source").mkdir()
    os.mkfifo(tmp_path / "source" / "pipe")
    with LayerWriter(tmp_path / "layer") as writer, pytest.raises(OcikitError, match="neither"):
        writer.tree(".", tmp_path / "source")


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_large_file_does_not_pass_through_memory(tmp_path, compression):
    with (tmp_path / "large").open("wb") as file:
        file.truncate(200 << 20)
    program = (
        "import sys\nfrom pathlib import Path\nfrom ocikit import LayerWriter, unpack_layer\n"
        "folder = Path(sys.argv[1])\n"
        "with LayerWriter(folder / 'layer', compression=sys.argv[2], compression_level=1) as writer:\n"
        "    writer.file('large', folder / 'large')\n"
        "    layer = writer.finish()\n"
        "unpack_layer(layer, folder / 'root')\n"
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    command = [sys.executable, "-c", program, tmp_path, compression]
    done = subprocess.run(command, check=True, capture_output=True)
    assert int(done.stdout) < 96 << 10  # KiB
    assert (tmp_path / "root" / "large").stat().st_size == 200 << 20


def test_what_zstd_holds_is_what_gzip_holds_and_others_read_it(tmp_path, run):
    layers, noise = {}, os.urandom(1000)
    for compression in ("gzip", "zstd"):
        with LayerWriter(tmp_path / compression, compression=compression) as writer:
            writer.file("a", b"x" * 10_000_000)
            writer.file("b", noise)
            layers[compression] = writer.finish()
    assert layers["zstd"].diff_id == layers["gzip"].diff_id
    assert layers["zstd"].descriptor.media_type == "application/vnd.oci.image.layer.v1.tar+zstd"
    image = Image.empty(Platform.host()).append(layers["zstd"], History())
    Layout(tmp_path / "layout").write(image, "one")
    run("skopeo", "copy", "--dest-decompress", f"oci:{tmp_path}/layout:one", f"dir:{tmp_path}/theirs")
    plain = (tmp_path / "theirs" / layers["gzip"].diff_id.hex).read_bytes()
    assert Digest.of(plain) == layers["gzip"].diff_id
    write_docker_archive(image, tmp_path / "image.tar", ["app:1"])
    (found,) = read_docker_archive(tmp_path / "image.tar").layers
    assert found == layers["zstd"]
    unpack_layer(found, tmp_path / "ours")
    assert (tmp_path / "ours" / "b").read_bytes() == noise


@pytest.mark.parametrize(("compression", "level"), [("gzip", 0), ("gzip", 13), ("zstd", 0), ("zstd", 20)])
def test_a_level_that_the_compression_does_not_have_is_refused(tmp_path, compression, level):
    with pytest.raises(OcikitError, match=f"level {level} is not one of"):
        LayerWriter(tmp_path / "layer", compression=compression, compression_level=level)
    assert list(tmp_path.iterdir()) == []


def test_importing_the_package_brings_no_http():
    heavy = "{'urllib3', 'tarfile', 'subprocess', 'zstandard'}"
    program = f"import sys, ocikit; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"
    assert Path(sys.modules["ocikit"].__file__).name == "__init__.py"
