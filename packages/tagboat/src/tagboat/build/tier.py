"""Tiers: locked packages dealt out to a bounded number of layers, so that an upgrade re-ships few others."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Final

from tagboat.build.lock import Pin

# With base and app far below the 127 layers that overlay file systems and registries take, and few enough
# for a pull to be fast.
TIERS: Final = 24


@dataclass(frozen=True, slots=True)
class Tier:
    """Packages that share a layer, sorted by name; `label` says which layer it is from lock to lock."""

    label: str
    pins: tuple[Pin, ...]

    @property
    def packages(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(pin.name for pin in self.pins))

    @property
    def name(self) -> str:
        return f"dependencies: {', '.join(self.packages)}"


def tiers_of(pins: Iterable[Pin], large: Container[str] = ()) -> tuple[Tier, ...]:
    """The tiers that are not empty: one for each `large` package, and those that the others are dealt out to.

    Which one a package is in depends on its name alone, and on whether it is large: no upgrade, no addition
    and no removal of a package moves another.
    """
    alone: dict[str, list[Pin]] = {}
    dealt: dict[int, list[Pin]] = {}
    for pin in pins:
        if pin.name in large:
            alone.setdefault(pin.name, []).append(pin)
        else:
            dealt.setdefault(_number(pin.name), []).append(pin)
    return tuple(
        Tier(str(label), tuple(sorted(found, key=lambda pin: (pin.name, pin.text))))
        for label, found in (*sorted(alone.items()), *sorted(dealt.items()))
    )


def _number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % TIERS
