"""IAM's documents as values: who may take a role, what a role may do, who may read a bucket."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

Document = dict[str, Any]
_VERSION = "2012-10-17"
# What a client of the registry protocol needs to push and to pull ("Amazon ECR: required IAM permissions").
PUSH_ACTIONS = (
    "BatchCheckLayerAvailability", "BatchGetImage", "CompleteLayerUpload", "GetDownloadUrlForLayer",
    "InitiateLayerUpload", "PutImage", "UploadLayerPart",
)  # fmt: skip
PULL_ACTIONS = ("BatchCheckLayerAvailability", "BatchGetImage", "GetDownloadUrlForLayer")


def document(*statements: Mapping[str, Any]) -> Document:
    """A policy with these statements."""
    return {"Version": _VERSION, "Statement": [dict(statement) for statement in statements]}


def allow(
    actions: Iterable[str], resources: Iterable[Any], condition: Mapping[str, Any] | None = None
) -> Document:
    """A statement that allows the actions, written as `service:Action`, on the resources, which are ARNs."""
    statement: Document = {"Effect": "Allow", "Action": sorted(actions), "Resource": list(resources)}
    return statement | ({"Condition": condition} if condition else {})


def taken_by(*services: str, account: str | None = None) -> Document:
    """A role that these services of AWS take, on behalf of `account` alone where that is given."""
    statement: Document = {
        "Effect": "Allow",
        "Principal": {"Service": list(services)},
        "Action": ["sts:AssumeRole"],
    }
    if account is not None:
        statement["Condition"] = {"StringEquals": {"aws:SourceAccount": account}}
    return document(statement)


def pulls(repository_arn: str) -> Document:
    """Reads images of one repository."""
    return document(
        allow(["ecr:GetAuthorizationToken"], ["*"]),
        allow([f"ecr:{action}" for action in PULL_ACTIONS], [repository_arn]),
    )


def pulled_by(service: str, source_arn: str) -> Document:
    """A repository whose images a service of AWS reads, on behalf of `source_arn`."""
    statement = {
        "Sid": "PulledByService",
        "Effect": "Allow",
        "Principal": {"Service": [service]},
        "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
        "Condition": {"StringLike": {"aws:sourceArn": [source_arn]}},
    }
    return document(statement)


def writes_log(group_arn: str) -> Document:
    """Writes one log group."""
    return document(allow(["logs:CreateLogStream", "logs:PutLogEvents"], [f"{group_arn}:*"]))


def uses_buckets(buckets: Iterable[str], account: str) -> Document:
    """Reads and writes objects of these buckets of the account's. Versions that are not current stay out of
    its reach, and so does a bucket of that name that somebody else makes once ours is gone.
    """
    names, own = list(buckets), {"StringEquals": {"aws:ResourceAccount": account}}
    return document(
        allow(["s3:ListBucket"], [f"arn:aws:s3:::{name}" for name in names], own),
        allow(
            ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"],
            [f"arn:aws:s3:::{name}/*" for name in names],
            own,
        ),
    )


def reads_secrets(secrets: Iterable[Any], parameters: Iterable[Any], key: str | None) -> Document:
    """Reads these and no others, and uses the key that they are encrypted by, where it is not AWS's own."""
    return document(
        *(allow(["secretsmanager:GetSecretValue"], [one]) for one in secrets),
        *(allow(["ssm:GetParameters"], [one]) for one in parameters),
        *([allow(["kms:Decrypt"], [key])] if key else []),
    )


def bucket_policy(bucket: str, *, readable_by: Any = None) -> Document:
    """Nobody without TLS; and, where `readable_by` is a distribution's ARN, that distribution reads."""
    statements: list[Document] = [
        {
            "Sid": "OnlyOverTls",
            "Effect": "Deny",
            "Principal": "*",
            "Action": ["s3:*"],
            "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
    ]
    if readable_by is not None:
        statements.append(
            {
                "Sid": "ReadByDistribution",
                "Effect": "Allow",
                "Principal": {"Service": ["cloudfront.amazonaws.com"]},
                "Action": ["s3:GetObject"],
                "Resource": [f"arn:aws:s3:::{bucket}/*"],
                "Condition": {"StringEquals": {"AWS:SourceArn": readable_by}},
            }
        )
    return document(*statements)


def canonical(value: Document | str) -> Document:
    """A document in the one form in which two that mean the same are equal.

    AWS gives a list of one as a string and the other way round, and orders lists as it likes.
    """
    parsed = json.loads(value) if isinstance(value, str) else value
    statements = parsed.get("Statement", [])
    if isinstance(statements, Mapping):
        statements = [statements]
    return {
        "Version": parsed.get("Version", _VERSION),
        "Statement": [_statement(statement) for statement in statements],
    }


def _statement(statement: Mapping[str, Any]) -> Document:
    done: Document = {}
    for name, value in statement.items():
        if name in ("Action", "NotAction", "Resource", "NotResource"):
            done[name] = _listed(value)
        elif name in ("Principal", "NotPrincipal") and isinstance(value, Mapping):
            done[name] = {kind: _listed(one) for kind, one in value.items()}
        elif name in ("Principal", "NotPrincipal"):
            done[name] = {"AWS": _listed(value)}
        elif name == "Condition":
            done[name] = {
                operator: {key: _listed(one) for key, one in keys.items()} for operator, keys in value.items()
            }
        else:
            done[name] = value
    return done


def _listed(value: Any) -> list[Any]:
    return sorted(value, key=str) if isinstance(value, list | tuple) else [value]
