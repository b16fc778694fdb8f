"""Tags in the three forms that AWS's services have them in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def pairs(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """As most services have them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def small_pairs(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """As ECS has them."""
    return [{"key": key, "value": value} for key, value in tags.items()]


def mapping(found: Iterable[Mapping[str, str]] | None) -> dict[str, str]:
    """Of either of these."""
    return {
        pair.get("Key", pair.get("key", "")): pair.get("Value", pair.get("value", "")) for pair in found or ()
    }
