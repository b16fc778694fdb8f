"""How large packages are once installed, known from the first time: large ones have layers of their own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tagboat.build.cache import Cache, key_of
from tagboat.build.files import File, Files
from tagboat.build.lock import Pin
from tagboat.build.target import Target

_FORMAT = "1"
LARGE: Final = 10_000_000  # bytes, without byte code
MOST_LARGE: Final = 64  # with the tiers, base and app still below the 127 layers that there may be


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the cache knows of the sizes of packages for a target."""

    cache: Cache
    target: Target

    def large(self, pins: Sequence[Pin]) -> frozenset[str] | None:
        """The names of the large ones of a lock; None while the size of one of its packages is not known."""
        record = self._record("all", pins)
        try:
            return frozenset(json.loads(record.read_bytes()))
        except (FileNotFoundError, ValueError):
            pass
        if self.unknown(pins):
            return None
        names = self.known_large(pins)
        self.cache.write(record, json.dumps(sorted(names)).encode())
        return names

    def known_large(self, pins: Iterable[Pin]) -> frozenset[str]:
        """The large ones among those whose size is known."""
        sizes = ((self._size(pin) or 0, pin.name) for pin in pins)
        found = sorted(((-size, name) for size, name in sizes if size >= LARGE))
        return frozenset(name for _, name in found[:MOST_LARGE])

    def unknown(self, pins: Iterable[Pin]) -> list[Pin]:
        return [pin for pin in pins if self._size(pin) is None]

    def keep(self, pins: Iterable[Pin], packages: Mapping[str, Files]) -> None:
        """Remember the sizes of `pins` that have been installed as `packages`."""
        for pin in pins:
            size = sum(map(_size, packages.get(pin.name, {}).values()))
            self.cache.write(self._record("one", [pin]), str(size).encode())

    def _size(self, pin: Pin) -> int | None:
        try:
            return int(self._record("one", [pin]).read_bytes())
        except (FileNotFoundError, ValueError):
            return None

    def _record(self, kind: str, pins: Iterable[Pin]) -> Path:
        return self.cache.path("sizes", key_of(_FORMAT, kind, repr(self.target), *(pin.text for pin in pins)))


def _size(entry: object) -> int:
    if not isinstance(entry, File):
        return 0
    return len(entry.content) if isinstance(entry.content, bytes) else entry.content.stat().st_size
