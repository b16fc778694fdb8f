"""Each command that the README shows is run, or, where it would start this very test run, planned."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FENCE = re.compile(r"^```sh( tour)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = FENCE.findall((ROOT / "README.md").read_text())
COMMANDS = [line for kind, block in BLOCKS if not kind for line in block.splitlines() if line.strip()]


@pytest.mark.parametrize("command", COMMANDS)
def test_make_knows_every_command_outside_the_tour(command):
    # `make demo` has its own test, and `make test` and `make lint` are what runs this: here, make only plans.
    assert command.startswith("make ")
    done = subprocess.run(
        ["bash", "-c", command.replace("make ", "make --dry-run ", 1)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert ".venv/bin" in done.stdout


def test_the_tour_is_live_at_its_end(tmp_path, free_port):
    (tour,) = [block for kind, block in BLOCKS if kind]
    for shown in ("7070", "8443", "8080 &"):
        assert shown in tour
    control, https, http = free_port(), free_port(), free_port()
    tour = tour.replace("7070", str(control)).replace("8443", str(https)).replace("8080 &", f"{http} &")
    # Whatever of it fails, the homeport that it started is ended, and so the tour is.
    tour = f"trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{tour}"
    done = subprocess.run(
        ["bash", "-euc", tour],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "hello-v1.0.0\n" in done.stdout
    assert f"https://hello.localhost:{https}\n" in done.stdout
    assert "Hello from a tag.\n" in done.stdout
    assert "hello\tRUNNING" in done.stdout
