"""What a name led to before it was moved, kept beside it in its own zone, for whoever goes back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tagboat.aws.account import Account
from tagboat.aws.kinds.route53 import record_sets
from tagboat.dns.record import quoted, unquoted

_TTL = 60  # seconds
_LONGEST = 4000  # characters of a value that Route 53 takes


@dataclass(frozen=True, slots=True)
class Note:
    """The record sets as they were, in Route 53's words, and when which of the two steps was made.

    `ttl` is the one that caches may keep from before `lowered`, in seconds.
    """

    sets: tuple[Mapping[str, Any], ...]
    ttl: int
    lowered: datetime | None = None
    moved: datetime | None = None

    @property
    def too_long(self) -> bool:
        return len(self._value()) > _LONGEST

    def record_set(self, name: str) -> dict[str, Any]:
        """The TXT record that keeps it."""
        return {
            "Name": f"{_name(name)}.",
            "Type": "TXT",
            "TTL": _TTL,
            "ResourceRecords": [{"Value": self._value()}],
        }

    def _value(self) -> str:
        said: dict[str, Any] = {"was": [dict(one) for one in self.sets], "ttl": self.ttl}
        said |= {
            step: at.isoformat(timespec="seconds")
            for step, at in (("lowered", self.lowered), ("moved", self.moved))
            if at is not None
        }
        return quoted(json.dumps(said, separators=(",", ":")))


def read_note(value: str) -> Note:
    """The note of a TXT record's value. Raises ValueError and KeyError for what is none."""
    said = json.loads(unquoted(value))
    lowered, moved = (
        datetime.fromisoformat(said[step]).astimezone(UTC) if step in said else None
        for step in ("lowered", "moved")
    )
    return Note(tuple(said["was"]), int(said["ttl"]), lowered, moved)


def note_of(account: Account, zone: str, name: str) -> Note | None:
    """What is kept of the name; None where nothing is, or nothing of ours."""
    for one in record_sets(account, zone, _name(name)):
        if one["Type"] == "TXT":
            try:
                return read_note(one["ResourceRecords"][0]["Value"])
            except (ValueError, KeyError, TypeError):
                return None
    return None


def _name(name: str) -> str:
    return f"_tagboat.{name}"
