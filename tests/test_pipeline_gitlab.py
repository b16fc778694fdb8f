"""The pipeline that `tagboat ci gitlab` writes, run here as it is: its jobs and scripts in order, each job in
a clean folder, with an issuer that signs GitLab's tokens, and homeport as the cloud.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

BIN = Path(sys.executable).parent
CI = """
[tool.tagboat.ci]
test = "python3 -m compileall -q src"
install = 'PATH="{bin}:$PATH"'
smoke-timeout = 3
"""
NEVER_STARTS = "import sys\n\n\ndef main():\n    sys.exit('no flux capacitor')\n"


@dataclass
class Job:
    """What a job has done; `variables` are those that it hands on."""

    result: str
    log: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    folder: Path | None = None


class Runner:
    """As much of GitLab's runner as the pipeline needs: rules, variables, artifacts, identity tokens."""

    def __init__(self, folder: Path, app: Any, issuer: Any, settings: dict[str, str]) -> None:
        self.folder = folder
        self.app = app
        self.issuer = issuer
        self.settings = settings  # the environment's variables
        self.pipelines = 0
        self.tokens: list[str] = []

    def push(self, text: str, tag: str, *, protected: bool = True) -> dict[str, Job]:
        self.pipelines += 1
        context = {
            "CI": "true",
            "CI_COMMIT_TAG": tag,
            "CI_COMMIT_REF_PROTECTED": "true" if protected else "false",
            "CI_PIPELINE_SOURCE": "push",
            "CI_PROJECT_PATH": "team/shop",
            "CI_JOB_URL": f"https://gitlab.example/team/shop/-/jobs/{self.pipelines}",
            "GITLAB_USER_LOGIN": "mona",
        }
        jobs: dict[str, Job] = {}
        for name, job in yaml.safe_load(text).items():
            needed = [jobs[one] for one in job.get("needs", ())]
            rules = any(holds(rule["if"], context) for rule in job["rules"])
            if rules and all(one.result == "success" for one in needed):
                jobs[name] = self._run(self.folder / f"{self.pipelines}-{len(jobs)}", job, context, needed)
            else:
                jobs[name] = Job("skipped")
        return jobs

    def _run(self, folder: Path, job: dict[str, Any], context: dict[str, str], needed: list[Job]) -> Job:
        project = folder / "project"
        project.mkdir(parents=True)
        self._check_out(project, context["CI_COMMIT_TAG"], job)
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": str(folder),
            "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
            "HOMEPORT_CA": str(self.app.port.data / "ca.pem"),
            "CI_BUILDS_DIR": str(folder),
            "CI_JOB_ID": f"{self.pipelines}",
        }
        environment |= context | job.get("variables", {})
        if "environment" in job:
            environment |= self.settings
        for one in needed:
            environment |= one.variables
            for path in one.folder.glob("kept/*") if one.folder else ():
                shutil.copytree(path, project / path.name)
        for name, wanted in job.get("id_tokens", {}).items():
            environment[name] = self._token(environment[wanted["aud"].removeprefix("$")], context)
            self.tokens.append(environment[name])
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", "\n".join(job["script"])],
            cwd=project,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=600,
        )
        handed = {}
        report = project / job.get("artifacts", {}).get("reports", {}).get("dotenv", "none")
        if report.exists():
            handed = dict(line.split("=", 1) for line in report.read_text().splitlines())
        for path in job.get("artifacts", {}).get("paths", ()) if done.returncode == 0 else ():
            shutil.copytree(project / path, folder / "kept" / path)
        return Job("success" if done.returncode == 0 else "failed", done.stdout, handed, folder)

    def _check_out(self, project: Path, tag: str, job: dict[str, Any]) -> None:
        git = ["git", "-C", project]
        depth = job.get("variables", {}).get("GIT_DEPTH", "20")
        shallow = [] if depth == "0" else [f"--depth={depth}"]
        ref = f"+refs/tags/{tag}:refs/tags/{tag}"
        origin = f"file://{self.app.root.parent / 'origin.git'}"
        subprocess.run([*git, "init", "--quiet"], check=True)
        subprocess.run([*git, "remote", "add", "origin", origin], check=True)
        subprocess.run([*git, "fetch", "--quiet", *shallow, "origin", ref], check=True)
        subprocess.run([*git, "checkout", "--quiet", "--detach", f"{tag}^{{commit}}"], check=True)

    def _token(self, audience: str, context: dict[str, str]) -> str:
        of_github = dict.fromkeys(
            ("repository", "repository_id", "repository_owner_id", "event_name", "run_id", "actor")
        )
        return self.issuer.token(
            of_github
            | {
                "aud": audience,
                "jti": str(uuid.uuid4()),
                "sub": f"project_path:team/shop:ref_type:tag:ref:{context['CI_COMMIT_TAG']}",
                "project_path": "team/shop",
                "project_id": "5",
                "namespace_id": "6",
                "ref": context["CI_COMMIT_TAG"],
                "ref_protected": context["CI_COMMIT_REF_PROTECTED"],
                "pipeline_source": context["CI_PIPELINE_SOURCE"],
                "user_login": context["GITLAB_USER_LOGIN"],
            }
        )


def holds(rule: str, context: dict[str, str]) -> bool:
    """A rule's condition: variables, `==`, `=~`, and `&&`."""
    for part in rule.split(" && "):
        name, operator, wanted = re.fullmatch(r"\$(\w+) (==|=~) (.+)", part).groups()
        value = context.get(name, "")
        if operator == "==" and value != wanted.strip('"'):
            return False
        if operator == "=~" and not re.search(wanted.strip("/"), value):
            return False
    return True


@pytest.fixture
def runner(app: Any, issuer: Any, tmp_path: Path) -> Runner:
    trusted = app.tagboat(
        *("trust", "gitlab", "team/shop", "--issuer", issuer.url, "--repository-id", "5", "--owner-id", "6")
    )
    assert trusted.returncode == 0, trusted.stderr
    settings = dict(line.split("=", 1) for line in trusted.stdout.splitlines())
    return Runner(tmp_path / "runner", app, issuer, settings | {"GREETING": "hello"})


def release(runner: Runner, version: str, source: str | None = None, **more: bool) -> dict[str, Job]:
    """Tag it, and run the pipeline of that tag; its jobs by the last word of their names."""
    app = runner.app
    app.write(version, *([source] if source else []))
    project = app.root / "pyproject.toml"
    project.write_text(project.read_text() + CI.format(bin=BIN))
    written = app.tagboat("ci", "gitlab")
    assert written.returncode == 0, written.stderr
    app.commit()
    tagged = app.tagboat("tag")
    assert tagged.returncode == 0, tagged.stderr
    jobs = runner.push(Path(written.stdout.strip()).read_text(), tagged.stdout.strip(), **more)
    return {name.rpartition(" ")[2]: job for name, job in jobs.items()}


def test_a_protected_tag_is_served_and_a_release_that_never_starts_is_taken_back(runner: Runner) -> None:
    app = runner.app
    jobs = release(runner, "1.0.0")
    assert [job.result for job in jobs.values()] == ["success"] * 3, jobs["deploy"].log
    assert jobs["deploy"].variables["URL"] == f"https://{app.name}.localhost:{app.port.https}"
    assert app.port.get(app.name).text == "hello from 1.0.0"
    (record,) = json.loads(app.tagboat("history", "--json").stdout)
    assert record["identity"].endswith(f"assumed-role/release-{app.name}/team.shop-1")
    assert (record["actor"], record["run"]) == ("mona", "https://gitlab.example/team/shop/-/jobs/1")

    dead = release(runner, "1.1.0", NEVER_STARTS)["deploy"]
    assert dead.result == "failed"
    assert "no flux capacitor" in dead.log
    assert "the platform has put it back already" in dead.log
    assert app.port.get(app.name).text == "hello from 1.0.0"

    assert len(runner.tokens) == 4  # two for each of the two that deployed
    written = [file.read_bytes() for file in runner.folder.rglob("*") if file.is_file()]
    written += [job.log.encode() for job in (*jobs.values(), dead)]
    secrets = [token.rpartition(".")[2].encode() for token in runner.tokens]
    assert not [secret for secret in secrets for content in written if secret in content]


def test_a_tag_that_is_not_protected_is_not_built(runner: Runner) -> None:
    jobs = release(runner, "1.0.0", protected=False)
    assert [job.result for job in jobs.values()] == ["success", "skipped", "skipped"]
