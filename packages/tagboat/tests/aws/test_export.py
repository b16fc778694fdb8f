"""`tagboat export`: the template beside its golden file, and AWS's own linter on it."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from packages.tagboat.tests.aws.conftest import PYPROJECT, TARGETS

from tagboat.cli import main
from tagboat.component import Component
from tagboat.targets.place import Place
from tagboat.targets.target import desired

GOLDEN = Path(__file__).with_name("golden")
BIN = Path(sys.executable).parent
OWN_SERVER = Path(__file__).parents[4] / "docs" / "own-server.md"


SECRETS = """
region = "ap-southeast-1"
platform = "linux/amd64"
secrets = { KEY = "secretsmanager:shop/key", USER = "secretsmanager:shop/db:user", TOKEN = "ssm:/shop/token" }
"""


@pytest.fixture
def component(tmp_path):
    """The component `shop` with all kinds of targets, each called after its kind."""
    (tmp_path / "pyproject.toml").write_text(
        PYPROJECT
        + "".join(
            f"\n[tool.tagboat.targets.{kind}]\n{text.replace('targets.production', f'targets.{kind}')}"
            for kind, text in TARGETS.items()
        )
        + "".join(
            f'\n[tool.tagboat.targets.{kind}-secrets]\nkind = "{kind}"\nname = "{kind}-other"{SECRETS}'
            for kind in ("lambda", "ecs-express", "apprunner")
        )
    )
    return tmp_path


def require_golden(name, document):
    """The document is what the golden file has. UPDATE_GOLDEN=1 writes the files anew, for a diff to show."""
    text = json.dumps(document, indent=2) + "\n"
    file = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()


def values_of(document):
    """Everything in a document, at every level."""
    inner = (
        document.values() if isinstance(document, dict) else document if isinstance(document, list) else ()
    )
    return [document, *(found for one in inner for found in values_of(one))]


def test_templates_are_those_of_the_golden_files_and_pass_cfn_lint(component, tmp_path, capsys):
    files = []
    for kind in TARGETS:
        assert main(["export", "cloudformation", "--target", kind, str(component)]) == 0
        printed = capsys.readouterr().out
        require_golden(f"{kind}.template.json", json.loads(printed))
        files.append(tmp_path / f"{kind}.json")
        files[-1].write_text(printed)
    for kind in ("lambda", "ecs-express", "apprunner"):
        assert main(["export", "cloudformation", "--target", f"{kind}-secrets", str(component)]) == 0
        files.append(tmp_path / f"{kind}-secrets.json")
        files[-1].write_text(capsys.readouterr().out)
        template = json.loads(files[-1].read_text())
        names = {"SecretsmanagerSecretShopKey", "SecretsmanagerSecretShopDb", "SsmParameterShopToken"}
        assert names <= set(template["Parameters"])  # their ARNs, for whoever applies it to say
        member = {"Fn::Sub": "${SecretsmanagerSecretShopDb}:user::"}
        assert (member in values_of(template)) == (kind != "lambda")
    done = subprocess.run(
        [BIN / "cfn-lint", "--regions", "ap-southeast-1", "--", *files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout
    # Here the linter does find what is wrong.
    files[0].write_text(files[0].read_text().replace('"RetentionInDays"', '"RetentionDays"'))
    done = subprocess.run([BIN / "cfn-lint", files[0]], capture_output=True, text=True, check=False)
    assert "RetentionDays" in done.stdout


@pytest.mark.parametrize("kind", TARGETS)
def test_policies_are_those_of_the_golden_files(component, kind):
    loaded = Component.load(component)
    place = Place(loaded, loaded.config.targets[kind], "123456789012", "ap-southeast-1")
    documents = {}
    for resource in desired(place):
        if resource.kind == "iam.role":
            documents[resource.name] = dict(resource.settings)
        if resource.kind == "s3.bucket-policy":
            documents[resource.name] = json.loads(json.dumps(resource.settings["document"], default=str))
    text = json.loads(json.dumps(documents, default=lambda ref: f"{ref.resource}.{ref.attribute}"))
    require_golden(f"{kind}.policies.json", text)


def test_user_data_makes_a_fresh_debian_a_homeport(capsys):
    assert main(["export", "cloud-init"]) == 0
    printed = capsys.readouterr().out
    head, _, document = printed.partition("\n")
    assert head == "#cloud-config"
    written = json.loads(document)
    assert "runc" in written["packages"]
    assert "ExecStart=/usr/local/bin/homeport serve" in written["write_files"][0]["content"]
    # What the page on a server of one's own says to type is what is run here.
    (typed,) = re.findall(r"^```sh install\n(.*?)^```", OWN_SERVER.read_text(), re.MULTILINE | re.DOTALL)
    commands = [shlex.split(line) for line in typed.splitlines()]
    assert commands == written["runcmd"][: len(commands)]
