"""The aws command, with nothing but the variables that `homeport env` prints."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_AWS = Path(sys.executable).with_name("aws")


class Aws:
    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self.environment = environment
        self._folder = folder

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [_AWS, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=self.environment,
            cwd=self._folder,
            timeout=300,
        )

    def __call__(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def aws(harbour: Any, tmp_path: Path) -> Aws:
    return Aws(harbour.environment, tmp_path)


def test_it_says_who_one_is(aws: Aws) -> None:
    assert json.loads(aws("sts", "get-caller-identity"))["Account"] == "000000000000"


def test_it_makes_repositories_and_services(harbour: Any, aws: Aws) -> None:
    aws("ecr", "create-repository", "--repository-name", "blog")
    password = aws("ecr", "get-login-password").strip()
    assert harbour.send("GET", "/v2/", _basic("AWS", password)).status == 200
    source = {
        "ImageRepository": {"ImageIdentifier": f"{harbour.host}/blog:latest", "ImageRepositoryType": "ECR"}
    }
    created = aws(
        "apprunner", "create-service", "--service-name", "blog", "--source-configuration", json.dumps(source)
    )
    service = json.loads(created)["Service"]
    assert service["Status"] == "OPERATION_IN_PROGRESS"
    listed = json.loads(aws("apprunner", "list-services"))["ServiceSummaryList"]
    assert [one["ServiceArn"] for one in listed] == [service["ServiceArn"]]


def test_it_copies_lists_and_removes_files(aws: Aws, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/one.txt").write_text("one")
    (tmp_path / "in/two words.txt").write_text("two")
    for file in (tmp_path / "in").iterdir():
        os.utime(file, (1_000_000_000, 1_000_000_000))
    aws("s3", "mb", "s3://box")
    aws("s3", "cp", "--recursive", "in", "s3://box/folder")
    listed = aws("s3", "ls", "--recursive", "s3://box")
    assert [line.split(maxsplit=3)[3] for line in listed.splitlines()] == [
        "folder/one.txt",
        "folder/two words.txt",
    ]
    assert "PRE folder/" in aws("s3", "ls", "s3://box")
    aws("s3", "cp", "s3://box/folder/two words.txt", "back.txt")
    assert (tmp_path / "back.txt").read_text() == "two"
    assert aws("s3", "sync", "in", "s3://box/folder") == "", "what is there is not sent again"
    aws("s3", "rm", "--recursive", "s3://box/folder")
    aws("s3", "rb", "s3://box")
    assert aws("s3", "ls") == ""


def test_a_wrong_secret_is_its_error(aws: Aws) -> None:
    aws.environment["AWS_SECRET_ACCESS_KEY"] = "wrong"
    for command, code in (
        (("sts", "get-caller-identity"), "InvalidSignatureException"),
        (("apprunner", "list-services"), "InvalidSignatureException"),
        (("s3", "ls"), "SignatureDoesNotMatch"),
    ):
        failed = aws.run(*command)
        assert failed.returncode != 0
        assert code in failed.stderr


def _basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
