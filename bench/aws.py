"""`tagboat plan` on a complete stack, as it is typed, against moto's server; and the site as a function.

The stack is the one with the most kinds of resources: a function behind CloudFront with a domain, buckets, a
role for releases and a budget. The peer is the aws command, which asks for one list of each of the services
that have some of it: what somebody would type to look for himself, which compares nothing.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import boto3

from bench.function import function_rows
from bench.ports import free_port
from bench.row import Row

_RUNS = 5
_GOAL = 3.0  # seconds
_BIN = Path(sys.executable).parent
_SERVERS = Path(__file__).parent.parent / "packages" / "tagboat" / "tests" / "aws"
_REGION = "ap-southeast-1"
_PEER = "aws, a list of each service"
_LISTS = (
    ("ecr", "describe-repositories"),
    ("iam", "list-roles"),
    ("iam", "list-open-id-connect-providers"),
    ("s3api", "list-buckets"),
    ("logs", "describe-log-groups"),
    ("lambda", "list-functions"),
    ("cloudfront", "list-distributions"),
    ("acm", "list-certificates"),
    ("route53", "list-hosted-zones"),
)
_PYPROJECT = """\
[project]
name = "shop"
version = "1.4.0"

[project.scripts]
shop = "shop:main"

[tool.tagboat.ci]
github = "octo/shop"
repository-id = 100200
owner-id = 300

[tool.tagboat.targets.production]
kind = "lambda"
region = "ap-southeast-1"
domain = "www.shop.example"
redirects = ["shop.example"]
data-bucket = "shop-data-1f3a"
uploads-bucket = "shop-uploads-1f3a"
uploads-path = "/uploads/*"
budget = 10
alert = "ops@shop.example"
"""
_MANIFEST = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "config": {
        "mediaType": "application/vnd.oci.image.config.v1+json",
        "size": 2,
        "digest": f"sha256:{'1' * 64}",
    },
    "layers": [],
}


def run() -> list[Row]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-aws-")))
        (folder / "pyproject.toml").write_text(_PYPROJECT)
        shell = os.environ | stack.enter_context(_aws())
        _prepare(shell)
        first = _timed([_BIN / "tagboat", "apply"], folder, shell)
        _release(shell)
        second = _timed([_BIN / "tagboat", "apply"], folder, shell)
        plans = [_timed([_BIN / "tagboat", "plan"], folder, shell) for _ in range(_RUNS)]
        by_hand = sum(_timed([_BIN / "aws", *one], folder, shell) for one in _LISTS)
        said = subprocess.run(
            [_BIN / "tagboat", "plan", "--json"], cwd=folder, env=shell, capture_output=True, check=True
        )
        resources = json.loads(said.stdout)
    kinds = len({one["kind"] for one in resources})
    case = f"plan, {len(resources)} resources of {kinds} kinds, nothing to do"
    return [
        Row("aws", case, statistics.median(plans), "s", by_hand, _PEER, _GOAL),
        Row("aws", "apply in an empty account", first, "s"),
        Row("aws", "apply after the first release", second, "s"),
        *function_rows(),
    ]


def _timed(command: list[str | Path], folder: Path, shell: dict[str, str]) -> float:
    started = time.monotonic()
    done = subprocess.run(command, cwd=folder, env=shell, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return time.monotonic() - started


@contextmanager
def _aws() -> Iterator[dict[str, str]]:
    """moto's server and our own for budgets; the settings that lead there."""
    port = free_port()
    settings = {"MOTO_ACM_VALIDATION_WAIT": "0", "REGISTRY": "127.0.0.1:1"}
    moto = subprocess.Popen(
        [sys.executable, _SERVERS / "moto_server.py", "-H", "127.0.0.1", "-p", str(port)],
        env=os.environ | settings,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wire = subprocess.Popen(
        [sys.executable, _SERVERS / "wire.py", _REGION],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert wire.stdout is not None
        url = wire.stdout.readline().strip()
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert moto.poll() is None
                time.sleep(0.1)
        yield {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": _REGION,
            "AWS_DEFAULT_REGION": _REGION,
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ENDPOINT_URL_BUDGETS": url,
        }
    finally:
        wire.communicate()
        moto.terminate()
        moto.wait()


def _session(shell: dict[str, str]) -> boto3.Session:
    return boto3.Session(shell["AWS_ACCESS_KEY_ID"], shell["AWS_SECRET_ACCESS_KEY"], region_name=_REGION)


def _prepare(shell: dict[str, str]) -> None:
    client = _session(shell).client("route53", endpoint_url=shell["AWS_ENDPOINT_URL"])
    client.create_hosted_zone(Name="shop.example", CallerReference="bench")


def _release(shell: dict[str, str]) -> None:
    client = _session(shell).client("ecr", endpoint_url=shell["AWS_ENDPOINT_URL"])
    client.put_image(repositoryName="shop", imageManifest=json.dumps(_MANIFEST), imageTag="latest")
