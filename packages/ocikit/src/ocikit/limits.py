"""What an archive may become unpacked, unless the caller says otherwise; a hostile one has no say in it."""

from __future__ import annotations

from typing import Final

MAX_SIZE: Final = 32 << 30
"""Bytes of one uncompressed layer."""

MAX_ENTRIES: Final = 2_000_000
