"""How far a name has moved: what its servers and resolvers say, and what the new end answers for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from tagboat.aws.account import Account
from tagboat.aws.kinds.dns import is_address, leads
from tagboat.aws.kinds.route53 import ends_of, is_delegated, record_sets
from tagboat.cutover.end import End
from tagboat.cutover.note import Note, note_of
from tagboat.dns.caa import LETS_ENCRYPT, permission
from tagboat.dns.end import Seen, same_end, seen
from tagboat.dns.names import DnsError, Names, is_local, reachable
from tagboat.dns.record import Record

LEADING = ("A", "AAAA", "CNAME", "HTTPS")  # the types that decide where visitors go
_ALIAS_TTL = 60  # seconds, of Route 53's aliases to load balancers and distributions

Side = Literal["old", "new", "nothing", "silent"]


@dataclass(frozen=True, slots=True)
class Watched:
    """What one server has of the name. `left`: for how many seconds more, where that is a cache."""

    server: str
    side: Side
    records: tuple[Record, ...] = ()
    left: int | None = None


@dataclass(frozen=True, slots=True)
class Cutover:
    """A name and the end that it is to lead to, at one moment.

    `there` is what leads its visitors now and `new` what is to; `moved` says that they are the same. `sets`
    are the same in Route 53's own words, where the zone is the account's; `undelegated` says that the public
    DNS does not go by it. `forbidden` says who may sign where the authority of the new end may not.
    """

    name: str
    end: End
    zone: str
    keepers: tuple[str, ...]
    there: tuple[Record, ...]
    new: tuple[Record, ...]
    moved: bool
    answers: tuple[Seen, ...]
    watched: tuple[Watched, ...]
    now: datetime
    forbidden: str | None = None
    note: Note | None = None
    sets: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    undelegated: bool = False

    @property
    def old(self) -> tuple[Record, ...]:
        """What led visitors before: what is there, or was kept when it was changed, or caches still have."""
        if not self.moved:
            return self.there
        if self.note is not None:
            return records_of(self.name, self.note.sets)
        heard = [record for one in self.watched if one.side == "old" for record in one.records]
        return tuple(dict.fromkeys(heard))

    @property
    def old_ttl(self) -> int:
        """Seconds for which a cache may keep what is there now."""
        return max((record.ttl for record in self.there), default=0)

    @property
    def answered(self) -> bool:
        """Whether a visitor of the name would be served at every address of the new end."""
        return bool(self.answers) and all(one.problem is None for one in self.answers)

    @property
    def settled(self) -> bool:
        """Whether everybody who was asked leads to the new end."""
        return self.moved and all(one.side in ("new", "silent") for one in self.watched)


def look(names: Names, end: End, name: str) -> Cutover:
    """Look at all of it. Raises DnsError and CloudError."""
    zone = names.zone(name)
    addresses = (end.value,) if is_address(end.value) else _addresses(names, end.value)
    sets: tuple[Mapping[str, Any], ...] = ()
    note, undelegated = None, False
    if end.account is not None and end.hosted is not None:
        sets = leading_sets(end.account, end.hosted, name)
        there = records_of(name, sets)
        moved = bool(sets) and all(is_ours(end, one) for one in sets)
        note = note_of(end.account, end.hosted, name)
        undelegated = not is_delegated(end.account, end.hosted, zone)
    else:
        there = names.led(name)
        hints = any(record.type == "HTTPS" and "hint" in record.value for record in there)
        moved = leads(names, name, end.value, there) and not hints  # which browsers go by, too
    answers = tuple(seen(address, name, end.path) for address in reachable(addresses))
    shown = any(one.certificate is not None for one in answers)
    return Cutover(
        name,
        end,
        zone.name,
        tuple(dict.fromkeys(server.name for server in zone.servers)),
        there,
        end.records(name, addresses, apex=zone.name == name),
        moved,
        answers,
        tuple(_watched(names, end, name, addresses)),
        datetime.now(UTC),
        _forbidden(names, name) if end.acme and not shown else None,
        note,
        sets,
        undelegated,
    )


def leading_sets(account: Account, zone: str, name: str) -> tuple[Mapping[str, Any], ...]:
    """What the account's zone has that leads visitors of the name, as Route 53 has it."""
    return tuple(one for one in record_sets(account, zone, name) if one["Type"] in LEADING)


def is_ours(end: End, record: Mapping[str, Any]) -> bool:
    """Whether a record set leads to the end."""
    return (
        record["Type"] in ("A", "AAAA") and "SetIdentifier" not in record and ends_of(record) == [end.value]
    )


def records_of(name: str, sets: Iterable[Mapping[str, Any]]) -> tuple[Record, ...]:
    """Record sets of Route 53 as records; an alias is `ALIAS host`, with the TTL that Route 53 gives it."""
    return tuple(
        Record(
            name, one["Type"], f"ALIAS {value}" if "AliasTarget" in one else value, one.get("TTL", _ALIAS_TTL)
        )
        for one in sets
        for value in ends_of(one)
    )


def _addresses(names: Names, host: str) -> tuple[str, ...]:
    if is_local(host):  # a homeport on this machine
        return ("127.0.0.1",)
    try:
        return names.addresses(host)
    except DnsError:  # it is new, and not known out there yet
        return ()


def _watched(names: Names, end: End, name: str, addresses: tuple[str, ...]) -> Iterable[Watched]:
    """What everybody has, each compared with the new end."""
    known = dict.fromkeys(addresses, True)
    for server, answer in names.everywhere(name, "A"):
        if answer is None:
            yield Watched(str(server), "silent")
            continue
        side: Side = "nothing"
        for record in answer.records:
            if record.type == "A" and record.value not in known:
                known[record.value] = same_end(record.value, addresses, name)
            new = record.value == end.value.lower() if record.type == "CNAME" else known[record.value]
            side = "old" if side == "old" or not new else "new"
        left = max((record.ttl for record in answer.records), default=None) if answer.cached else None
        yield Watched(str(server), side, answer.records, left)


def _forbidden(names: Names, name: str) -> str | None:
    there = permission(names, name)
    return None if there.allows(LETS_ENCRYPT) else there.described()
