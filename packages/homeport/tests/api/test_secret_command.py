"""`homeport secret`: kept by name, listed without values, removed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from homeport.vault import Vault

Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "port").mkdir()

    def run(*arguments: str, value: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "homeport", "secret", *arguments]
        return subprocess.run(
            command, input=value, capture_output=True, check=False, cwd=tmp_path, timeout=300
        )

    return run


def test_a_secret_is_set_listed_and_removed_and_its_value_is_never_shown(run: Run, tmp_path: Path) -> None:
    assert run("set", "prod/db-password", "--data", "port", value=b"geheim\n").returncode == 0
    (tmp_path / "key.pem").write_text("-----BEGIN\nkey\n-----END\n")
    assert run("set", "key", "--data", "port", "--file", "key.pem").returncode == 0
    values = Vault(tmp_path / "port/secrets").resolve({"A": "prod/db-password", "B": "key"})
    assert values == {"A": "geheim", "B": "-----BEGIN\nkey\n-----END"}
    listed = run("ls", "--data", "port")
    assert [line.split()[0] for line in listed.stdout.decode().splitlines()] == ["key", "prod/db-password"]
    assert [one["name"] for one in json.loads(run("ls", "--json", "--data", "port").stdout)] == [
        "key",
        "prod/db-password",
    ]
    assert b"geheim" not in listed.stdout
    assert run("rm", "key", "--data", "port").returncode == 0
    again = run("rm", "key", "--data", "port")
    assert (again.returncode, again.stderr) == (1, b"homeport: there is no secret key\n")


@pytest.mark.parametrize(
    ("arguments", "value", "said"),
    [
        (("set", "a b", "--data", "port"), b"geheim", b"'a b' is no secret's name"),
        (("set", "a", "--data", "port"), b"", b"the value of a is empty"),
        (("set", "a", "--data", "port"), b"geheim\xff", b"the value of a is no text in UTF-8"),
        (("set", "a", "--data", "port", "--file", "none"), b"", b"No such file"),
        (("set", "a", "--data", "elsewhere"), b"geheim", b"elsewhere is not there"),
        (("ls", "--data", "elsewhere"), b"", b"elsewhere is not there"),
    ],
)
def test_what_fails_is_told_in_a_line_without_the_value(
    run: Run, arguments: tuple[str, ...], value: bytes, said: bytes
) -> None:
    failed = run(*arguments, value=value)
    assert (failed.returncode, failed.stdout, failed.stderr.count(b"\n")) == (1, b"", 1)
    assert said in failed.stderr
    assert b"geheim" not in failed.stderr


@pytest.mark.parametrize("verb", ["set", "ls", "rm"])
def test_help_shows_an_example(run: Run, verb: str) -> None:
    assert b"example: homeport secret" in run(verb, "--help").stdout
