"""A company's site and blog in one process, its data and uploads in buckets.

`create_app(settings)` gives the ASGI application; `site` on the command line serves it.
"""

from __future__ import annotations

from company_site.app import create_app
from company_site.settings import Mode, Settings, SettingsError
from company_site.version import __version__

__all__ = ["Mode", "Settings", "SettingsError", "__version__", "create_app"]
