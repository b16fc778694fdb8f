"""What the commands' arguments share, and that they come in any order: `tagboat smoke URL --json shop` is
`tagboat smoke --json URL shop`.

By itself argparse gives an optional positional its default at the first option that follows another one
(https://github.com/python/cpython/issues/59317, mended in later Pythons).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]

LOCATION = "HOST/REPOSITORY[:TAG][@DIGEST], oci:DIR[:NAME] or tar:FILE"


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose commands take options and positionals in any order."""

    _options_first = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        commands = any(action.nargs == argparse.PARSER for action in self._actions)
        if self._options_first or commands or "--" in (args or ()):
            return super().parse_known_args(args, namespace)
        return self._parse_options_first(args, namespace)

    def _parse_options_first(self, args: Sequence[str] | None, namespace: Any) -> tuple[Any, list[str]]:
        self._options_first = True  # what it does calls parse_known_args for each of the two rounds
        try:
            parsed: tuple[Any, list[str]] = self.parse_known_intermixed_args(args, namespace)
        finally:
            self._options_first = False
        return parsed


def add_component(parser: argparse.ArgumentParser) -> None:
    """The component that a command is about."""
    parser.add_argument(
        "component",
        nargs="?",
        type=Path,
        default=Path(),
        metavar="COMPONENT",
        help="the folder with the component's pyproject.toml (default: this one)",
    )


def add_target(parser: argparse.ArgumentParser) -> None:
    """Which target is meant."""
    parser.add_argument(
        "--target",
        metavar="NAME",
        help="one of [tool.tagboat.targets] (default: the only one that there is)",
    )


def add_location(parser: argparse.ArgumentParser) -> None:
    """The image that a command is about, wherever it is."""
    parser.add_argument("location", metavar="LOCATION", help=LOCATION)
    add_platform(parser)


def add_platform(parser: argparse.ArgumentParser) -> None:
    """Which image is meant, where there are several."""
    parser.add_argument(
        "--platform", metavar="OS/ARCH", help="which image of an index (default: this machine's)"
    )


def add_json(parser: argparse.ArgumentParser, what: str = "print the result as JSON") -> None:
    """In which form the result is printed; `what` is the option's help."""
    parser.add_argument("--json", action="store_true", help=what)


def add_common(parser: argparse.ArgumentParser) -> None:
    """What most commands take: the component, which of its targets, and the form of the result."""
    add_component(parser)
    add_target(parser)
    add_json(parser)


def whole(text: str) -> int:
    """A number of things, as argparse's `type`."""
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 0 or more")
    return int(text)


def seconds(text: str) -> float:
    """A time that one can wait, as argparse's `type`."""
    return number(text, 1e9, "number of seconds")


def number(text: str, bound: float, what: str) -> float:
    """A number from 0 to below `bound`, for a `type` of argparse; `what` is for complaints."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < bound:
        raise argparse.ArgumentTypeError(f"{text!r} is no {what}")
    return value


def add_timeout(parser: argparse.ArgumentParser, what: str = "seconds to wait") -> None:
    """How long a command waits for the platform."""
    parser.add_argument("--timeout", type=seconds, default=900, metavar="S", help=f"{what} (%(default)s)")
