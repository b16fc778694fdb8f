"""The version that is running, as the distribution's metadata has it."""

from __future__ import annotations

from importlib.metadata import version

__version__ = version("site")
