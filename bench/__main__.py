"""Run one benchmark and print its table; with --json, write its rows too."""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys
from pathlib import Path

import bench
from bench.row import Row, table

_NOT_BENCHES = frozenset({"__main__", "function", "lambda_service", "row"})


def main() -> int:
    """Exit code 0 when every goal is met, 1 when one is not, 2 for a name that is no benchmark."""
    names = sorted(
        module.name for module in pkgutil.iter_modules(bench.__path__) if module.name not in _NOT_BENCHES
    )
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("name", choices=names)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    rows: list[Row] = importlib.import_module(f"bench.{options.name}").run()
    print(table(rows))
    if options.json is not None:
        options.json.write_text(json.dumps([row.to_json() for row in rows], indent=2) + "\n")
    return 0 if all(row.met is not False for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
