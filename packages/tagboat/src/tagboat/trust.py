"""Which CI jobs may release a component, and what they may do: a role in IAM, on homeport as on AWS.

The documents are AWS's. A job is known by what does not change when somebody renames, deletes and makes
anew: the repository's number and its owner's; by the CI system's environment, whose rules then hold; and by
being of a release tag.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from tagboat.advice import code_of, failure, said
from tagboat.cloud import Cloud, CloudError
from tagboat.component import Component
from tagboat.errors import ConfigError
from tagboat.forge import Project
from tagboat.identity import AUDIENCE, session
from tagboat.secret import Secret

System = Literal["github", "gitlab"]
Claims = dict[str, tuple[str, Any]]  # what a token has to say, claim by claim, and how that is compared
ISSUERS: dict[System, str] = {
    "github": "https://token.actions.githubusercontent.com",
    "gitlab": "https://gitlab.com",
}
_POLICY = "release"
_VERSION = "2012-10-17"
_HOMEPORT = "000000000000"
# The claims of these that AWS knows, beside `aud` and `sub` ("Available keys for AWS OIDC federation"); a
# condition on any other holds for nobody there. homeport knows them all.
_KNOWN_TO_AWS: dict[System, tuple[str, ...]] = {"github": ("repository_id", "ref"), "gitlab": ()}
_REGISTRY_ACTIONS = (
    "BatchCheckLayerAvailability", "BatchGetImage", "CompleteLayerUpload", "CreateRepository",
    "DescribeRepositories", "GetDownloadUrlForLayer", "InitiateLayerUpload", "PutImage", "UploadLayerPart",
)  # fmt: skip
_SERVICE_ACTIONS = (
    "CreateService", "DeleteService", "DescribeService", "ListOperations", "StartDeployment", "UpdateService",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trust:
    """A role for the releases of a component, with the issuer whose tokens get it."""

    issuer: str
    audience: str
    account: str
    region: str
    role: str
    policy: dict[str, Any]  # whose tokens get it
    permissions: dict[str, Any]  # what it may do

    @property
    def provider_arn(self) -> str:
        return f"arn:aws:iam::{self.account}:oidc-provider/{_host(self.issuer)}"

    @property
    def role_arn(self) -> str:
        return f"arn:aws:iam::{self.account}:role/{self.role}"

    def variables(self) -> dict[str, str]:
        """What the CI system's environment has to say for its jobs to take the role."""
        endpoint = os.environ.get("AWS_ENDPOINT_URL")
        return {
            "AWS_ROLE_ARN": self.role_arn,
            "AWS_REGION": self.region,
            **({"AWS_ENDPOINT_URL": endpoint} if endpoint and self.account == _HOMEPORT else {}),
            "OIDC_AUDIENCE": self.audience,
        }


def trust(
    component: Component,
    system: System,
    project: Project,
    *,
    account: str,
    region: str,
    issuer: str | None = None,
    audience: str | None = None,
) -> Trust:
    """What the releases of `component` from `project` need in an account. Changes nothing."""
    claims = _claims(component, system, project)
    if account != _HOMEPORT:
        claims = {name: one for name, one in claims.items() if name in ("sub", *_KNOWN_TO_AWS[system])}
    return _trust(
        component,
        claims,
        account=account,
        region=region,
        issuer=issuer or ISSUERS[system],
        audience=audience,
    )


def trust_subject(
    component: Component,
    subject: str,
    others: Mapping[str, str],
    *,
    account: str,
    region: str,
    issuer: str,
    audience: str | None = None,
) -> Trust:
    """The same for any issuer: jobs whose tokens have that subject, and `others` of their claims.

    `*` and `?` stand for whatever there is. Raises ConfigError for claims that AWS would not look at.
    """
    if others and account != _HOMEPORT:
        raise ConfigError(
            f"AWS looks at no claim of this issuer but sub and aud: {', '.join(others)}",
            hint="say it in the subject, or release to a homeport",
        )

    def compared(value: str) -> tuple[str, Any]:
        return ("StringLike" if "*" in value or "?" in value else "StringEquals", value)

    claims = {name: compared(value) for name, value in {"sub": subject, **others}.items()}
    return _trust(component, claims, account=account, region=region, issuer=issuer, audience=audience)


def _trust(
    component: Component, claims: Claims, *, account: str, region: str, issuer: str, audience: str | None
) -> Trust:
    if audience is None:  # a homeport's own, so that its tokens are good for nothing else
        endpoint = os.environ.get("AWS_ENDPOINT_URL") if account == _HOMEPORT else None
        audience = endpoint or AUDIENCE
    host = _host(issuer)
    conditions: dict[str, dict[str, Any]] = {"StringEquals": {f"{host}:aud": audience}}
    for name, (operator, value) in claims.items():
        conditions.setdefault(operator, {})[f"{host}:{name}"] = value
    statement = {
        "Effect": "Allow",
        "Principal": {"Federated": f"arn:aws:iam::{account}:oidc-provider/{host}"},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": conditions,
    }
    return Trust(
        issuer=issuer,
        audience=audience,
        account=account,
        region=region,
        role=f"release-{component.name}",
        policy={"Version": _VERSION, "Statement": [statement]},
        permissions=_permissions(component, account, region),
    )


def write_trust(wanted: Trust, progress: Callable[[str], None]) -> None:
    """Make or change provider, role and policy so that they are as wanted. Raises CloudError."""
    iam = _Iam()
    provider = {"OpenIDConnectProviderArn": wanted.provider_arn}
    audiences = iam.found("get_open_id_connect_provider", **provider)
    if audiences is None:
        iam("create_open_id_connect_provider", Url=wanted.issuer, ClientIDList=[wanted.audience])
        progress(f"tokens of {wanted.issuer} count now, for {wanted.audience}")
    elif wanted.audience not in audiences["ClientIDList"]:
        iam("add_client_id_to_open_id_connect_provider", **provider, ClientID=wanted.audience)
        progress(f"tokens of {wanted.issuer} count for {wanted.audience} too")
    policy = json.dumps(wanted.policy)
    if iam.found("get_role", RoleName=wanted.role) is None:
        iam("create_role", RoleName=wanted.role, AssumeRolePolicyDocument=policy)
        progress(f"the role {wanted.role} is made")
    else:
        iam("update_assume_role_policy", RoleName=wanted.role, PolicyDocument=policy)
        progress(f"the role {wanted.role} trusts whom it should")
    permissions = json.dumps(wanted.permissions)
    iam("put_role_policy", RoleName=wanted.role, PolicyName=_POLICY, PolicyDocument=permissions)


def account_and_region() -> tuple[str, str]:
    """Those of the cloud that the AWS settings mean. Raises CloudError."""
    arn = Cloud().identity()
    region = session().region_name
    if region is None:
        raise CloudError("no region is set", hint="export AWS_REGION=…")
    return arn.split(":")[4], region


def _claims(component: Component, system: System, project: Project) -> Claims:
    environment, tags = component.config.ci.environment, f"{component.name}-v*"
    if system == "github":
        owner, _, name = project.path.partition("/")
        # The second form is that of repositories made or renamed since the summer of 2026.
        subjects = [
            f"repo:{project.path}:environment:{environment}",
            f"repo:{owner}@{project.owner_id}/{name}@{project.id}:environment:{environment}",
        ]
        return {
            "sub": ("StringEquals", subjects),
            "repository_id": ("StringEquals", project.id),
            "repository_owner_id": ("StringEquals", project.owner_id),
            "ref_type": ("StringEquals", "tag"),
            "ref": ("StringLike", f"refs/tags/{tags}"),
        }
    return {
        "sub": ("StringLike", f"project_path:{project.path}:ref_type:tag:ref:{tags}"),
        "project_id": ("StringEquals", project.id),
        "namespace_id": ("StringEquals", project.owner_id),
        "ref_protected": ("StringEquals", "true"),
        "environment": ("StringEquals", environment),
    }


def _permissions(component: Component, account: str, region: str) -> dict[str, Any]:
    """What `tagboat deploy`, `status`, `logs`, `history` and `rollback` call, on what they call it."""
    repository = component.config.repository
    service = component.config.service.name or component.name

    def arn(service: str, resource: str) -> str:
        return f"arn:aws:{service}:{region}:{account}:{resource}"

    def allow(actions: list[str], resource: str) -> dict[str, Any]:
        return {"Effect": "Allow", "Action": actions, "Resource": resource}

    # On AWS the instance's role reads them. A homeport gives them out by itself, and asks who may say so.
    secrets = _secrets(component) if account == _HOMEPORT else ()
    return {
        "Version": _VERSION,
        "Statement": [
            allow(["ecr:GetAuthorizationToken", "apprunner:ListServices"], "*"),
            allow([f"ecr:{name}" for name in _REGISTRY_ACTIONS], arn("ecr", f"repository/{repository}")),
            allow(
                [f"apprunner:{name}" for name in _SERVICE_ACTIONS], arn("apprunner", f"service/{service}/*")
            ),
            allow(["logs:FilterLogEvents"], arn("logs", f"log-group:/aws/apprunner/{service}/*")),
            *(
                allow(["secretsmanager:GetSecretValue"], arn("secretsmanager", f"secret:{name}"))
                for name in secrets
            ),
        ],
    }


def _secrets(component: Component) -> list[str]:
    """Those that the component's service is to get, as a homeport calls them. Raises ConfigError."""
    config = component.config
    written = [config.service.secrets, *(target.secrets for target in config.targets.values())]
    return sorted({Secret.of(text).homeport_name for texts in written for text in texts.values()})


class _Iam:
    """IAM's calls by name. Raises CloudError for whatever boto3 raises."""

    def __init__(self) -> None:
        try:
            self._client = session().client("iam")
        except (BotoCoreError, ValueError) as error:
            raise CloudError(f"no iam client: {error}") from error

    def __call__(self, operation: str, **arguments: Any) -> Any:
        try:
            return getattr(self._client, operation)(**arguments)
        except ClientError as error:
            raise CloudError(
                f"{error.operation_name}: {said(error)}",
                hint="only the owner of the account may say who gets a role",
            ) from error
        except (BotoCoreError, ResponseParserError) as error:
            raise CloudError(failure(error)) from error

    def found(self, operation: str, **arguments: Any) -> Any:
        """What it answers; None where there is no such thing."""
        try:
            return self(operation, **arguments)
        except CloudError as error:
            cause = error.__cause__
            if isinstance(cause, ClientError) and code_of(cause) == "NoSuchEntity":
                return None
            raise


def _host(issuer: str) -> str:
    return issuer.partition("://")[2]
