"""`bucketlog export`, `import`, `backup` and `restore`: a database as text, as a copy, and back."""

from __future__ import annotations

import argparse
import re
import sys
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Final

import bucketlog
from bucketlog.cli.command import Command, add_branch, existing, opened, transaction_number, url_of
from bucketlog.export import export_text
from bucketlog.foreign import import_edn
from bucketlog.importing import import_text

__all__ = ["COMMANDS"]


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help="where to (default: standard output)"
    )
    parser.add_argument("--to", type=transaction_number, metavar="T", help="the last transaction to export")
    add_branch(parser)


def _export(options: argparse.Namespace) -> None:
    url = existing(options.database)
    if options.file is None:
        last = export_text(url, sys.stdout.buffer.write, to=options.to, branch=options.branch)
    else:
        with options.file.open("wb") as file:
            last = export_text(url, file.write, to=options.to, branch=options.branch)
    print(f"bucketlog: transactions 0 to {last} are exported", file=sys.stderr)


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help="where from (default: standard input)"
    )


def _import(options: argparse.Namespace) -> None:
    url = url_of(options.database)
    if options.file is None:
        last = _import_from(sys.stdin.buffer, url)
    else:
        with options.file.open("rb") as file:
            last = _import_from(file, url)
    print(f"bucketlog: transactions 0 to {last} are in {options.database}", file=sys.stderr)


def _import_from(file: BinaryIO, url: str) -> int:
    """Import an export, or EDN, which never begins as JSON does."""
    first = next(file, b"")
    while first and not first.strip():
        first = next(file, b"")
    if first.lstrip()[:1] in (b"#", b"[") or re.match(rb"\s*\{\s*(:|$)", first):
        return import_edn(first + file.read(), url)
    return import_text(chain((first,), file), url)


def _backup_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target", metavar="TARGET", help="an empty place, or an older copy to bring up to date"
    )
    parser.add_argument("--to", type=transaction_number, metavar="T", help="the last transaction to copy")
    parser.add_argument("--verify", action="store_true", help="then read the copy whole, and compare it")
    add_branch(parser)


def _backup(options: argparse.Namespace) -> None:
    with opened(options) as conn:
        copied = conn.backup(url_of(options.target), options.to)
        print(f"bucketlog: transactions 0 to {copied.t} are in {options.target}", file=sys.stderr)
        if options.verify:
            verified = conn.verify_backup(url_of(options.target))
            print(
                f"bucketlog: {verified.entries} entries of its log are the original's, "
                f"{verified.chunks} chunks of its snapshot are whole",
                file=sys.stderr,
            )


def _restore_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("backup", metavar="BACKUP", help="URL or directory of the copy")
    parser.add_argument("--to", type=transaction_number, metavar="T", help="the last transaction to restore")


def _restore(options: argparse.Namespace) -> None:
    with bucketlog.connect(existing(options.backup)) as conn:
        copied = conn.backup(url_of(options.database), options.to)
    print(f"bucketlog: transactions 0 to {copied.t} are in {options.database}", file=sys.stderr)


COMMANDS: Final = (
    Command(
        "export",
        "write a database and its history as lines of JSON",
        "bucketlog export s3://bucket/site site.jsonl",
        _export_arguments,
        _export,
    ),
    Command(
        "import",
        "make a new database of an export, or of what DataScript, Datahike or Datalevin print",
        "bucketlog import s3://bucket/copy site.jsonl",
        _import_arguments,
        _import,
    ),
    Command(
        "backup",
        "copy a database to another place, or bring a copy up to date",
        "bucketlog backup s3://bucket/site file:///backups/site",
        _backup_arguments,
        _backup,
    ),
    Command(
        "restore",
        "copy a backup, up to any transaction, to a place where nothing is",
        "bucketlog restore s3://bucket/site-2 file:///backups/site --to 120",
        _restore_arguments,
        _restore,
    ),
)
