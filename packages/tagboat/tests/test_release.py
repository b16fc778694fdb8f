"""Which release a machine runs, and packages as each distribution packs them."""

import subprocess

import pytest

from tagboat.build.debian.apt import AptError, open_apt
from tagboat.build.debian.deb import DebError, open_data, read_control
from tagboat.build.debian.release import Release


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('ID=debian\nVERSION_CODENAME=bookworm\nNAME="Debian GNU/Linux"\n', "debian:bookworm"),
        ("ID='ubuntu'\nVERSION_CODENAME=noble\nID_LIKE=debian\n", "ubuntu:noble"),
        ("ID=debian\n", None),
        ("ID=fedora\nVERSION_CODENAME=x\n", None),
        ("", None),
    ],
)
def test_the_release_is_read_from_os_release(tmp_path, text, expected):
    (tmp_path / "os-release").write_text(text)
    found = Release.of_this_machine(tmp_path / "os-release")
    assert (str(found) if found else None) == expected


def test_a_machine_without_os_release_runs_none_of_these(tmp_path):
    assert Release.of_this_machine(tmp_path / "os-release") is None


def test_another_distribution_of_the_same_kind_is_looked_for_by_its_name():
    noble = Release("ubuntu", "noble")
    with pytest.raises(AptError, match="knows no source for ubuntu:noble"), open_apt(noble, "amd64"):
        pass


@pytest.mark.parametrize("compression", ["xz", "gzip", "none", "zstd"])
def test_packages_are_read_however_they_are_packed(tmp_path, compression):
    (tmp_path / "tree" / "DEBIAN").mkdir(parents=True)
    control = "Package: hello\nVersion: 1\nArchitecture: all\nMaintainer: none\nDescription: greets\n"
    (tmp_path / "tree" / "DEBIAN" / "control").write_text(control)
    (tmp_path / "tree" / "hello").write_text("hello\n")
    deb = tmp_path / "hello.deb"
    subprocess.run(
        ["dpkg-deb", f"-Z{compression}", "--build", tmp_path / "tree", deb], check=True, capture_output=True
    )
    assert read_control(deb).decode() == control
    with open_data(deb) as tar:
        assert tar.extractfile("./hello").read() == b"hello\n"


def test_a_package_that_dpkg_cannot_read_is_refused_in_its_words(tmp_path):
    member = b"data.tar.zst".ljust(48) + b"4".ljust(10) + b"`\n" + b"oops"
    deb = tmp_path / "bad.deb"
    deb.write_bytes(b"!<arch>\n" + member)
    with pytest.raises(DebError, match=r"bad\.deb: dpkg-deb"), open_data(deb):
        pass
