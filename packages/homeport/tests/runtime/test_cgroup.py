"""A control group in each of the kernel's two interfaces and in both at once, as trees of files."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from homeport import cgroup
from homeport.cgroup import Cgroup

_CONTROLLERS = ("cpu", "cpuacct", "memory", "pids", "freezer")


def version_1(root: Path, name: str = "hp-1/a") -> None:
    for controller in _CONTROLLERS:
        (root / controller / name).mkdir(parents=True)
    (root / "freezer" / name / "freezer.state").write_text("THAWED\n")
    (root / "memory" / name / "memory.oom_control").write_text(
        "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"
    )


def hybrid(root: Path, name: str = "hp-1/a") -> None:
    version_1(root, name)
    (root / "unified" / name).mkdir(parents=True)
    (root / "unified" / name / "cgroup.freeze").write_text("0\n")


def version_2(root: Path, name: str = "hp-1/a") -> None:
    (root / name).mkdir(parents=True)
    (root / "cgroup.procs").touch()
    (root / name / "memory.events").write_text("low 0\nhigh 0\nmax 31\noom 2\noom_kill 2\n")
    (root / name / "cgroup.freeze").write_text("0\n")
    (root / name / "cgroup.events").write_text("populated 1\nfrozen 1\n")


def state(root: Path) -> str:
    """As the file has it that the kernel looks at."""
    for path in (root / "hp-1/a/cgroup.freeze", root / "freezer/hp-1/a/freezer.state"):
        if path.exists():
            return path.read_text().strip()
    raise AssertionError(root)


@pytest.mark.parametrize(
    ("make", "folders", "frozen", "thawed"),
    [
        (version_1, len(_CONTROLLERS), "FROZEN", "THAWED"),
        (hybrid, len(_CONTROLLERS) + 1, "FROZEN", "THAWED"),
        (version_2, 1, "1", "0"),
    ],
)
def test_a_group_is_found_counted_and_frozen_in_every_layout(
    tmp_path: Path, make: Callable[[Path], None], folders: int, frozen: str, thawed: str
) -> None:
    make(tmp_path)
    group = Cgroup("/hp-1/a", tmp_path)
    assert len(group.directories()) == folders
    assert group.oom_kills() == 2
    assert group.freeze()
    assert state(tmp_path).startswith(frozen)
    group.thaw()
    assert state(tmp_path).startswith(thawed)


@pytest.mark.parametrize("make", [version_1, hybrid, version_2])
def test_a_group_that_is_not_there_has_nothing_and_nothing_is_made(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    group = Cgroup("/hp-1/b", tmp_path)
    assert (group.directories(), group.oom_kills(), group.freeze()) == ([], 0, False)
    group.thaw()
    group.clear()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_group_that_does_not_stand_still_is_let_go_on(tmp_path: Path) -> None:
    version_2(tmp_path)
    (tmp_path / "hp-1/a/cgroup.events").write_text("populated 1\nfrozen 0\n")
    assert not Cgroup("/hp-1/a", tmp_path).freeze()
    assert state(tmp_path).startswith("0")


def real_roots() -> list[Path]:
    """Below which this machine's kernel has groups that can be frozen, of both versions where it has both."""
    lines = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    version_2 = [Path(mount) for _, mount, kind, *_ in lines if kind == "cgroup2"]
    version_1 = [
        Path(mount).parent for _, mount, kind, options, *_ in lines
        if kind == "cgroup" and "freezer" in options.split(",")
    ]  # fmt: skip
    return version_2 + version_1


def test_the_kernel_lets_a_group_stand_still_and_go_on_and_what_is_frozen_can_be_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # On a machine that has other things to do, neither comes at once.
    monkeypatch.setattr(cgroup, "_FREEZING", 60)
    monkeypatch.setattr(cgroup, "_KILLED", 60)
    roots = real_roots()
    assert roots
    for root in roots:
        group = Cgroup(f"/hp-test-{os.getpid()}", root)
        top = root if (root / "cgroup.procs").exists() else root / "freezer"
        (top / group.name.lstrip("/")).mkdir()
        with subprocess.Popen(["sh", "-c", "while :; do :; done"]) as process:
            try:
                (top / group.name.lstrip("/") / "cgroup.procs").write_text(str(process.pid))
                assert group.freeze()
                before = busy(process.pid)
                time.sleep(0.2)
                assert busy(process.pid) == before
                group.thaw()
                deadline = time.monotonic() + 60
                while busy(process.pid) == before:
                    assert time.monotonic() < deadline
                    time.sleep(0.01)
                assert group.freeze()
                group.clear()
                assert process.wait(60) == -signal.SIGKILL
            finally:  # or a failure would wait for it without end
                group.thaw()
                process.kill()
        assert group.directories() == []


def busy(pid: int) -> int:
    """The ticks of CPU that a process has had (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
