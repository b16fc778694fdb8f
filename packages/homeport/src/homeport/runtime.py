"""The programs that run containers: runc, or crun where it works.

Both keep the command line of runc, and a folder of records each. What one has started, the same one ends: so
both are asked what there is, and the better one starts what is new.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from homeport.command import run
from homeport.errors import CommandError
from homeport.layout import Layout

__all__ = ["Runtime", "Runtimes", "preferred"]

_TRIES = 5
_ROOT = Path("/run/homeport/root")  # empty for everybody but a runc that starts in a chroot
_ENTER = 'mount --rbind / "$0" && mount --make-rprivate "$0" && exec chroot "$0" "$@"'
_RECORDS = ("state.json", "status")  # runc's, crun's
_PROGRAMS = ("crun", "runc")  # the last one works everywhere


def preferred(installed: Iterable[str], mounts: str) -> str:
    """The runtime to start containers with, on a machine with these mounts (proc(5), mountinfo).

    crun takes a third of the time, but refuses machines that have version 1 of cgroups and version 2 at once.
    """
    kinds = {line.partition(" - ")[2].split(" ", 1)[0] for line in mounts.splitlines()}
    hybrid = {"cgroup", "cgroup2"} <= kinds
    return "crun" if "crun" in installed and not hybrid else "runc"


class Runtimes:
    """Every runtime that there may be containers of."""

    def __init__(self, layout: Layout) -> None:
        self._all = {program: Runtime(program, layout.runtime(program)) for program in _PROGRAMS}
        installed = [program for program in _PROGRAMS if shutil.which(program)]
        self._preferred = preferred(installed, Path("/proc/self/mountinfo").read_text())

    def start(self, name: str, bundle: Path, log: Path) -> int:
        """Run the bundle's container detached, both its outputs appended to `log`; returns its process id.

        Where crun cannot and runc can, it is runc from then on. Raises CommandError.
        """
        try:
            return self._all[self._preferred].start(name, bundle, log)
        except CommandError:
            if self._preferred == _PROGRAMS[-1] or not shutil.which(_PROGRAMS[-1]):
                raise
            self.delete(name)
        pid = self._all[_PROGRAMS[-1]].start(name, bundle, log)
        self._preferred = _PROGRAMS[-1]
        return pid

    def pids(self) -> dict[str, int]:
        """The process ids of the containers that run, frozen ones too."""
        return {name: pid for runtime in self._used() for name, pid in runtime.pids().items()}

    def names(self) -> list[str]:
        """All containers that there is a record of."""
        return [name for runtime in self._used() for name in runtime.names()]

    def delete(self, name: str) -> None:
        """Remove a container and its cgroup, killing what is left of it."""
        for runtime in self._used():
            runtime.delete(name)

    def _used(self) -> list[Runtime]:
        return [runtime for runtime in self._all.values() if runtime.root.is_dir()]


@dataclass(frozen=True, slots=True)
class Runtime:
    """A program of the OCI's command line with a root directory of its own. All calls block."""

    program: str
    root: Path

    def start(self, name: str, bundle: Path, log: Path) -> int:
        """Run the bundle's container detached, both its outputs appended to `log`; returns its process id."""
        pid_file = bundle / "pid"
        said = bundle / "runtime.log"
        # Appending matters: the reader frees what it has read, and the writer must go on at the end.
        with log.open("ab") as output:
            arguments = [self.program, "--root", str(self.root), "--log", str(said), "run", "--detach"]
            place = ["--bundle", str(bundle), "--pid-file", str(pid_file), name]
            if not _in_plain_chroot():
                _spawn([*arguments, *place], output.fileno(), said)
            else:
                # The root's mounts are made private and pivoted away from; the kernel allows neither
                # where the root is a mere directory, and no pivot where the mount above it is shared.
                try:
                    _spawn(_entered([*arguments, "--no-pivot", *place]), output.fileno(), said)
                finally:
                    _leave()
        return int(pid_file.read_text())

    def pids(self) -> dict[str, int]:
        """The running containers, frozen ones too.

        Start times are compared, so that a number which was used again fools nobody.
        """
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for _ in range(_TRIES):
            # It fails when a record goes while it reads: a killed homeport's last one may still be at work.
            with suppress(CommandError):
                return self._list()
        return self._list()

    def _list(self) -> dict[str, int]:
        listed = json.loads(run(self.program, "--root", self.root, "list", "--format", "json")) or []
        return {row["id"]: row["pid"] for row in listed if row["status"] in ("running", "paused")}

    def names(self) -> list[str]:
        """All containers that it has a record of."""
        return [path.name for path in self.root.iterdir()] if self.root.is_dir() else []

    def delete(self, name: str) -> None:
        """Remove a container and its cgroup, killing what is left of it."""
        if not (self.root / name).exists():
            return
        try:
            run(self.program, "--root", self.root, "delete", "--force", name)
        except CommandError:
            # A record that was only half written when the runtime itself was killed.
            if any((self.root / name / file).exists() for file in _RECORDS):
                raise
            shutil.rmtree(self.root / name, ignore_errors=True)


def _spawn(arguments: list[str], output: int, said: Path) -> None:
    done = subprocess.run(
        arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=60, check=False
    )
    if done.returncode != 0:
        lines = said.read_text(errors="replace").splitlines() if said.exists() else []
        raise CommandError(f"the container cannot be run: {_message(lines)}")


def _message(lines: list[str]) -> str:
    for line in reversed(lines):
        if "level=error" in line and 'msg="' in line:
            return line.split('msg="', 1)[1].rstrip('"').replace('\\"', '"')
    return lines[-1] if lines else "it said nothing"


def _in_plain_chroot() -> bool:
    """Whether this process's root is a mere directory, no mount point."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return not any(line.split()[4] == "/" for line in mounts)


def _entered(arguments: list[str]) -> list[str]:
    """The command, run in a mount namespace of its own that has this process's root as a mount."""
    _ROOT.mkdir(mode=0o700, exist_ok=True)
    return ["unshare", "--mount", "--propagation", "unchanged", "sh", "-c", _ENTER, str(_ROOT), *arguments]


def _leave() -> None:
    """Where mounts propagate, the one of `_entered` has come here too.

    It is made private first: else the original's mounts would go with its own.
    """
    while _ROOT.is_mount():
        run("mount", "--make-rprivate", _ROOT)
        run("umount", "--recursive", "--lazy", _ROOT)
