"""Which CI jobs may release a component: the documents that `tagboat trust` writes, and whom it asks."""

import json
import os

import pytest

from tagboat.component import Component
from tagboat.errors import ConfigError
from tagboat.forge import ForgeError, Project, github, gitlab
from tagboat.trust import trust, trust_subject

AWS = "123456789012/eu-central-1"
HOST = "token.actions.githubusercontent.com"
PROJECT = Project("octo/shop", "100200", "300")


def printed(checkout, *arguments, **environment):
    done = checkout.tagboat("trust", *arguments, "--aws", AWS, **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_what_aws_is_to_hold_is_printed_and_nothing_is_written(checkout):
    said = printed(checkout, "github", "octo/shop", "shop", "--repository-id", "100200", "--owner-id", "300")
    assert said["role"] == "arn:aws:iam::123456789012:role/release-shop"
    assert said["provider"] == {
        "url": f"https://{HOST}",
        "audience": "sts.amazonaws.com",
        "arn": f"arn:aws:iam::123456789012:oidc-provider/{HOST}",
    }
    (statement,) = said["trust"]["Statement"]
    assert statement["Principal"] == {"Federated": said["provider"]["arn"]}
    # AWS has no repository_owner_id: a condition on it would hold for nobody.
    assert statement["Condition"] == {
        "StringEquals": {
            f"{HOST}:aud": "sts.amazonaws.com",
            f"{HOST}:sub": [
                "repo:octo/shop:environment:production",
                "repo:octo@300/shop@100200:environment:production",
            ],
            f"{HOST}:repository_id": "100200",
        },
        "StringLike": {f"{HOST}:ref": "refs/tags/shop-v*"},
    }


def test_what_a_release_may_do_is_about_its_repository_and_its_service_only(checkout):
    said = printed(checkout, "github", "octo/shop", "shop", "--repository-id", "1", "--owner-id", "2")
    allowed = {
        action: statement["Resource"]
        for statement in said["permissions"]["Statement"]
        for action in statement["Action"]
    }
    everywhere = {action for action, resource in allowed.items() if resource == "*"}
    assert everywhere == {"ecr:GetAuthorizationToken", "apprunner:ListServices"}
    assert allowed["ecr:PutImage"] == "arn:aws:ecr:eu-central-1:123456789012:repository/shop"
    assert allowed["apprunner:StartDeployment"] == (
        "arn:aws:apprunner:eu-central-1:123456789012:service/shop/*"
    )
    assert not any("*" in action or action.startswith("iam:") for action in allowed)


def test_homeport_is_told_of_all_that_does_not_change(checkout, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://port.example")
    component = Component.load(checkout.root / "shop")
    wanted = trust(component, "github", PROJECT, account="000000000000", region="local-1")
    condition = wanted.policy["Statement"][0]["Condition"]
    assert condition["StringEquals"] == {
        f"{HOST}:aud": "https://port.example",
        f"{HOST}:sub": [
            "repo:octo/shop:environment:production",
            "repo:octo@300/shop@100200:environment:production",
        ],
        f"{HOST}:repository_id": "100200",
        f"{HOST}:repository_owner_id": "300",
        f"{HOST}:ref_type": "tag",
    }
    assert wanted.variables() == {
        "AWS_ROLE_ARN": "arn:aws:iam::000000000000:role/release-shop",
        "AWS_REGION": "local-1",
        "AWS_ENDPOINT_URL": "https://port.example",
        "OIDC_AUDIENCE": "https://port.example",
    }


def test_homeport_is_told_which_secrets_the_service_may_get_and_aws_is_not(checkout):
    file = checkout.root / "shop" / "pyproject.toml"
    arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:shop/mail-AbCdEf"
    secrets = f'DB = "secretsmanager:shop/db:password"\nKEY = "ssm:/shop/key"\nMAIL = "{arn}"\n'
    file.write_text(f"{file.read_text()}\n[tool.tagboat.service.secrets]\n{secrets}")
    component = Component.load(checkout.root / "shop")

    def resources(account):
        wanted = trust(component, "github", PROJECT, account=account, region="local-1")
        statements = wanted.permissions["Statement"]
        return [one["Resource"] for one in statements if one["Action"] == ["secretsmanager:GetSecretValue"]]

    assert resources("000000000000") == [
        f"arn:aws:secretsmanager:local-1:000000000000:secret:shop/{name}"
        for name in ("db", "key", "mail-AbCdEf")
    ]
    assert resources("123456789012") == []


def test_gitlab_is_known_by_project_tag_and_protection(checkout):
    component = Component.load(checkout.root / "shop")
    project = Project("team/sub/shop", "5", "6")
    wanted = trust(component, "gitlab", project, account="000000000000", region="local-1")
    condition = wanted.policy["Statement"][0]["Condition"]
    assert condition["StringLike"] == {
        "gitlab.com:sub": "project_path:team/sub/shop:ref_type:tag:ref:shop-v*"
    }
    assert condition["StringEquals"] == {
        "gitlab.com:aud": "sts.amazonaws.com",
        "gitlab.com:project_id": "5",
        "gitlab.com:namespace_id": "6",
        "gitlab.com:ref_protected": "true",
        "gitlab.com:environment": "production",
    }
    on_aws = trust(component, "gitlab", project, account="123456789012", region="eu-central-1")
    keys = [key for one in on_aws.policy["Statement"][0]["Condition"].values() for key in one]
    assert keys == ["gitlab.com:aud", "gitlab.com:sub"]


@pytest.fixture
def no_tokens(monkeypatch):
    for name in ("GH_TOKEN", "GITHUB_TOKEN", "GITLAB_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_tokens")
def test_the_host_is_asked_who_a_repository_is(issuer, monkeypatch):
    monkeypatch.setenv("GITHUB_API_URL", issuer.url)
    monkeypatch.setenv("CI_API_V4_URL", f"{issuer.url}/api/v4")
    issuer.documents["/repos/Octo/Shop"] = b'{"full_name": "octo/shop", "id": 100200, "owner": {"id": 300}}'
    issuer.documents["/api/v4/projects/team%2Fshop"] = (
        b'{"path_with_namespace": "team/shop", "id": 5, "namespace": {"id": 6}}'
    )
    assert github("Octo/Shop") == PROJECT
    assert gitlab("team/shop") == Project("team/shop", "5", "6")
    with pytest.raises(ForgeError) as caught:
        github("octo/secret")
    assert "404" in str(caught.value)
    assert "GH_TOKEN" in caught.value.hint
    issuer.documents["/repos/octo/odd"] = b"[]"
    with pytest.raises(ForgeError, match="does not say"):
        github("octo/odd")


@pytest.mark.parametrize(
    "repository", ["shop", "octo/*", "octo/sh op", "/shop", "https://github.com/octo/shop"]
)
def test_what_is_no_repository_is_refused(checkout, repository):
    done = checkout.tagboat("trust", "github", repository, "shop")
    assert done.returncode == 2
    assert "is not like octo/shop" in done.stderr


CIRCLE = "https://oidc.circleci.com/org/7d5e"


def test_any_issuer_is_trusted_by_subject_and_claims(checkout):
    component = Component.load(checkout.root / "shop")
    subject, claims = "org/7d5e/project/91b2/user/*", {"oidc.circleci.com/vcs-ref": "refs/tags/shop-v*"}
    homeport = {"account": "000000000000", "region": "local-1", "issuer": CIRCLE}
    wanted = trust_subject(component, subject, claims | {"color": "blue"}, audience="7d5e", **homeport)
    host = "oidc.circleci.com/org/7d5e"
    assert wanted.policy["Statement"][0]["Condition"] == {
        "StringEquals": {f"{host}:aud": "7d5e", f"{host}:color": "blue"},
        "StringLike": {
            f"{host}:sub": subject,
            f"{host}:oidc.circleci.com/vcs-ref": "refs/tags/shop-v*",
        },
    }
    assert wanted.provider_arn == f"arn:aws:iam::000000000000:oidc-provider/{host}"
    aws = {"account": "123456789012", "region": "eu-central-1", "issuer": CIRCLE}
    assert trust_subject(component, subject, {}, audience="7d5e", **aws).audience == "7d5e"
    with pytest.raises(ConfigError, match=r"no claim of this issuer but sub and aud: color"):
        trust_subject(component, subject, {"color": "blue"}, **aws)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("oidc", "org/7d5e/project/91b2/user/*"), "whose tokens are they?"),
        (("github", "octo/shop", "--claim", "color=blue"), "--claim is of oidc"),
        (("oidc", "x", "--issuer", CIRCLE, "--claim", "color"), "'color' is not NAME=VALUE"),
    ],
)
def test_options_of_trust_that_do_not_go_together_are_refused(checkout, arguments, problem):
    done = checkout.tagboat("trust", *arguments, "shop")
    assert (done.returncode, done.stdout) == (2, "")
    assert problem in done.stderr


def test_without_a_cloud_nothing_is_claimed_to_be_written(checkout, tmp_path):
    nowhere = {name: str(tmp_path / "none") for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")}
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_REGION": "local-1"}
    done = checkout.tagboat(
        *("trust", "github", "octo/shop", "shop", "--repository-id", "1", "--owner-id", "2"),
        AWS_ENDPOINT_URL="http://127.0.0.1:9",
        AWS_MAX_ATTEMPTS="1",
        **{name: value for name, value in (nowhere | keys).items() if name not in os.environ},
    )
    assert done.returncode == 1
    assert done.stdout == ""
