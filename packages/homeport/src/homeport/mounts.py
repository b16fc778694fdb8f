"""What an instance has of a file system beyond its image: volumes, folders in memory, a read-only root.

The texts are those of a service's tags, whose values AWS allows no comma in: entries are parted by spaces.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, Self, TypeVar

T = TypeVar("T")

_MIB: Final = 64  # of a folder in memory that names no size
_MOST: Final = 65_536
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
_PATH: Final = re.compile(r"/[!-9;-~]+")  # visible, without the colon
_RESERVED: Final = ("/proc", "/sys", "/dev", "/run/secrets", "/etc/hosts", "/etc/resolv.conf")


@dataclass(frozen=True, slots=True)
class Volume:
    """A folder of the service's that outlives its instances, and that all of them see."""

    name: str
    path: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """`NAME:PATH`. Raises ValueError."""
        name, _, path = text.partition(":")
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no volume's name")
        path = _checked(path)
        for reserved in _RESERVED:
            if PurePosixPath(reserved).is_relative_to(path):
                raise ValueError(f"{path} has {reserved} in it, which homeport fills")
        return cls(name, path)


@dataclass(frozen=True, slots=True)
class Tmpfs:
    """A folder in the instance's memory, and so within its limit; gone with it."""

    path: str
    size: int = _MIB  # MiB

    @classmethod
    def parse(cls, text: str) -> Self:
        """`PATH` or `PATH:MIB`. Raises ValueError."""
        path, colon, size = text.partition(":")
        if not colon:
            return cls(_checked(path))
        if not (size.isascii() and size.isdecimal() and 1 <= int(size[:6]) <= _MOST):
            raise ValueError(f"{size!r} is no number of MiB")
        return cls(_checked(path), int(size))


@dataclass(frozen=True, slots=True)
class Mounts:
    """With `read_only` an instance writes into its volumes and into memory only, /tmp included."""

    read_only: bool = False
    tmpfs: tuple[Tmpfs, ...] = ()
    volumes: tuple[Volume, ...] = ()

    @property
    def conflict(self) -> tuple[str, str] | None:
        """Two paths of which one is the other, or within it."""
        paths = [PurePosixPath(path) for path in self._paths]
        for number, path in enumerate(paths):
            for other in paths[:number]:
                if path.is_relative_to(other) or other.is_relative_to(path):
                    return str(other), str(path)
        return None

    @property
    def in_memory(self) -> tuple[Tmpfs, ...]:
        """The folders in memory; a read-only root brings a /tmp, for hardly a program does without."""
        taken = any(f"{path}/".startswith("/tmp/") for path in self._paths)  # noqa: S108
        needed = self.read_only and not taken
        return (*self.tmpfs, *((Tmpfs("/tmp"),) if needed else ()))  # noqa: S108

    @property
    def _paths(self) -> list[str]:
        return [*(one.path for one in self.tmpfs), *(one.path for one in self.volumes)]


def parse_tmpfs(text: str) -> tuple[Tmpfs, ...]:
    """Raises ValueError."""
    return _some(Tmpfs.parse(word) for word in text.split())


def parse_volumes(text: str) -> tuple[Volume, ...]:
    """Raises ValueError."""
    return _some(Volume.parse(word) for word in text.split())


def _some(entries: Iterable[T]) -> tuple[T, ...]:
    found = tuple(entries)
    if not found:
        raise ValueError("it names nothing")
    return found


def _checked(path: str) -> str:
    """An absolute path as it is written at its shortest, and not one of those that homeport fills."""
    if not _PATH.fullmatch(path) or {"", ".", ".."} & set(path.split("/")[1:]):
        raise ValueError(f"{path!r} is no absolute path")
    for reserved in _RESERVED:
        if PurePosixPath(path).is_relative_to(reserved):
            raise ValueError(f"{path} is taken: homeport fills it")
    return path
