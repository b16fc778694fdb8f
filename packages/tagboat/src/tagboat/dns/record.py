"""A record of the DNS as a value, and records in the forms in which people and programs take them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

ALIAS = (
    "ALIAS"  # not a type of the DNS: what providers make of a name's addresses where a CNAME may not stand
)
_STRING = 255  # bytes of one string of a TXT record (RFC 1035, section 3.3.14)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)


@dataclass(frozen=True, slots=True, order=True)
class Record:
    """`name` and hosts in `value` have no last dot; else `value` is as in a zone file. `ttl` in seconds."""

    name: str
    type: str
    value: str
    ttl: int

    def __str__(self) -> str:
        """As in a zone file; an ALIAS, which it has no word for, as a comment."""
        hosts = self.type in ("CNAME", ALIAS, "NS")
        line = f"{self.name}. {self.ttl} IN {self.type} {self.value}{'.' if hosts else ''}"
        return f"; {line}" if self.type == ALIAS else line

    @property
    def short(self) -> str:
        return f"{self.type} {self.value}"

    def to_json(self) -> dict[str, str | int]:
        return {"name": self.name, "type": self.type, "ttl": self.ttl, "value": self.value}


def table(records: Sequence[Record]) -> list[str]:
    """Lines for the form of a provider: a column for each field of it."""
    rows = [("TYPE", "NAME", "TTL", "VALUE")]
    rows += [(one.type, one.name, str(one.ttl), one.value) for one in records]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]])
        for row in rows
    ]


def zone_file(records: Iterable[Record]) -> list[str]:
    """Lines for a zone file of BIND and those that read the same (RFC 1035, section 5)."""
    return [str(record) for record in records]


def quoted(text: str) -> str:
    """Printable ASCII as the value of a TXT record: strings in quotes, of 255 bytes at most."""
    parts = [text[start : start + _STRING] for start in range(0, len(text), _STRING)] or [""]
    return " ".join('"' + re.sub(r'(["\\])', r"\\\1", part) + '"' for part in parts)


def unquoted(value: str) -> str:
    """What `quoted` was given."""
    return "".join(re.sub(r"\\(.)", r"\1", part) for part in _QUOTED.findall(value))
