"""What every command is made of: its arguments, the database that it names, and the view that it asks for."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from obstore.exceptions import BaseError

import bucketlog
from bucketlog import Connection, Database, Symbol, edn
from bucketlog.errors import EdnError, StoreError, brief
from bucketlog.log import key_of
from bucketlog.store import open_store

__all__ = [
    "Command",
    "UsageError",
    "add_branch",
    "add_json",
    "add_view",
    "existing",
    "form_of",
    "moment",
    "opened",
    "transaction_number",
    "url_of",
    "view",
]


class UsageError(Exception):
    """The command line asks for something that cannot be meant; nothing was done."""


@dataclass(frozen=True, slots=True)
class Command:
    """One verb: `arguments` adds what it takes beside the database, `run` does it."""

    name: str
    help: str
    example: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]


def url_of(location: str) -> str:
    """The URL of a database that is given by its URL or its directory."""
    return location if "://" in location else Path(location).resolve().as_uri()


def existing(location: str) -> str:
    """The URL of a database that exists: no command makes one by looking at it."""
    url = url_of(location)
    parts = urlsplit(url)
    if parts.scheme == "file" and not Path(unquote(parts.path)).is_dir():
        raise StoreError(f"there is no database at {location}: it is not a directory")
    try:
        open_store(url).get(key_of(0))
    except FileNotFoundError:
        raise StoreError(f"there is no database at {location}: {key_of(0)} is not there") from None
    except BaseError as error:
        raise StoreError(f"cannot read {location}: {brief(error)}") from error
    return url


@contextmanager
def opened(options: argparse.Namespace) -> Iterator[Connection]:
    """A connection to the database that the command line names, which exists."""
    url = existing(options.database)
    with bucketlog.connect(url, branch=getattr(options, "branch", None)) as conn:
        yield conn


def add_branch(parser: argparse.ArgumentParser) -> None:
    """`--branch`."""
    parser.add_argument("--branch", metavar="NAME", help="a branch instead of the trunk")


def add_json(parser: argparse.ArgumentParser) -> None:
    """`--json`."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def add_view(parser: argparse.ArgumentParser, *, history: bool) -> None:
    """The options that choose a view of the database."""
    add_branch(parser)
    parser.add_argument(
        "--as-of",
        type=moment,
        metavar="T",
        help="the database after transaction T, or at an instant such as 2026-05-01T12:00Z",
    )
    parser.add_argument("--since", type=moment, metavar="T", help="only what later transactions added")
    if history:
        parser.add_argument("--history", action="store_true", help="all datoms and their retractions")


def view(db: Database, options: argparse.Namespace) -> Database:
    """The view of `db` that the options choose."""
    if options.as_of is not None:
        db = db.as_of(options.as_of)
    if options.since is not None:
        db = db.since(options.since)
    return db.history() if getattr(options, "history", False) else db


def form_of(text: str, what: str) -> Any:
    """The value that an argument gives in EDN; `what` is the argument's name."""
    try:
        form = edn.loads(text)
    except EdnError as error:
        raise UsageError(f"{what} {text!r} is not EDN: {error}") from None
    if isinstance(form, Symbol):
        raise UsageError(f"{what} {text!r} is a symbol in EDN; text needs its quotes: '\"{text}\"'")
    return form


def moment(text: str) -> int | datetime:
    """A transaction's number, or an instant in ISO 8601, which is UTC unless it says otherwise."""
    if text.isdecimal():
        return int(text)
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a transaction's number nor an instant such as 2026-05-01T12:00Z"
        ) from None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def transaction_number(text: str) -> int:
    """A transaction's number."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a transaction's number")
    return int(text)
