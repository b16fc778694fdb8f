"""Lighthouse, from npm and with Debian's Chromium, on the pages that everybody may read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bench.row import Row

_VERSION: Final = "12.2.3"  # the last that Debian's Node runs
_TRIES: Final = 4
_CATEGORIES: Final = ("performance", "accessibility", "best-practices", "seo")


def points_lost(folder: Path, pages: Mapping[str, str]) -> list[Row]:
    """How many of a hundred points each page lost, by category.

    Without npm there are no rows, and a line says so.
    """
    if shutil.which("npm") is None:
        print("bench: there is no npm here, so Lighthouse is left out", file=sys.stderr)
        return []
    program = folder / "lighthouse"
    program.mkdir()
    _run(
        "npm", "install", "--no-audit", "--no-fund", "--loglevel=error", f"lighthouse@{_VERSION}", cwd=program
    )
    rows = []
    for page, url in pages.items():
        scores = _scores(program, url)
        rows += [
            Row("site", f"Lighthouse, {page}: {name}", 100 - scores[name], "points lost", goal=2)
            for name in _CATEGORIES
        ]
    return rows


def _scores(program: Path, url: str) -> dict[str, float]:
    """Points of a hundred by category. On a busy machine Lighthouse may lose its browser, and says to run it
    again.
    """
    report = program / "report.json"
    for left in reversed(range(_TRIES)):
        try:
            _run(
                *(str(program / "node_modules" / ".bin" / "lighthouse"), url, "--quiet", "--output=json"),
                *(f"--output-path={report}", f"--only-categories={','.join(_CATEGORIES)}"),
                "--chrome-flags=--headless=new --no-sandbox --disable-gpu",
                cwd=program,
            )
            break
        except RuntimeError:
            if not left:
                raise
    categories = json.loads(report.read_text())["categories"]
    return {name: 100 * categories[name]["score"] for name in _CATEGORIES}


def _run(*command: str, cwd: Path) -> None:
    environment = os.environ | {"CHROME_PATH": "/usr/bin/chromium"}
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=cwd, env=environment, timeout=600
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]}: {done.stdout}{done.stderr}")
