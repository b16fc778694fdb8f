"""Files that outlast a crash, and a power failure: whole or not there."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["fsync", "write"]


def write(path: Path, content: bytes, *, mode: int, lasting: bool = True) -> None:
    """Whole or not at all, and never readable by others in between. What is there already is not written
    again: so a full disk does not stop what changes nothing. `lasting`: on the disk before it has its name,
    as it has to be that no start can make again.
    """
    with suppress(OSError):
        if path.read_bytes() == content and path.stat().st_mode & 0o777 == mode:
            return
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        if lasting:
            file.flush()
            os.fsync(file.fileno())
    new.replace(path)


def fsync(path: Path) -> None:
    """Have what is in a file or a folder on the disk before going on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
