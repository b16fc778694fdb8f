"""mount(2) and umount2(2), without a program in between."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Final

from homeport.command import apart
from homeport.errors import CommandError

__all__ = ["NODEV", "NOEXEC", "NOSUID", "mount", "mount_overlay", "unmount"]

NOSUID: Final = 0x2  # <linux/mount.h>
NODEV: Final = 0x4
NOEXEC: Final = 0x8
_DETACH: Final = 0x2
_CLONE_FS: Final = 0x200  # <linux/sched.h>

_libc = ctypes.CDLL(None, use_errno=True)


def mount(kind: str, target: Path, flags: int, options: str) -> None:
    """A file system without a device. Raises CommandError."""
    name = kind.encode()
    if _libc.mount(name, os.fsencode(target), name, ctypes.c_ulong(flags), options.encode()) != 0:
        raise _failure(f"mount of {kind} at {target}")


def mount_overlay(target: Path, options: str, directory: Path) -> None:
    """`options` name the lower folders relative to `directory`. Raises CommandError."""

    def work() -> None:
        if _libc.unshare(_CLONE_FS) != 0:
            raise _failure("unshare")
        os.chdir(directory)
        mount("overlay", target, 0, options)

    apart(work)


def unmount(target: Path) -> None:
    """At once, though somebody may still use it. Raises CommandError."""
    if _libc.umount2(os.fsencode(target), _DETACH) != 0:
        raise _failure(f"umount of {target}")


def _failure(what: str) -> CommandError:
    return CommandError(f"{what}: {os.strerror(ctypes.get_errno())}")
