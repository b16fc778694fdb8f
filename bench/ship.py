"""From tag to served: the demo's second release, step by step, beside the same release shipped by hand.

The peer is what an engineer would script from Debian's own tools: git, uv, umoci, skopeo and runc. It starts
from the same image of the first release, pushes to the same registry, and answers on loopback. It does less
than we do (no HTTPS, no health-checked switch, no draining, no rollback, no network namespace), so the
comparison favours it.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3

from bench.row import Row

_ROOT = Path(__file__).parent.parent
_BIN = Path(sys.executable).parent
_GOAL = 8.0  # seconds from tag to served on two cores with warm caches
_PEER = "git + uv + umoci + skopeo + runc"


def run() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="bench-ship-") as name:
        folder = Path(name)
        _demo(folder)  # the first run warms the caches of base and dependencies
        first, second = _demo(folder)["deployments"]
        by_hand = _by_hand(folder)
    whole = "second release, tag to served"
    rows = [
        Row("ship", whole, second["tag_to_served_seconds"], "s", sum(by_hand.values()), _PEER, _GOAL),
        Row("ship", "first release, tag to served", first["tag_to_served_seconds"], "s"),
    ]
    rows += _commands()
    for step, seconds in second["seconds"].items():
        rows.append(Row("ship", f"second release: {step}", seconds, "s", by_hand.get(step), _PEER))
    return rows


def _commands() -> list[Row]:
    """What is typed most often, in a component that can be released: the time until the prompt is back."""
    with tempfile.TemporaryDirectory(prefix="bench-ship-") as name:
        checkout = Path(name) / "checkout"
        checkout.mkdir()
        (checkout / "pyproject.toml").write_text(
            '[project]\nname = "shop"\nversion = "1.0.0"\n[tool.tagboat]\nentrypoint = ["shop"]\n'
        )
        (checkout / "CHANGELOG.md").write_text("## 1.0.0\n\n- All of it.\n")
        (checkout / "requirements.lock").touch()
        _git(checkout, "init", "--quiet", "--initial-branch", "main")
        _git(checkout, "init", "--quiet", "--bare", "--initial-branch", "main", "../origin.git")
        _git(checkout, "remote", "add", "origin", "../origin.git")
        for key, value in (("user.name", "Bench"), ("user.email", "bench@localhost")):
            _git(checkout, "config", key, value)
        _git(checkout, "add", "--all")
        _git(checkout, "commit", "--quiet", "--message", "1.0.0")
        _git(checkout, "push", "--quiet", "origin", "main")
        return [
            Row("ship", f"tagboat {' '.join(arguments)}", _median(checkout, *arguments), "s", goal=goal)
            for arguments, goal in ((("--help",), 0.15), (("tag", "--dry-run"), 0.4))
        ]


def _median(checkout: Path, *arguments: str) -> float:
    seconds = []
    for _ in range(7):
        started = time.monotonic()
        _run(_BIN / "tagboat", *arguments, cwd=checkout)
        seconds.append(time.monotonic() - started)
    return statistics.median(seconds)


def _demo(folder: Path) -> dict[str, Any]:
    report = folder / "demo.json"
    _run(_BIN / "tagboat", "demo", "--exit", "--json", report, cwd=_ROOT)
    result: dict[str, Any] = json.loads(report.read_text())
    return result


def _by_hand(folder: Path) -> dict[str, float]:
    """Seconds by step, named as tagboat names its own."""
    site = folder / "checkout" / "examples" / "site"
    _make_checkout(folder / "checkout")
    with _homeport(folder / "port") as environment:
        registry = environment["AWS_ENDPOINT_URL"].removeprefix("http://")
        credentials = _registry_credentials(environment)
        _run(_BIN / "tagboat", "build", site, "--output", f"oci:{folder / 'image'}")
        _run("umoci", "unpack", "--image", f"{folder / 'image'}:0.1.0", folder / "bundle")
        # The layers of the first release are in the registry and on the serving side already.
        _push(folder / "image", "0.1.0", registry, credentials)
        _pull(folder / "server", "0.1.0", registry, credentials)

        project = site / "pyproject.toml"
        project.write_text(re.sub(r'(?m)^version = "0.1.0"', 'version = "0.2.0"', project.read_text()))
        _git(folder / "checkout", "commit", "--quiet", "--all", "--message", "0.2.0")
        _git(folder / "checkout", "push", "--quiet", "origin", "main")

        seconds: dict[str, float] = {}

        def timed(step: str, action: Callable[[], object]) -> None:
            started = time.monotonic()
            action()
            seconds[step] = time.monotonic() - started

        def tag() -> None:
            _git(folder / "checkout", "tag", "--annotate", "site-v0.2.0", "--message", "0.2.0")
            _git(folder / "checkout", "push", "--quiet", "origin", "site-v0.2.0")

        def build() -> None:
            _run(_BIN / "uv", "build", "--quiet", "--wheel", "--out-dir", folder / "wheels", site)
            (packages,) = (folder / "bundle" / "rootfs" / "opt" / "venv" / "lib").glob(
                "python*/site-packages"
            )
            for old in packages.glob("site-*.dist-info"):
                shutil.rmtree(old)
            _run(
                *(_BIN / "uv", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target", packages),
                *(folder / "wheels").glob("*.whl"),
            )
            _run("umoci", "repack", "--image", f"{folder / 'image'}:0.2.0", folder / "bundle")

        timed("tag", tag)
        timed("build", build)
        timed("push", lambda: _push(folder / "image", "0.2.0", registry, credentials))
        timed("rollout", lambda: _serve(folder, registry, credentials))
    return seconds


def _serve(folder: Path, registry: str, credentials: str) -> None:
    """Pull, unpack, start and wait until the new version answers; then stop it again."""
    _pull(folder / "server", "0.2.0", registry, credentials)
    bundle = folder / "run"
    _run("umoci", "unpack", "--image", f"{folder / 'server'}:0.2.0", bundle)
    config = json.loads((bundle / "config.json").read_text())
    config["process"]["terminal"] = False
    config["process"]["env"] += [
        "PORT=18999", "SITE_MODE=demo", "DATABASE_URL=file:///tmp/db", "UPLOADS_URL=file:///tmp/uploads"
    ]  # fmt: skip
    config["root"]["readonly"] = False
    config["linux"]["namespaces"] = [
        entry for entry in config["linux"]["namespaces"] if entry["type"] not in ("network", "user", "cgroup")
    ]
    (bundle / "config.json").write_text(json.dumps(config))
    name = f"bench-ship-{os.getpid()}"
    with (bundle / "log").open("wb") as log:
        subprocess.run(
            ["runc", "run", "--detach", "--bundle", bundle, name], check=True, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 30
        while _version_at("http://127.0.0.1:18999/") != "0.2.0":
            if time.monotonic() > deadline:
                raise TimeoutError((bundle / "log").read_text())
            time.sleep(0.02)
    finally:
        _run("runc", "delete", "--force", name)


def _version_at(url: str) -> str | None:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  a constant loopback URL
            version: str | None = answer.headers["X-Site-Version"]
            return version
    except OSError:
        return None


def _make_checkout(checkout: Path) -> None:
    for part in ("examples/site", "packages/bucketlog"):
        shutil.copytree(
            _ROOT / part, checkout / part, ignore=shutil.ignore_patterns("__pycache__", ".*", "*.egg-info")
        )
    origin = checkout.with_name("origin.git")
    _run("git", "init", "--quiet", "--bare", origin)
    _git(checkout, "init", "--quiet", "--initial-branch", "main")
    _git(checkout, "config", "user.name", "Bench")
    _git(checkout, "config", "user.email", "bench@localhost")
    _git(checkout, "remote", "add", "origin", str(origin))
    _git(checkout, "add", "--all")
    _git(checkout, "commit", "--quiet", "--message", "0.1.0")


@contextmanager
def _homeport(data: Path) -> Iterator[dict[str, str]]:
    """A homeport for its registry; yields the settings that AWS's clients take."""
    process = subprocess.Popen(
        [
            *(_BIN / "homeport", "serve", "--data", data),
            *("--port", "0", "--https-port", "0", "--http-port", "0"),
        ]
    )
    try:
        while not (data / "homeport.json").exists():
            if process.poll() is not None:
                raise RuntimeError("homeport did not start")
            time.sleep(0.05)
        exports = subprocess.run(
            [_BIN / "homeport", "env", "--data", data], check=True, capture_output=True, text=True
        ).stdout
        yield dict(re.findall(r"^export (\w+)='?([^'\n]*)'?$", exports, re.MULTILINE))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _registry_credentials(environment: dict[str, str]) -> str:
    ecr = boto3.client(
        "ecr",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        region_name=environment["AWS_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )
    ecr.create_repository(repositoryName="site")
    token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    return base64.b64decode(token).decode()


def _push(layout: Path, tag: str, registry: str, credentials: str) -> None:
    _run(
        *("skopeo", "copy", "--quiet", "--dest-tls-verify=false", "--dest-creds", credentials),
        *(f"oci:{layout}:{tag}", f"docker://{registry}/site:{tag}"),
    )


def _pull(layout: Path, tag: str, registry: str, credentials: str) -> None:
    _run(
        *("skopeo", "copy", "--quiet", "--src-tls-verify=false", "--src-creds", credentials),
        *(f"docker://{registry}/site:{tag}", f"oci:{layout}:{tag}"),
    )


def _git(checkout: Path, *arguments: str) -> None:
    _run("git", "-C", checkout, *arguments)


def _run(*command: str | Path, cwd: Path | None = None) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=cwd)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} {command[1]}: {done.stdout}{done.stderr}")
