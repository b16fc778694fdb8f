"""The `homeport` command. Exit codes: 0 done, 1 failed, 2 wrong use."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from homeport import redirect_command

# ruff: noqa: PLC0415  `--help` answers without loading servers and databases


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    from bucketlog import BucketlogError
    from homeport.errors import HomeportError

    try:
        code: int = options.run(options)
    except (HomeportError, BucketlogError, OSError) as error:
        print(f"homeport: {error}", file=sys.stderr)
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="homeport",
        description="App Runner that you can run anywhere: registry, AWS's API, containers, HTTPS edge.",
        epilog="example: homeport serve --data /var/lib/homeport",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser(
        "serve",
        help="serve everything of a data directory until SIGTERM or Ctrl-C",
        epilog="example: homeport serve --data port --https-port 443 --http-port 80",
    )
    _add_data(serve)
    for name, default, what in (
        ("port", 7070, "registry and API"),
        ("https-port", 8443, "HTTPS edge"),
        ("http-port", 8080, "HTTP edge, which redirects to HTTPS"),
    ):
        serve.add_argument(
            f"--{name}",
            type=_port,
            default=default,
            metavar="N",
            help=f"loopback port of the {what}; 0 for a free one (%(default)s)",
        )
    serve.set_defaults(run=_serve)
    env = commands.add_parser(
        "env",
        help="print the settings by which AWS's clients find and drive it",
        epilog='example: eval "$(homeport env --data port)"',
    )
    _add_data(env)
    env.set_defaults(run=_env)
    redirect_command.add_parser(commands, _add_data)
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="where state, images and buckets are kept"
    )


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port")
    return number


def _serve(options: argparse.Namespace) -> int:
    if os.geteuid() != 0:
        print("homeport: containers and network namespaces need root: run it with sudo", file=sys.stderr)
        return 2
    import uvloop

    from homeport.serve import Ports, serve

    options.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    uvloop.run(serve(options.data.resolve(), Ports(options.port, options.https_port, options.http_port)))
    return 0


def _env(options: argparse.Namespace) -> int:
    from homeport.serve import environment_of

    for name, value in environment_of(options.data).items():
        print(f"export {name}={shlex.quote(value)}")
    return 0
