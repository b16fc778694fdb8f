"""`homeport redirect`: add, list and remove redirects of a homeport that runs."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING
from urllib.parse import quote

from homeport.arguments import add_data, add_json

if TYPE_CHECKING:
    from homeport.arguments import Commands

# ruff: noqa: PLC0415  `--help` answers without loading servers and databases

_STATUSES = (301, 302, 307, 308)
_PATH = "/_homeport/redirects"


def add_parser(commands: Commands) -> None:
    """Hang the verbs into the command's parser."""
    redirect = commands.add_parser("redirect", help="lead names and paths that have moved to where they are")
    verbs = redirect.add_subparsers(required=True, metavar="VERB")
    add = verbs.add_parser(
        "add",
        help="redirect a host, or paths of it",
        epilog="example: homeport redirect add example.com https://www.example.com --data port",
    )
    add.add_argument(
        "source", metavar="SOURCE", help="HOST, *.HOST, HOST/path, HOST/path?query or HOST/path/*"
    )
    add.add_argument("target", metavar="URL", help="where to")
    add.add_argument(
        "--status", type=int, choices=_STATUSES, default=301, help="the answer's status (%(default)s)"
    )
    add.add_argument(
        "--drop-path", action="store_true", help="do not put the rest of the path behind the target's"
    )
    add.add_argument("--drop-query", action="store_true", help="do not put the query behind the target")
    add.set_defaults(run=_add)
    ls = verbs.add_parser(
        "ls",
        help="list them, with how often each has answered",
        epilog="example: homeport redirect ls --data port",
    )
    add_json(ls)
    ls.set_defaults(run=_ls)
    rm = verbs.add_parser(
        "rm", help="remove one", epilog="example: homeport redirect rm example.com --data port"
    )
    rm.add_argument("source", metavar="SOURCE", help="as it was added")
    rm.set_defaults(run=_rm)
    for verb in (add, ls, rm):
        add_data(verb)


def _add(options: argparse.Namespace) -> int:
    from homeport.client import call

    document = {
        "source": options.source,
        "target": options.target,
        "status": options.status,
        "keep_path": not options.drop_path,
        "keep_query": not options.drop_query,
    }
    added = call(options.data, "POST", _PATH, document)
    print(f"{added['source']} → {added['target']} ({added['status']})")
    return 0


def _ls(options: argparse.Namespace) -> int:
    from homeport.client import call

    redirects = call(options.data, "GET", _PATH)["redirects"]
    if options.json:
        print(json.dumps(redirects, indent=2))
        return 0
    rows = [("SOURCE", "TARGET", "STATUS", "HITS", "HTTPS")]
    for one in redirects:
        dropped = [name for name in ("path", "query") if not one[f"keep_{name}"]]
        target = one["target"] + (f" (without {' and '.join(dropped)})" if dropped else "")
        rows.append((one["source"], target, str(one["status"]), str(one["hits"]), one["https"]))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:4], widths, strict=True)]
        print("  ".join((*cells, row[4])))
    return 0


def _rm(options: argparse.Namespace) -> int:
    from homeport.client import call

    removed = call(options.data, "DELETE", f"{_PATH}?source={quote(options.source, safe='')}")
    print(f"{removed['source']} is not redirected any more")
    return 0
