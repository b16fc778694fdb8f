"""The `bucketlog` command. Results go to standard output, everything else to standard error.

Exit codes: 0 done, 1 failed, 2 wrong use, which a query that cannot be read is too.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from typing import Final

from bucketlog.cli import ask, history, stat, transfer, upkeep
from bucketlog.cli.command import Command, UsageError
from bucketlog.errors import BucketlogError, EdnError, QueryError

__all__ = ["main"]

_COMMANDS: Final[tuple[Command, ...]] = (
    *stat.COMMANDS,
    *ask.COMMANDS,
    *history.COMMANDS,
    *transfer.COMMANDS,
    *upkeep.COMMANDS,
)

_LOCATION: Final = "URL (file:///srv/site, s3://bucket/site) or directory of the database"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    if sys.stdout is None:  # closed by whoever started us: what would be printed goes nowhere
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  until the end
    if arguments is None and isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # letters that the terminal lacks are spelled out
    try:
        options = _parser().parse_args(arguments)
        options.run(options)
        sys.stdout.flush()
    except (UsageError, QueryError, EdnError) as error:
        return _complain(error, 2)
    except (BucketlogError, OSError) as error:
        if isinstance(error, BrokenPipeError):  # the reader of our output has seen enough, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        return _complain(error, 1)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bucketlog",
        description="Look into a database that lives in a bucket, and move it.",
        epilog="example: bucketlog q s3://bucket/site '[:find ?name :where [_ :user/name ?name]]'",
    )
    parser.add_argument("--version", action="version", version=f"bucketlog {version('bucketlog')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in _COMMANDS:
        sub = commands.add_parser(
            command.name, help=command.help, description=command.help, epilog=f"example: {command.example}"
        )
        sub.add_argument("database", metavar="DATABASE", help=_LOCATION)
        command.arguments(sub)
        sub.set_defaults(run=command.run)
    return parser


def _complain(error: Exception | str, code: int) -> int:
    print(f"bucketlog: {error}", file=sys.stderr)
    return code
