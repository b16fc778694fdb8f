"""Prices as a file has them: by region, each with the day on which it was read, and where."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

from tagboat.errors import ConfigError

GOOD_FOR = 90  # days: prices that were read longer ago may have changed
BUILT_IN = files("tagboat.cost").joinpath("prices.toml")


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars for one of what `key` says; `note` is what is not certain of it."""

    key: str
    dollars: float
    read: date
    source: str
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Prices:
    """The prices of one region, and what of each everybody has free in a month, if that counts."""

    region: str
    free: Mapping[str, float]
    by_key: Mapping[str, Price]
    file: str

    @classmethod
    def read(cls, region: str, file: Path | None = None, *, free_tier: bool = True) -> Prices:
        """From `file`, or those that come with tagboat. Raises ConfigError: what is wrong, and where."""
        name = str(file or BUILT_IN)
        try:
            text = (file or BUILT_IN).read_text(encoding="utf-8")
            document = tomllib.loads(text)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{name}: {error}", hint="it is a file like tagboat's own prices.toml"
            ) from error
        regions = _table(document, "region", name)
        if region not in regions:
            raise ConfigError(
                f"{name}: there are no prices of the region {region}",
                hint=f"it has {', '.join(sorted(regions))}; add it to a copy, and give that with --prices",
            )
        sources = _table(document, "source", name)
        entries = _table(regions, region, name)
        by_key = {key: _price(key, entry, sources, f"{name}: {region}") for key, entry in entries.items()}
        free = {
            key: _number(value, f"{name}: free.{key}")
            for key, value in _table(document, "free", name).items()
        }
        return cls(region, free if free_tier else dict.fromkeys(free, 0.0), by_key, name)

    def __getitem__(self, key: str) -> Price:
        if key not in self.by_key:
            raise ConfigError(f"{self.file}: {self.region} has no price {key}")
        return self.by_key[key]

    def beyond_free(self, key: str, quantity: float) -> float:
        """What is left of a quantity after that which is free."""
        return max(0.0, quantity - self.free.get(key, 0.0))


def stale(prices: Iterable[Price], today: date) -> list[Price]:
    """Those that were read longer ago than prices are good for, the oldest first."""
    return sorted((one for one in prices if age(one, today) > GOOD_FOR), key=lambda one: (one.read, one.key))


def age(price: Price, today: date) -> int:
    """Days since it was read."""
    return (today - price.read).days


def _price(key: str, entry: Any, sources: Mapping[str, Any], where: str) -> Price:
    where = f"{where}.{key}"
    if not isinstance(entry, dict) or not isinstance(entry.get("read"), date):
        raise ConfigError(f"{where} needs `dollars`, `read` (the day) and `source`")
    source = str(entry.get("source"))
    if source not in sources:
        raise ConfigError(f"{where}: source {source!r} is not one of {', '.join(sorted(sources))}")
    return Price(key, _number(entry.get("dollars"), where), entry["read"], sources[source], entry.get("note"))


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ConfigError(f"{where} is {value!r}, not a number of dollars or things")
    return float(value)


def _table(document: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value = document.get(key)
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: the table {key} is missing")
    return value
