"""Unpacking: whiteouts, owners, links, and archives that mean harm."""

import gzip
import io
import os
import stat
import subprocess
import sys
import tarfile
import tempfile
from contextlib import suppress
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ocikit import (
    BytesBlob,
    CopiedBlob,
    Descriptor,
    Digest,
    DigestMismatchError,
    History,
    Image,
    OcikitError,
    Platform,
    UnsafeArchiveError,
    layer_entries,
    unpack,
    unpack_layer,
)
from ocikit.manifest import OCI_LAYER_ZSTD

FILE, LINK, SYMLINK, DIRECTORY = tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE


def _tree(root):
    """Everything below `root`: kind, mode, owner, links, time, content."""
    found = {}
    for path in (root, *root.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        found[path] = (status.st_mode, status.st_uid, status.st_nlink, status.st_mtime_ns, content)
    return found


def _stack(make_layer, *layers):
    image = Image.empty(Platform.host())
    for entries in layers:
        image = image.append(make_layer(*entries), History())
    return image


@pytest.mark.parametrize(
    "entries",
    [
        [
            ("d" * 60 + str(number), DIRECTORY, {"pax_headers": {"SCHILY.xattr.user.a": "x" * 900}})
            for number in range(20)
        ],
        [(f"{number}/{'d/' * 200}", DIRECTORY, {}) for number in range(5)],
        [(f"{number}/{'d/' * 200}f", FILE, {}) for number in range(5)],
    ],
    ids=["attributes", "folders", "folders of files"],
)
def test_what_has_to_be_remembered_of_an_archive_is_bounded(make_layer, tmp_path, monkeypatch, entries):
    """However little of it is sent: attributes and deep folders are compressed to almost nothing."""
    layer = make_layer(*entries)
    unpack_layer(layer, tmp_path / "well")
    monkeypatch.setattr("ocikit._tar._MOST_NAMES", 10_000)
    monkeypatch.setattr("ocikit.unpacking._MOST_NAMES", 100_000)
    with pytest.raises(UnsafeArchiveError, match="bytes of"):
        unpack_layer(layer, tmp_path / "root")


def test_folders_that_are_only_named_count_as_entries_do(make_layer, tmp_path, monkeypatch):
    monkeypatch.setattr("ocikit.unpacking.MAX_ENTRIES", 500)
    for name in ("f", ".wh.f"):
        layer = make_layer(*((f"{number}/{'d/' * 200}{name}", FILE, {}) for number in range(5)))
        with pytest.raises(UnsafeArchiveError, match="more than 500"):
            unpack_layer(layer, tmp_path / "root")


def test_records_that_last_are_few(make_layer, tmp_path):
    """Each entry is read with all of them."""
    buffer = io.BytesIO()
    lasting = {f"comment.{number}": "x" for number in range(101)}
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, pax_headers=lasting) as archive:
        archive.addfile(tarfile.TarInfo("f"))
    with pytest.raises(UnsafeArchiveError, match="more than 100 records"):
        unpack_layer(make_layer(buffer.getvalue()), tmp_path)


def test_modes_owners_times_and_links_are_kept(make_layer, tmp_path):
    layer = make_layer(
        ("./", DIRECTORY, {"mode": 0o755}),
        ("./d", DIRECTORY, {"mode": 0o750, "uid": 5, "gid": 6, "mtime": 100}),
        ("./d/f", FILE, {"data": b"hello", "mode": 0o4711, "uid": 7, "mtime": 200}),
        ("./d/g", LINK, {"linkname": "./d/f"}),
        ("./d/s", SYMLINK, {"linkname": "/nowhere", "uid": 8}),
        ("./d/p", tarfile.FIFOTYPE, {"mode": 0o600}),
    )
    unpack_layer(layer, tmp_path / "root")
    directory = tmp_path / "root" / "d"
    assert (directory / "f").read_bytes() == b"hello"
    assert stat.S_IMODE((directory / "f").stat().st_mode) == 0o4711
    assert (directory / "g").stat().st_ino == (directory / "f").stat().st_ino
    assert (directory / "s").readlink() == Path("/nowhere")
    assert (directory / "s").lstat().st_uid == 8
    assert stat.S_ISFIFO((directory / "p").stat().st_mode)
    status = directory.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime) == (0o750, 5, 6, 100)


def test_only_what_is_asked_for_is_written_and_whiteouts_are_still_heeded(make_layer, tmp_path):
    lower = (
        ("d", DIRECTORY, {"mode": 0o500}),
        ("d/wanted", FILE, {"data": b"old"}),
        ("d/wanted-too", FILE, {}),
        ("d/other", FILE, {}),
        ("wanted-link", SYMLINK, {"linkname": "d"}),
        ("wanted.d", DIRECTORY, {}),
    )
    upper = (("d/wanted", FILE, {"data": b"new"}), ("d/.wh.wanted-too", FILE, {}))
    image = _stack(make_layer, lower, upper)
    unpack(image, tmp_path / "root", only=lambda name: name.rpartition("/")[2].startswith("wanted"))
    found = {path.relative_to(tmp_path / "root").as_posix() for path in (tmp_path / "root").rglob("*")}
    assert found == {"d", "d/wanted", "wanted-link"}
    assert (tmp_path / "root" / "d" / "wanted").read_bytes() == b"new"


def test_a_layer_is_kept_as_it_comes(make_layer, tmp_path):
    layer = make_layer(("f", FILE, {"data": os.urandom(3_000_000)}))
    unpack_layer(replace(layer, blob=CopiedBlob(layer.blob, tmp_path / "kept")), tmp_path / "root")
    assert Digest.of((tmp_path / "kept").read_bytes()) == layer.descriptor.digest


def test_without_ownership_no_file_lends_our_rights(make_layer, tmp_path):
    layer = make_layer(("f", FILE, {"mode": 0o6755, "uid": 12}))
    unpack_layer(layer, tmp_path / "root", ownership=False)
    status = (tmp_path / "root" / "f").stat()
    assert stat.S_IMODE(status.st_mode) == 0o755
    assert status.st_uid == os.geteuid()


def test_parents_that_an_archive_leaves_out_are_open_whatever_the_umask(make_layer, tmp_path):
    previous = os.umask(0o077)
    try:
        unpack_layer(make_layer(("a/b/f", FILE, {})), tmp_path / "root")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "root" / "a" / "b").stat().st_mode) == 0o755


def test_of_extended_attributes_only_harmless_ones_are_kept(make_layer, tmp_path):
    capability = b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
    attributes = {
        "SCHILY.xattr.user.note": "kept",
        "SCHILY.xattr.security.capability": capability.decode(),
        "SCHILY.xattr.trusted.overlay.opaque": "y",
        "SCHILY.xattr.trusted.overlay.redirect": "/etc",
    }
    unpack_layer(make_layer(("d", DIRECTORY, {"pax_headers": attributes})), tmp_path / "root")
    assert "trusted" not in " ".join(os.listxattr(tmp_path / "root" / "d"))
    unpack_layer(make_layer(("f", FILE, {"pax_headers": attributes})), tmp_path / "root")
    assert os.getxattr(tmp_path / "root" / "f", "security.capability") == capability


def test_who_is_not_root_can_unpack_what_is_read_only(make_layer, tmp_path):
    (tmp_path / "layer").write_bytes(
        make_layer(("d", DIRECTORY, {"mode": 0o555}), ("d/f", FILE, {"mode": 0o444})).blob.data
    )
    tmp_path.chmod(0o777)
    for parent in takewhile(lambda folder: folder != Path(tempfile.gettempdir()), tmp_path.parents):
        parent.chmod(0o755)
    program = (
        "import gzip, os, sys\nfrom pathlib import Path\n"
        "from ocikit import Descriptor, Digest, FileBlob, History, Image, Layer, Platform, unpack\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "blob = Path(sys.argv[1], 'layer').read_bytes()\n"
        "descriptor = Descriptor('application/vnd.oci.image.layer.v1.tar+gzip', Digest.of(blob), len(blob))\n"
        "layer = Layer(descriptor, Digest.of(gzip.decompress(blob)), FileBlob(Path(sys.argv[1], 'layer')))\n"
        "image = Image.empty(Platform.host()).append(layer, History()).append(layer, History())\n"
        "unpack(image, Path(sys.argv[1], 'root'))\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    assert stat.S_IMODE((tmp_path / "root" / "d").stat().st_mode) == 0o555
    assert (tmp_path / "root" / "d" / "f").exists()


def test_whiteouts_take_away_what_lower_layers_brought(make_layer, tmp_path):
    image = _stack(
        make_layer,
        [("a", FILE, {}), ("d/x", FILE, {}), ("d/y", FILE, {}), ("e/z", FILE, {}), ("keep", FILE, {})],
        [(".wh.a", FILE, {}), ("d/.wh.x", FILE, {}), ("e/.wh..wh..opq", FILE, {}), ("e/new", FILE, {})],
    )
    unpack(image, tmp_path / "root")
    files = sorted(str(path.relative_to(tmp_path / "root")) for path in (tmp_path / "root").rglob("*"))
    assert files == ["d", "d/y", "e", "e/new", "keep"]


def test_a_whiteout_spares_its_own_layer_wherever_it_stands(make_layer, tmp_path):
    for order in (1, -1):
        upper = [("d/own", FILE, {}), ("d/sub/own", FILE, {}), ("d/.wh..wh..opq", FILE, {})][::order]
        image = _stack(make_layer, [("d/old", FILE, {}), ("d/sub/old", FILE, {})], upper)
        root = tmp_path / f"root{order}"
        unpack(image, root)
        assert sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()) == [
            "d/own",
            "d/sub/own",
        ]
    for order in (1, -1):
        upper = [("d", DIRECTORY, {}), (".wh.d", FILE, {})][::order]
        root = tmp_path / f"again{order}"
        unpack(_stack(make_layer, [("d/old", FILE, {})], upper), root)
        assert list((root / "d").iterdir()) == []


def test_a_file_takes_the_place_of_a_directory_and_the_other_way_round(make_layer, tmp_path):
    image = _stack(
        make_layer,
        [("a/deep/er", FILE, {}), ("b", FILE, {}), ("c", SYMLINK, {"linkname": "/var"})],
        [("a", FILE, {"data": b"now a file"}), ("b/in", FILE, {}), ("c", DIRECTORY, {}), ("c/in", FILE, {})],
    )
    with pytest.raises(UnsafeArchiveError, match="no directory"):
        unpack(image, tmp_path / "half")  # `b/in` without `b/`: a file is in the way
    image = _stack(
        make_layer,
        [("a/deep/er", FILE, {}), ("b", FILE, {}), ("c", SYMLINK, {"linkname": "/var"})],
        [
            ("a", FILE, {"data": b"now a file"}),
            ("b", DIRECTORY, {}),
            ("c", DIRECTORY, {}),
            ("c/in", FILE, {}),
        ],
    )
    unpack(image, tmp_path / "root")
    assert (tmp_path / "root" / "a").read_bytes() == b"now a file"
    assert (tmp_path / "root" / "b").is_dir()
    assert (tmp_path / "root" / "c" / "in").is_file()
    assert not (tmp_path / "root" / "c").is_symlink()


def test_overlay_layers_stacked_by_the_kernel_are_the_layers_applied(make_layer, tmp_path):
    layers = [
        [("a", FILE, {}), ("d/x", FILE, {}), ("d/y", FILE, {}), ("e/z", FILE, {}), ("f/old", FILE, {})],
        [(".wh.a", FILE, {}), ("d/.wh.x", FILE, {}), ("e/.wh..wh..opq", FILE, {}), ("e/new", FILE, {})],
        [("a", FILE, {"data": b"again"}), (".wh.f", FILE, {}), ("f", DIRECTORY, {}), ("f/new", FILE, {})],
    ]
    image = _stack(make_layer, *layers)
    unpack(image, tmp_path / "root")
    lower = []
    for number, layer in enumerate(image.layers):
        unpack_layer(layer, tmp_path / f"layer{number}", whiteouts="overlay")
        lower.insert(0, str(tmp_path / f"layer{number}"))
    assert stat.S_ISCHR((tmp_path / "layer1" / "a").stat().st_mode)
    assert os.getxattr(tmp_path / "layer1" / "e", "trusted.overlay.opaque") == b"y"
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    subprocess.run(
        ["mount", "-t", "overlay", "overlay", "-o", f"lowerdir={':'.join(lower)}", mounted], check=True
    )
    try:
        seen = {path.relative_to(mounted): path.is_dir() or path.read_bytes() for path in mounted.rglob("*")}
    finally:
        subprocess.run(["umount", mounted], check=True)
    root = tmp_path / "root"
    assert seen == {path.relative_to(root): path.is_dir() or path.read_bytes() for path in root.rglob("*")}


HOSTILE = {
    "a path upwards": [("../outside/new", FILE, {})],
    "a path upwards in the middle": [("a/../../outside/new", FILE, {})],
    "an absolute path": [("/etc/new", FILE, {})],
    "a file for the root": [("./", FILE, {})],
    "a link as a parent": [("in", SYMLINK, {"linkname": "../outside"}), ("in/new", FILE, {})],
    "an absolute link as a parent": [("in", SYMLINK, {"linkname": "OUTSIDE"}), ("in/new", FILE, {})],
    "a link to the root's parent": [("in", SYMLINK, {"linkname": ".."}), ("in/outside/new", FILE, {})],
    "a link as a directory": [("in", SYMLINK, {"linkname": "OUTSIDE"}), ("in/", DIRECTORY, {"mode": 0o777})],
    "a hard link upwards": [("new", LINK, {"linkname": "../outside/secret"})],
    "an absolute hard link": [("new", LINK, {"linkname": "OUTSIDE/secret"})],
    "a hard link through a link": [
        ("in", SYMLINK, {"linkname": "OUTSIDE"}),
        ("new", LINK, {"linkname": "in/secret"}),
    ],
    "a hard link to nothing": [("new", LINK, {"linkname": "absent"})],
    "a hard link to a directory": [("d", DIRECTORY, {}), ("new", LINK, {"linkname": "d"})],
    "a whiteout through a link": [
        ("in", SYMLINK, {"linkname": "OUTSIDE"}),
        ("in/.wh.secret", FILE, {}),
    ],
    "an opaque marker through a link": [
        ("in", SYMLINK, {"linkname": "OUTSIDE"}),
        ("in/.wh..wh..opq", FILE, {}),
    ],
    "a whiteout of the parent": [(".wh...", FILE, {})],
    "a whiteout of the directory": [("d/.wh..", FILE, {})],
    "a character device": [("null", tarfile.CHRTYPE, {"devmajor": 1, "devminor": 3})],
    "a block device": [("sda", tarfile.BLKTYPE, {"devmajor": 8, "devminor": 0})],
    "a name that comes twice": [("a", FILE, {}), ("./a", FILE, {})],
    "a file over its own directory": [("a/b", FILE, {}), ("a", FILE, {})],
    "a name longer than any": [("a" * 256, FILE, {})],
    "a path deeper than any": [("/".join("a" * 300), FILE, {})],
    "a time that never is": [("a", FILE, {"pax_headers": {"mtime": "inf"}})],
    "an owner that nobody is": [("a", FILE, {"uid": 2**40})],
    "a link to nothing": [("a", SYMLINK, {"linkname": ""})],
    "a zero byte": [("a", FILE, {"pax_headers": {"path": "a\0b"}})],
    "a sparse file": [("a", FILE, {"pax_headers": {"GNU.sparse.realsize": str(2**40)}})],
    "an unknown kind": [("a", b"Z", {})],
}


def _link(target, outside):
    return {} if target is None else {"linkname": target.replace("OUTSIDE", str(outside))}


@pytest.mark.parametrize("whiteouts", ["apply", "overlay"])
@pytest.mark.parametrize("name", HOSTILE)
def test_refused_with_nothing_outside_changed(make_layer, tmp_path, name, whiteouts):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    before = _tree(outside)
    entries = [
        (path, kind, attributes | _link(attributes.get("linkname"), outside))
        for path, kind, attributes in HOSTILE[name]
    ]
    if name == "a link as a directory":
        unpack_layer(make_layer(entries[0]), tmp_path / "root", whiteouts=whiteouts)
        unpack_layer(make_layer(entries[1]), tmp_path / "root", whiteouts=whiteouts)
        assert not (tmp_path / "root" / "in").is_symlink()
    else:
        with pytest.raises(UnsafeArchiveError):
            unpack_layer(make_layer(*entries), tmp_path / "root", whiteouts=whiteouts)
    assert _tree(outside) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside", "root"]


PARTS = st.sampled_from(["a", "b", "in", "..", ".", "", ".wh.a", ".wh.in", ".wh..wh..opq", ".wh...", "é"])
PATHS = st.lists(PARTS, max_size=4).map("/".join)
TARGETS = PATHS | st.sampled_from(["OUTSIDE", "OUTSIDE/secret", "../outside", "../outside/secret", "..", "/"])
ENTRIES = st.lists(
    st.tuples(
        PATHS,
        st.sampled_from([FILE, FILE, DIRECTORY, SYMLINK, SYMLINK, LINK, tarfile.FIFOTYPE, tarfile.CHRTYPE]),
        TARGETS,
        st.sampled_from([0, 0o644, 0o4777]),
    ),
    max_size=6,
)


@given(st.lists(ENTRIES, min_size=1, max_size=3), st.sampled_from(["apply", "overlay"]))
def test_no_archive_changes_anything_outside(make_layer, tmp_path_factory, layers, whiteouts):
    top = tmp_path_factory.mktemp("hostile")
    outside = top / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (outside / "a").mkdir()
    before = _tree(outside)
    for entries in layers:
        layer = make_layer(
            *(
                (
                    name,
                    kind,
                    {"mode": mode, "data": b"new" if kind == FILE else b""}
                    | _link(target if kind in (LINK, SYMLINK) else None, outside),
                )
                for name, kind, target, mode in entries
            )
        )
        try:
            unpack_layer(layer, top / "root", whiteouts=whiteouts)
        except OcikitError:
            continue
    assert _tree(outside) == before
    assert sorted(path.name for path in top.iterdir()) == ["outside", "root"]


@given(st.binary(max_size=1500), st.integers(0, 1500))
def test_bytes_that_are_no_tar_are_an_error_of_ours(make_layer, tmp_path_factory, noise, at):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("é" * 90), io.BytesIO())
    raw = bytearray(buffer.getvalue())
    raw[at : at + len(noise)] = noise
    with suppress(OcikitError):
        unpack_layer(make_layer(bytes(raw)), tmp_path_factory.mktemp("noise") / "root")


def test_more_than_the_caller_allows_is_refused_before_it_is_written(make_layer, tmp_path):
    layer = make_layer(("zeros", FILE, {"data": bytes(50 << 20)}))
    assert layer.descriptor.size < 1 << 20
    with pytest.raises(UnsafeArchiveError, match="more than"):
        unpack_layer(layer, tmp_path / "root", max_size=4 << 20)
    assert (tmp_path / "root" / "zeros").stat().st_size <= 4 << 20


def test_a_header_that_claims_much_is_refused_before_it_is_read(make_layer, tmp_path):
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, header.size = tarfile.XHDTYPE, 7 << 30
    with pytest.raises(UnsafeArchiveError, match="extended header"):
        unpack_layer(make_layer(header.tobuf() + bytes(1024)), tmp_path / "root")


def test_content_that_is_not_what_was_promised_is_refused(make_layer, tmp_path):
    layer = make_layer(("a", FILE, {"data": b"x"}))
    with pytest.raises(DigestMismatchError, match="diff ID"):
        unpack_layer(replace(layer, diff_id=Digest.of(b"else")), tmp_path / "root")
    longer = replace(layer, blob=BytesBlob(layer.blob.data + b"x"))
    shorter = replace(layer, blob=BytesBlob(layer.blob.data[:-1]))
    other = replace(layer, descriptor=replace(layer.descriptor, digest=Digest.of(b"else")))
    for broken in (longer, shorter, other):
        with pytest.raises(OcikitError):
            unpack_layer(broken, tmp_path / "root")


def test_a_layer_of_several_gzip_members_is_one_layer(make_layer, tmp_path):
    layer = make_layer(("a", FILE, {"data": b"x" * 5000}))
    plain = gzip.decompress(layer.blob.data)
    joined = b"".join(gzip.compress(plain[at : at + 700]) for at in range(0, len(plain), 700))
    split = replace(
        layer,
        blob=BytesBlob(joined),
        descriptor=replace(layer.descriptor, digest=Digest.of(joined), size=len(joined)),
    )
    unpack_layer(split, tmp_path / "root")
    assert (tmp_path / "root" / "a").stat().st_size == 5000


def packed(layer, data):
    """The layer with these bytes, which are said to be zstd's."""
    described = Descriptor(OCI_LAYER_ZSTD, Digest.of(data), len(data))
    return replace(layer, blob=BytesBlob(data), descriptor=described)


def test_a_layer_of_several_frames_of_zstd_is_one_layer(make_layer, tmp_path):
    layer = make_layer(("a", FILE, {"data": b"x" * 5000}))
    plain = gzip.decompress(layer.blob.data)
    joined = b"".join(zstandard.compress(plain[at : at + 700]) for at in range(0, len(plain), 700))
    unpack_layer(packed(layer, joined), tmp_path / "root")
    assert (tmp_path / "root" / "a").stat().st_size == 5000


def test_zstd_that_is_broken_cut_off_or_a_bomb_is_refused(make_layer, tmp_path):
    layer = make_layer(("a", FILE, {"data": b"x" * 5000}))
    whole = zstandard.compress(gzip.decompress(layer.blob.data))
    for broken in (b"", b"no zstd", whole[:-3], whole[:8] + b"\xff" + whole[9:], b"\x1f\x8b" + whole):
        with pytest.raises(OcikitError):
            unpack_layer(packed(layer, broken), tmp_path / "root")
    bomb = zstandard.compress(bytes(1 << 20)) * 64
    with pytest.raises(UnsafeArchiveError, match="more than"):
        list(layer_entries(packed(layer, bomb + whole), max_size=1 << 20))
    far = zstandard.ZstdCompressionParameters(window_log=28)  # as it would be held in memory to look back
    packer = zstandard.ZstdCompressor(compression_params=far).compressobj()
    data = packer.compress(bytes(1000)) + packer.flush()
    with pytest.raises(UnsafeArchiveError, match="zstd"):
        unpack_layer(packed(layer, data + whole), tmp_path / "root")


def test_a_compression_that_is_not_known_is_named(make_layer, tmp_path):
    layer = make_layer(("a", FILE, {}))
    zstd = replace(layer, descriptor=replace(layer.descriptor, media_type="application/x.tar+zstd"))
    with pytest.raises(OcikitError, match="tar\\+zstd"):
        unpack_layer(zstd, tmp_path / "root")
