"""`bucketlog gc`, `excise` and `branch`: what a database needs now and then."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from datetime import timedelta
from typing import Final

from bucketlog.cli.command import Command, UsageError, add_json, form_of, opened, transaction_number
from bucketlog.cli.output import print_json, print_table

__all__ = ["COMMANDS"]


def _gc_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--grace",
        type=float,
        default=1.0,
        metavar="HOURS",
        help="keep what was replaced within this time, for those who still read it (%(default)s)",
    )
    add_json(parser)


def _gc(options: argparse.Namespace) -> None:
    if not 0 <= options.grace < 1e6:
        raise UsageError(f"--grace {options.grace}: not a number of hours from 0")
    with opened(options) as conn:
        garbage = conn.collect(timedelta(hours=options.grace))
    if options.json:
        print_json(asdict(garbage))
    else:
        print_table(["deleted", "count"], list(asdict(garbage).items()))


def _excise_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "entities", nargs="+", metavar="ENTITY", help="an id, an ident or a lookup ref in EDN"
    )
    parser.add_argument(
        "--attribute", action="append", metavar="IDENT", help="only this attribute; may be given repeatedly"
    )
    parser.add_argument(
        "--before", type=transaction_number, metavar="T", help="only what earlier transactions added"
    )
    parser.add_argument("--yes", action="store_true", help="do it: what is excised never comes back")
    add_json(parser)


def _excise(options: argparse.Namespace) -> None:
    entities = [form_of(text, "ENTITY") for text in options.entities]
    with opened(options) as conn:
        if not options.yes:
            found = [conn.db().entid(entity) for entity in entities]
            raise UsageError(f"entities {found} would go for good, from the past too: repeat it with --yes")
        report = conn.excise(entities, attributes=options.attribute, before=options.before)
    excised = [datom.v for datom in report.tx_data if datom.a == ":db/excise"]
    if options.json:
        print_json({"t": report.t, "excised": excised})
    else:
        print_table(["excised"], [(entity,) for entity in excised])


def _branch_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="the branch to begin; without, all are listed"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--at", type=transaction_number, metavar="T", help="the last transaction that it shares (the newest)"
    )
    what.add_argument("--delete", action="store_true", help="delete the branch instead")
    add_json(parser)


def _branch(options: argparse.Namespace) -> None:
    if options.name is None and (options.delete or options.at is not None):
        raise UsageError("--at and --delete are about a branch: give its NAME")
    with opened(options) as conn:
        if options.name is not None and options.delete:
            conn.delete_branch(options.name)
        elif options.name is not None:
            conn.fork(options.name, options.at)
        names = conn.branches()
    if options.json:
        print_json(names)
    else:
        print_table(["branch"], [(name,) for name in names])


COMMANDS: Final = (
    Command(
        "gc",
        "delete snapshots and chunks that nobody needs, and finish excisions that were cut short",
        "bucketlog gc s3://bucket/site",
        _gc_arguments,
        _gc,
    ),
    Command(
        "excise",
        "remove entities for good, now and in the past, with every byte of them in the bucket",
        "bucketlog excise s3://bucket/site '[:user/name \"Ann\"]' --yes",
        _excise_arguments,
        _excise,
    ),
    Command(
        "branch",
        "list, begin or delete branches",
        "bucketlog branch s3://bucket/site experiment --at 120",
        _branch_arguments,
        _branch,
    ),
)
