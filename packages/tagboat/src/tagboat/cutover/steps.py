"""A cut-over as steps for whoever makes them, with the values that are right at this moment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal

from tagboat.aws.kinds.dns import TTL, is_address
from tagboat.cutover.move import SHORT
from tagboat.cutover.state import Cutover, Watched
from tagboat.dns.record import ALIAS, Record
from tagboat.targets.records import apex_options

_OLD_ENDS = {  # by what their names end in: what has to stay there
    ".elb.amazonaws.com": "the load balancer, what is behind it, and the record that renews its certificate",
    ".awsapprunner.com": "the service, and its association with the domain: without that it refuses the name",
    ".cloudfront.net": "the distribution, with the name among its aliases",
}
_OTHER_END = "what answers there, and what renews its certificate; on a homeport the domain, associated"
_CHALLENGES = "/.well-known/acme-challenge"

Mark = Literal["done", "now", "then", "any time"]


@dataclass(frozen=True, slots=True)
class Step:
    title: str
    mark: Mark
    lines: tuple[str, ...]


def steps(cutover: Cutover) -> list[Step]:
    """Everything from the first preparation to the way back, and which of it is done."""
    answered = cutover.answered
    lowered = cutover.moved or cutover.old_ttl <= SHORT
    soon: Mark = "now" if answered and lowered else "then"
    return [
        Step(
            f"{cutover.end.value} answers for {cutover.name}",
            "done" if answered else "now",
            tuple(_answers(cutover)),
        ),
        Step("lower the time to live of what is there", "done" if lowered else "now", tuple(_lower(cutover))),
        Step("change the record", "done" if cutover.moved else soon, tuple(_change(cutover))),
        Step(
            "see that it has taken effect: the same command again",
            "done" if cutover.settled else "now" if cutover.moved else "then",
            tuple(_shown(one) for one in cutover.watched),
        ),
        Step("leave the old end as it is", "now" if cutover.moved else "then", tuple(_stay(cutover))),
        Step("to go back", "any time", tuple(_back(cutover))),
    ]


def rendered(cutover: Cutover) -> list[str]:
    """The steps as lines to read."""
    there = ", ".join(record.short for record in cutover.there) or "nothing"
    keepers = ", ".join(cutover.keepers)
    where = f"at {keepers}"
    if cutover.end.hosted:
        where = "in Route 53 of this account"
    if cutover.undelegated:
        where = f"at {keepers}, and not by the zone in Route 53 of this account, which has no effect"
    lines = [
        f"{cutover.name} is {there}; it is to lead to {cutover.end.value} ({cutover.end.said})",
        f"the DNS of {cutover.zone} is kept {where}",
    ]
    for number, step in enumerate(steps(cutover), 1):
        lines += ["", f"{number}. {step.title} ({step.mark})", *(f"   {line}" for line in step.lines)]
    return lines


def to_json(cutover: Cutover) -> dict[str, Any]:
    """Where the move stands, as `tagboat cutover --json` prints it."""
    return {
        "name": cutover.name,
        "end": cutover.end.value,
        "zone": cutover.zone,
        "route53": cutover.end.hosted is not None,
        "there": [record.to_json() for record in cutover.there],
        "old": [record.to_json() for record in cutover.old],
        "new": [record.to_json() for record in cutover.new],
        "moved": cutover.moved,
        "settled": cutover.settled,
        "answers": [{"address": one.address, "problem": one.problem} for one in cutover.answers],
        "watched": [
            {"server": one.server, "side": one.side, "records": [record.short for record in one.records]}
            | ({"seconds": one.left} if one.left is not None else {})
            for one in cutover.watched
        ],
        "steps": [
            {"title": step.title, "state": step.mark, "lines": list(step.lines)} for step in steps(cutover)
        ],
    }


def _answers(cutover: Cutover) -> Iterator[str]:
    name, end = cutover.name, cutover.end
    if not cutover.answers:
        yield f"{end.value} is not known to the DNS yet; a new distribution is after some minutes"
    yield from (str(one) for one in cutover.answers)
    if cutover.answered or cutover.moved:
        return
    if not end.acme:
        yield "`tagboat apply` brings it up, with its certificate"
        return
    if not any(one.reached for one in cutover.answers):
        yield "is the machine up, are its ports 80 and 443 open, is the service deployed to it?"
        return
    if cutover.forbidden is not None:
        yield f"{cutover.forbidden}: let Let's Encrypt sign, too, by the record"
        yield str(Record(cutover.zone, "CAA", '0 issue "letsencrypt.org"', TTL))
    yield f"its certificate is had by http://{name}{_CHALLENGES}/…, within a minute after that leads there."
    yield "To have it before the change, let the old end redirect just these paths: the authority follows."
    host = "NAME-OF-THE-MACHINE" if is_address(end.value) else end.value
    if any(record.value.endswith(".elb.amazonaws.com") for record in cutover.there):
        yield "aws elbv2 create-rule --listener-arn ARN-OF-PORT-80 --priority 1 \\"
        yield f"  --conditions 'Field=path-pattern,Values={_CHALLENGES}/*' --actions \\"
        yield f"  'Type=redirect,RedirectConfig={{Protocol=HTTP,Port=80,Host={host},StatusCode=HTTP_302}}'"
    else:
        yield f"http://{name}{_CHALLENGES}/… to http://{host}{_CHALLENGES}/…, by 302"


def _lower(cutover: Cutover) -> Iterator[str]:
    left = max((one.left or 0 for one in cutover.watched if one.side == "old"), default=0)
    if cutover.moved:
        return
    note = cutover.note
    if note is not None and note.lowered is not None and note.moved is None:
        due = note.lowered + timedelta(seconds=note.ttl)
        yield f"lowered at {note.lowered:%F %R} UTC from {note.ttl} s: in every cache by {due:%F %R} UTC"
    elif cutover.old_ttl <= SHORT:
        yield f"it is {cutover.old_ttl} s"
    else:
        for record in cutover.there:
            yield f"change  {record}"
            yield f"to      {replace(record, ttl=min(record.ttl, SHORT))}"
        due = cutover.now + timedelta(seconds=cutover.old_ttl)
        yield f"done now, it is in every cache by {due:%F %R} UTC; change the record after that"
    if left > SHORT:
        yield f"a resolver still has the old one for {left} s"


def _change(cutover: Cutover) -> Iterator[str]:
    if cutover.moved:
        return
    yield from (f"take away  {record}" for record in cutover.there)
    for record in cutover.new:
        yield f"make       {record}"
        if record.type == ALIAS:
            yield from (line.removeprefix("  ") for line in apex_options(record))
    if cutover.end.hosted is not None:
        yield f"`tagboat cutover {cutover.name} --yes` makes the next step of these two"


def _shown(watched: Watched) -> str:
    if watched.side == "silent":
        return f"{watched.server}: does not answer"
    there = ", ".join(record.short for record in watched.records) or "nothing"
    left = f", for {watched.left} s more" if watched.side == "old" and watched.left is not None else ""
    return f"{watched.server}: {there} ({watched.side}{left})"


def _stay(cutover: Cutover) -> Iterator[str]:
    if cutover.moved:
        left = max((one.left or 0 for one in cutover.watched if one.side == "old"), default=0)
        until = cutover.now + timedelta(seconds=max(left, cutover.note.ttl if cutover.note else 0))
        if cutover.note is not None and cutover.note.moved is not None:
            until = cutover.note.moved + timedelta(seconds=max(left, cutover.note.ttl))
        yield f"caches may lead there until {until:%F %R} UTC, and some keep what they have for longer:"
    else:
        yield f"caches may lead there for {cutover.old_ttl} s after the change, and some for longer:"
    yield "wait a day, and until nobody has asked it for an hour"
    known = [
        what
        for ending, what in _OLD_ENDS.items()
        if any(record.value.endswith(ending) for record in cutover.old)
    ]
    for what in known or (_OTHER_END,):
        yield f"what stays: {what}"


def _back(cutover: Cutover) -> Iterator[str]:
    new = cutover.there if cutover.moved else cutover.new
    if not cutover.old:
        yield "what was there before is not known any more: these steps, as they were printed then, have it"
        return
    yield from (f"take away  {record}" for record in new)
    heard = cutover.moved and cutover.note is None  # from caches, which have but the rest of its time to live
    for record in cutover.old:
        yield f"make       {replace(record, ttl=SHORT) if heard else record}"
    if cutover.end.hosted is not None:
        yield f"`tagboat cutover {cutover.name} --back --yes` does it, once it has moved"
