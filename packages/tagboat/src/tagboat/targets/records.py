"""The records that a target lacks and somebody else has to make, in words that can be pasted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tagboat.aws.kinds.dns import asked
from tagboat.aws.plan import Change
from tagboat.aws.resource import Found, resolved
from tagboat.dns.record import ALIAS, Record, table
from tagboat.errors import TagboatError


class RecordsError(TagboatError):
    """It goes on once somebody has made records, or has moved a name."""

    exit_code: ClassVar[int] = 35


@dataclass(frozen=True, slots=True)
class Zone:
    """What is to be made in one zone, and what its servers are called."""

    name: str
    servers: str
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be made by zone and by resource, and the names that `tagboat cutover` is to move."""

    zones: tuple[Zone, ...]
    by_resource: Mapping[str, Any]
    moves: tuple[str, ...]

    @property
    def records(self) -> tuple[Record, ...]:
        return tuple(record for zone in self.zones for record in zone.records)

    def to_json(self) -> list[dict[str, str | int]]:
        return [record.to_json() for record in self.records]

    def lines(self) -> Iterator[str]:
        """For whoever keeps the zones, with what can be done about a bare domain."""
        for zone in self.zones:
            yield ""
            yield f"to be made where the DNS of {zone.name} is kept ({zone.servers}):"
            yield ""
            yield from (f"  {line}" for line in table(zone.records))
            for record in zone.records:
                if record.type == ALIAS:
                    yield ""
                    yield from apex_options(record)

    def require_none(self, waiting: int) -> None:
        """Raises RecordsError where something is to be made; so many resources wait for it."""
        count = len(self.records)
        said = (
            [f"{count} {'record is' if count == 1 else 'records are'} to be made in the DNS"] if count else []
        )
        if self.moves:
            said.append(f"{', '.join(self.moves)} leads elsewhere")
        if waiting:
            said.append(f"{waiting} resources wait for it")
        if not said:
            return
        raise RecordsError(
            f"waiting for these records: {'; '.join(said)}" if count else "; ".join(said),
            hint="; ".join(f"`tagboat cutover {name}` moves it" for name in self.moves)
            or "make them, and the same command goes on; of a name that visitors come by already: "
            "`tagboat cutover NAME` first",
        )


def wanted_records(changes: Sequence[Change], found: Mapping[str, Found | None]) -> Wanted:
    """What the changes that somebody else has to make come to."""
    zones: dict[tuple[str, str], list[Record]] = {}
    by_resource: dict[str, Any] = {}
    moves: dict[str, None] = {}
    for change in changes:
        resource, there = change.resource, found.get(change.resource.key)
        if resource.visited:
            moves[str(resource.settings["host"])] = None
            continue
        records = asked(resolved(resource.settings, found), there)
        by_resource[resource.key] = {"records": [record.to_json() for record in records]}
        if there is not None and records:
            zone = zones.setdefault((there.attributes["zone"], there.attributes["servers"]), [])
            zone += [record for record in records if record not in zone]
    made = tuple(Zone(name, servers, tuple(records)) for (name, servers), records in zones.items())
    return Wanted(made, by_resource, tuple(moves))


def apex_options(record: Record) -> Iterator[str]:
    """What can be done where no CNAME may stand and no address is fixed."""
    name, end = record.name, record.value
    yield f"  {name} is the zone's own name: a CNAME may not stand there, and {end} has no"
    yield "  addresses that stay. One of these, by what the provider of the DNS has:"
    yield f"  - ALIAS, ANAME or CNAME flattening: {name} to {end}"
    yield f"  - its redirect of {name} to the domain, with HTTPS; take {name} out of `redirects`, then"
    yield f"  - a homeport that redirects it (`homeport redirect add {name} https://…`), by A and AAAA"
    yield f"    records to its machine; take {name} out of `redirects`, then"
    yield f"  - the zone moved to Route 53, which has ALIAS for it: with a hosted zone {name} in this"
    yield "    account, `tagboat apply` makes the records itself"
