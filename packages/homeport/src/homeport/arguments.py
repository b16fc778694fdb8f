"""What the commands' arguments share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]


def add_data(parser: argparse.ArgumentParser) -> None:
    """The directory that a command is about."""
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="where state, images and buckets are kept"
    )


def add_json(parser: argparse.ArgumentParser, what: str = "as JSON") -> None:
    """In which form results are printed; `what` is the option's help."""
    parser.add_argument("--json", action="store_true", help=what)
