"""Debian packages read by hand: real ones are, damaged ones are refused."""

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagboat.build.debian.deb import DebError, open_data, read_control


def member(name: str, content: bytes) -> bytes:
    header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
    return header + content + b"\n" * (len(content) % 2)


def archive(mode: str, files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


CONTROL = member("control.tar.gz", archive("w:gz", {"./md5sums": b"", "./control": b"Package: x\n"}))
DATA = member("data.tar.xz", archive("w:xz", {"./usr/share/x": b"content"}))
START = b"!<arch>\n" + member("debian-binary", b"2.0\n")


def test_files_and_control_are_read(tmp_path):
    deb = tmp_path / "x.deb"
    deb.write_bytes(START + CONTROL + DATA)
    assert read_control(deb) == b"Package: x\n"
    with open_data(deb) as tar:
        assert tar.extractfile("./usr/share/x").read() == b"content"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a Debian package"),
        (b"PK\x03\x04", "not a Debian package"),
        (START, "no data.tar inside"),
        (START + CONTROL, "no data.tar inside"),
        (START + DATA[:100], "cut off"),
        (START + DATA[:30], "damaged ar header"),
        (START + member("data.tar.lzma2", b""), "compressed in a way"),
        (START + member("data.tar.xz", b"rubbish"), "is damaged"),
    ],
)
def test_a_damaged_package_is_refused(tmp_path, content, message):
    deb = tmp_path / "x.deb"
    deb.write_bytes(content)
    with pytest.raises(DebError, match=message), open_data(deb):
        pass


@given(content=st.binary(max_size=400), cut=st.integers(0, 60))
def test_rubbish_is_refused_and_nothing_else(tmp_path_factory, content, cut):
    deb = tmp_path_factory.mktemp("deb") / "x.deb"
    deb.write_bytes((START + CONTROL)[: 8 + cut] + content)
    with pytest.raises(DebError):
        read_control(deb)
