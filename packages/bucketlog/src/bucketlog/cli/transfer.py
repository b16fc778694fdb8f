"""`bucketlog export` and `bucketlog import`: a database as text, and back."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from bucketlog.cli.command import Command, existing, transaction_number, url_of
from bucketlog.export import export_text
from bucketlog.importing import import_text

__all__ = ["COMMANDS"]


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help="where to (default: standard output)"
    )
    parser.add_argument("--to", type=transaction_number, metavar="T", help="the last transaction to export")


def _export(options: argparse.Namespace) -> None:
    url = existing(options.database)
    if options.file is None:
        last = export_text(url, sys.stdout.buffer.write, to=options.to)
    else:
        with options.file.open("wb") as file:
            last = export_text(url, file.write, to=options.to)
    print(f"bucketlog: transactions 0 to {last} are exported", file=sys.stderr)


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help="where from (default: standard input)"
    )


def _import(options: argparse.Namespace) -> None:
    url = url_of(options.database)
    if options.file is None:
        last = import_text(sys.stdin.buffer, url)
    else:
        with options.file.open("rb") as file:
            last = import_text(file, url)
    print(f"bucketlog: transactions 0 to {last} are in {options.database}", file=sys.stderr)


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
        "make a new database of an export",
        "bucketlog import s3://bucket/copy site.jsonl",
        _import_arguments,
        _import,
    ),
)
