"""The pipeline that `tagboat ci github` writes, run here as it is: its jobs and steps in order, each job in a
clean folder, with a git remote, an issuer that signs GitHub's tokens, and homeport as the cloud.
"""

from __future__ import annotations

import base64
import functools
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import time
import uuid
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from packages.tagboat.tests.app import SOURCE
from packages.tagboat.tests.keyless.instance import Instance

from homeport.sessions import Sessions
from ocikit import Credentials, Reference, Registry
from tagboat.identity import IdentityError, session

BIN = Path(sys.executable).parent
CI = """
[tool.tagboat.ci]
test = "python3 -m compileall -q src"
install = 'echo "{bin}" >>"$GITHUB_PATH"'
version-header = "X-Version"
smoke-timeout = 3
"""
SAYS_ANOTHER_VERSION = SOURCE.replace('"X-Version", VERSION', '"X-Version", "0.0.0"')
NEVER_STARTS = "import sys\n\n\ndef main():\n    sys.exit('no flux capacitor')\n"


@dataclass
class Job:
    """What a job has done: its result, that of each of its steps by name, its outputs, and all it wrote."""

    result: str
    steps: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    summary: str = ""
    log: str = ""


class Runner:
    """As much of GitHub's runner as the pipeline needs: contexts, conditions, files of commands, and three
    actions. Only a job with `id-token: write` can have a token of the issuer.
    """

    def __init__(self, folder: Path, origin: Path, issuer: Any, machine: dict[str, str]) -> None:
        self.folder = folder
        self.origin = origin
        self.issuer = issuer
        self.machine = machine
        self.variables: dict[str, str] = {}
        self.forced: dict[str, Any] = {}  # claims of its tokens, whatever is true
        self.runs = 0
        self.made_at = time.time()

    def push(self, workflow: str, ref: str, commit: str) -> dict[str, Job]:
        """Run the workflow for a tag or a branch that was pushed."""
        self.runs += 1
        document = yaml.safe_load(workflow)
        kind, name = ("tag", ref.removeprefix("refs/tags/")) if "/tags/" in ref else ("branch", ref[11:])
        github = {
            "workflow": document["name"],
            "event_name": "push",
            "ref": ref,
            "ref_name": name,
            "ref_type": kind,
            "sha": commit,
            "repository": "octo/shop",
            "run_id": str(self.runs),
            "actor": "mona",
            "server_url": "https://github.example",
        }
        self.issuer.claims = {
            name: github[name] for name in ("ref", "ref_type", "sha", "run_id", "event_name")
        }
        self.issuer.claims |= self.forced
        jobs: dict[str, Job] = {}
        for identity, job in document["jobs"].items():
            needed = [job["needs"]] if isinstance(job.get("needs"), str) else job.get("needs", [])
            context = {"github": github, "vars": self.variables, "needs": jobs}
            well = all(jobs[one].result == "success" for one in needed)
            if well and evaluate(job.get("if", "success()"), context, failed=False):
                jobs[identity] = self._run(self.folder / f"run-{self.runs}" / identity, job, context)
            else:
                jobs[identity] = Job("skipped")
        return jobs

    def _run(self, folder: Path, job: dict[str, Any], context: dict[str, Any]) -> Job:
        for name in ("home", "temp", "workspace"):
            (folder / name).mkdir(parents=True)
        done = Job("success")
        steps: dict[str, Any] = {}
        context = context | {"steps": steps, "runner": {"temp": str(folder / "temp")}}
        environment = self._environment(folder, job, context)
        for step in job["steps"]:
            failed = done.result == "failure"
            if not evaluate(step.get("if", "success()"), context, failed=failed):
                outcome, outputs = "skipped", {}
            elif "uses" in step:
                outcome, outputs = self._use(step, folder, context), {}
            else:
                own = environment | filled(step.get("env", {}), context)
                outcome, outputs = self._step(step["run"], folder, own, done)
                if (folder / "path").exists():
                    added = (folder / "path").read_text().split()
                    environment["PATH"] = ":".join([*added, self.machine["PATH"]])
            done.steps[step["name"]] = outcome
            if outcome == "failure":
                done.result = "failure"
            if "id" in step:
                steps[step["id"]] = {"outcome": outcome, "outputs": outputs}
        done.outputs = filled(job.get("outputs", {}), context)
        return done

    def _environment(self, folder: Path, job: dict[str, Any], context: dict[str, Any]) -> dict[str, str]:
        names = {f"GITHUB_{name.upper()}": value for name, value in context["github"].items()}
        files = {f"GITHUB_{name.upper()}": str(folder / name) for name in ("output", "path", "step_summary")}
        token = {}
        if job["permissions"].get("id-token") == "write":
            token = {
                "ACTIONS_ID_TOKEN_REQUEST_URL": f"{self.issuer.url}/token?api-version=2",
                "ACTIONS_ID_TOKEN_REQUEST_TOKEN": self.issuer.bearer,
            }
        own = {
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "HOME": str(folder / "home"),
            "RUNNER_TEMP": str(folder / "temp"),
        }
        given = filled(job.get("env", {}), context)
        return self.machine | names | files | token | own | given

    def _step(
        self, script: str, folder: Path, environment: dict[str, str], done: Job
    ) -> tuple[str, dict[str, str]]:
        (folder / "output").write_text("")
        (folder / "script.sh").write_text(script)
        ended = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", folder / "script.sh"],
            cwd=folder / "workspace",
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=600,
        )
        done.log += f"$ {script}\n{ended.stdout}"
        if (folder / "step_summary").exists():
            done.summary = (folder / "step_summary").read_text()
        outputs = dict(line.split("=", 1) for line in (folder / "output").read_text().splitlines())
        return ("success" if ended.returncode == 0 else "failure"), outputs

    def _use(self, step: dict[str, Any], folder: Path, context: dict[str, Any]) -> str:
        action, wanted = step["uses"].split("@")[0], filled(step.get("with", {}), context)
        if action == "actions/checkout":
            self._check_out(folder / "workspace", context["github"], deep=wanted.get("fetch-depth") == "0")
            return "success"
        kept = self.folder / f"run-{self.runs}" / "artifacts" / wanted["name"]
        source, target = {
            "actions/upload-artifact": (wanted["path"], kept),
            "actions/download-artifact": (kept, wanted["path"]),
        }[action]
        shutil.copytree(source, target)
        return "success"

    def _check_out(self, workspace: Path, github: dict[str, str], *, deep: bool) -> None:
        """As the action does it: without depth, the commit alone, and the tag as a light one."""
        ref = github["ref"].replace("refs/heads/", "refs/remotes/origin/")
        git = ["git", "-C", workspace]
        subprocess.run([*git, "init", "--quiet"], check=True)
        subprocess.run([*git, "remote", "add", "origin", f"file://{self.origin}"], check=True)
        if deep:
            every = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"]
            subprocess.run([*git, "fetch", "--quiet", "origin", *every], check=True)
        else:
            fetch = [*git, "fetch", "--quiet", "--no-tags", "--depth=1", "origin"]
            subprocess.run([*fetch, f"+{github['sha']}:{ref}"], check=True)
        subprocess.run([*git, "checkout", "--quiet", "--detach", ref], check=True)


def evaluate(expression: str, context: dict[str, Any], *, failed: bool) -> bool:
    """A condition: names, texts, `==`, `!=`, `&&`, and the functions about what was before."""
    if not re.search(r"\b(success|failure|always)\(\)", expression):
        expression = f"success() && {expression}"
    functions = {"success()": not failed, "failure()": failed, "always()": True}
    for part in (part.strip() for part in expression.split("&&")):
        if part in functions:
            holds = functions[part]
        else:
            left, operator, right = re.fullmatch(r"(.+?) (==|!=) (.+)", part).groups()
            holds = (value(left, context) == value(right, context)) is (operator == "==")
        if not holds:
            return False
    return True


def value(name: str, context: dict[str, Any]) -> str:
    if name.startswith("'"):
        return name.strip("'")
    found: Any = context
    for part in name.split("."):
        found = found.get(part, "") if isinstance(found, dict) else getattr(found, part, "")
    return found


def filled(texts: dict[str, Any], context: dict[str, Any]) -> dict[str, str]:
    return {
        name: re.sub(r"\$\{\{ ([\w.-]+) \}\}", lambda match: value(match[1], context), str(text))
        for name, text in texts.items()
    }


@dataclass
class Shop:
    """A component on GitHub, whose releases homeport trusts."""

    app: Any
    runner: Runner
    variables: dict[str, str]
    jobs: dict[str, Job] = field(default_factory=dict)

    def release(self, version: str, source: str = SOURCE, *, tag: str | None = None) -> dict[str, Job]:
        """Commit it, and let `tagboat tag` push the tag that starts the pipeline; or git push another."""
        self.app.write(version, source)
        workflow = self.workflow()
        self.app.commit()
        if tag is None:
            tagged = self.app.tagboat("tag")
            assert tagged.returncode == 0, tagged.stderr
            name = tagged.stdout.strip()
        else:
            name = f"{self.app.name}-v{tag}"
            self.app.git("tag", "--annotate", "--message", tag, name)
            self.app.git("push", "--quiet", "origin", name)
        return self.runner.push(workflow, f"refs/tags/{name}", self.commit)

    def workflow(self) -> str:
        """What `tagboat ci github` writes for the component as it stands."""
        project = self.app.root / "pyproject.toml"
        project.write_text(project.read_text() + CI.format(bin=BIN))
        written = self.app.tagboat("ci", "github")
        assert written.returncode == 0, written.stderr
        return Path(written.stdout.strip()).read_text()

    @property
    def commit(self) -> str:
        return self.app.git("rev-parse", "HEAD")

    def page(self) -> str:
        return self.app.port.get(self.app.name).text

    def history(self) -> list[dict[str, Any]]:
        return json.loads(self.app.tagboat("history", "--json").stdout)

    def audit(self) -> list[dict[str, Any]]:
        """What homeport says of the role's calls, when all of them are written.

        They are in the order in which they came: a last one of the owner's, which is refused, stands behind.
        """
        mark = uuid.uuid4().hex
        settings = os.environ | self.app.port.environment
        last = [BIN / "aws", "ecr", "delete-repository", "--repository-name", mark]
        refused = subprocess.run(last, env=settings, capture_output=True, text=True, check=False)
        assert "RepositoryNotFoundException" in refused.stderr, refused.stderr
        deadline = time.monotonic() + 60
        calls = self._audited()
        while not any(mark in call["about"] for call in calls):
            assert time.monotonic() < deadline
            calls = self._audited()
        return [call for call in calls if call["who"].startswith(f"role/release-{self.app.name}/")]

    def _audited(self) -> list[dict[str, Any]]:
        command = [BIN / "homeport", "audit", "--data", self.app.port.data, "--json"]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture
def github(issuer: Any) -> Any:
    """The issuer, which also says which numbers octo/shop has."""
    known = {"full_name": "octo/shop", "id": 100200, "owner": {"id": 300}}
    issuer.documents["/repos/octo/shop"] = json.dumps(known).encode()
    return issuer


def runner_for(app: Any, issuer: Any, folder: Path, variables: dict[str, str]) -> Runner:
    """A machine that has git and a cache, and trusts homeport's authority; no settings of AWS."""
    machine = {
        "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
        "HOMEPORT_CA": str(app.port.data / "ca.pem"),
    }
    runner = Runner(folder / "runner", folder / "origin.git", issuer, machine)
    runner.variables = variables | {"GREETING": "hello"}
    return runner


@pytest.fixture
def shop(app: Any, github: Any, tmp_path: Path) -> Shop:
    issuer = github
    ours = ("trust", "github", "octo/shop", "--issuer", issuer.url)
    trusted = app.tagboat(*ours, "--json", GITHUB_API_URL=issuer.url)
    assert trusted.returncode == 0, trusted.stderr
    variables = json.loads(trusted.stdout)
    return Shop(app, runner_for(app, issuer, tmp_path, variables), variables)


@pytest.fixture
def released(shop: Shop) -> Shop:
    """The shop with release 1.0.0 served."""
    jobs = shop.release("1.0.0")
    assert {job.result for job in jobs.values()} == {"success"}, jobs["deploy"].log
    shop.jobs = jobs
    return shop


def test_a_tag_that_is_pushed_is_served_and_who_did_it_is_known(released: Shop) -> None:
    deploy = released.jobs["deploy"]
    assert list(released.jobs) == ["test", "build", "deploy"]
    assert (deploy.steps["Smoke test"], deploy.steps["Roll back"]) == ("success", "skipped")
    assert released.page() == "hello from 1.0.0"
    digest = released.jobs["build"].outputs["digest"]
    assert f"- image: {digest}" in deploy.summary
    (record,) = released.history()
    assert (record["tag"], record["digest"], record["outcome"]) == (
        f"{released.app.name}-v1.0.0",
        digest,
        "succeeded",
    )
    assert record["commit"] == released.commit
    assert record["identity"] == (
        f"arn:aws:sts::000000000000:assumed-role/release-{released.app.name}/octo.shop-1"
    )
    assert (record["actor"], record["run"]) == ("mona", "https://github.example/octo/shop/actions/runs/1")
    calls = released.audit()
    assert {call["result"] for call in calls} == {"OK"}
    (taken,) = [call for call in calls if call["operation"] == "sts:AssumeRoleWithWebIdentity"]
    assert taken["who"] == f"role/release-{released.app.name}/octo.shop-1"
    assert "repo:octo/shop:environment:production" in taken["about"]
    assert {"ecr:CreateRepository", "registry:PutManifest", "apprunner:CreateService"} <= {
        call["operation"] for call in calls
    }
    assert len(released.runner.issuer.given) == 1  # no job but one can have a token


def log_in(app: Any, folder: Path) -> tuple[str, str]:
    """The registry's host and the owner's password, which docker's configuration in the folder then has."""
    registry = app.port.environment["AWS_ENDPOINT_URL"].removeprefix("http://")
    password = subprocess.run(
        [BIN / "aws", "ecr", "get-login-password"],
        env=os.environ | app.port.environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    login = {"auths": {registry: {"auth": base64.b64encode(f"AWS:{password}".encode()).decode()}}}
    (folder / "config.json").write_text(json.dumps(login))
    return registry, password


def test_whoever_has_homeports_public_key_can_see_whose_release_an_image_is(
    released: Shop, tmp_path: Path
) -> None:
    app = released.app
    registry, password = log_in(app, tmp_path)

    def verify(*arguments: str) -> subprocess.CompletedProcess[str]:
        image = f"{registry}/{app.name}:{app.name}-v1.0.0"
        key = str(app.port.data / "origin.pub")
        return app.tagboat("verify", "--key", key, *arguments, image, DOCKER_CONFIG=str(tmp_path))

    good = verify("--released-by", "octo/shop")
    assert good.returncode == 0, good.stderr + good.stdout
    assert "ok      released by a tag of octo/shop" in good.stdout
    other = verify("--released-by", "octo/cart")
    assert other.returncode == 1
    assert "pushed by octo/shop" in other.stdout
    assert verify().returncode == 1  # it is no signature of the image
    with Registry(registry, credentials=Credentials("AWS", password), insecure=True) as client:
        image = Reference.parse(f"{registry}/{app.name}:{app.name}-v1.0.0")
        about = image.with_digest(client.digest(image))
        kinds = [one.artifact_type.rpartition("/")[2] for one in client.referrers(about)]
    assert sorted(kinds) == [
        "spdx+json",
        "vnd.dsse.envelope.v1+json",
        "vnd.in-toto+json",
        "vnd.tagboat.deployment.v1+json",
    ]


def require_no_secret(shop: Shop, jobs: list[Job]) -> None:
    """In nothing that was written: jobs' folders with outputs and artifacts, logs, summaries, both git
    repositories, the images and their records in the registry, homeport's state, its trail and all it said,
    and what builds keep for the next one.
    """
    runner = shop.runner
    (runner.folder / "logs").write_text("".join(job.log + job.summary for job in jobs))
    assert (written := files_with_a_secret(shop)) == [], written
    planted = runner.folder / "planted"  # what looks for secrets finds one, packed as git and images pack
    planted.write_bytes(gzip.compress(f"token={runner.issuer.given[-1]}".encode()))
    assert files_with_a_secret(shop) == [planted]


def files_with_a_secret(shop: Shop) -> list[Path]:
    data, runner = shop.app.port.data, shop.runner
    keyring = json.loads((data / "credentials.json").read_text())
    secrets = {keyring["secret_access_key"], keyring["master_secret"], runner.issuer.bearer}
    for token in runner.issuer.given:
        secrets |= {token, token.rpartition(".")[2]}
    begins = base64.urlsafe_b64encode(b'{"key":"ASIA').decode()  # of session tokens and the registry's
    sealed = base64.b64encode(b"AWS:" + begins.encode()).decode()[:16]
    assert a_session_token().startswith(begins)
    wanted = [secret.encode() for secret in (*secrets, begins, sealed)]
    folders = (runner.folder, shop.app.root, shop.app.root.parent / "origin.git", data)
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    files.append(data.with_suffix(".log"))
    assert len(files) > 100
    files += kept_since(Path(runner.machine["XDG_CACHE_HOME"]) / "tagboat", runner.made_at)
    keyring_file = data / "credentials.json"
    return [file for file in files if file != keyring_file and holds_one(file, wanted)]


def kept_since(cache: Path, began: float) -> list[Path]:
    """What is new in a cache that others may be using too."""
    found = []
    for folder, _, names in os.walk(cache):
        for file in (Path(folder, name) for name in names):
            with suppress(OSError):
                if file.lstat().st_mtime >= began:
                    found.append(file)
    return found


def holds_one(file: Path, wanted: list[bytes]) -> bool:
    try:
        content = file.read_bytes()
    except FileNotFoundError:  # another build's, and gone
        return False
    texts = [content, *unpacked(content)]
    return any(one in text for one in wanted for text in texts)


def a_session_token() -> str:
    now, hour = datetime.now(UTC), timedelta(hours=1)
    sessions = Sessions(lambda *_: "")
    return sessions.begin(
        role="r", role_id="i", name="n", subject="s", origin={}, now=now, lifetime=hour
    ).token


def unpacked(content: bytes) -> list[bytes]:
    """What is compressed, as git and images do it."""
    found = []
    for window in (zlib.MAX_WBITS, zlib.MAX_WBITS | 16):
        with suppress(zlib.error):
            found.append(zlib.decompressobj(window).decompress(content))
    return found


def test_a_release_that_says_another_version_is_rolled_back_and_red_and_no_secret_is_written(
    released: Shop,
) -> None:
    deploy = released.release("1.1.0", SAYS_ANOTHER_VERSION)["deploy"]
    assert deploy.result == "failure"
    assert (deploy.steps["Deploy"], deploy.steps["Smoke test"]) == ("success", "failure")
    assert "is served by version 0.0.0, not 1.1.0" in deploy.log
    assert deploy.steps["Roll back"] == "success"
    assert "rollback: success" in deploy.summary
    assert released.page() == "hello from 1.0.0"
    done = [(record["action"], record["tag"].rpartition("-v")[2]) for record in released.history()]
    assert done == [("rollback", "1.0.0"), ("deploy", "1.1.0"), ("deploy", "1.0.0")]
    require_no_secret(released, [*released.jobs.values(), deploy])


def test_a_release_that_never_starts_is_rolled_back_and_red(released: Shop) -> None:
    deploy = released.release("1.1.0", NEVER_STARTS)["deploy"]
    assert deploy.result == "failure"
    assert (deploy.steps["Deploy"], deploy.steps["Smoke test"]) == ("failure", "skipped")
    assert deploy.steps["Roll back"] == "success"
    assert "no flux capacitor" in deploy.log
    assert released.page() == "hello from 1.0.0"
    assert released.history()[1]["outcome"] == "failed"


def test_a_service_can_be_held_to_the_releases_of_its_repository(released: Shop) -> None:
    port, app = released.app.port, released.app
    aws = functools.partial(
        subprocess.run, env=os.environ | port.environment, check=True, capture_output=True, text=True
    )
    query = f"ServiceSummaryList[?ServiceName=='{app.name}'].ServiceArn"
    listed = aws([BIN / "aws", "apprunner", "list-services", "--query", query, "--output", "text"])
    issuer = released.runner.issuer.url.removeprefix("http://")
    tag = f"Key=homeport:policy,Value={issuer}:repository_id=100200"
    aws([BIN / "aws", "apprunner", "tag-resource", "--resource-arn", listed.stdout.strip(), "--tags", tag])
    # What the owner builds and pushes has no such provenance, not even of the repository's own tag.
    owned = app.release("1.0.1", SOURCE)
    assert owned.returncode == 30
    assert "runs only what a tag of" in owned.stderr
    assert "was pushed by nobody who took a role" in owned.stderr
    assert released.page() == "hello from 1.0.0"
    assert released.release("1.1.0")["deploy"].result == "success"
    assert released.page() == "hello from 1.1.0"


def test_a_tag_of_another_version_builds_nothing(shop: Shop) -> None:
    jobs = shop.release("1.0.0", tag="9.9.9")
    assert (jobs["test"].result, jobs["build"].result, jobs["deploy"].result) == (
        "success",
        "failure",
        "skipped",
    )
    assert shop.runner.issuer.given == []


def test_a_branch_is_tested_and_nothing_more(shop: Shop) -> None:
    shop.app.write("1.0.0", SOURCE)
    workflow = shop.workflow()
    shop.app.commit()
    jobs = shop.runner.push(workflow, "refs/heads/main", shop.commit)
    assert {name: job.result for name, job in jobs.items()} == {
        "test": "success",
        "build": "skipped",
        "deploy": "skipped",
    }


NOW = time.time
# What it is, and what makes it so: claims, and how the token is signed.
HOSTILE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "another repository": ({"sub": "repo:octo/cart:environment:production", "repository_id": "9"}, {}),
    "a name that begins alike": ({"sub": "repo:octo/shop-evil:environment:production"}, {}),
    "an owner that begins alike": ({"sub": "repo:octo-evil/shop:environment:production"}, {}),
    "the repository deleted and made again": ({"repository_id": "999999"}, {}),
    "the owner's name taken by another": ({"repository_owner_id": "301"}, {}),
    "the immutable subject of another": ({"sub": "repo:octo@300/shop@9:environment:production"}, {}),
    "another environment": ({"sub": "repo:octo/shop:environment:staging"}, {}),
    "no environment": ({"sub": "repo:octo/shop:ref:refs/tags/shop-v1"}, {}),
    "a pull request": ({"sub": "repo:octo/shop:pull_request", "event_name": "pull_request"}, {}),
    "pull_request_target": ({"event_name": "pull_request_target"}, {}),
    "a branch": ({"ref": "refs/heads/main", "ref_type": "branch"}, {}),
    "a branch called like a tag": ({"ref_type": "branch"}, {}),
    "a tag of another component": ({"ref": "refs/tags/cart-v1.0.0"}, {}),
    "another audience": ({"aud": "sts.amazonaws.com"}, {}),
    "two audiences": ({"aud": ["sts.amazonaws.com", "https://evil.example"]}, {}),
    "another issuer": ({"iss": "https://token.evil.example"}, {}),
    "an issuer below": ({"iss": "http://127.0.0.1/evil"}, {}),
    "expired": ({"iat": NOW() - 900, "nbf": NOW() - 900, "exp": NOW() - 600}, {}),
    "not yet good": ({"nbf": NOW() + 3600}, {}),
    "good for ever": ({"exp": NOW() + 1e8}, {}),
    "no end": ({"exp": None}, {}),
    "no name of its own, to be used again": ({"jti": None}, {}),
    "forged with a stranger's key": ({}, {"key": "stranger"}),
    "a key that nobody published": ({}, {"key": "rsa", "kid": "other"}),
    "no algorithm": ({}, {"header": {"alg": "none"}}),
    "another algorithm": ({}, {"header": {"alg": "RS384"}}),
    "a secret for a key": ({}, {"key": b"", "header": {"alg": "HS256"}}),
}  # fmt: skip


def test_no_hostile_token_gets_the_role_that_trust_made(
    shop: Shop, signing_keys: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer = shop.runner.issuer
    for name in os.environ:
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    for name, value in shop.variables.items():
        monkeypatch.setenv(name, value)
    ours = {"aud": shop.variables["OIDC_AUDIENCE"], "ref": f"refs/tags/{shop.app.name}-v1.0.0"}

    told: list[tuple[str, str]] = []

    def refused(token: str) -> bool:
        monkeypatch.setenv("TAGBOAT_ID_TOKEN", token)
        try:
            session()
        except IdentityError as error:
            told.append((token, str(error)))
            return True
        return False

    tokens = {}
    for name, (claims, signing) in HOSTILE.items():
        how = dict(signing)
        if isinstance(how.get("key"), str):
            how["key"] = signing_keys[how["key"]]
        tokens[name] = issuer.token(ours | claims, **how)
    genuine = issuer.token(ours)
    tokens["its end cut off"] = genuine[:-8]
    assert [name for name, token in tokens.items() if not refused(token)] == []
    assert len(tokens) > 20
    assert not refused(genuine)  # all of it is about what is different in the others
    assert refused(genuine)  # a token is good once
    assert [words for token, words in told if token in words] == []


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"repository_id": "999"}, "repository_id"),
        ({"sub": "repo:octo/shop:pull_request"}, "pull request"),
        ({"aud": "sts.amazonaws.com"}, "is for 'sts.amazonaws.com'"),
    ],
)
def test_a_job_of_anybody_else_deploys_nothing_and_sees_why(
    shop: Shop, claims: dict[str, Any], reason: str
) -> None:
    runner = shop.runner
    runner.forced = claims
    jobs = shop.release("1.0.0")
    assert jobs["build"].result == "success"
    assert jobs["deploy"].result == "failure"
    assert f"the role {shop.variables['AWS_ROLE_ARN']} is not given to this job" in jobs["deploy"].log
    assert reason in jobs["deploy"].log
    assert [call for call in shop.audit() if call["operation"].startswith("apprunner:")] == []


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({}, 32),  # it may ask, and there is no such service
        ({"project_id": "51"}, 1),
        ({"ref_protected": "false"}, 1),
        ({"pipeline_source": "merge_request_event"}, 1),
    ],
)
def test_gitlabs_protected_release_tags_are_let_in(
    app: Any, issuer: Any, claims: dict[str, str], code: int
) -> None:
    trusted = app.tagboat(
        *("trust", "gitlab", "team/shop", "--issuer", issuer.url, "--repository-id", "5", "--owner-id", "6")
    )
    assert trusted.returncode == 0, trusted.stderr
    variables = dict(line.split("=", 1) for line in trusted.stdout.splitlines())
    ours = {
        "aud": variables["OIDC_AUDIENCE"],
        "sub": f"project_path:team/shop:ref_type:tag:ref:{app.name}-v1.0.0",
        "project_id": "5",
        "namespace_id": "6",
        "ref_protected": "true",
        "pipeline_source": "push",
    }
    token = issuer.token(dict.fromkeys(("repository", "repository_id", "event_name")) | ours | claims)
    done = app.tagboat("status", **variables, TAGBOAT_ID_TOKEN=token)
    assert done.returncode == code, done.stderr
    assert token not in done.stderr


def test_any_issuers_jobs_are_let_in_by_their_subject_and_claims(app: Any, issuer: Any) -> None:
    trusted = app.tagboat(
        *("trust", "oidc", "org/o/project/p/user/*", "--issuer", issuer.url, "--audience", "o", "--json"),
        *("--claim", f"circle/ref=refs/tags/{app.name}-v*"),
    )
    assert trusted.returncode == 0, trusted.stderr
    ours = {"aud": "o", "sub": "org/o/project/p/user/u", "circle/ref": f"refs/tags/{app.name}-v1.0.0"}
    for claims, code in (
        ({}, 32),  # it may ask, and there is no such service
        ({"sub": "org/o/project/q/user/u"}, 1),
        ({"circle/ref": "refs/heads/main"}, 1),
    ):
        token = issuer.token(dict.fromkeys(("repository", "repository_id", "event_name")) | ours | claims)
        done = app.tagboat("status", **json.loads(trusted.stdout), TAGBOAT_ID_TOKEN=token)
        assert done.returncode == code, done.stderr
        assert token not in done.stderr


PAGE = (Path(__file__).parents[1] / "docs" / "release-from-ci.md").read_text()
BLOCKS = dict(re.findall(r"^```sh (\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


def test_the_page_about_releases_from_ci_shows_what_works(
    app: Any, github: Any, sigstore: Instance, tmp_path: Path
) -> None:
    here = {
        "https://token.actions.githubusercontent.com": github.url,
        "tagboat verify": f"tagboat verify --trust-config {app.root}/sigstore.json",
        "DIR": str(app.port.data),
        "release-shop": f"release-{app.name}",
        "'shop'": f"'{app.name}'",
        "tags/shop-v": f"tags/{app.name}-v",
        "github octo/shop": f"github octo/shop --issuer {github.url}",
        "token.actions.githubusercontent.com": github.url.removeprefix("http://"),
    }
    path = {"PATH": f"{BIN}:{os.environ['PATH']}"}
    environment = os.environ | app.port.environment | path | {"GREETING": "hello"}

    def follow(name: str) -> str:
        commands = functools.reduce(lambda text, one: text.replace(*one), here.items(), BLOCKS.pop(name))
        done = subprocess.run(
            ["bash", "-euc", commands],
            cwd=app.root,
            env=environment | {"GITHUB_API_URL": github.url},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == 0, commands + done.stdout + done.stderr
        return done.stdout

    app.write("1.0.0", SOURCE)
    project = app.root / "pyproject.toml"
    project.write_text(
        project.read_text() + CI.format(bin=BIN) + 'runner = "port"\nsigstore = "sigstore.json"\n'
    )
    (app.root / "sigstore.json").write_text(json.dumps(sigstore.trust_config()))
    (app.root / "CHANGELOG.md").unlink()
    app.git("config", "push.autoSetupRemote", "true")
    workflow = Path(follow("write").splitlines()[0]).read_text()
    trusted = follow("trust")
    assert f"release-{app.name}" in trusted
    variables = dict(re.findall(r"^([A-Z_]+)=(\S+)$", trusted, re.MULTILINE))
    tag = follow("release").splitlines()[-1]
    runner = runner_for(app, github, tmp_path, variables)
    file = f"octo/shop/.github/workflows/release-{app.name}.yml"
    runner.forced = {"workflow_ref": f"{file}@refs/tags/{tag}"}
    deploy = runner.push(workflow, f"refs/tags/{tag}", app.git("rev-parse", "HEAD"))["deploy"]
    assert deploy.result == "success", deploy.log

    seen = follow("look")
    assert f"{app.name}  RUNNING" in seen
    assert f"deploy  succeeded  {tag}" in seen
    assert f"role/release-{app.name}/octo.shop-1" in seen
    registry, _ = log_in(app, tmp_path)
    here["IMAGE"] = f"{registry}/{app.name}:{tag}"
    environment |= {"DOCKER_CONFIG": str(tmp_path)}
    checked = follow("check")
    for kind in ("signature", "provenance"):
        assert f"ok      keyless {kind} by https://github.com/{file}@refs/tags/{tag} (" in checked
    follow("hold")
    follow("revoke")
    listed = subprocess.run(
        [BIN / "homeport", "role", "ls", "--data", app.port.data], check=True, capture_output=True, text=True
    )
    assert f"release-{app.name}" not in listed.stdout
    assert f"release-{app.name}" in follow("other")
    assert BLOCKS == {}
