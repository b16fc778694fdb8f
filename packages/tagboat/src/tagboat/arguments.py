"""What the commands' arguments share, and that they come in any order: `tagboat smoke URL --json shop` is
`tagboat smoke --json URL shop`.

By itself argparse gives an optional positional its default at the first option that follows another one
(https://github.com/python/cpython/issues/59317, mended in later Pythons).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any


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
