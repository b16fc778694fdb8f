"""Another version takes the place of the homeport that serves, and gives it back where it does not serve.

What runs is asked to execute the other version in its own place, so that whoever supervises it need not
notice, and instances and edge serve on all along. Where the new one has not come up, it is ended, and the
supervisor (systemd's `Restart=always`) starts the version before again, which takes over what runs.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from homeport.errors import HomeportError
from homeport.installation import Installation, InstallationError, is_version

__all__ = ["Progress", "UpgradeError", "UpgradeUnderWayError", "begin", "require_possible", "upgrade"]

State = Literal["installing", "replacing", "succeeded", "failed", "rolled back"]

_PATIENCE: Final = 120.0  # seconds that another version may take until it serves
_LOOK: Final = 0.05
_FILE: Final = "upgrade.json"
_LOCK: Final = "upgrade.lock"
_LOG: Final = "upgrade.log"
_ELSEWHERE: Final = (
    "this homeport was not installed by version below one folder (FOLDER/versions/VERSION, FOLDER/current), "
    "so it cannot install another one: do it as you installed it, then `homeport upgrade --data DIR`"
)


class UpgradeError(HomeportError):
    """The other version does not serve; the message says what does."""


class UpgradeUnderWayError(HomeportError):
    """There is one already."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the last upgrade has come: to which version, since when (UTC), and what went wrong."""

    to: str
    state: State
    began_at: str
    message: str = ""

    @classmethod
    def read(cls, data: Path) -> Progress | None:
        """None where there was none. One whose process has died is told as failed."""
        found = cls._written(data)
        if found is None or not found.under_way or _under_way(data):
            return found
        found = cls._written(data)  # it may have ended since, and says how before it lets the lock go
        if found is None or not found.under_way:
            return found
        return replace(found, state="failed", message="it was cut short; begin it again")

    @classmethod
    def _written(cls, data: Path) -> Progress | None:
        try:
            return cls(**json.loads((data / _FILE).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    @property
    def under_way(self) -> bool:
        return self.state in ("installing", "replacing")

    def write(self, data: Path) -> None:
        partial = data / f".{_FILE}"
        partial.write_text(json.dumps(asdict(self)) + "\n")
        partial.replace(data / _FILE)


def require_possible() -> Installation:
    """The installation that this process belongs to. Raises InstallationError where it can have no other."""
    installation = Installation.ours()
    if installation is None:
        raise InstallationError(_ELSEWHERE)
    return installation


def begin(data: Path, version: str) -> Progress:
    """Start an upgrade in a process of its own, which outlives ours. Raises InstallationError and
    UpgradeUnderWayError.
    """
    if not is_version(version):
        raise InstallationError(f"{version!r} is no version of a release")
    require_possible()
    progress = Progress(version, "installing", _now())
    command = [sys.executable, "-m", "homeport", "upgrade", "--data", str(data), "--to", version]
    with _locked(data) as lock, (data / _LOG).open("ab") as log:
        progress.write(data)
        subprocess.Popen(
            [*command, "--lock", str(lock)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[lock],  # it holds the lock from its first moment on
            start_new_session=True,
        )
    return progress


def upgrade(data: Path, version: str | None = None, *, lock: int | None = None) -> float:
    """Have the homeport that serves `data` be replaced by the version that is installed now, or by `version`,
    which is installed first. `lock` is a descriptor on which `begin` holds the lock.

    Returns the seconds that nothing but the edge and the instances served. Raises UpgradeError when it does
    not serve within two minutes; where it was `version`, the one before serves again then.
    """
    if version is None:
        pid = _serving_pid(data)
        return _Replacement(data, pid).run(None)
    installation = require_possible()
    with _locked(data, lock):
        progress = Progress(version, "installing", _now())
        progress.write(data)
        try:
            before = installation.current
            pid = _serving_pid(data)
            installation.install(version)
            progress = replace(progress, state="replacing")
            progress.write(data)
            installation.activate(version)
            seconds = _replace(data, pid, installation, before, version)
        except HomeportError as error:
            state: State = "rolled back" if progress.state == "replacing" else "failed"
            replace(progress, state=state, message=str(error)).write(data)
            raise
        replace(progress, state="succeeded").write(data)
        installation.keep(version, before)
    return seconds


def _replace(data: Path, pid: int, installation: Installation, before: str, version: str) -> float:
    replacement = _Replacement(data, pid)
    try:
        return replacement.run(version)
    except UpgradeError as error:
        installation.activate(before)
        replacement.end()
        raise UpgradeError(f"{error}; {replacement.restored(before)}") from None


class _Replacement:
    """A process that serves `data` and is to execute another version."""

    def __init__(self, data: Path, pid: int) -> None:
        self._data = data
        self._file = data / "homeport.json"
        self._pid = pid
        self._began = self._file.stat().st_ino

    def run(self, version: str | None) -> float:
        """Raises UpgradeError."""
        started = time.monotonic()
        os.kill(self._pid, signal.SIGUSR2)
        while not self._announced():
            if not _lives(self._pid):
                what = "homeport" if version is None else f"homeport {version}"
                raise UpgradeError(f"{what} ended before it served; the machine's journal says more")
            if time.monotonic() - started > _PATIENCE:
                raise UpgradeError(f"homeport does not serve again {_PATIENCE:.0f} s after it was told")
            time.sleep(_LOOK)
        found = _served_version(self._data)
        if version is not None and found != version:
            raise UpgradeError(f"version {found or 'unknown'} serves, not {version}")
        return time.monotonic() - started

    def end(self) -> None:
        """At once: a homeport that is asked to stop would stop the services, too."""
        self._began = self._inode()
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)

    def restored(self, version: str) -> str:
        """What became of the version before."""
        deadline = time.monotonic() + _PATIENCE
        while not (self._announced() and _served_version(self._data) == version):
            if time.monotonic() > deadline:
                return f"and nothing has started version {version} again"
            time.sleep(_LOOK)
        return f"version {version} serves again"

    def _announced(self) -> bool:
        return self._inode() not in (self._began, 0)

    def _inode(self) -> int:
        try:
            return self._file.stat().st_ino
        except FileNotFoundError:
            return 0


def _serving_pid(data: Path) -> int:
    from homeport.serve import Addresses  # noqa: PLC0415  whoever only looks needs no servers

    pid = Addresses.read(data).pid
    if not _is_homeport(pid):
        raise UpgradeError(f"no homeport serves {data}: start it with `homeport serve --data {data}`")
    return pid


def _lives(pid: int) -> bool:
    """Whatever it executes: while it changes that, its command line is empty (execve(2))."""
    return Path(f"/proc/{pid}").exists()


def _is_homeport(pid: int) -> bool:
    try:
        return b"homeport" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _served_version(data: Path) -> str:
    from homeport.serve import Addresses  # noqa: PLC0415

    return Addresses.read(data).version


@contextmanager
def _locked(data: Path, inherited: int | None = None) -> Iterator[int]:
    """The descriptor that holds the lock. Raises UpgradeUnderWayError."""
    if inherited is None:
        descriptor = os.open(data / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    else:
        descriptor = inherited
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UpgradeUnderWayError("an upgrade is under way") from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _under_way(data: Path) -> bool:
    try:
        with _locked(data):
            return False
    except UpgradeUnderWayError:
        return True


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
