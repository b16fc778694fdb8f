"""`tagboat status`, `logs`, `history`, `rollback` and `smoke`: a service after it was deployed."""

from __future__ import annotations

import argparse
import json
import re
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tagboat.arguments import add_common, add_component, add_json, add_target, add_timeout, seconds, whole
from tagboat.terminal import say

if TYPE_CHECKING:
    from tagboat.arguments import Commands
    from tagboat.cloud import LogLine
    from tagboat.runtime.runtime import LogKind

# As in cli.py, what a command needs is imported when it runs.
# ruff: noqa: PLC0415

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_PAUSE = 1.0  # seconds between looks at a log that is followed


def add_service_commands(commands: Commands) -> None:
    """Add the commands about a service that is deployed."""
    _add_status(commands)
    _add_logs(commands)
    _add_history(commands)
    _add_rollback(commands)
    _add_promote(commands)
    _add_smoke(commands)


def _add_status(commands: Commands) -> None:
    status = commands.add_parser(
        "status",
        help="what the service is doing, and which release it is",
        epilog="example: tagboat status --json examples/site",
    )
    add_common(status)
    status.set_defaults(run=_status)


def _add_logs(commands: Commands) -> None:
    logs = commands.add_parser(
        "logs",
        help="what the service has written",
        epilog="example: tagboat logs --follow examples/site",
    )
    add_component(logs)
    add_target(logs)
    logs.add_argument("--events", action="store_true", help="what the platform says of the service instead")
    logs.add_argument("--follow", action="store_true", help="go on with what comes, until Ctrl-C")
    logs.add_argument(
        "--since",
        type=_seconds,
        default="1d",
        metavar="TIME",
        help="how far back: 90s, 10m, 2h, 1d (default)",
    )
    logs.add_argument(
        "--lines", type=whole, default=100, metavar="N", help="of these the last N (default: %(default)s)"
    )
    add_json(logs, "print each line as a JSON object")
    logs.set_defaults(run=_logs)


def _add_history(commands: Commands) -> None:
    history = commands.add_parser(
        "history",
        help="who deployed which image, from which commit, and how it went; the latest first",
        epilog="example: tagboat history examples/site",
    )
    add_common(history)
    history.set_defaults(run=_history)


def _add_rollback(commands: Commands) -> None:
    rollback = commands.add_parser(
        "rollback",
        help="serve the release before again",
        epilog="example: tagboat rollback --to 1.4.0 examples/site",
    )
    add_common(rollback)
    rollback.add_argument(
        "--to", metavar="RELEASE", help="a tag or its version (default: the last good one before this one)"
    )
    rollback.add_argument(
        "--only-from", metavar="DIGEST", help="do nothing unless this is the image that is released now"
    )
    add_timeout(rollback)
    rollback.set_defaults(run=_rollback)


def _add_promote(commands: Commands) -> None:
    promote = commands.add_parser(
        "promote",
        help="serve on one target the very image that another one serves",
        epilog="example: tagboat promote --from staging --target production examples/site",
    )
    add_component(promote)
    promote.add_argument(
        "--from", dest="origin", required=True, metavar="NAME", help="the target that has released it"
    )
    promote.add_argument(
        "--from-profile",
        metavar="NAME",
        help="the profile of AWS's configuration file by which that target is reached, where it is in "
        "another place than the other one: on a homeport, or in another account",
    )
    promote.add_argument("--target", required=True, metavar="NAME", help="the target that is to serve it")
    add_timeout(promote)
    add_json(promote)
    promote.set_defaults(run=_promote)


def _add_smoke(commands: Commands) -> None:
    smoke = commands.add_parser(
        "smoke",
        help="ask what is served whether it is well, and this version",
        epilog="example: tagboat smoke https://shop.example shop",
    )
    smoke.add_argument("url", metavar="URL", help="where it is served, as `tagboat deploy` prints it")
    add_component(smoke)
    smoke.add_argument(
        "--timeout",
        type=seconds,
        metavar="S",
        help="seconds to wait (default: tool.tagboat.ci.smoke-timeout, 60)",
    )
    add_json(smoke)
    smoke.set_defaults(run=_smoke)


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+)([smhd])", text, re.ASCII)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time like 90s, 10m, 2h or 1d")
    return int(match[1]) * _UNITS[match[2]]


def _status(options: argparse.Namespace) -> int:
    from tagboat.component import Component
    from tagboat.status import read_status

    status = read_status(Component.load(options.component), options.target)
    if options.json:
        print(json.dumps(asdict(status)))
    else:
        print(f"{status.service}  {status.state}  {status.url}")
        print(f"released  {status.tag or 'nothing'}  {status.digest or ''}".rstrip())
        for operation in status.operations:
            print(f"{operation.started}  {operation.type}  {operation.status}")
    return status.exit_code


def _logs(options: argparse.Namespace) -> int:
    from collections import deque

    from tagboat.cloud import followed
    from tagboat.component import Component
    from tagboat.runtime.choice import runtime_of

    runtime = runtime_of(Component.load(options.component), options.target)
    since = int((time.time() - options.since) * 1000)
    kind: LogKind = "service" if options.events else "application"
    turns = followed(lambda start: runtime.lines(kind, since=start), since=since)
    for line in deque(next(turns), maxlen=options.lines):
        _print_line(line, as_json=options.json)
    while options.follow:
        time.sleep(_PAUSE)
        for line in next(turns):
            _print_line(line, as_json=options.json)
    return 0


def _print_line(line: LogLine, *, as_json: bool) -> None:
    at = datetime.fromtimestamp(line.time / 1000, UTC).isoformat(timespec="milliseconds")
    print(
        json.dumps({"time": at, "message": line.message}) if as_json else f"{at}  {line.message}", flush=True
    )


def _history(options: argparse.Namespace) -> int:
    from tagboat.component import Component
    from tagboat.history import read_history
    from tagboat.runtime.choice import runtime_of

    component = Component.load(options.component)
    runtime = runtime_of(component, options.target)
    runtime.require()  # without a service, no repository is made
    place = runtime.repository()
    with place.registry() as registry:
        records = read_history(registry, place.reference, component)
    if options.json:
        print(json.dumps([asdict(record) for record in records]))
        return 0
    for record in records:
        who = f"{record.actor} as {record.identity}" if record.actor else record.identity
        parts = (
            record.at, record.action, record.outcome, record.tag,
            record.digest[:19], f"commit {record.commit[:12] or 'unknown'}", f"by {who}", record.run or "",
        )  # fmt: skip
        print("  ".join(parts).rstrip())
    return 0


def _rollback(options: argparse.Namespace) -> int:
    from tagboat.component import Component
    from tagboat.rollback import roll_back

    done = roll_back(
        Component.load(options.component),
        target=options.target,
        to=options.to,
        only_from=options.only_from,
        timeout=options.timeout,
        progress=say,
    )
    if done is None:
        if options.json:
            print("null")
        return 0
    print(json.dumps(asdict(done)) if options.json else done.tag)
    return 0


def _promote(options: argparse.Namespace) -> int:
    from tagboat.component import Component
    from tagboat.identity import Login
    from tagboat.promote import promote

    done = promote(
        Component.load(options.component),
        origin=options.origin,
        target=options.target,
        login=Login.of_profile(options.from_profile) if options.from_profile else None,
        timeout=options.timeout,
        progress=say,
    )
    print(json.dumps(asdict(done)) if options.json else done.url)
    return 0


def _smoke(options: argparse.Namespace) -> int:
    from tagboat.component import Component
    from tagboat.smoke import Expected, smoke_test

    component = Component.load(options.component)
    expected = Expected(
        component.config.service.health_path or "/", component.config.ci.version_header, component.version
    )
    timeout = component.config.ci.smoke_timeout if options.timeout is None else options.timeout
    smoke_test(options.url, expected, timeout=timeout, progress=say)
    served = component.version if expected.version_header else None
    say(f"{options.url} is well{f', and version {served}' if served else ''}")
    if options.json:
        print(json.dumps({"url": options.url, "version": served}))
    return 0
