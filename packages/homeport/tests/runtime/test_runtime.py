"""Which runtime starts containers, and what happens where it cannot."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from homeport.errors import CommandError
from homeport.layout import Layout
from homeport.runtime import Runtimes, preferred

_LINE = "30 23 0:26 / /sys/fs/cgroup{path} rw,nosuid shared:9 - {kind} {kind} rw\n"
_VERSION_1 = _LINE.format(path="/memory", kind="cgroup") + _LINE.format(path="/cpu", kind="cgroup")
_UNIFIED = _LINE.format(path="/unified", kind="cgroup2")
_VERSION_2 = _LINE.format(path="", kind="cgroup2")


@pytest.mark.parametrize(
    ("installed", "mounts", "program"),
    [
        (("crun", "runc"), _VERSION_2, "crun"),
        (("crun", "runc"), _VERSION_1, "crun"),
        (("crun", "runc"), _VERSION_1 + _UNIFIED, "runc"),
        (("runc",), _VERSION_2, "runc"),
        ((), _VERSION_2, "runc"),
    ],
)
def test_crun_is_taken_where_it_is_and_works(installed: tuple[str, ...], mounts: str, program: str) -> None:
    assert preferred(installed, mounts) == program


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    layout = Layout(tmp_path)
    layout.create()
    yield layout
    shutil.rmtree(layout.run)


def _program(folder: Path, name: str, script: str) -> None:
    """A stand-in that writes its name and what it is told into `calls`, and then does as the script says."""
    file = folder / name
    file.write_text(f'#!/bin/sh\necho "{name} $*" >> {folder}/calls\n{script}\n')
    file.chmod(0o755)


def test_where_crun_cannot_start_a_container_runc_does_from_then_on(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    _program(programs, "crun", 'echo "no such cgroup" >&2; exit 1')
    _program(programs, "runc", 'while [ "$1" != --pid-file ]; do shift; done; echo 4711 > "$2"')
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setattr("homeport.runtime.preferred", lambda *_: "crun")
    runtimes = Runtimes(layout)
    for name in ("one", "two"):
        assert runtimes.start(name, tmp_path, tmp_path / "log") == 4711
    started = [line.split()[0] for line in (programs / "calls").read_text().splitlines() if " run " in line]
    assert started == ["crun", "runc", "runc"]


def test_where_none_can_start_it_the_reason_is_the_last_ones_and_crun_is_asked_again(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("crun", "runc"):
        _program(
            programs, name, f'while [ "$1" != --log ]; do shift; done; echo "{name} fails" > "$2"; exit 1'
        )
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setattr("homeport.runtime.preferred", lambda *_: "crun")
    runtimes = Runtimes(layout)
    for name in ("one", "two"):
        with pytest.raises(CommandError, match="the container cannot be run: runc fails"):
            runtimes.start(name, tmp_path, tmp_path / "log")
    started = [line.split()[0] for line in (programs / "calls").read_text().splitlines() if " run " in line]
    assert started == ["crun", "runc"] * 2
