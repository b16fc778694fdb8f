"""The SQLite file system (VFS) below the image: one file is one `Pages`.

SQLite keeps the pages that it uses in its own cache and has the file for itself (`locking_mode=EXCLUSIVE`),
so a page comes through here once when it is first read and once a commit that changes it.
"""

# ruff: noqa: N802, ARG002 -- the methods and their parameters are SQLite's

from __future__ import annotations

import itertools
from typing import Any, Final

import apsw

from bucketlog.pages import PAGE_SIZE, Pages

__all__ = ["open_pages"]

_NAME: Final = "bucketlog"
_HEADER: Final = 100  # bytes that SQLite reads before it knows the size of pages


class _FileSystem(apsw.VFS):
    """Names to pages, while a connection is being opened."""

    def __init__(self) -> None:
        super().__init__(_NAME, "")
        self.files: dict[str, Pages] = {}

    def xOpen(self, name: Any, flags: list[int]) -> Any:
        return _File(self.files[name.filename() if isinstance(name, apsw.URIFilename) else name])

    def xAccess(self, pathname: str, flags: int) -> bool:
        return False

    def xFullPathname(self, name: str) -> str:
        return name

    def xDelete(self, filename: str, syncdir: bool) -> None:
        raise FileNotFoundError(filename)


class _File:
    """A file of whole pages; nobody else has it open, so locks are nothing."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def xRead(self, amount: int, offset: int) -> bytes:
        page, start = divmod(offset, PAGE_SIZE)
        if page >= self._pages.count:
            return b""
        data = self._pages.read(page)
        return data if amount == PAGE_SIZE else data[start : start + amount]

    def xWrite(self, data: Any, offset: int) -> None:
        self._pages.write(offset // PAGE_SIZE, bytes(data))

    def xFileSize(self) -> int:
        return self._pages.count * PAGE_SIZE

    def xTruncate(self, size: int) -> None:
        self._pages.truncate(size // PAGE_SIZE)

    def xSync(self, flags: int) -> None:
        """Nothing: the log in the bucket is what lasts."""

    def xLock(self, level: int) -> None:
        """Nothing."""

    def xUnlock(self, level: int) -> None:
        """Nothing."""

    def xCheckReservedLock(self) -> bool:
        return False

    def xSectorSize(self) -> int:
        return PAGE_SIZE

    def xDeviceCharacteristics(self) -> int:
        return 0

    def xFileControl(self, op: int, pointer: int) -> bool:
        return False

    def xClose(self) -> None:
        """Nothing."""


_files: Final = _FileSystem()
_numbers: Final = itertools.count()


def open_pages(pages: Pages, *, cache_bytes: int) -> apsw.Connection:
    """A SQLite connection whose file is `pages`, with up to `cache_bytes` of pages in memory."""
    name = f"image-{next(_numbers)}"
    _files.files[name] = pages
    try:
        connection = apsw.Connection(name, vfs=_NAME, statementcachesize=512)
    finally:
        del _files.files[name]
    connection.execute(
        f"""
        PRAGMA page_size = {PAGE_SIZE};
        PRAGMA locking_mode = EXCLUSIVE;
        PRAGMA journal_mode = MEMORY;
        PRAGMA synchronous = OFF;
        PRAGMA cache_spill = OFF;
        PRAGMA secure_delete = ON; -- what excision takes out is nowhere in the pages
        PRAGMA temp_store = MEMORY;
        PRAGMA cache_size = -{cache_bytes // 1024};
        """
    ).fetchall()
    return connection
