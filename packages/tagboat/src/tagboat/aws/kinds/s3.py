"""Buckets and their policies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from tagboat.aws.account import GLOBAL_REGION, Account
from tagboat.aws.policy import canonical
from tagboat.aws.resource import Found, Resource
from tagboat.aws.tags import mapping, pairs
from tagboat.cloud import CloudError

_NONE = "NoSuchBucket"
_BLOCKED = {"BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True,
            "RestrictPublicBuckets": True}  # fmt: skip
_RULE = "tagboat"


class Bucket:
    """Settings: `versioning`, `encryption`, `public` (never), `ownership`, `noncurrent_days` after which an
    overwritten object goes, `incomplete_upload_days` after which the parts of one that never ended go.
    """

    name: ClassVar[str] = "s3.bucket"
    attributes: ClassVar[Mapping[str, str]] = {
        "arn": "Arn",
        "name": "",
        "host": "RegionalDomainName",
    }
    identified_by: ClassVar[frozenset[str]] = frozenset()

    def read(self, account: Account, resource: Resource) -> Found | None:
        named = {"Bucket": resource.name}
        try:
            # One of that name may be somebody else's, with tags like ours and open to all.
            account.call("s3", "head_bucket", **named, ExpectedBucketOwner=account.id)
        except CloudError as error:
            code = getattr(error, "code", "")
            if code in ("404", _NONE):
                return None
            if code in ("403", "301"):
                raise CloudError(
                    f"the bucket {resource.name} is somebody else's, in another region, or hidden from you",
                    hint="names of buckets are one for all of AWS: choose another in tool.tagboat.targets; "
                    "to see one of yours takes s3:ListBucket",
                ) from error
            raise
        return Found(
            settings={
                "versioning": account.call("s3", "get_bucket_versioning", **named).get("Status") == "Enabled",
                "encryption": _encryption(account, named),
                "public": _public(account, named),
                "ownership": _ownership(account, named),
                **_lifecycle(account, named),
            },
            attributes={
                "arn": f"arn:aws:s3:::{resource.name}",
                "name": resource.name,
                "host": f"{resource.name}.s3.{account.region}.amazonaws.com",
            },
            tags=mapping(
                (account.find("s3", "get_bucket_tagging", "NoSuchTagSet", **named) or {}).get("TagSet")
            ),
            holds=_content(account, named),
        )

    def create(self, account: Account, resource: Resource) -> None:
        # The tags ride along, so that a bucket is never without its owner.
        configuration: dict[str, Any] = {"Tags": pairs(resource.tags)}
        if account.region != GLOBAL_REGION:
            configuration["LocationConstraint"] = account.region
        account.call(
            "s3",
            "create_bucket",
            Bucket=resource.name,
            ObjectOwnership=resource.settings["ownership"],
            CreateBucketConfiguration=configuration,
        )

    def update(self, account: Account, resource: Resource, found: Found, changed: frozenset[str]) -> None:
        named = {"Bucket": resource.name}
        if "public" in changed:  # first: nothing is open for a moment
            account.call(
                "s3", "put_public_access_block", **named, PublicAccessBlockConfiguration=dict(_BLOCKED)
            )
        if "ownership" in changed:
            rules = {"Rules": [{"ObjectOwnership": resource.settings["ownership"]}]}
            account.call("s3", "put_bucket_ownership_controls", **named, OwnershipControls=rules)
        if "versioning" in changed:
            status = {"Status": "Enabled" if resource.settings["versioning"] else "Suspended"}
            account.call("s3", "put_bucket_versioning", **named, VersioningConfiguration=status)
        if "encryption" in changed:
            default = {
                "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": resource.settings["encryption"]}
            }
            account.call(
                "s3",
                "put_bucket_encryption",
                **named,
                ServerSideEncryptionConfiguration={"Rules": [default]},
            )
        if changed & {"noncurrent_days", "incomplete_upload_days"}:
            account.call(
                "s3",
                "put_bucket_lifecycle_configuration",
                **named,
                LifecycleConfiguration={
                    "Rules": [
                        *(rule for rule in _rules(account, named) if rule["ID"] != _RULE),
                        _rule(resource.settings),
                    ]
                },
            )
        if "tags" in changed:
            tags = {**(found.tags or {}), **resource.tags}
            account.call("s3", "put_bucket_tagging", **named, Tagging={"TagSet": pairs(tags)})

    def delete(self, account: Account, resource: Resource, found: Found) -> None:
        if found.holds is not None:
            empty(account, resource.name)
        account.find("s3", "delete_bucket", _NONE, Bucket=resource.name)

    def template(self, resource: Resource) -> tuple[str, dict[str, Any]]:
        settings = resource.settings
        algorithm = {"ServerSideEncryptionByDefault": {"SSEAlgorithm": settings["encryption"]}}
        return "AWS::S3::Bucket", {
            "BucketName": resource.name,
            "VersioningConfiguration": {"Status": "Enabled" if settings["versioning"] else "Suspended"},
            "BucketEncryption": {"ServerSideEncryptionConfiguration": [algorithm]},
            "PublicAccessBlockConfiguration": dict(_BLOCKED),
            "OwnershipControls": {"Rules": [{"ObjectOwnership": settings["ownership"]}]},
            "LifecycleConfiguration": {
                "Rules": [
                    {
                        "Id": _RULE,
                        "Status": "Enabled",
                        "NoncurrentVersionExpiration": {"NoncurrentDays": settings["noncurrent_days"]},
                        "AbortIncompleteMultipartUpload": {
                            "DaysAfterInitiation": settings["incomplete_upload_days"]
                        },
                    }
                ]
            },
            "Tags": pairs(resource.tags),
        }


class BucketPolicy:
    """Settings: `document`. Named after its bucket, and owned with it."""

    name: ClassVar[str] = "s3.bucket-policy"
    attributes: ClassVar[Mapping[str, str]] = {}
    identified_by: ClassVar[frozenset[str]] = frozenset()

    def read(self, account: Account, resource: Resource) -> Found | None:
        there = account.find("s3", "get_bucket_policy", "NoSuchBucketPolicy", _NONE, Bucket=resource.name)
        return Found({"document": canonical(there["Policy"])}) if there else None

    def create(self, account: Account, resource: Resource) -> None:
        text = json.dumps(resource.settings["document"])
        account.call("s3", "put_bucket_policy", Bucket=resource.name, Policy=text)

    def update(self, account: Account, resource: Resource, found: Found, changed: frozenset[str]) -> None:
        self.create(account, resource)

    def delete(self, account: Account, resource: Resource, found: Found) -> None:
        account.find("s3", "delete_bucket_policy", _NONE, Bucket=resource.name)

    def template(self, resource: Resource) -> tuple[str, dict[str, Any]]:
        return "AWS::S3::BucketPolicy", {
            "Bucket": resource.name,
            "PolicyDocument": resource.settings["document"],
        }


def empty(account: Account, bucket: str) -> None:
    """Delete every version of every object."""
    for page in account.pages("s3", "list_object_versions", Bucket=bucket):
        versions = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        if versions:
            objects = [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in versions]
            answer = account.call(
                "s3", "delete_objects", Bucket=bucket, Delete={"Objects": objects, "Quiet": True}
            )
            if answer.get("Errors"):
                first = answer["Errors"][0]
                raise CloudError(f"{bucket}/{first['Key']} cannot be deleted: {first['Message']}")


def _content(account: Account, named: dict[str, str]) -> str | None:
    page = account.call("s3", "list_object_versions", **named, MaxKeys=1)
    return "objects" if page.get("Versions") or page.get("DeleteMarkers") else None


def _encryption(account: Account, named: dict[str, str]) -> str | None:
    code = "ServerSideEncryptionConfigurationNotFoundError"
    there = account.find("s3", "get_bucket_encryption", code, **named)
    if there is None:
        return None
    rule = there["ServerSideEncryptionConfiguration"]["Rules"][0]
    return str(rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"])


def _public(account: Account, named: dict[str, str]) -> bool:
    there = account.find("s3", "get_public_access_block", "NoSuchPublicAccessBlockConfiguration", **named)
    return there is None or there["PublicAccessBlockConfiguration"] != _BLOCKED


def _ownership(account: Account, named: dict[str, str]) -> str | None:
    there = account.find("s3", "get_bucket_ownership_controls", "OwnershipControlsNotFoundError", **named)
    return str(there["OwnershipControls"]["Rules"][0]["ObjectOwnership"]) if there else None


def _rules(account: Account, named: dict[str, str]) -> list[Any]:
    """The bucket's lifecycle rules, of which one is ours."""
    code = "NoSuchLifecycleConfiguration"
    there = account.find("s3", "get_bucket_lifecycle_configuration", code, **named)
    return list(there["Rules"]) if there else []


def _lifecycle(account: Account, named: dict[str, str]) -> dict[str, int | None]:
    rules = (one for one in _rules(account, named) if one["ID"] == _RULE and one["Status"] == "Enabled")
    rule: Mapping[str, Any] = next(rules, {})
    return {
        "noncurrent_days": rule.get("NoncurrentVersionExpiration", {}).get("NoncurrentDays"),
        "incomplete_upload_days": rule.get("AbortIncompleteMultipartUpload", {}).get("DaysAfterInitiation"),
    }


def _rule(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "ID": _RULE,
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "NoncurrentVersionExpiration": {"NoncurrentDays": settings["noncurrent_days"]},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": settings["incomplete_upload_days"]},
    }
