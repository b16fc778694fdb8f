"""Who asks the cloud: the AWS settings of this shell, or the identity that a CI system gives its jobs.

A CI job proves with a short-lived token of its system (OpenID Connect) which repository, tag and environment
it is of, and STS gives credentials of a role that trusts just that, for an hour. Nothing is stored anywhere.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import closing
from dataclasses import dataclass
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from tagboat.advice import failure, said
from tagboat.errors import TagboatError

AUDIENCE = "sts.amazonaws.com"  # that AWS's own action asks for; OIDC_AUDIENCE names another
_LIFETIME = 3600  # seconds
_TIMEOUT = 30.0  # seconds


class IdentityError(TagboatError):
    """The CI system gives no token, or the cloud does not take it."""


@dataclass(frozen=True, slots=True)
class Login:
    """Who asks, and where: `endpoint` is that of a homeport, None of AWS."""

    session: boto3.Session
    endpoint: str | None

    @classmethod
    def of_profile(cls, name: str) -> Login:
        """As a profile of AWS's configuration file has it, whatever the settings of this shell are.

        Raises IdentityError.
        """
        try:
            written = boto3.Session(profile_name=name)._session.get_scoped_config()
            found = boto3.Session(profile_name=name, region_name=written.get("region"))
            return cls(found, written.get("endpoint_url"))
        except BotoCoreError as error:
            raise IdentityError(str(error), hint=f"[profile {name}] in ~/.aws/config") from error


def session() -> boto3.Session:
    """What clients are made of. Raises IdentityError when a role is named and not given, or when a profile is
    that is not there.
    """
    region = os.environ.get("AWS_REGION") or None  # that every AWS client but boto3 looks at
    role = os.environ.get("AWS_ROLE_ARN")
    token = _token() if role and "AWS_WEB_IDENTITY_TOKEN_FILE" not in os.environ else None
    if role is None or token is None:
        try:
            return boto3.Session(region_name=region)
        except BotoCoreError as error:
            raise IdentityError(str(error), hint="check the AWS settings of this shell") from error
    try:
        nobody = Config(signature_version=UNSIGNED)
        with closing(boto3.client("sts", region_name=region, config=nobody)) as sts:
            given = sts.assume_role_with_web_identity(
                RoleArn=role,
                RoleSessionName=_session_name(),
                WebIdentityToken=token,
                DurationSeconds=_LIFETIME,
            )["Credentials"]
    except ClientError as error:
        raise IdentityError(
            f"the role {role} is not given to this job: {said(error)}",
            hint="the role must trust this repository, this environment and the audience of the token",
        ) from error
    except (BotoCoreError, ResponseParserError) as error:
        raise IdentityError(f"no credentials for {role}: {failure(error)}") from error
    except ValueError as error:
        raise IdentityError(f"no credentials for {role}: {error}") from error
    return boto3.Session(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"], region)


def run_address() -> str | None:
    """Where the CI job that runs this can be seen; None outside of one."""
    environment = os.environ
    if "GITHUB_RUN_ID" in environment:
        server, repository = (
            environment.get("GITHUB_SERVER_URL", ""),
            environment.get("GITHUB_REPOSITORY", ""),
        )
        return f"{server}/{repository}/actions/runs/{environment['GITHUB_RUN_ID']}"
    return environment.get("CI_JOB_URL")


def actor() -> str | None:
    """Who started that job, as the CI system calls them."""
    return os.environ.get("GITHUB_ACTOR") or os.environ.get("GITLAB_USER_LOGIN")


def _token() -> str | None:
    """The job's token: GitLab's (and others') in TAGBOAT_ID_TOKEN, GitHub's for the asking."""
    given = os.environ.get("TAGBOAT_ID_TOKEN")
    if given:
        return given
    address, secret = (os.environ.get(f"ACTIONS_ID_TOKEN_REQUEST_{name}") for name in ("URL", "TOKEN"))
    if not address or not secret:
        return None
    audience = urlencode({"audience": os.environ.get("OIDC_AUDIENCE") or AUDIENCE})
    request = Request(  # noqa: S310  the address is the runner's own
        f"{address}{'&' if '?' in address else '?'}{audience}", headers={"Authorization": f"Bearer {secret}"}
    )
    try:
        with urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310
            token: str = json.load(answer)["value"]
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, HTTPError):
            error.close()
        raise IdentityError(
            f"GitHub gives this job no identity token: {error}", hint="the job needs `id-token: write`"
        ) from error
    return token


def _session_name() -> str:
    """What the cloud's audit log calls this: repository and run."""
    parts = (
        os.environ.get("GITHUB_REPOSITORY") or os.environ.get("CI_PROJECT_PATH") or "tagboat",
        os.environ.get("GITHUB_RUN_ID") or os.environ.get("CI_JOB_ID") or "",
    )
    return re.sub(r"[^\w+=,.@-]", ".", "-".join(filter(None, parts)))[-64:]
