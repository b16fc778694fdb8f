"""What the README shows is what works."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import Loader

from homeport.aws.apprunner import extensions
from homeport.cli import _parser
from homeport.layout import Layout as DataLayout
from ocikit import Image, Layout, Platform

_PACKAGE = Path(__file__).parents[2]
_README = (_PACKAGE / "README.md").read_text()
_START, _RELEASE = re.findall(r"^```sh\n(.*?)^```", _README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def shell(harbour: Any, tmp_path: Path) -> Any:
    def run(script: str, environment: dict[str, str]) -> str:
        environment = {
            **environment,
            "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}",
            "REGISTRY_AUTH_FILE": str(tmp_path / "auth.json"),
        }
        # What a script that fails leaves running would keep its output open.
        command = [
            "bash",
            "-euo",
            "pipefail",
            "-c",
            f"trap 'kill $(jobs -p) 2>/dev/null || :' EXIT\n{script}",
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_the_quick_start_starts(harbour: Any, shell: Any, tmp_path: Path) -> None:
    here = {name: value for name, value in harbour.environment.items() if not name.startswith("AWS_")}
    free = "serve --port 0 --https-port 0 --http-port 0"
    shown = shell(_START.replace("serve", free, 1), here)
    assert '"Account": "000000000000"' in shown
    assert "greeting.txt" in shown
    assert "s3:CreateBucket  files  OK" in shown
    assert not DataLayout(tmp_path / "port").run.exists()


def test_the_release_releases(harbour: Any, shell: Any, tmp_path: Path) -> None:
    Layout(tmp_path / "image").write(Image.empty(Platform.host()), "blog")
    shown = shell(_RELEASE, harbour.environment)
    assert shown.splitlines()[-1] == "blog\tOPERATION_IN_PROGRESS\tblog.localhost:8443"
    (service,) = harbour.controller.services()
    assert service.spec.image == f"{harbour.host}/blog:latest"
    assert [(repository, tag) for repository, tag, _ in harbour.controller.pushed] == [("blog", "latest")]


def test_the_unit_starts_what_there_is() -> None:
    (text,) = re.findall(r"^```ini\n(.*?)^```", _README, re.MULTILINE | re.DOTALL)
    unit = ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment]
    unit.read_string(text)
    program, *arguments = shlex.split(unit["Service"]["ExecStart"])
    options = _parser().parse_args(arguments)
    assert (Path(program).name, options.address, options.https_port) == ("homeport", "::", 443)
    assert f"-{signal.SIGUSR2.name.removeprefix('SIG')} " in unit["Service"]["ExecReload"]
    assert unit["Service"]["KillMode"] == "process"


def _listed() -> dict[str, list[str]]:
    _, table = _README.split("| service | operations |\n| --- | --- |\n")
    rows = (row.strip("|\n ").split(" | ") for row in table.split("\n\n")[0].splitlines())
    return {name: operations.split(", ") for name, operations in rows}


def test_the_operations_listed_are_those_answered(harbour: Any) -> None:
    for name, operations in harbour.answered.items():
        assert _listed()[name] == operations


def test_the_tags_listed_are_those_known() -> None:
    listed = re.findall(r"^\| `(homeport:.*?)` \|", _README, re.MULTILINE)
    assert listed == list(extensions.KNOWN)


@pytest.mark.parametrize("name", ["s3", "sts"])
def test_the_operations_listed_are_aws_s_own(name: str) -> None:
    known = Loader().load_service_model(name, "service-2")["operations"]
    assert _listed()[name] == sorted(set(_listed()[name]) & set(known))


def test_each_dependency_has_its_line() -> None:
    pyproject = (_PACKAGE / "pyproject.toml").read_text()
    (block,) = re.findall(r"^dependencies = \[\n(.*?)^\]", pyproject, re.MULTILINE | re.DOTALL)
    _, section = _README.split("## What it stands on")
    for name in re.findall(r'"([a-z0-9-]+)', block):
        assert f"`{name}`" in section


def test_each_file_named_is_there() -> None:
    tables = re.findall(r"^\| file \| is \|\n(.*?)\n\n", _README, re.MULTILINE | re.DOTALL)
    named = {
        name
        for table in tables
        for row in re.findall(r"^\| (`.*?`) \|", table, re.M)
        for name in row.split(", ")
    }
    assert len(named) > 40
    for name in named:
        path = _PACKAGE / "src/homeport" / name.strip("`")
        assert path.is_dir() or path.with_suffix(".py").is_file(), name
