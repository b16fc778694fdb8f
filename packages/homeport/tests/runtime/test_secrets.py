"""Secrets reach the instance that is to have them, and are found nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

_ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/database-a1B2c3"
_VALUE = "correct horse battery staple"


@pytest.fixture
def keep(shared_harbour: Any) -> Any:
    """`homeport secret set` on the directory of the port that runs."""

    def run(name: str, value: str) -> None:
        command = [
            sys.executable,
            "-m",
            "homeport",
            "secret",
            "set",
            name,
            "--data",
            str(shared_harbour.data),
        ]
        done = subprocess.run(command, input=value, capture_output=True, text=True, check=True, timeout=300)
        assert value.strip() not in done.stdout + done.stderr

    return run


def test_an_instance_has_its_secrets_as_variables_and_as_files_that_only_its_user_reads(
    shared_harbour: Any, make_image: Any, keep: Any
) -> None:
    keep("prod/database", f"{_VALUE}\n")
    keep("mail", '{"user": "anna", "port": 25}')
    shared_harbour.store(make_image())
    secrets = {"DATABASE": _ARN, "MAIL_USER": "arn:aws:secretsmanager:local-1:0:secret:mail:user::"}
    arn = shared_harbour.create(secrets=secrets)
    environment = shared_harbour.get("/env").json()
    assert {name: environment[name] for name in secrets} == {"DATABASE": _VALUE, "MAIL_USER": "anna"}
    assert shared_harbour.get("/read?path=/run/secrets/DATABASE").text == _VALUE
    assert shared_harbour.get("/write?path=/run/secrets/DATABASE").text in ("PermissionError", "OSError")
    assert shared_harbour.get("/write?path=/run/secrets/another").text in ("PermissionError", "OSError")

    assert shared_harbour.service(arn)["spec"]["secrets"] == secrets
    assert _VALUE not in str([shared_harbour.tell("operations", arn=arn), shared_harbour.events(arn)])
    assert _VALUE not in subprocess.check_output(["ps", "-eww", "-o", "args"], text=True)
    holders = _holders(shared_harbour, _VALUE.encode())
    (instance,) = shared_harbour.layout.instances.iterdir()
    kept = shared_harbour.layout.secrets / "prod%2Fdatabase"
    assert sorted(holders) == sorted([kept, instance / "private/secrets/DATABASE"])
    assert [f"{path.stat().st_mode & 0o777:o}" for path in (kept, kept.parent)] == ["600", "700"]
    assert [f"{path.stat().st_mode & 0o777:o}" for path in (instance, instance / "private")] == ["700", "700"]
    kinds = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    assert [kind for _, place, kind, *_ in kinds if place == str(instance / "private")] == ["tmpfs"]

    # A new value holds from the next deployment on.
    keep("prod/database", "another")
    assert shared_harbour.get("/env").json()["DATABASE"] == _VALUE
    operation = shared_harbour.tell("start_deployment", arn=arn)
    assert shared_harbour.ended(arn, operation["id"])["status"] == "SUCCEEDED"
    assert shared_harbour.get("/env").json()["DATABASE"] == "another"


def test_a_secret_that_is_not_there_fails_the_operation_which_names_it(
    shared_harbour: Any, make_image: Any, eventually: Any
) -> None:
    shared_harbour.store(make_image())
    arn, operation = shared_harbour.begin("lacking", secrets={"KEY": "arn:aws:ssm:local-1:0:parameter/a/b"})
    ended = shared_harbour.ended(arn, operation)
    assert (ended["status"], shared_harbour.service(arn)["status"]) == ("FAILED", "CREATE_FAILED")
    assert ended["reason"] == "KEY: there is no secret a/b; `homeport secret set a/b` makes it"
    assert any("there is no secret a/b" in event for event in shared_harbour.events(arn))


def _holders(harbour: Any, value: bytes) -> list[Path]:
    """Of everything that the port has written, but what only the mounts of instances show."""
    places = [harbour.data.parent / "port.log"]
    for top in (harbour.data, harbour.layout.run):
        for folder, folders, names in os.walk(top):
            folders[:] = [name for name in folders if name != "root"]
            places += [Path(folder) / name for name in names]
    found = []
    for path in places:
        with suppress(FileNotFoundError):  # it goes on writing
            if path.is_file() and value in path.read_bytes():
                found.append(path)
    return found
