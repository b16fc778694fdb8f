"""The `homeport` command. Exit codes: 0 done, 1 failed, 2 wrong use; 130 and 141 as of a shell: Ctrl-C, and
a reader of the output that has seen enough.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from io import TextIOWrapper
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from homeport import backup_command, init_command, redirect_command, role_command, secret_command
from homeport.arguments import add_data, add_json

if TYPE_CHECKING:
    from homeport.arguments import Commands

# ruff: noqa: PLC0415  `--help` answers without loading servers and databases


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what a command line says, by default this process's; its exit code."""
    if arguments is None and isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # letters that the terminal lacks are spelled out
    try:
        return _command(arguments)
    except KeyboardInterrupt:
        print("homeport: interrupted", file=sys.stderr)
        return 130


def _command(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    from bucketlog import BucketlogError
    from homeport.errors import HomeportError

    try:
        code: int = options.run(options)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:  # whoever reads, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (HomeportError, BucketlogError, OSError) as error:
        print(f"homeport: {_said(error)}", file=sys.stderr)
        return 1
    return code


def _said(error: Exception) -> str:
    """What the system refuses, without its number."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="homeport",
        description="App Runner that you can run anywhere: registry, AWS's API, containers, HTTPS edge.",
        epilog="example: homeport serve --data /var/lib/homeport",
    )
    parser.add_argument("--version", action="version", version=f"homeport {version('homeport')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_serve(commands)
    _add_upgrade(commands)
    init_command.add_parser(commands)
    _add_env(commands)
    _add_audit(commands)
    backup_command.add_parser(commands)
    redirect_command.add_parser(commands)
    role_command.add_parser(commands)
    secret_command.add_parser(commands)
    return parser


def _add_serve(commands: Commands) -> None:
    serve = commands.add_parser(
        "serve",
        help="serve everything of a data directory until SIGTERM or Ctrl-C",
        epilog="example: homeport serve --data port --address :: --https-port 443 --http-port 80"
        " --domain apps.example.com --acme https://acme-v02.api.letsencrypt.org/directory",
    )
    add_data(serve)
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
            help=f"port of the {what}; 0 for a free one (%(default)s)",
        )
    serve.add_argument(
        "--address",
        type=_address,
        default="127.0.0.1",
        metavar="IP",
        help="where the edge listens, :: for everybody; registry and API stay on loopback (%(default)s)",
    )
    serve.add_argument(
        "--domain",
        type=_domain,
        default="localhost",
        metavar="NAME",
        help="what the services' own names end in; DNS leads all below it here (%(default)s)",
    )
    serve.add_argument(
        "--acme",
        type=_directory,
        metavar="URL",
        help="directory of the authority that signs for names which are not local, by ACME and HTTP-01;"
        " to name it is to agree to its terms of service",
    )
    serve.add_argument(
        "--backup",
        metavar="TARGET",
        help="bring a backup there up to date once a day, as `homeport backup` does",
    )
    serve.add_argument(
        "--console",
        type=_host,
        metavar="NAME",
        help="host at which the edge shows the console to whoever has the root key; without it the console"
        " is on the control port alone",
    )
    serve.add_argument(
        "--control",
        type=_host,
        metavar="NAME",
        help="host at which the edge shows the console, and answers as registry and API for whoever has a"
        " key, so that releases come from anywhere; in place of --console",
    )
    serve.set_defaults(run=_serve)


def _add_upgrade(commands: Commands) -> None:
    upgrade = commands.add_parser(
        "upgrade",
        help="replace the homeport that serves by the version installed now, or by one that is installed for"
        " it; no request is lost",
        epilog="example: homeport upgrade --data port",
    )
    add_data(upgrade)
    upgrade.add_argument(
        "--to",
        metavar="VERSION",
        help="install this version first, from the index that pip is set up with; where it does not serve,"
        " the one before does again",
    )
    upgrade.add_argument("--lock", type=int, help=argparse.SUPPRESS)
    upgrade.set_defaults(run=_upgrade)


def _add_env(commands: Commands) -> None:
    env = commands.add_parser(
        "env",
        help="print the settings by which AWS's clients find and drive it",
        epilog='example: eval "$(homeport env --data port)"',
    )
    add_data(env)
    env.set_defaults(run=_env)


def _add_audit(commands: Commands) -> None:
    audit = commands.add_parser(
        "audit",
        help="print who called what, when, from where, and how it ended",
        epilog="example: homeport audit --data port --since 2h",
    )
    add_data(audit)
    audit.add_argument(
        "--since",
        type=_time,
        default="7d",
        metavar="WHEN",
        help="how long ago, as 90s, 15m, 2h or 7d, or a time as 2026-07-01T12:00Z (%(default)s)",
    )
    audit.add_argument("--reads", action="store_true", help="also calls that change nothing")
    add_json(audit, "one JSON object a line")
    audit.set_defaults(run=_audit)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port: 0 to 65535")
    return int(text)


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no IP address") from None


def _domain(text: str) -> str:
    return text if text == "localhost" else _host(text)


def _host(text: str) -> str:
    from homeport.hosts import HostError, host_name

    try:
        return host_name(text)
    except HostError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _directory(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme != "https" or not parts.hostname:
        raise argparse.ArgumentTypeError(f"{text} is no https URL")
    return text


def _time(text: str) -> datetime:
    now = datetime.now(UTC)
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
    try:
        if text[-1:] in units and text[:-1].isdecimal():
            return now - timedelta(**{units[text[-1]]: int(text[:-1])})
        time = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text} is no time and no duration") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _serve(options: argparse.Namespace) -> int:
    if os.geteuid() != 0:
        print("homeport: containers and network namespaces need root: run it with sudo", file=sys.stderr)
        return 2
    import logging

    import uvloop

    from homeport.listeners import Listeners
    from homeport.process import open_many_files
    from homeport.serve import Front, Ports, serve

    if options.console and options.control:
        print("homeport: --control NAME shows the console there, too: leave out --console", file=sys.stderr)
        return 2
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("homeport: %(message)s"))
    logging.getLogger("homeport").addHandler(handler)
    options.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    ports = Ports(options.port, options.https_port, options.http_port)
    front = Front(
        options.address,
        options.domain,
        options.acme,
        options.console or options.control,
        api=options.control is not None,
    )
    listeners = Listeners.inherit()
    open_many_files()
    if uvloop.run(serve(options.data.resolve(), ports, front, listeners, options.backup)):
        # In our place, with our process id: whoever has started us, or watches us, need not notice.
        from homeport.installation import Installation

        environment = os.environ | listeners.leave()
        installation = Installation.ours()
        python = str(installation.python(installation.current)) if installation else sys.executable
        os.execve(python, [python, *sys.orig_argv[1:]], environment)  # noqa: S606
    return 0


def _upgrade(options: argparse.Namespace) -> int:
    from homeport.upgrade import upgrade

    seconds = upgrade(options.data.resolve(), options.to, lock=options.lock)
    which = f"version {options.to}" if options.to else "the installed version"
    print(f"homeport: {which} serves, after {seconds:.1f} s", file=sys.stderr)
    return 0


def _env(options: argparse.Namespace) -> int:
    from homeport.serve import environment_of

    for name, value in environment_of(options.data).items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def _audit(options: argparse.Namespace) -> int:
    from homeport.audit import FOLDER, read_calls
    from homeport.errors import HomeportError

    if not options.data.is_dir():
        raise HomeportError(f"{options.data} is not there")
    for call in read_calls(options.data / FOLDER, options.since, reads=options.reads):
        at = f"{call.at:%Y-%m-%dT%H:%M:%S}Z"
        if options.json:
            print(json.dumps(asdict(call) | {"at": call.at.isoformat()}))
        else:
            times = f" ({call.count} times)" if call.count > 1 else ""
            print(at, call.who, call.source, call.operation, call.about or "-", call.result + times, sep="  ")
    return 0
