"""The main job, as a user starts it."""

import json
import subprocess
from pathlib import Path

from bench.ports import free_port

ROOT = Path(__file__).parent.parent


def ports():
    """Which nobody takes while homeport is killed and started again."""
    return f"--port {free_port()} --https-port {free_port()} --http-port {free_port()}"


def test_every_step_of_the_demo_holds(tmp_path):
    report = tmp_path / "demo.json"
    done = subprocess.run(
        ["make", "demo", f"ARGS=--exit --json {report} {ports()}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every step held" in done.stderr
    result = json.loads(report.read_text())
    assert result["ok"]
    assert all(step["ok"] for step in result["steps"])
    first, second = result["deployments"]
    assert (first["tag"], second["tag"]) == ("site-v0.1.0", "site-v0.2.0")
    assert first["digest"] != second["digest"]
    assert result["requests"]["total"] > 0
    assert result["requests"]["failed"] == 0


def test_a_step_that_does_not_hold_is_named_and_the_exit_code_says_so(tmp_path):
    report = tmp_path / "demo.json"
    source = tmp_path / "site"
    (source / "src" / "company_site").mkdir(parents=True)
    (source / "src" / "company_site" / "__init__.py").write_text("def main():\n    raise SystemExit('no')\n")
    (source / "requirements.lock").touch()
    (source / "CHANGELOG.md").write_text("# Changelog\n\n## 0.1.0\n\n- Does not start.\n")
    (source / "pyproject.toml").write_text(
        '[project]\nname = "site"\nversion = "0.1.0"\n'
        '[project.scripts]\nsite = "company_site:main"\n'
        '[build-system]\nrequires = ["uv_build>=0.13,<0.14"]\nbuild-backend = "uv_build"\n'
        '[tool.uv.build-backend]\nmodule-name = "company_site"\n'
        '[tool.tagboat]\nbase = "debian:bookworm"\nentrypoint = ["site"]\n'
    )
    done = subprocess.run(
        ["make", "demo", f"ARGS=--exit --json {report} --source {source} {ports()}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode != 0
    assert "failed step: first release: tagboat tag, tagboat deploy" in done.stderr
    result = json.loads(report.read_text())
    assert not result["ok"]
    assert [step["ok"] for step in result["steps"]] == [True, True, False]
