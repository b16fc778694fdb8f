"""`tagboat cutover`: a name that visitors come by moves to a target, and nobody meets a closed door."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from tagboat.arguments import add_component, add_json, add_target
from tagboat.terminal import complain

if TYPE_CHECKING:
    from tagboat.arguments import Commands

# As in cli.py, what a command needs is imported when it runs.
# ruff: noqa: PLC0415


def add_cutover_command(commands: Commands) -> None:
    """Add `cutover` to the commands."""
    cutover = commands.add_parser(
        "cutover",
        help="the steps by which a name moves to a target without downtime; exit code 35 until it has",
        epilog="example: tagboat cutover www.shop.example --target production shop",
    )
    cutover.add_argument("name", metavar="NAME", help="the name that visitors come by")
    add_component(cutover)
    add_target(cutover)
    cutover.add_argument(
        "--yes", action="store_true", help="make the next step, where the zone is in Route 53 of the account"
    )
    cutover.add_argument(
        "--back", action="store_true", help="with --yes: put back what was there before it was moved"
    )
    add_json(cutover)
    cutover.set_defaults(run=_cutover)


def _cutover(options: argparse.Namespace) -> int:
    from tagboat.component import Component
    from tagboat.cutover import end_of, go_back, look, move
    from tagboat.cutover.steps import rendered, to_json
    from tagboat.dns import Names
    from tagboat.targets.records import RecordsError

    name = options.name.rstrip(".").lower()
    end = end_of(Component.load(options.component), options.target, name)
    state = look(Names.of_settings(), end, name)
    if options.back and not options.yes:
        complain("--back changes the record: say --yes, too")
        return 2
    if options.yes:
        done = go_back(state) if options.back else move(state)
        print(json.dumps({"done": done.done}) if options.json else done.done)
        return 0 if done.next is None else RecordsError.exit_code
    if options.json:
        print(json.dumps(to_json(state), indent=2))
    else:
        for line in rendered(state):
            print(line)
    if not state.settled:
        raise RecordsError(
            f"{name} has not moved"
            if not state.moved
            else f"{name} has moved; some caches do not know it yet"
        )
    return 0
