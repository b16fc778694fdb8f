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

_FORMAT = "2"
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
        known = self._known()
        sizes = ((known.get(_name(pin), 0), pin.name) for pin in pins)
        found = sorted(((-size, name) for size, name in sizes if size >= LARGE))
        return frozenset(name for _, name in found[:MOST_LARGE])

    def unknown(self, pins: Iterable[Pin]) -> list[Pin]:
        known = self._known()
        return [pin for pin in pins if _name(pin) not in known]

    def keep(self, pins: Iterable[Pin], packages: Mapping[str, Files]) -> None:
        """Remember the sizes of `pins` that have been installed as `packages`."""
        found = {
            _name(pin): sum(one.size for one in packages.get(pin.name, {}).values() if isinstance(one, File))
            for pin in pins
        }
        record = self._record("each", ())
        with self.cache.locked(f"sizes-{record.name}"):
            self.cache.write(record, json.dumps(self._known() | found).encode())

    def _known(self) -> dict[str, int]:
        """The size of each package, by its name here."""
        try:
            return {
                str(name): int(size)
                for name, size in json.loads(self._record("each", ()).read_bytes()).items()
            }
        except (FileNotFoundError, ValueError, AttributeError):
            return {}

    def _record(self, kind: str, pins: Iterable[Pin]) -> Path:
        return self.cache.path("sizes", key_of(_FORMAT, kind, repr(self.target), *(pin.text for pin in pins)))


def _name(pin: Pin) -> str:
    return key_of(pin.text)
