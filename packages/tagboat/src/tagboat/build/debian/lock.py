"""`base.lock`: exactly which Debian packages a base is made of, for each architecture, to be committed.

TOML with one line a package, so that an update reads well as a diff. It names no mirror: `path` is below the
root of whichever archive the building machine uses, and the hash says whether it is the right file.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tagboat.build.debian.apt import Package
from tagboat.build.debian.release import Release
from tagboat.errors import ConfigError

FILE_NAME = "base.lock"
_HEADER = "# The Debian packages of the base. `tagboat base update` writes this; commit it.\n"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HINT = "`tagboat base update` writes it anew"


@dataclass(frozen=True, slots=True)
class BaseLock:
    """The packages by OCI architecture, and when the archive that offered them was published."""

    release: Release
    date: datetime
    packages: Mapping[str, tuple[Package, ...]]

    def of(self, architecture: str, file: Path) -> tuple[Package, ...]:
        """The packages for an architecture; raises ConfigError when `file` does not lock them."""
        if architecture not in self.packages:
            raise ConfigError(
                f"{file} locks no packages for {architecture}: it has {', '.join(sorted(self.packages))}",
                hint=_HINT,
            )
        return self.packages[architecture]

    def to_toml(self) -> str:
        lines = [_HEADER, f'release = "{self.release}"', f"date = {self.date.strftime('%Y-%m-%dT%H:%M:%SZ')}"]
        for architecture in sorted(self.packages):
            lines += ["", f"{architecture} = ["]
            lines += [f"  {_line(package)}," for package in sorted(self.packages[architecture])]
            lines.append("]")
        return "\n".join(lines) + "\n"


def read_base_lock(file: Path, release: Release) -> BaseLock | None:
    """The lock, None when there is none; raises ConfigError when it is damaged or of another release."""
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}", hint=_HINT) from error
    locked = document.pop("release", None)
    if locked != str(release):
        raise ConfigError(f"{file} locks {locked}, and tool.tagboat.base is {release}", hint=_HINT)
    date = document.pop("date", None)
    if not isinstance(date, datetime) or date.tzinfo is None:
        raise ConfigError(f"{file}: date is not a time with its zone", hint=_HINT)
    packages = {
        architecture: _packages(entries, f"{file}: {architecture}")
        for architecture, entries in document.items()
    }
    return BaseLock(release, date.astimezone(UTC), packages)


def changes(before: Iterable[Package], after: Iterable[Package]) -> list[str]:
    """What an update did, a line for each package: `openssl 3.0.1 -> 3.0.2`."""
    old = {package.name: package.version for package in before}
    new = {package.name: package.version for package in after}
    return [
        f"{name} {old.get(name, '(none)')} -> {new.get(name, '(none)')}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def _line(package: Package) -> str:
    # JSON's strings and numbers are TOML's too.
    values = ", ".join(
        f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in asdict(package).items()
    )
    return f"{{ {values} }}"


def _packages(entries: Any, place: str) -> tuple[Package, ...]:
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"{place} is not a list of packages", hint=_HINT)
    return tuple(_package(entry, f"{place}[{position}]") for position, entry in enumerate(entries))


def _package(entry: Any, place: str) -> Package:
    kinds = {field.name: int if field.name == "size" else str for field in fields(Package)}
    if not isinstance(entry, dict) or entry.keys() != kinds.keys():
        raise ConfigError(f"{place} is not a package with {', '.join(kinds)}", hint=_HINT)
    wrong = next((name for name, kind in kinds.items() if type(entry[name]) is not kind), None)
    if wrong is None and not _SHA256.fullmatch(entry["sha256"]):
        wrong = "sha256"
    if wrong is not None:
        raise ConfigError(f"{place}.{wrong} is {entry[wrong]!r}", hint=_HINT)
    return Package(**entry)
