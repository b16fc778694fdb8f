"""The `homeport` command: help, wrong use, and what it says when something is not there."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "homeport", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=300)

    return run


def test_help_shows_an_example(run: Run) -> None:
    for arguments in (("--help",), ("serve", "--help"), ("env", "--help"), ("audit", "--help")):
        shown = run(*arguments)
        assert (shown.returncode, shown.stderr) == (0, "")
        assert "example: " in shown.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("sail",),
        ("serve",),
        ("env",),
        ("env", "--data"),
        ("audit",),
        ("serve", "--data", "d", "--port", "x"),
        ("serve", "--data", "d", "--port", "65536"),
        ("serve", "--data", "d", "--port", "-1"),
        ("serve", "--data", "d", "--sideways"),
    ],
)
def test_wrong_use_ends_with_2_and_makes_nothing(
    run: Run, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    wrong = run(*arguments)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "usage: homeport" in wrong.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("raised", "code"), [(KeyboardInterrupt, 130), (BrokenPipeError, 141)])
def test_who_interrupts_it_or_has_read_enough_sees_no_traceback(
    tmp_path: Path, raised: type[BaseException], code: int
) -> None:
    script = f"""
import sys
from homeport import cli
def stop(options): raise {raised.__name__}
cli._env = stop
sys.exit(cli.main(["env", "--data", "d"]))
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == code
    assert ended.stderr == ("homeport: interrupted\n" if raised is KeyboardInterrupt else "")


def test_a_directory_that_was_never_served_has_no_environment(run: Run, tmp_path: Path) -> None:
    failed = run("env", "--data", "d")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "homeport: d/homeport.json is not there; start `homeport serve --data d` first" in failed.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"endpoint": 1, "colour": "blue"}'])
def test_a_damaged_file_is_told(run: Run, tmp_path: Path, damage: str) -> None:
    (tmp_path / "homeport.json").write_text(damage)
    failed = run("env", "--data", ".")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("homeport: homeport.json is damaged")
    assert failed.stderr.count("\n") == 1


def test_keys_that_are_not_there_are_told_and_not_made(run: Run, tmp_path: Path) -> None:
    addresses = {"endpoint": "http://h", "registry": "h", "https_port": 1, "http_port": 2, "pid": 3}
    (tmp_path / "homeport.json").write_text(json.dumps(addresses))
    failed = run("env", "--data", ".")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "credentials.json cannot be read: No such file" in failed.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["homeport.json"]


def test_a_directory_that_cannot_be_one_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    failed = run("serve", "--data", "file")
    assert failed.returncode == 1
    assert failed.stderr.startswith("homeport: ")
    assert failed.stderr.count("\n") == 1
