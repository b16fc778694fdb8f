"""Wheels laid out as an installer would (PyPA specification "Binary distribution format").

Only the plain ones, which just lie in `site-packages`: to start an installer for them takes longer than this.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from ocikit import MAX_ENTRIES, MAX_SIZE
from tagboat.build.interpreter import Interpreter
from tagboat.errors import TagboatError


class UnpackingError(TagboatError):
    """The file is no wheel, or one that is too large unpacked."""


def lay_out(wheels: Iterable[Path], prefix: Path, interpreter: Interpreter) -> bool:
    """Put the files of all wheels below `prefix`; False, with nothing there, when one of them is not plain.

    Raises UnpackingError.
    """
    site = prefix / "lib" / f"python{interpreter.short}" / "site-packages"
    opened = []
    try:
        for wheel in wheels:
            opened.append(zipfile.ZipFile(wheel))
            _check_size(wheel.name, opened[-1])
            if not is_plain(opened[-1]):
                return False
        for archive in opened:
            _extract(archive, site)
    except zipfile.BadZipFile as error:
        raise UnpackingError(f"{wheel.name} is no wheel: {error}") from error
    finally:
        for archive in opened:
            archive.close()
    return True


def _check_size(name: str, wheel: zipfile.ZipFile) -> None:
    """What the directory of a zip says is the most that is ever read of a file."""
    entries = wheel.infolist()
    size = sum(entry.file_size for entry in entries)
    if size > MAX_SIZE or len(entries) > MAX_ENTRIES:
        raise UnpackingError(
            f"{name} has {size} bytes in {len(entries)} files unpacked; "
            f"{MAX_SIZE} and {MAX_ENTRIES} are the most"
        )


def is_plain(wheel: zipfile.ZipFile) -> bool:
    """Whether all of it belongs into `site-packages` as it is."""
    return not any(PurePosixPath(name).parts[0].endswith(".data") for name in wheel.namelist())


def _extract(archive: zipfile.ZipFile, site: Path) -> None:
    for entry in archive.infolist():
        path = Path(archive.extract(entry, site))  # a name that leads elsewhere is cut
        if not entry.is_dir() and entry.external_attr >> 16 & 0o111:
            path.chmod(0o755)
