"""One instance's control group: how often memory ran out in it, standing still and going on, and its end.

The kernel has two versions of the interface, and machines with both at once (cgroups(7)): version 2 alone has
one folder a group, version 1 one in each controller's hierarchy, a hybrid the latter and one below `unified`
that has no controllers. What is asked for is looked for where each of them has it.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_FREEZING = 0.1  # seconds that a group may take to stand still
_KILLED = 2.0  # seconds that a killed process may take to be gone
_POLL = 0.001


@dataclass(frozen=True, slots=True)
class Cgroup:
    """`name` is absolute below each hierarchy's root, which are at or below `root`. All calls block."""

    name: str
    root: Path = _ROOT

    def directories(self) -> list[Path]:
        """One with version 2, one in each hierarchy with version 1; none where there is no such group."""
        below = self.name.lstrip("/")
        found = [self.root / below, *(path / below for path in self.root.iterdir())]
        return [path for path in found if path.is_dir()]

    def oom_kills(self) -> int:
        """How many processes the kernel has killed for the group's limit of memory."""
        for path in (self._version_2("memory.events"), self._version_1("memory", "memory.oom_control")):
            with suppress(OSError):
                counts = dict(line.split() for line in path.read_text().splitlines())
                return int(counts.get("oom_kill", "0"))
        return 0

    def memory(self) -> int:
        """Bytes that it uses, as the kernel counts them; 0 where there is no such group."""
        for path in (
            self._version_2("memory.current"),
            self._version_1("memory", "memory.usage_in_bytes"),
        ):
            with suppress(OSError):
                return int(path.read_text())
        return 0

    def cpu(self) -> float:
        """Seconds of CPU time that it has used; 0 where there is no such group."""
        with suppress(OSError):
            stat = dict(line.split() for line in self._version_2("cpu.stat").read_text().splitlines())
            return int(stat["usage_usec"]) / 1e6
        with suppress(OSError):
            return int(self._version_1("cpuacct", "cpuacct.usage").read_text()) / 1e9
        return 0.0

    def freeze(self) -> bool:
        """Let no process of it run; False, and they run on, where the kernel cannot have that now."""
        for path, word, frozen in (
            (self._version_2("cgroup.freeze"), "1", self._frozen_2),
            (self._version_1("freezer", "freezer.state"), "FROZEN", self._frozen_1),
        ):
            with suppress(FileNotFoundError):
                _write(path, word)
                deadline = time.monotonic() + _FREEZING
                while not frozen():
                    time.sleep(_POLL)
                    if time.monotonic() > deadline:
                        self.thaw()
                        return False
                return True
        return False

    def thaw(self) -> None:
        """Let them go on; nothing happens where they do, or where there is no group."""
        for path, word in (
            (self._version_2("cgroup.freeze"), "0"),
            (self._version_1("freezer", "freezer.state"), "THAWED"),
        ):
            with suppress(OSError):
                _write(path, word)

    def clear(self) -> None:
        """Kill what runs in it or below it, and remove it; nothing happens where there is none."""
        self.thaw()  # with version 1 nobody dies while frozen
        deadline = time.monotonic() + _KILLED
        while True:
            found = [Path(one) for top in self.directories() for one, _, _ in os.walk(top, topdown=False)]
            pids: set[int] = set()
            for directory in found:
                with suppress(OSError):
                    pids |= {int(line) for line in (directory / "cgroup.procs").read_text().split()}
            if not pids or time.monotonic() > deadline:
                break
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_POLL)
        for directory in found:
            with suppress(OSError):  # not empty yet: the next clean-up finds it again
                directory.rmdir()

    def _frozen_1(self) -> bool:
        return self._version_1("freezer", "freezer.state").read_text().strip() == "FROZEN"

    def _frozen_2(self) -> bool:
        return "frozen 1" in self._version_2("cgroup.events").read_text().splitlines()

    def _version_1(self, controller: str, file: str) -> Path:
        return self.root / controller / self.name.lstrip("/") / file

    def _version_2(self, file: str) -> Path:
        return self.root / self.name.lstrip("/") / file


def _write(path: Path, word: str) -> None:
    """Raises FileNotFoundError where the kernel has no such file, and makes none."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, word.encode())
    finally:
        os.close(descriptor)
