"""The command `site`: read the environment, serve until SIGTERM or SIGINT; or export, import, collect."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

import uvicorn
from obstore.exceptions import BaseError as ObjectStoreError

from bucketlog import BucketlogError
from company_site.app import create_app
from company_site.errors import SiteError
from company_site.logs import configure_logging
from company_site.settings import VARIABLES, Settings, SettingsError
from company_site.version import __version__

_GRACE = 8  # seconds that requests in flight get after SIGTERM; platforms give 10 or more
_KEEP_ALIVE = 75  # seconds; longer than an edge keeps an idle connection, so that the edge closes first


def main() -> None:
    """Serve the site, or do one of the other commands.

    Exit codes: 0 done, 1 failed, 2 wrong settings or wrong use; of a site that could not start, 3.
    """
    arguments = _parser().parse_args()
    try:
        settings = Settings.from_environment(os.environ)
    except SettingsError as error:
        print(f"site: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    if arguments.command is not None:
        _end(_do(arguments, settings))
    configure_logging()
    # uvicorn, once it has stopped, raises the signal that stopped it again: that was what was asked for.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        serve(settings)
    except SystemExit as end:
        _end(end.code if isinstance(end.code, int) else 0)
    _end(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="site",
        description="Serve the site. It is configured by environment variables alone; so are its commands.",
        epilog="\n".join(f"  {name:<20}{meaning}" for name, meaning in VARIABLES.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="other commands")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text)

    exporting = command("export", "Write the whole site into one file: history, users, roles, images.")
    exporting.add_argument("file", type=Path, help="for instance site.zip")
    importing = command("import", "Make the site of such a file, where there is none yet.")
    importing.add_argument("file", type=Path)
    writing = command("export-posts", "Write every post as a Markdown file with front matter.")
    writing.add_argument("directory", type=Path)
    reading = command("import-posts", "Make a post of each Markdown file.")
    reading.add_argument("files", type=Path, nargs="+", metavar="FILE")
    reading.add_argument("--as", dest="user", required=True, help="id of the member who writes them")
    command("collect", "Delete images that nothing has used for a week; a running site does so by itself.")
    return parser


def _do(arguments: argparse.Namespace, settings: Settings) -> int:
    # A start that serves has no need of these.
    from company_site import commands  # noqa: PLC0415

    try:
        for line in commands.run(arguments, settings):
            print(line)
    except (SiteError, BucketlogError, ObjectStoreError) as error:
        print(f"site: {error}", file=sys.stderr)
        return 1
    return 0


def _end(code: int) -> NoReturn:
    """End at once. A thread of the object store that is still handing an answer over to Python would abort
    the process while Python winds up.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def serve(settings: Settings) -> None:
    """Run the application; returns after a graceful stop.

    The scheme is taken from X-Forwarded-Proto whoever sends it: a container is reached through its edge
    alone, and all that a forged one gains is a cookie that its own browser will not send back.
    """
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=True,
        forwarded_allow_ips="*",
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_GRACE,
    )
