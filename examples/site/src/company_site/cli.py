"""The command `site`: read the environment, serve until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import os
import signal
import sys

import uvicorn

from company_site.app import create_app
from company_site.logs import configure_logging
from company_site.settings import VARIABLES, Settings, SettingsError
from company_site.version import __version__

_GRACE = 8  # seconds that requests in flight get after SIGTERM; platforms give 10 or more
_KEEP_ALIVE = 75  # seconds; longer than an edge keeps an idle connection, so that the edge closes first


def main() -> None:
    """Serve the site. Exit codes: 0 stopped, 2 wrong settings, 3 could not start."""
    parser = argparse.ArgumentParser(
        prog="site",
        description="Serve the site. It is configured by environment variables alone.",
        epilog="\n".join(f"  {name:<20}{meaning}" for name, meaning in VARIABLES.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.parse_args()
    try:
        settings = Settings.from_environment(os.environ)
    except SettingsError as error:
        print(f"site: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    configure_logging()
    # uvicorn, once it has stopped, raises the signal that stopped it again: that was what was asked for.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    serve(settings)


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
