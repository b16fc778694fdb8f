"""The pipelines that `tagboat ci` writes: what they hold, and when they are out of date."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

GITHUB = ".github/workflows/release-shop.yml"
GITLAB = ".gitlab/release-shop.yml"
CI = '\n[tool.tagboat.ci]\ntest = """\nmake test ARGS="$HOME"\nmake lint\n"""\n'


@pytest.fixture
def tested(checkout):
    """The component says how it is tested, and needs variables to be built and deployed."""
    project = checkout.read("shop/pyproject.toml").replace(
        'entrypoint = ["shop"]',
        'entrypoint = ["shop"]\nenvironment = { LOG = "$LOG_LEVEL" }\nrepository = "${TEAM}/shop"\n'
        '[tool.tagboat.service.environment]\nKEY = "$KEY"\nPRICE = "1 $$"',
    )
    checkout.write("shop/pyproject.toml", project + CI)
    return checkout


def workflow(checkout):
    done = checkout.tagboat("ci", "github", "shop", LOG_LEVEL="x")
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == checkout.root / GITHUB
    return yaml.safe_load(checkout.read(GITHUB))


def test_the_pipeline_is_written_beside_the_code_and_checked(tested):
    assert tested.tagboat("ci", "--check", "github", "shop").returncode == 1
    none = tested.tagboat("ci", "--check", cwd="shop")
    assert none.returncode == 2
    assert "shop has no pipeline yet" in none.stderr
    for system, file in (("github", GITHUB), ("gitlab", GITLAB)):
        assert "is written" in tested.tagboat("ci", system, "shop").stderr
        assert "was current" in tested.tagboat("ci", system, "shop").stderr
        assert (tested.root / file).is_file()
    checked = tested.tagboat("ci", "--check", cwd="shop")
    assert (checked.returncode, checked.stdout) == (0, "")
    tested.write(GITLAB, tested.read(GITLAB).replace("45 minutes", "99 minutes"))
    old = tested.tagboat("ci", "--check", cwd="shop")
    assert old.returncode == 1
    assert "-  timeout: 99 minutes\n+  timeout: 45 minutes" in old.stdout
    assert "99 minutes" in tested.read(GITLAB)
    told = tested.tagboat("ci", "--check", "--json", cwd="shop")
    github, gitlab = json.loads(told.stdout)
    assert (told.returncode, github["difference"]) == (1, "")
    assert gitlab == {"file": str(tested.root / GITLAB), "difference": old.stdout}
    assert json.loads(tested.tagboat("ci", "gitlab", "--json", "shop").stdout) == {
        "file": str(tested.root / GITLAB),
        "written": True,
    }


def test_without_a_system_there_is_nothing_to_write(tested):
    done = tested.tagboat("ci", cwd="shop")
    assert done.returncode == 2
    assert "`tagboat ci github` or `tagboat ci gitlab`" in done.stderr


def test_a_component_that_is_not_tested_gets_no_pipeline(checkout):
    done = checkout.tagboat("ci", "github", "shop")
    assert done.returncode == 2
    assert "tool.tagboat.ci.test is missing" in done.stderr
    assert 'test = "make test"' in done.stderr


@pytest.mark.parametrize(
    "line", ['branch = "main; reboot"', 'environment = "${{ x }}"', 'image = "a\\nb"', 'runner = "a]"']
)
def test_what_could_break_out_of_its_place_is_refused(tested, line):
    tested.write("shop/pyproject.toml", tested.read("shop/pyproject.toml") + line.replace("$", "$$") + "\n")
    done = tested.tagboat("ci", "gitlab", "shop")
    assert done.returncode == 2
    assert "cannot be part of a pipeline" in done.stderr


def test_permissions_are_the_least(tested):
    document = workflow(tested)
    assert document["permissions"] == {}
    granted = {name: job["permissions"] for name, job in document["jobs"].items()}
    assert granted == {
        "test": {"contents": "read"},
        "build": {"contents": "read"},
        "deploy": {"contents": "read", "id-token": "write"},
    }


def test_nothing_is_stored_and_nothing_is_pasted_into_a_shell(tested):
    document = workflow(tested)
    text = tested.read(GITHUB)
    assert "secrets." not in text
    for job in document["jobs"].values():
        assert job["timeout-minutes"] <= 45
        for step in job["steps"]:
            assert "${{" not in step.get("run", "")
            if "checkout" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False
    used = re.findall(r"uses: (.*)", text)
    assert len(used) == 5
    for action in used:
        assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)


def test_a_tag_is_tested_then_built_once_then_deployed_by_digest_into_its_environment(tested):
    jobs = workflow(tested)["jobs"]
    assert (jobs["build"]["needs"], jobs["deploy"]["needs"]) == ("test", "build")
    for name in ("build", "deploy"):
        assert jobs[name]["if"] == "github.event_name == 'push' && github.ref_type == 'tag'"
    assert jobs["deploy"]["environment"]["name"] == "production"
    assert jobs["deploy"]["concurrency"]["cancel-in-progress"] is False
    runs = {step["name"]: step.get("run", "") for step in jobs["deploy"]["steps"]}
    assert '--digest "$DIGEST"' in runs["Deploy"]
    assert "tagboat build" not in str(jobs["deploy"])
    assert list(runs)[-4:] == ["Deploy", "Smoke test", "Roll back", "Summary"]
    assert jobs["test"]["steps"][1]["run"] == 'make test ARGS="$HOME"\nmake lint\n'


def test_the_variables_that_the_configuration_asks_for_are_handed_on_and_no_others(tested):
    jobs = workflow(tested)["jobs"]
    steps = {step.get("id"): step for step in jobs["build"]["steps"]}
    assert steps["build"]["env"] == {"COMPONENT": "shop", "LOG_LEVEL": "${{ vars.LOG_LEVEL }}"}
    handed = {name for name, value in jobs["deploy"]["env"].items() if value == f"${{{{ vars.{name} }}}}"}
    aws = {"AWS_ROLE_ARN", "AWS_REGION", "AWS_ENDPOINT_URL", "OIDC_AUDIENCE"}
    assert handed == aws | {"LOG_LEVEL", "TEAM", "KEY"}


def test_how_tagboat_gets_there_can_be_said(tested):
    tested.write("shop/pyproject.toml", tested.read("shop/pyproject.toml") + 'install = "scripts/setup"\n')
    jobs = workflow(tested)["jobs"]
    for name in ("build", "deploy"):
        assert [s["run"] for s in jobs[name]["steps"] if s["name"] == "Install tagboat"] == [
            "scripts/setup\n"
        ]


def test_a_runner_of_ones_own_deploys_and_runs_nothing_else(tested):
    tested.write("shop/pyproject.toml", tested.read("shop/pyproject.toml") + 'runner = "port"\n')
    jobs = workflow(tested)["jobs"]
    assert [job["runs-on"] for job in jobs.values()] == ["ubuntu-24.04", "ubuntu-24.04", "port"]
    assert tested.tagboat("ci", "gitlab", "shop").returncode == 0
    jobs = yaml.safe_load(tested.read(GITLAB))
    assert [job.get("tags") for job in jobs.values()] == [None, None, ["port"]]


@pytest.mark.parametrize(
    ("sigstore", "options"),
    [("public", ""), ("ci/trust.json", ' --trust-config "$COMPONENT/ci/trust.json"')],
)
def test_a_release_is_signed_by_its_job_where_that_is_asked_for(tested, sigstore, options):
    tested.write("shop/pyproject.toml", tested.read("shop/pyproject.toml") + f'sigstore = "{sigstore}"\n')
    if options:
        missing = tested.tagboat("ci", "github", "shop")
        assert missing.returncode == 2
        assert "tool.tagboat.ci.sigstore 'ci/trust.json' is no file there" in missing.stderr
        tested.write("shop/ci/trust.json", "{}")
    steps = {step["name"]: step.get("run", "") for step in workflow(tested)["jobs"]["deploy"]["steps"]}
    signed = f'--sbom spdx --provenance --keyless{options} "$COMPONENT")'
    assert signed in steps["Deploy"]
    assert "install --quiet 'tagboat[keyless]==" in steps["Install tagboat"]
    assert tested.tagboat("ci", "gitlab", "shop").returncode == 0
    deploy = yaml.safe_load(tested.read(GITLAB))["shop deploy"]
    assert signed in "\n".join(deploy["script"])
    assert deploy["id_tokens"]["SIGSTORE_ID_TOKEN"] == {"aud": "sigstore"}


LAMBDA = """
[tool.tagboat.targets.production]
kind = "lambda"
region = "eu-central-1"
[tool.tagboat.targets.production.environment]
TABLE = "$TABLE"
"""
STAGING = '[tool.tagboat.targets.staging]\nkind = "homeport"\n'


@pytest.mark.parametrize("system", ["github", "gitlab"])
def test_a_target_says_what_is_built_and_where_it_goes(tested, system):
    project = tested.read("shop/pyproject.toml")

    def written(targets: str) -> str:
        tested.write("shop/pyproject.toml", project + targets)
        done = tested.tagboat("ci", system, "shop")
        assert done.returncode == 0, done.stderr
        return tested.read(GITHUB if system == "github" else GITLAB)

    for command in ("build", "deploy", "rollback"):
        assert re.search(rf"tagboat {command} --(output|image|only-from) ", written(STAGING))
    alone = written(LAMBDA)
    assert "tagboat build --platform linux/arm64 --output" in alone
    assert "tagboat deploy --image" in alone
    both = written(LAMBDA + STAGING)
    assert "tagboat build --platform linux/arm64 --output" in both
    assert "tagboat deploy --target production --image" in both
    assert "tagboat rollback --target production --only-from" in both
    if system == "github":
        assert yaml.safe_load(both)["jobs"]["deploy"]["env"]["TABLE"] == "${{ vars.TABLE }}"
    tested.write("shop/pyproject.toml", project + 'environment = "live"\n' + LAMBDA + STAGING)
    done = tested.tagboat("ci", system, "shop")
    assert done.returncode == 2
    assert "has 2 targets, and none is called live" in done.stderr


def test_the_pipeline_of_gitlab_deploys_protected_tags_alone_and_keeps_no_secret(tested):
    assert ".gitlab-ci.yml needs" in tested.tagboat("ci", "gitlab", "shop").stderr
    jobs = yaml.safe_load(tested.read(GITLAB))
    assert list(jobs) == ["shop test", "shop build", "shop deploy"]
    tag = '$CI_COMMIT_TAG =~ /^shop-v/ && $CI_COMMIT_REF_PROTECTED == "true"'
    for name in ("shop build", "shop deploy"):
        assert jobs[name]["rules"] == [{"if": tag}]
    assert [name for name, job in jobs.items() if "id_tokens" in job] == ["shop deploy"]
    assert jobs["shop deploy"]["resource_group"] == "deploy-shop-production"
    assert jobs["shop deploy"]["environment"]["name"] == "production"
    for job in jobs.values():
        script = "\n".join(job["script"])
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
