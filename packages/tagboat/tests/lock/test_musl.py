"""Bases on musl, recognised and given wheels for musl.

No machine that tests run on has one, so the loader of this base stands in for musl's: it says who it is as
musl does, and starts this machine's Python in place of the base's.
"""

import sys

import pytest

from ocikit import History, Image, LayerWriter, Layout, Platform, unpack
from tagboat.build import build
from tagboat.build.base import resolve_base
from tagboat.build.cache import Cache
from tagboat.build.interpreter import (
    Interpreter,
    InterpreterError,
    Libc,
    find_foreign_interpreter,
    find_interpreter,
)
from tagboat.component import Component
from tagboat.errors import ConfigError

LOADER = "/lib/ld-musl-x86_64.so.1"
VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
SCRIPT = f"""#!/bin/sh
if [ $# = 0 ]; then
    printf 'musl libc (x86_64)\\nVersion 1.2.5\\nDynamic Program Loader\\n' >&2
    exit 1
fi
[ "$1" = --library-path ] || exit 2
shift 3
unset PYTHONHOME
exec {sys.executable} "$@"
"""


def program(loader: str) -> bytes:
    """The part of an ELF-64 program that names its loader (PT_INTERP)."""
    name = loader.encode() + b"\0"
    header = b"\x7fELF\x02\x01\x01".ljust(32, b"\0") + (64).to_bytes(8, "little")
    header = header.ljust(54, b"\0") + (56).to_bytes(2, "little") + (1).to_bytes(2, "little")
    entry = (3).to_bytes(4, "little") + bytes(4) + (120).to_bytes(8, "little") + bytes(16)
    return header.ljust(64, b"\0") + (entry + len(name).to_bytes(8, "little")).ljust(56, b"\0") + name


def write_base(root, loader: str = SCRIPT):
    for folder in ("usr/bin", "lib"):
        (root / folder).mkdir(parents=True)
    (root / f"usr/bin/python{VERSION}").write_bytes(program(LOADER))
    (root / "usr/bin/python3").symlink_to(f"python{VERSION}")
    (root / LOADER.lstrip("/")).write_text(loader)
    for file in (root / f"usr/bin/python{VERSION}", root / LOADER.lstrip("/")):
        file.chmod(0o755)
    return root


@pytest.fixture
def on_musl(shop, edit, tmp_path):
    """The component of a locked workspace, on a base with musl, which is in an OCI layout."""
    files = write_base(tmp_path / "root")
    with LayerWriter(tmp_path / "base.tar.gz") as writer:
        for path in sorted(files.rglob("*")):
            name = str(path.relative_to(files))
            if path.is_symlink():
                writer.symlink(name, str(path.readlink()))
            elif path.is_file():
                writer.file(name, path, mode=0o755)
            else:
                writer.directory(name)
        layer = writer.finish()
    image = Image.empty(Platform.host()).append(layer, History(created_by="test"))
    Layout(tmp_path / "base").write(image, "latest")
    edit(
        shop / "pyproject.toml",
        "[build-system]",
        f'[tool.tagboat]\nbase = "oci:{tmp_path}/base"\n[build-system]',
    )
    return shop


def test_musl_is_recognised_by_its_loader_and_asked_for_its_version(tmp_path):
    found = find_interpreter(write_base(tmp_path / "root"), path=None, search="/usr/local/bin:/usr/bin")
    assert found == Interpreter(f"/usr/bin/python{VERSION}", sys.version_info[:3], Libc("musl", (1, 2)))
    assert str(found.libc) == "musl 1.2"


def test_a_loader_that_does_not_say_what_it_is_is_refused(tmp_path):
    root = write_base(tmp_path / "root", SCRIPT.replace("musl libc", "some libc"))
    with pytest.raises(
        InterpreterError, match=f"{LOADER} of the base does not say which musl it is: 'some libc"
    ):
        find_interpreter(root, path=None, search="/usr/bin")


def test_an_image_on_musl_gets_wheels_for_musl(on_musl, house, tmp_path):
    component = Component.load(on_musl)
    cache = tmp_path / "cache"
    base, _ = resolve_base(component, Platform.host(), Cache.open(cache), progress=[].append)
    assert base.interpreter.libc == Libc("musl", (1, 2))
    again, _ = resolve_base(component, Platform.host(), Cache.open(cache), progress=[].append)
    assert again.interpreter == base.interpreter  # as it was kept in the cache
    unpack(build(component, cache, progress=[].append), tmp_path / "files", ownership=False)
    site = tmp_path / "files" / "opt" / "venv" / "lib" / f"python{VERSION}" / "site-packages"
    assert "musllinux_1_2" in (site / "native" / "__init__.py").read_text()
    assert (site / "native" / "__pycache__").is_dir()


def test_a_package_that_has_wheels_for_glibc_alone_is_refused(on_musl, house, uv, edit, tmp_path):
    edit(on_musl / "pyproject.toml", '"native"', '"native", "onglibc"')
    uv(on_musl, "lock")
    with pytest.raises(ConfigError, match=r"onglibc 1\.0 has no wheel for .* with musl 1\.2") as caught:
        build(Component.load(on_musl), tmp_path / "cache", progress=[].append)
    assert "for glibc, and the base has musl 1.2: onglibc-1.0-py3-none-manylinux_2_17" in str(caught.value)


@pytest.mark.parametrize(
    ("libc", "complaint"),
    [
        (b"Linux\x001.2.5\x00Unsupported", None),
        (b"Linux\x001.1.24\x00Unsupported", "does not have musl 1.2"),
        (b"Linux\x001.2.5.1\x00Unsupported", "does not have musl 1.2"),
        (b"", "does not have musl 1.2"),
    ],
)
def test_another_architecture_must_have_the_same_musl(tmp_path, libc, complaint):
    root = write_base(tmp_path / "root")
    (root / f"usr/bin/python{VERSION}").write_bytes(b"\x7fELF\x00" + VERSION.encode() + b".1\x00")
    (root / LOADER.lstrip("/")).write_bytes(libc)
    like = Interpreter(f"/usr/bin/python{VERSION}", (*sys.version_info[:2], 1), Libc("musl", (1, 2)))
    if complaint is None:
        assert find_foreign_interpreter(root, like, path=None, search="/usr/bin") == like
    else:
        with pytest.raises(InterpreterError, match=complaint):
            find_foreign_interpreter(root, like, path=None, search="/usr/bin")
