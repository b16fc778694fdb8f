"""`homeport backup` and `homeport restore`: a data directory to another place, and back."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from homeport.arguments import add_data, add_json

if TYPE_CHECKING:
    from homeport.arguments import Commands

# ruff: noqa: PLC0415  `--help` answers without loading servers and databases


def add_parser(commands: Commands) -> None:
    """Hang the two commands into the command's parser."""
    backup = commands.add_parser(
        "backup",
        help="copy state, images and buckets to another place, or bring a copy up to date",
        epilog="example: homeport backup s3://backups/port --data /var/lib/homeport --verify",
    )
    backup.add_argument("target", metavar="TARGET", help="URL of a bucket, or a directory")
    backup.add_argument(
        "--verify", action="store_true", help="then read the copies of databases whole, and compare them"
    )
    backup.set_defaults(run=_backup)
    restore = commands.add_parser(
        "restore",
        help="make a new data directory of a backup",
        epilog="example: homeport restore s3://backups/port --data /var/lib/homeport",
    )
    restore.add_argument("source", metavar="BACKUP", help="URL or directory of the backup")
    restore.set_defaults(run=_restore)
    for command in (backup, restore):
        add_json(command)
        add_data(command)


def _backup(options: argparse.Namespace) -> int:
    from homeport.backup import back_up

    done = back_up(options.data.resolve(), options.target, verify=options.verify, progress=_say)
    return _ended(options, asdict(done))


def _restore(options: argparse.Namespace) -> int:
    from homeport.backup import restore

    return _ended(options, asdict(restore(options.source, options.data.resolve(), progress=_say)))


def _ended(options: argparse.Namespace, document: dict[str, Any]) -> int:
    if options.json:
        print(json.dumps(document))
    return 0


def _say(line: str) -> None:
    print(f"homeport: {line}", file=sys.stderr, flush=True)
