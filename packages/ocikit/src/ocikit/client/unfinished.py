"""Uploads that have begun, noted on disk: where a process was killed, the next one goes on with them.

A note says where the registry wants the bytes, and nothing of who we are. How many are there it knows alone,
and is asked. The lock on a note is the kernel's, and goes with the process that has it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

_LASTS: Final = 86400  # seconds; registries forget an upload sooner
_MOST: Final = 100  # notes in a folder
_LARGEST: Final = 8 << 10  # bytes of one
_SUFFIX: Final = ".upload"


class Note:
    """What is noted of one upload, as far as anything is: a JSON value."""

    def __init__(self, handle: int | None) -> None:
        self._handle = handle
        self.is_over = False
        """Whether the upload has come to its end, one way or the other, and the note is no use any more."""

    def read(self) -> Any:
        """None where there is none, or one that makes no sense."""
        if self._handle is None:
            return None
        try:
            return json.loads(os.pread(self._handle, _LARGEST, 0))
        except (OSError, ValueError, RecursionError):
            return None

    def write(self, what: Any) -> None:
        """Of a disk that is full nobody is told: the upload itself needs none."""
        text = json.dumps(what).encode()
        if self._handle is not None and len(text) <= _LARGEST:
            with suppress(OSError):
                os.ftruncate(self._handle, 0)
                os.pwrite(self._handle, text, 0)


@contextmanager
def noted(folder: Path | None, *name: str) -> Iterator[Note]:
    """The note in `folder` of the upload with that `name`, ours alone.

    It is empty, and stays so, while another process has it, and where nothing can be noted.
    """
    path = None if folder is None else folder / f"{_hashed(name)}{_SUFFIX}"
    handle = None if path is None else _locked(path)
    note = Note(handle)
    try:
        yield note
    finally:
        if path is not None and handle is not None:
            if note.is_over:
                path.unlink(missing_ok=True)
            os.close(handle)


def _locked(path: Path) -> int | None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sweep(path.parent)
        if not path.exists() and sum(1 for _ in path.parent.glob(f"*{_SUFFIX}")) >= _MOST:
            return None
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def _hashed(name: tuple[str, ...]) -> str:
    return hashlib.sha256("\n".join(name).encode()).hexdigest()


def _sweep(folder: Path) -> None:
    for path in folder.glob(f"*{_SUFFIX}"):
        with suppress(OSError):
            if path.stat().st_mtime < time.time() - _LASTS:
                path.unlink()
