"""Whom this machine trusts when it connects."""

from __future__ import annotations

import os
import ssl
from contextlib import suppress
from pathlib import Path


def trusting() -> ssl.SSLContext:
    """What the machine trusts, and homeport's authority."""
    context = ssl.create_default_context()
    authority = os.environ.get("HOMEPORT_CA")
    if authority and Path(authority).is_file():
        with suppress(ssl.SSLError):  # `tagboat doctor` tells of it
            context.load_verify_locations(authority)
    return context
