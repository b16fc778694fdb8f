"""The packages of a base, locked: the file, what is fetched by it, and how the command moves a pin."""

import hashlib
import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocikit import Image, Platform, Reference, Registry
from tagboat.build import build
from tagboat.build.debian.apt import AptError, Package, open_apt
from tagboat.build.debian.lock import BaseLock, changes, read_base_lock
from tagboat.build.debian.release import Release
from tagboat.component import Component
from tagboat.errors import ConfigError

BOOKWORM = Release("debian", "bookworm")
DASH = Package("dash", "0.5.12-2", "amd64", 91848, "ab" * 32, "pool/main/d/dash/dash_0.5.12-2_amd64.deb")
LOCK = BaseLock(BOOKWORM, datetime(2026, 11, 1, 12, tzinfo=UTC), {"amd64": (DASH,)})

texts = st.text(st.characters(codec="utf-8", exclude_characters="\x7f"), max_size=20)  # none of Debian has it
packages = st.builds(
    Package,
    texts,
    texts,
    texts,
    st.integers(0, 1 << 40),
    st.binary(min_size=32, max_size=32).map(bytes.hex),
    texts,
)


@given(
    st.dictionaries(
        st.sampled_from(["amd64", "arm64"]), st.lists(packages, min_size=1, max_size=4), min_size=1
    )
)
def test_what_is_written_is_read_again(tmp_path_factory, found):
    lock = BaseLock(BOOKWORM, LOCK.date, {name: tuple(sorted(entries)) for name, entries in found.items()})
    file = tmp_path_factory.mktemp("lock") / "base.lock"
    file.write_text(lock.to_toml(), encoding="utf-8")
    assert read_base_lock(file, BOOKWORM) == lock


def test_each_package_has_a_line_of_its_own():
    text = replace(LOCK, packages={"amd64": (DASH, replace(DASH, name="zlib1g"))}).to_toml()
    assert len([line for line in text.splitlines() if "sha256" in line]) == 2


def test_a_lock_of_another_release_is_refused(tmp_path):
    (tmp_path / "base.lock").write_text(LOCK.to_toml())
    with pytest.raises(
        ConfigError, match=r"base\.lock locks debian:bookworm, and .* is debian:trixie"
    ) as caught:
        read_base_lock(tmp_path / "base.lock", Release("debian", "trixie"))
    assert "tagboat base update" in caught.value.hint


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("size = 91848", 'size = "91848"', r"amd64\[0\]\.size is '91848'"),
        ("size = 91848", "size = true", r"amd64\[0\]\.size is True"),
        ("ab" * 32, "ab" * 31, r"amd64\[0\]\.sha256 is 'abab"),
        ('name = "dash"', 'nome = "dash"', r"amd64\[0\] is not a package with name, version"),
        ("date = 2026-11-01T12:00:00Z", "date = 2026-11-01", "date is not a time with its zone"),
        ("amd64 = [", "amd64 = 1\nx = [", "amd64 is not a list of packages"),
        ("release =", "release", "cannot be read"),
    ],
)
def test_a_damaged_lock_is_refused_with_the_place(tmp_path, old, new, complaint):
    text = LOCK.to_toml()
    assert old in text
    (tmp_path / "base.lock").write_text(text.replace(old, new))
    with pytest.raises(ConfigError, match=complaint):
        read_base_lock(tmp_path / "base.lock", BOOKWORM)


def test_an_architecture_that_is_not_locked_is_named(tmp_path):
    with pytest.raises(ConfigError, match="locks no packages for arm64: it has amd64"):
        LOCK.of("arm64", tmp_path / "base.lock")


def test_changes_are_told_by_package():
    newer = replace(DASH, version="0.5.13")
    other = replace(DASH, name="netbase", version="6.4")
    assert changes([DASH], [newer, other]) == ["dash 0.5.12-2 -> 0.5.13", "netbase (none) -> 6.4"]
    assert changes([DASH], []) == ["dash 0.5.12-2 -> (none)"]


# What the lock names is fetched from whichever archive has it


@pytest.fixture
def archives(tmp_path, monkeypatch):
    """Two archives of this machine's apt, without any index; gives their folders."""
    folders = [tmp_path / "one", tmp_path / "two+more"]
    for folder in folders:
        (folder / "pool").mkdir(parents=True)
    sources = tmp_path / "machine.list"
    sources.write_text("".join(f"deb file:{folder} bookworm main\n" for folder in folders))
    conf = tmp_path / "machine.conf"
    conf.write_text(f'Dir::Etc::sourcelist "{sources}";\nDir::Etc::sourceparts "/dev/null";\n')
    monkeypatch.setenv("APT_CONFIG", str(conf))
    return folders


def package_of(content: bytes, name: str = "x") -> Package:
    file = f"{name}_1%3a2~3+4_all.deb"
    return Package(name, "1:2~3+4", "all", len(content), hashlib.sha256(content).hexdigest(), f"pool/{file}")


def test_each_archive_is_asked_for_what_the_ones_before_do_not_have(archives):
    wanted = {}
    for folder, content in zip(archives, (b"first", b"second"), strict=True):
        package = package_of(content, content.decode())
        (folder / package.path).write_bytes(content)
        wanted[package] = content
    with open_apt(BOOKWORM, "amd64", index=False) as apt:
        assert {package: file.read_bytes() for package, file in apt.fetch(wanted)} == wanted


def test_what_no_archive_has_any_more_is_named(archives):
    with (
        open_apt(BOOKWORM, "amd64", index=False) as apt,
        pytest.raises(AptError, match=r"debian:bookworm does not have x 1:2~3\+4") as caught,
    ):
        list(apt.fetch([package_of(b"gone")]))
    assert "`tagboat base update`" in caught.value.hint


def test_another_file_under_the_same_name_is_refused(archives):
    package = package_of(b"right")
    (archives[0] / package.path).write_bytes(b"wrong")
    with open_apt(BOOKWORM, "amd64", index=False) as apt, pytest.raises(AptError, match="does not have x"):
        list(apt.fetch([package]))


# The command


def test_a_base_is_locked_for_both_architectures_and_built_as_locked(project, build_cache, built, tagboat):
    done = tagboat("base", "update")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^amd64: dash \(none\) -> ", done.stdout, re.MULTILINE)
    lock = read_base_lock(project.directory / "base.lock", BOOKWORM)
    assert {package.name for package in lock.packages["arm64"]} == {p.name for p in lock.packages["amd64"]}
    assert "://" not in (project.directory / "base.lock").read_text()

    again = tagboat("base", "update", "--check")
    assert (again.returncode, again.stdout) == (0, "")

    # A lock with one package less is what the image is made of, whatever the cache knows.
    architecture = built.build.image.config.platform.architecture
    fewer = tuple(package for package in lock.packages[architecture] if package.name != "netbase")
    (project.directory / "base.lock").write_text(replace(lock, packages={architecture: fewer}).to_toml())
    image = build(Component.load(project.directory), build_cache, progress=lambda _: None)
    assert image.layers[0].diff_id != built.build.image.layers[0].diff_id

    missing = tagboat("base", "update", "--check")
    assert missing.returncode == 1
    assert re.search(rf"^{architecture}: netbase \(none\) -> ", missing.stdout, re.MULTILINE)


def test_an_old_lock_is_told(project, build_cache, built):
    known = (build_cache / "debian" / "bookworm.lock").read_text()
    old = re.sub(r"^date = .*$", "date = 2024-01-01T00:00:00Z", known, flags=re.MULTILINE)
    (project.directory / "base.lock").write_text(old)
    lines = []
    image = build(Component.load(project.directory), build_cache, progress=lines.append)
    assert image.layers[0].diff_id == built.build.image.layers[0].diff_id
    assert any(re.search(r"bookworm are \d+ days old: `tagboat base update`", line) for line in lines)


def push(registry: str, number: int) -> str:
    """Push an empty image as `base:1`; its digest."""
    image = Image.empty(Platform("linux", "amd64"))
    image = image.with_config(replace(image.config.config, labels={"number": str(number)}))
    with Registry(registry) as client:
        return str(client.push(image, Reference(registry, "base", "1")))


def test_the_digest_of_a_registry_image_follows_its_tag(project, tagboat, registry):
    first = push(registry, 1)
    project.pyproject.write_text(
        project.pyproject.read_text().replace("debian:bookworm", f"{registry}/base:1")
    )
    done = tagboat("base", "update")
    assert done.stdout == f"{registry}/base:1: (not pinned) -> {first}\n", done.stderr
    assert f'base = "{registry}/base:1@{first}"' in project.pyproject.read_text()

    second = push(registry, 2)
    check = tagboat("base", "update", "--check")
    assert (check.returncode, check.stdout) == (1, f"{registry}/base:1: {first} -> {second}\n")
    assert first in project.pyproject.read_text()
    assert tagboat("base", "update").returncode == 0
    assert f'base = "{registry}/base:1@{second}"' in project.pyproject.read_text()


@pytest.mark.parametrize(
    ("base", "complaint"),
    [
        ("oci:../image", "is a file"),
        (f"127.0.0.1:1/base@sha256:{'0' * 64}", "has no tag"),
    ],
)
def test_what_nothing_pins_is_not_updated(project, tagboat, base, complaint):
    project.pyproject.write_text(project.pyproject.read_text().replace("debian:bookworm", base))
    done = tagboat("base", "update")
    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in done.stderr
