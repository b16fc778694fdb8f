"""What is taken from the machine's apt configuration, and how the real apt behaves with it."""

import hashlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagboat.build.debian.apt import AptError, Source, open_apt, parse_deb822, parse_one_line
from tagboat.build.debian.release import Release

NOWHERE = "http://127.0.0.1:9/debian"  # the discard port: nobody answers there
ARCHITECTURE = subprocess.run(
    ["dpkg", "--print-architecture"], check=True, capture_output=True, text=True
).stdout.strip()


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """An apt configuration with nothing but the sources that a test writes into the returned file."""
    sources = tmp_path / "machine.list"
    sources.touch()
    conf = tmp_path / "machine.conf"
    conf.write_text(f'Dir::Etc::sourcelist "{sources}";\nDir::Etc::sourceparts "/dev/null";\n')
    monkeypatch.setenv("APT_CONFIG", str(conf))
    return sources


@pytest.fixture(scope="session")
def archive(tmp_path_factory):
    """An archive for bookworm that is signed by nobody and says that it is Debian's."""
    root = tmp_path_factory.mktemp("archive")
    folder = root / "dists" / "bookworm"
    (folder / "main" / f"binary-{ARCHITECTURE}").mkdir(parents=True)
    (folder / "main" / f"binary-{ARCHITECTURE}" / "Packages").write_text("")
    (folder / "Release").write_text(
        "Origin: Debian\nSuite: oldstable\nCodename: bookworm\nDate: Sat, 01 Jul 2023 00:00:00 UTC\n"
        f"Architectures: {ARCHITECTURE}\nComponents: main\nSHA256:\n"
        f" {hashlib.sha256().hexdigest()} 0 main/binary-{ARCHITECTURE}/Packages\n"
    )
    return root


def test_deb822_sources_are_read_with_what_verifies_them():
    text = """\
# Debian
Types: deb deb-src
URIs: http://deb.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDMEX
 -----END PGP PUBLIC KEY BLOCK-----
Trusted: yes

Types: deb
URIs: http://off.example
Suites: bookworm
Components: main
Enabled: no

Types: deb-src
URIs: http://source.example
Suites: bookworm
Components: main

types: deb
uris: http://one.example http://two.example
suites: ./
architectures: amd64 arm64
signed-by: /usr/share/keyrings/x.gpg
"""
    first, second = parse_deb822(text)
    assert first.uris == ("http://deb.example/debian",)
    assert first.suites == ("bookworm", "bookworm-updates")
    assert first.components == ("main", "contrib")
    assert set(first.fields) == {"Signed-By"}  # `Trusted` would switch the verification off
    assert "Signed-By: \n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDMEX\n" in first.stanza()
    assert second.uris == ("http://one.example", "http://two.example")
    assert second.architectures == ("amd64", "arm64")


def test_one_line_sources_are_read_with_what_verifies_them():
    text = """\
# deb http://off.example bookworm main
deb http://deb.example/debian bookworm main contrib # all of it
deb-src http://deb.example/debian bookworm main
deb [ arch=amd64,arm64 signed-by=/k.gpg trusted=yes ] http://x.example/ bookworm-security main
"""
    assert list(parse_one_line(text)) == [
        Source(("http://deb.example/debian",), ("bookworm",), ("main", "contrib")),
        Source(
            ("http://x.example/",),
            ("bookworm-security",),
            ("main",),
            ("amd64", "arm64"),
            {"Signed-By": "/k.gpg"},
        ),
    ]


@given(st.text())
def test_no_text_makes_the_parsers_fail(text):
    list(parse_deb822(text))
    list(parse_one_line(text))


def test_a_suite_that_the_machine_does_not_know_is_refused_with_those_that_it_does(machine):
    machine.write_text(f"deb {NOWHERE} bookworm main\ndeb {NOWHERE} other main\n")
    with pytest.raises(AptError) as caught, open_apt(Release("debian", "forky"), ARCHITECTURE):
        pass
    assert "knows no source for debian:forky" in str(caught.value)
    assert "bookworm, other" in caught.value.hint


def test_an_archive_that_cannot_be_reached_is_refused_with_apts_own_words(machine):
    machine.write_text(f"deb {NOWHERE} bookworm main\n")
    with (
        pytest.raises(AptError, match=r"Debian's bookworm cannot be used: .*127\.0\.0\.1"),
        open_apt(Release("debian", "bookworm"), ARCHITECTURE),
    ):
        pass


@pytest.mark.parametrize("options", ["", "[trusted=yes] ", "[allow-insecure=yes] "])
def test_an_archive_without_a_good_signature_is_refused_whatever_the_machine_says(machine, archive, options):
    machine.write_text(f"deb {options}file:{archive} bookworm main\n")
    with (
        pytest.raises(AptError, match=r"Debian's bookworm cannot be used: .*not signed"),
        open_apt(Release("debian", "bookworm"), ARCHITECTURE),
    ):
        pass


def test_what_others_publish_for_the_suite_is_left_alone(tmp_path, machine, monkeypatch):
    """An archive of somebody else that nobody answers for does not matter, nor do the machine's hooks run."""
    monkeypatch.delenv("APT_CONFIG")
    settings = subprocess.run(
        ["apt-config", "shell", "list", "Dir::Etc::sourcelist/f", "parts", "Dir::Etc::sourceparts/d"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    found = dict(line.replace("'", "").split("=") for line in settings.splitlines())
    parts = tmp_path / "parts"
    parts.mkdir()
    for file in [
        Path(found["list"]),
        *Path(found["parts"]).glob("*.sources"),
        *Path(found["parts"]).glob("*.list"),
    ]:
        if file.is_file():
            (parts / file.name).write_text(file.read_text())
    (parts / "other.list").write_text(f"deb {NOWHERE} bookworm main\n")
    conf = tmp_path / "more.conf"
    conf.write_text(
        f'Dir::Etc::sourcelist "/dev/null";\nDir::Etc::sourceparts "{parts}";\n'
        f'APT::Update::Post-Invoke {{ "touch {tmp_path}/hook"; }};\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(conf))
    with open_apt(Release("debian", "bookworm"), ARCHITECTURE) as apt:
        names = [package.name for package in apt.resolve(["netbase"])]
    assert names == ["netbase"]
    assert not (tmp_path / "hook").exists()
