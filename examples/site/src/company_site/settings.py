"""What the environment says, parsed once into a typed value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from company_site.errors import SiteError

VARIABLES: Mapping[str, str] = {
    "DATABASE_URL": "where the data are: s3://BUCKET/PREFIX or file:///DIRECTORY (required)",
    "UPLOADS_URL": "where uploaded images are: s3://BUCKET or file:///DIRECTORY (required)",
    "SITE_MODE": "prod, or demo for a sign-in without passwords (default prod)",
    "SITE_NAME": "the company's name (default Northpier)",
    "SITE_URL": "the address that visitors use, https://HOST without a path (default: the one they asked)",
    "HOST": "address to listen on (default 0.0.0.0, which a container needs)",
    "PORT": "port to listen on (default 8080)",
}

_ORIGIN = re.compile(r"https?://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?", re.ASCII)
_STORE = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\s?#]*)?|file:///[^\s?#]+", re.ASCII)


class SettingsError(SiteError):
    """One or more variables are missing or wrong; the text names each."""


class Mode(StrEnum):
    PROD = "prod"
    DEMO = "demo"


@dataclass(frozen=True)
class Settings:
    """Everything that can be configured. URLs are as in `VARIABLES`; `site_url` never ends with a slash."""

    database_url: str
    uploads_url: str
    mode: Mode = Mode.PROD
    site_name: str = "Northpier"
    site_url: str | None = None
    host: str = "0.0.0.0"  # noqa: S104 - inside a container, the edge comes in from outside
    port: int = 8080

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read and check the variables; SettingsError lists every one that is wrong, not only the first."""
        problems: list[str] = []

        def text(name: str, default: str | None) -> str:
            value = environment.get(name, default)
            if value is None:
                problems.append(f"{name} is not set: {VARIABLES[name]}")
            elif not value.strip():
                problems.append(f"{name} is empty: {VARIABLES[name]}")
            else:
                return value.strip()
            return ""

        def store(name: str) -> str:
            value = text(name, None)
            if value and not _STORE.fullmatch(value):
                problems.append(f"{name} is {value!r}: {VARIABLES[name]}")
            return value

        database_url, uploads_url = store("DATABASE_URL"), store("UPLOADS_URL")
        mode = text("SITE_MODE", cls.mode)
        if mode and mode not in list(Mode):
            problems.append(f"SITE_MODE is {mode!r}: {VARIABLES['SITE_MODE']}")
        site_name = text("SITE_NAME", cls.site_name)
        if len(site_name) > 60 or not site_name.isprintable():
            problems.append("SITE_NAME has more than 60 characters, or some that cannot be printed")
        site_url = text("SITE_URL", None).removesuffix("/") if "SITE_URL" in environment else None
        if site_url and not _ORIGIN.fullmatch(site_url):
            problems.append(f"SITE_URL is {site_url!r}: {VARIABLES['SITE_URL']}")
        host = text("HOST", cls.host)
        port = text("PORT", str(cls.port))
        if port and not (re.fullmatch(r"[0-9]{1,5}", port) and 1 <= int(port) <= 65535):
            problems.append(f"PORT is {port!r}: a number from 1 to 65535")
        if problems:
            raise SettingsError("; ".join(problems))
        return cls(database_url, uploads_url, Mode(mode), site_name, site_url, host, int(port))
