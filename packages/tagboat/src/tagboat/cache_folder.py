"""Where builds keep what they may use again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """A folder below the user's cache folder (XDG base directory specification)."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tagboat"


def uploads_folder() -> Path:
    """Where uploads are noted that have begun, so that a push that was killed goes on with them."""
    return cache_folder() / "uploads"
