"""A layer's entries without unpacking it: as they are, and only of a layer that is what it promises."""

import hashlib
import io
import tarfile
from dataclasses import replace

import pytest

from ocikit import (
    BytesBlob,
    Descriptor,
    Digest,
    DigestMismatchError,
    Layer,
    UnsafeArchiveError,
    layer_entries,
)
from ocikit.manifest import OCI_LAYER


def layer_of(data: bytes) -> Layer:
    digest = Digest.of(data)
    return Layer(Descriptor(OCI_LAYER, digest, len(data)), digest, BytesBlob(data))


def archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, kind, content, target in (
            ("./etc/", tarfile.DIRTYPE, b"", ""),
            ("etc/hosts", tarfile.REGTYPE, b"here", ""),
            ("etc/again", tarfile.LNKTYPE, b"", "etc/hosts"),
            ("etc/link", tarfile.SYMTYPE, b"", "../out"),
            ("../hostile", tarfile.REGTYPE, b"", ""),
            ("dev/null", tarfile.CHRTYPE, b"", ""),
            (".wh.gone", tarfile.REGTYPE, b"", ""),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname, info.mode, info.uid = kind, len(content), target, 0o640, 7
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def test_entries_are_given_as_they_are():
    entries = list(layer_entries(layer_of(archive())))
    assert [(entry.path, entry.kind) for entry in entries] == [
        ("etc", "directory"),
        ("etc/hosts", "file"),
        ("etc/again", "hardlink"),
        ("etc/link", "symlink"),
        ("../hostile", "file"),
        ("dev/null", "device"),
        (".wh.gone", "file"),
    ]
    hosts = entries[1]
    assert (hosts.mode, hosts.uid, hosts.size) == (0o640, 7, 4)
    assert hosts.sha256 == hashlib.sha256(b"here").hexdigest()
    assert [entry.target for entry in entries[2:4]] == ["etc/hosts", "../out"]


def test_a_layer_with_another_content_is_refused():
    layer = replace(layer_of(archive()), diff_id=Digest.of(b"another"))
    with pytest.raises(DigestMismatchError, match="diff ID"):
        list(layer_entries(layer))


def test_more_than_the_limit_is_refused():
    with pytest.raises(UnsafeArchiveError, match="more than 600 bytes"):
        list(layer_entries(layer_of(archive()), max_size=600))
