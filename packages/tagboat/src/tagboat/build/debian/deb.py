"""Debian binary packages: an `ar` archive of two tars (deb(5)), read here; dpkg helps where zstd is in it."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tagboat.errors import TagboatError

_MAGIC = b"!<arch>\n"
_HEADER = 60  # bytes: name 16, time 12, owner 6, group 6, mode 8, size 10, end 2
_COMPRESSIONS = ("", ".gz", ".xz")


class DebError(TagboatError):
    """A file is not the Debian package that it should be."""


@contextmanager
def open_data(deb: Path) -> Iterator[tarfile.TarFile]:
    """The files of a package, in the order of the archive. Raises DebError for a malformed package."""
    with _open_member(deb, "data.tar") as tar:
        yield tar


def read_control(deb: Path) -> bytes:
    """The control file: the package's fields as dpkg's status knows them. Raises DebError."""
    with _open_member(deb, "control.tar") as tar:
        for member in tar:
            if member.name.removeprefix("./") == "control":
                file = tar.extractfile(member)
                if file is not None:
                    return file.read()
    raise DebError(f"{deb.name}: no control file inside")


@contextmanager
def _open_member(deb: Path, stem: str) -> Iterator[tarfile.TarFile]:
    for name, content in _members(deb):
        if name.startswith(stem):
            zstd = name == f"{stem}.zst"  # as Ubuntu packs; Python reads it from 3.14 on
            if not zstd and name.removeprefix(stem) not in _COMPRESSIONS:
                raise DebError(f"{deb.name}: {name} is compressed in a way that Debian does not use")
            try:
                plain = _unpacked_by_dpkg(deb, stem) if zstd else content
                with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
                    yield tar
            except (tarfile.TarError, OSError, EOFError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise  # of the disk
                raise DebError(f"{deb.name}: {name} is damaged: {error}") from error
            return
    raise DebError(f"{deb.name}: no {stem} inside")


def _unpacked_by_dpkg(deb: Path, stem: str) -> bytes:
    option = {"data.tar": "--fsys-tarfile", "control.tar": "--ctrl-tarfile"}[stem]
    try:
        done = subprocess.run(["dpkg-deb", option, deb], capture_output=True, check=True)
    except FileNotFoundError:
        raise DebError(f"{deb.name} is packed by zstd, which takes dpkg-deb to read") from None
    except subprocess.CalledProcessError as error:
        raise DebError(f"{deb.name}: {error.stderr.decode(errors='replace').strip()}") from error
    return done.stdout


def _members(deb: Path) -> Iterator[tuple[str, bytes]]:
    with deb.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise DebError(f"{deb.name}: not a Debian package (no ar archive)")
        while header := file.read(_HEADER):
            size = header[48:58].strip()
            if len(header) != _HEADER or header[58:] != b"`\n" or not size.isdigit():
                raise DebError(f"{deb.name}: damaged ar header")
            content = file.read(int(size))
            if len(content) != int(size):
                raise DebError(f"{deb.name}: cut off")
            file.read(int(size) % 2)  # members begin at even offsets
            yield header[:16].decode("ascii", "replace").rstrip(" /"), content
