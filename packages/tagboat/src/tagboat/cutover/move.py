"""The change itself, in a zone of the account: each step in one piece, and the way back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tagboat.aws.account import Account
from tagboat.aws.kinds.dns import TTL, is_address
from tagboat.aws.kinds.route53 import record_sets
from tagboat.cutover.end import CutoverError
from tagboat.cutover.note import Note
from tagboat.cutover.state import Cutover, is_ours, records_of

SHORT = 60  # seconds: a time to live by which a change is soon everywhere


@dataclass(frozen=True, slots=True)
class Move:
    """What was done, in words, and from when on the next step may be; None where there is none."""

    done: str
    next: datetime | None = None


def move(cutover: Cutover) -> Move:
    """Make the next step: lower the time to live of what is there, or lead the name to the new end.

    Raises CutoverError, with nothing changed, where that would be too early.
    """
    _hosted(cutover)
    if cutover.moved:
        return Move(f"{cutover.name} leads to {cutover.end.value} already")
    if not cutover.answered:
        problems = (
            "; ".join(str(one) for one in cutover.answers if one.problem) or "it is not known to the DNS"
        )
        raise CutoverError(
            f"the new end does not answer for {cutover.name}: {problems}",
            hint="nothing is changed; `tagboat apply` and `tagboat deploy`, then the same again",
        )
    note = cutover.note if cutover.note is not None and cutover.note.moved is None else None
    if note is None and cutover.old_ttl > SHORT:
        return _lower(cutover)
    due = None if note is None or note.lowered is None else note.lowered + timedelta(seconds=note.ttl)
    if due is not None and cutover.now < due:
        raise CutoverError(
            f"caches may have the record of {cutover.name} from before its time to live was lowered until "
            f"{due:%F %R} UTC",
            hint="the same again after that",
        )
    unchanged = note is not None and _ends(cutover, note.sets) == _ends(cutover, cutover.sets)
    kept = Note(note.sets if note and unchanged else cutover.sets, cutover.old_ttl, moved=cutover.now)
    changes = [("DELETE", one) for one in cutover.sets]
    changes += [("CREATE", one) for one in _leading(cutover)]
    _change(cutover, kept, [*changes, ("UPSERT", kept.record_set(cutover.name))])
    return Move(f"{cutover.name} leads to {cutover.end.value}; `--back` puts back what was there")


def go_back(cutover: Cutover) -> Move:
    """Put back what was kept. Raises CutoverError where nothing is, or others have changed the name since."""
    _hosted(cutover)
    note = cutover.note
    if note is None:
        raise CutoverError(f"nothing is kept of what {cutover.name} led to before")
    if note.moved is not None and not all(is_ours(cutover.end, one) for one in cutover.sets):
        there = ", ".join(record.short for record in cutover.there)
        raise CutoverError(
            f"{cutover.name} has been changed since it was moved: it is {there}",
            hint="nothing is changed; what was kept is in the TXT record _tagboat." + cutover.name,
        )
    taken = list(cutover.sets)
    if any(one["Type"] == "CNAME" for one in note.sets):  # beside it nothing may stand that was made since
        account, zone = _hosted(cutover)
        taken += [one for one in record_sets(account, zone, cutover.name) if one["Type"] == "CAA"]
    changes = [("DELETE", one) for one in taken] + [("CREATE", one) for one in note.sets]
    _change(cutover, note, [*changes, ("DELETE", note.record_set(cutover.name))])
    return Move(f"{cutover.name} is what it was before")


def _ends(cutover: Cutover, sets: Sequence[Mapping[str, Any]]) -> set[str]:
    return {record.short for record in records_of(cutover.name, sets)}


def _lower(cutover: Cutover) -> Move:
    """The same records with a short time to live; aliases have none of their own."""
    note = Note(cutover.sets, cutover.old_ttl, lowered=cutover.now)
    lower = [{**one, "TTL": min(one["TTL"], SHORT)} for one in cutover.sets if "TTL" in one]
    _change(cutover, note, [*(("UPSERT", one) for one in lower), ("UPSERT", note.record_set(cutover.name))])
    due = cutover.now + timedelta(seconds=cutover.old_ttl)
    return Move(f"the time to live of {cutover.name} is {SHORT} s, in every cache by {due:%F %R} UTC", due)


def _leading(cutover: Cutover) -> list[dict[str, Any]]:
    """The record sets that lead the name to the new end."""
    end, name = cutover.end, f"{cutover.name}."
    if is_address(end.value):
        kind = "AAAA" if ":" in end.value else "A"
        return [{"Name": name, "Type": kind, "TTL": TTL, "ResourceRecords": [{"Value": end.value}]}]
    target = {"HostedZoneId": end.alias_zone, "DNSName": end.value, "EvaluateTargetHealth": False}
    return [{"Name": name, "Type": kind, "AliasTarget": target} for kind in ("A", "AAAA")]


def _change(cutover: Cutover, note: Note, changes: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """All of it or nothing, as Route 53 does it."""
    if note.too_long:
        raise CutoverError(
            f"what {cutover.name} leads to now is too much to be kept beside it",
            hint="nothing is changed; write it down (`--json`) and change it by hand",
        )
    account, zone = _hosted(cutover)
    account.call(
        "route53",
        "change_resource_record_sets",
        HostedZoneId=zone,
        ChangeBatch={
            "Comment": "tagboat cutover",
            "Changes": [{"Action": action, "ResourceRecordSet": one} for action, one in changes],
        },
    )


def _hosted(cutover: Cutover) -> tuple[Account, str]:
    """The account and its zone, which must be the one that the public DNS goes by."""
    end = cutover.end
    if end.account is None or end.hosted is None or cutover.undelegated:
        raise CutoverError(
            f"the DNS of {cutover.zone} is not kept in this account's Route 53, but at "
            f"{', '.join(cutover.keepers)}",
            hint=f"change it there, by the steps that `tagboat cutover {cutover.name}` prints",
        )
    return end.account, end.hosted
