"""What a component wants of its lock on a target: known from the last time, unless something has changed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tagboat.build.cache import Cache, key_of
from tagboat.build.lock import Lock, Pin
from tagboat.build.target import Target
from tagboat.component import Component

_FORMAT = "2"  # raise it when the same lock would be understood otherwise


@dataclass(frozen=True)
class Selection:
    """The lock of a component, read no sooner than it is needed: a large one takes a while."""

    component: Component
    target: Target
    cache: Cache

    @cached_property
    def pins(self) -> tuple[Pin, ...]:
        """What is wanted, without where it is: URLs may hold credentials, which the cache is not to keep.

        Raises ConfigError as reading the lock does.
        """
        lock = self.component.lock
        packages = (repr(package) for package in self.component.packages)
        text = lock.read_bytes() if lock.is_file() else b""
        built = ",".join(sorted(self.component.config.build_from_source))
        key = key_of(_FORMAT, lock.name, text, repr(self.target), built, *packages)
        record = self.cache.path("pins", key)
        try:
            return tuple(_pin(line) for line in json.loads(record.read_bytes()))
        except (FileNotFoundError, ValueError):
            pins = self._read[1]
            self.cache.write(record, json.dumps([pin.text for pin in pins]).encode())
            return pins

    @property
    def lock(self) -> Lock:
        return self._read[0]

    def located(self, pins: Iterable[Pin]) -> list[Pin]:
        """The same pins with all that the lock says of where they are."""
        known = {pin.text: pin for pin in self._read[1]}
        return [known[pin.text] for pin in pins]

    @cached_property
    def _read(self) -> tuple[Lock, tuple[Pin, ...]]:
        from tagboat.build.lockfile import read_lock  # noqa: PLC0415  a build that changes nothing needs it not

        lock = read_lock(self.component.lock)
        return lock, lock.wanted(self.component, self.target)


def _pin(text: str) -> Pin:
    requirement = Requirement(text.partition(" --hash=")[0])
    return Pin(str(canonicalize_name(requirement.name)), text, requirement)
