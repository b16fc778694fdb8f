"""Wheels that lie unpacked in uv's cache: read there, their files need not be linked, and not be removed.

How the cache is laid out is uv's own affair, and may be otherwise in its next version: what is not just as
expected is not found here, and uv installs it.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tagboat.build import uv
from tagboat.build.lock import Pin

_HASH: Final = b"Sha256\xd9\x40"  # the name of a hash, and that 64 characters follow (MessagePack)
_IDENTITY: Final = b"\x95\xb0"  # what follows are five things, the first a text of 16 characters


@dataclass(frozen=True, slots=True)
class UvCache:
    """The cache in the folder `root`, while nobody prunes it."""

    root: Path

    @classmethod
    @contextmanager
    def opened(cls, directory: Path) -> Iterator[UvCache | None]:
        """The cache that uv uses in `directory`, kept as it is until the end of the block; None where it has
        none, or is about to be cleaned."""
        with ExitStack() as stack:
            cache = None
            with suppress(uv.UvError, OSError):
                root = uv.cache_folder(directory)
                lock = stack.enter_context((root / ".lock").open("rb"))
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # as uv itself does while it installs
                cache = cls(root)
            yield cache

    def find(self, pin: Pin) -> Path | None:
        """The folder where the wheel of that pin is unpacked, the one that has the hash in the lock."""
        if pin.wheel is None or pin.wheel.is_source:
            return None
        hashes = [
            value.encode()
            for name, _, value in (one.partition(":") for one in pin.wheel.hashes)
            if name == "sha256"
        ]
        versions = [one.version for one in pin.requirement.specifier if one.operator == "=="]
        if len(versions) != 1:  # one that is named by its address
            return None
        for bucket in sorted(self.root.glob("wheels-v*")):
            for folder in (bucket / "pypi" / pin.name, *bucket.glob(f"index/*/{pin.name}")):
                for record in sorted(folder.glob(f"{versions[0]}-*.http")):
                    said = record.read_bytes()
                    place = record.with_suffix("").resolve()
                    if said.startswith(_IDENTITY + place.name.encode()) and any(
                        _HASH + value in said for value in hashes
                    ):
                        return place
        return None
