"""Objects as files in their bucket's folder: whole or not there, and on the disk once acknowledged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from homeport.aws.errors import ApiError
from homeport.disk import fsync


@dataclass(frozen=True, slots=True)
class Object:
    """What is known of an object; `etag` is another one for each content that a key ever had."""

    key: str
    size: int
    etag: str
    modified: datetime

    @classmethod
    def of(cls, key: str, status: os.stat_result) -> Object:
        etag = f'"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"'
        return cls(key, status.st_size, etag, datetime.fromtimestamp(status.st_mtime, UTC))


def put(folder: Path, key: str, source: Path, *, create: bool) -> Object:
    """Make the file `source`, which is on the same file system, the object; its old name may be gone then.

    With `create` of any number of callers one alone wins. Raises ApiError PreconditionFailed for the others,
    and InvalidArgument when the key is a folder of other keys or below another key.
    """
    target = folder / key
    fsync(source)
    status = source.stat()
    while True:
        made = not target.parent.is_dir()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if create:
                target.hardlink_to(source)  # which never replaces a file
            else:
                source.replace(target)
            break
        except FileNotFoundError:
            if not source.exists():
                raise
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            _explain(folder, target, create=create)
        # What was in the way has been removed meanwhile, or the folder with its last object.
    with suppress(FileNotFoundError):  # removed again already
        _settle(target.parent, folder if made else target.parent)
    return Object.of(key, status)


def _explain(folder: Path, target: Path, *, create: bool) -> None:
    """Raise what stands in the way of a new object, if it still does."""
    if create and target.is_file():
        raise ApiError("PreconditionFailed", "an object of this key is there already", 412)
    around = [path for path in target.parents if path.is_relative_to(folder)]
    if target.is_dir() or any(path.is_file() for path in around):
        raise ApiError("InvalidArgument", "here no key can be below another, as no file is below a file", 400)


def open_object(folder: Path, key: str) -> tuple[Object, BinaryIO]:
    """An object and its content, whatever happens to the key later. Raises ApiError NoSuchKey."""
    try:
        file = (folder / key).open("rb")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise ApiError("NoSuchKey", "the bucket has no such key", 404) from None
    return Object.of(key, os.fstat(file.fileno())), file


def remove(folder: Path, key: str) -> None:
    """Remove an object, if it is there, and the folders that it leaves empty."""
    target = folder / key
    with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
        target.unlink()
        with suppress(OSError):  # not empty
            while target.parent != folder:
                target = target.parent
                target.rmdir()
        fsync(target.parent)


def walk(folder: Path, prefix: str, after: str, *, fold: bool) -> Iterator[Object | str]:
    """Objects whose keys begin with `prefix` and come after `after`, in the order of their keys' UTF-8.

    With `fold`, what lies below the next slash after the prefix is one string: the common prefix.
    """
    below, _, _ = prefix.rpartition("/")
    yield from _walk(folder / below, f"{below}/" if below else "", prefix, after, fold=fold)


def _walk(folder: Path, path: str, prefix: str, after: str, *, fold: bool) -> Iterator[Object | str]:
    try:
        with os.scandir(folder) as found:
            entries = sorted((f"{path}{entry.name}{'/' if entry.is_dir() else ''}", entry) for entry in found)
    except (FileNotFoundError, NotADirectoryError):
        return
    for name, entry in entries:
        if not name.startswith(prefix):
            continue
        if not name.endswith("/"):
            if name > after:
                with suppress(FileNotFoundError):  # removed since
                    yield Object.of(name, entry.stat())
        elif fold:
            if name > after and any(_walk(Path(entry.path), name, name, "", fold=False)):
                yield name
        elif name > after or after.startswith(name):
            yield from _walk(Path(entry.path), name, prefix, after, fold=False)


def _settle(folder: Path, top: Path) -> None:
    """Have the entries of a folder on the disk, and those of the folders around it up to `top`."""
    fsync(folder)
    while folder != top:
        folder = folder.parent
        fsync(folder)
