"""`bucketlog log` and `bucketlog diff`: what happened, transaction by transaction or in sum."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, Final, NamedTuple

from bucketlog import Database
from bucketlog.cli.command import (
    Command,
    UsageError,
    add_branch,
    add_json,
    moment,
    opened,
    transaction_number,
)
from bucketlog.cli.output import cell, notation, print_json, styled
from bucketlog.schema import TX_BASE, transaction_entity

__all__ = ["COMMANDS"]

_NEWS: Final = "[:find ?e ?a ?v :in $ $before :where [?e ?a ?v] (not [$before ?e ?a ?v])]"


class _Event(NamedTuple):
    """A datom that was added or retracted, with its attribute's name."""

    e: int
    a: str
    v: Any
    added: bool


def _log_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from", dest="first", type=transaction_number, default=0, metavar="T")
    parser.add_argument(
        "--to", dest="last", type=transaction_number, metavar="T", help="the last one to print; both count"
    )
    add_branch(parser)
    add_json(parser)


def _log(options: argparse.Namespace) -> None:
    with opened(options) as conn:
        end = None if options.last is None else options.last + 1
        for transaction in conn.transactions(options.first, end):
            tx = transaction_entity(transaction.t)
            events = _sorted(_Event(datom.e, datom.a, datom.v, datom.added) for datom in transaction.datoms)
            if options.json:
                print_json(_transaction(tx, events))
            else:
                _print_transaction(tx, events)


def _transaction(tx: int, events: list[_Event]) -> dict[str, Any]:
    """A transaction as JSON: what it says about itself, and the datoms as `[e, a, v, added]`."""
    about, rest = _split(tx, events)
    return {
        "t": tx - TX_BASE,
        "instant": about.pop(":db/txInstant", None),
        "metadata": about,
        "datoms": [list(event) for event in rest],
    }


def _print_transaction(tx: int, events: list[_Event]) -> None:
    about, rest = _split(tx, events)
    instant = cell(about.pop(":db/txInstant", None))
    metadata = "".join(f"  {name} {notation(value)}" for name, value in about.items())
    print(styled(f"t {tx - TX_BASE}  {instant}", "heading") + metadata)
    _print_events(rest)


def _split(tx: int, events: list[_Event]) -> tuple[dict[str, Any], list[_Event]]:
    """What a transaction states of itself (a list of values where there are many), and everything else."""
    about: dict[str, Any] = {}
    for event in events:
        if event.e == tx and event.added:
            about[event.a] = [*_listed(about[event.a]), event.v] if event.a in about else event.v
    return about, [event for event in events if event.e != tx or not event.added]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _diff_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("before", type=moment, metavar="A", help="a transaction's number, or an instant")
    parser.add_argument("after", type=moment, metavar="B", help="another, earlier or later")
    add_branch(parser)
    add_json(parser)


def _diff(options: argparse.Namespace) -> None:
    with opened(options) as conn:
        db = conn.db()
        for side in (options.before, options.after):
            if isinstance(side, int) and side > db.basis_t:
                raise UsageError(f"there is no transaction {side}: the last one is {db.basis_t}")
        before, after = db.as_of(options.before), db.as_of(options.after)
        events = _sorted(
            _Event(e, _name(db, a), v, added)
            for old, new, added in ((before, after, True), (after, before, False))
            for e, a, v in new.q(_NEWS, old)
        )
    if options.json:
        print_json([list(event) for event in events])
    else:
        _print_events(events)


def _print_events(events: Iterable[_Event]) -> None:
    """A block for each entity, `+` before what was added and `-` before what was retracted."""
    for e, group in groupby(events, key=lambda event: event.e):
        print(f"  {e}" if e < TX_BASE else f"  transaction {e - TX_BASE}")
        for event in group:
            text = f"{'+' if event.added else '-'} {event.a} {notation(event.v)}"
            print("    " + styled(text, "added" if event.added else "retracted"))


def _sorted(events: Iterator[_Event]) -> list[_Event]:
    return sorted(events, key=lambda event: (event.e, event.a, event.added, notation(event.v)))


def _name(db: Database, attribute: int) -> str:
    found = db.schema.attribute(attribute)
    return str(found.ident) if found else str(attribute)


COMMANDS: Final = (
    Command(
        "log",
        "print transactions with their datoms, newest last",
        "bucketlog log s3://bucket/site --from 120 --json",
        _log_arguments,
        _log,
    ),
    Command(
        "diff",
        "print what changed between two transactions or instants, by entity",
        "bucketlog diff s3://bucket/site 120 2026-05-01T12:00Z",
        _diff_arguments,
        _diff,
    ),
)
