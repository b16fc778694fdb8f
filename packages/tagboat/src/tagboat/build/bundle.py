"""An interpreter that is no part of the base: files in an archive, which become a layer of their own.

Anything that runs where it is unpacked will do: a Python that was built elsewhere, or, on `scratch`, one with
its C library and loader.
"""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path
from typing import Final

from ocikit import History, Image, LayerWriter, OcikitError
from tagboat.build.cache import Cache, key_of
from tagboat.errors import ConfigError

_FORMAT: Final = "1"  # raise it when the same archive would make other bytes
_LARGEST: Final = 512 << 20  # bytes of one file, which is held in memory
_EPOCH: Final = "1970-01-01T00:00:00Z"


def with_interpreter(image: Image, archive: Path, cache: Cache) -> tuple[Image, bool]:
    """The image with what is in `archive` above it, and whether that layer had to be made.

    Times, owners and modes of the archive are left behind, but for the executable bit. Raises ConfigError
    for what is no tar, or holds what an image does not.
    """
    try:
        with archive.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        layer, made = cache.layer(
            key_of(_FORMAT, "interpreter", digest), lambda writer: _write(archive, writer), lasting=True
        )
    except (OSError, EOFError, tarfile.TarError, OcikitError) as error:
        raise ConfigError(f"tool.tagboat.interpreter: {archive} cannot be used: {error}") from error
    return image.append(layer, History(created=_EPOCH, created_by="tagboat interpreter")), made


def _write(archive: Path, writer: LayerWriter) -> None:
    with tarfile.open(archive, "r:*") as tar:
        for member in tar:
            name = member.name.removeprefix("./").rstrip("/")
            if name in ("", "."):
                continue
            if member.isdir():
                writer.directory(name)
            elif member.issym():
                writer.symlink(name, member.linkname)
            elif member.islnk():
                writer.hardlink(name, member.linkname.removeprefix("./"))
            elif member.isfile() and member.size <= _LARGEST:
                content = tar.extractfile(member)
                data = content.read() if content is not None else b""
                writer.file(name, data, 0o755 if member.mode & 0o111 else 0o644)
            else:
                raise OcikitError(f"{name} is no file of at most {_LARGEST} bytes, no folder and no link")
