"""Where versions of homeport are installed side by side: one takes another's place, and gives it back.

`FOLDER/versions/0.5.0` is a virtual environment with that version alone, and `FOLDER/current` leads to the
one that the machine starts. Nothing of a version that runs is ever changed.
"""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from homeport.command import run
from homeport.errors import CommandError, HomeportError

__all__ = ["Installation", "InstallationError", "is_version"]

_VERSIONS: Final = "versions"
_CURRENT: Final = "current"
_COMPLETE: Final = ".complete"  # in the folder of a version whose installation came to its end
_INSTALLING: Final = 600.0  # seconds that pip may take, on the smallest machine
# The versions that a release may have (PEP 440), in their normal form: nothing that pip takes for an option,
# an address or a range.
_VERSION: Final = re.compile(r"[0-9]+(\.[0-9]+)*((a|b|rc)[0-9]+)?(\.post[0-9]+)?(\.dev[0-9]+)?")


class InstallationError(HomeportError):
    """A version cannot be installed, or this homeport is none of those that are installed side by side."""


@dataclass(frozen=True, slots=True)
class Installation:
    """The versions in a folder."""

    folder: Path

    @classmethod
    def ours(cls) -> Self | None:
        """That of which this process is a version; None where it was installed otherwise."""
        place = Path(sys.prefix).resolve()
        return cls(place.parent.parent) if place.parent.name == _VERSIONS else None

    def python(self, version: str) -> Path:
        return self._place(version) / "bin" / "python"

    @property
    def current(self) -> str:
        """The version that the machine starts. Raises InstallationError."""
        try:
            return (self.folder / _CURRENT).readlink().name
        except OSError as error:
            raise InstallationError(f"{self.folder / _CURRENT} leads nowhere: {error.strerror}") from None

    def install(self, version: str) -> None:
        """Install a version beside the others, from the index that the machine's pip is set up with.

        Only wheels are taken, so that nothing runs that comes with them before all of it is there, and pip
        holds each to the hash that the index names. Raises InstallationError with what pip says.
        """
        if not is_version(version):
            raise InstallationError(f"{version!r} is no version of a release")
        place = self._place(version)
        if (place / _COMPLETE).exists():
            return
        shutil.rmtree(place, ignore_errors=True)
        python = place / "bin" / "python"
        pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input")
        try:
            run(Path(sys.base_prefix) / "bin" / "python3", "-m", "venv", place, timeout=_INSTALLING)
            run(*pip, "--only-binary", ":all:", f"homeport=={version}", timeout=_INSTALLING)
            run(python, "-c", "import homeport.cli, homeport.serve", timeout=_INSTALLING)
        except CommandError as error:
            shutil.rmtree(place, ignore_errors=True)
            raise InstallationError(f"homeport {version} cannot be installed: {error}") from error
        (place / _COMPLETE).touch()

    def activate(self, version: str) -> None:
        """Let the machine start this version from now on."""
        link = self.folder / f".{_CURRENT}"
        link.unlink(missing_ok=True)
        link.symlink_to(f"{_VERSIONS}/{version}")
        link.replace(self.folder / _CURRENT)

    def keep(self, *versions: str) -> None:
        """Remove all other versions."""
        for place in (self.folder / _VERSIONS).iterdir():
            if place.name not in versions:
                shutil.rmtree(place, ignore_errors=True)

    def _place(self, version: str) -> Path:
        return self.folder / _VERSIONS / version


def is_version(text: str) -> bool:
    """Whether it is the version of a release, in its normal form."""
    return len(text) <= 40 and _VERSION.fullmatch(text) is not None
