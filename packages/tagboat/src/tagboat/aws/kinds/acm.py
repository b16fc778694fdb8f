"""The certificate of the domain, and that it is issued."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar

from tagboat.aws.account import Account, wait_until
from tagboat.aws.resource import Found, Resource
from tagboat.aws.tags import mapping, pairs
from tagboat.cloud import CloudError

_ISSUED = 1800.0  # seconds that ACM may take once the records are there: most often some minutes
_PENDING = ("PENDING_VALIDATION", "ISSUED")


class Certificate:
    """A certificate for its name and `others`, known by just these. Proved by records in DNS.

    Its attributes have, for the host number N, the record that proves it: `record_N_name`, `record_N_value`.
    """

    name: ClassVar[str] = "acm.certificate"
    attributes: ClassVar[Mapping[str, str]] = {"arn": ""}
    identified_by: ClassVar[frozenset[str]] = frozenset()

    def read(self, account: Account, resource: Resource) -> Found | None:
        hosts = {resource.name, *resource.settings["others"]}
        for page in account.pages("acm", "list_certificates"):
            for summary in page["CertificateSummaryList"]:
                if summary["DomainName"] != resource.name:
                    continue
                arn = {"CertificateArn": summary["CertificateArn"]}
                there = account.call("acm", "describe_certificate", **arn)["Certificate"]
                if set(there["SubjectAlternativeNames"]) != hosts or there["Status"] not in _PENDING:
                    continue
                tags = mapping(account.call("acm", "list_tags_for_certificate", **arn)["Tags"])
                return Found(
                    settings={"others": resource.settings["others"]},
                    attributes={
                        "arn": summary["CertificateArn"],
                        "status": there["Status"],
                        **_records(resource, there),
                    },
                    tags=tags,
                )
        return None

    def create(self, account: Account, resource: Resource) -> None:
        hosts = [resource.name, *resource.settings["others"]]
        arn = account.call(
            "acm",
            "request_certificate",
            DomainName=resource.name,
            SubjectAlternativeNames=hosts,
            ValidationMethod="DNS",
            IdempotencyToken=hashlib.sha256(" ".join(hosts).encode()).hexdigest()[:32],
            Tags=pairs(resource.tags),
        )["CertificateArn"]
        # The records that prove the hosts are there a moment later.
        wait_until(
            lambda: all(
                "ResourceRecord" in option
                for option in account.call("acm", "describe_certificate", CertificateArn=arn)[
                    "Certificate"
                ].get("DomainValidationOptions", [{}])
            ),
            f"ACM does not say how {resource.name} is proved",
            timeout=120,
        )

    def update(self, account: Account, resource: Resource, found: Found, changed: frozenset[str]) -> None:
        account.call(
            "acm",
            "add_tags_to_certificate",
            CertificateArn=found.attributes["arn"],
            Tags=pairs(resource.tags),
        )

    def delete(self, account: Account, resource: Resource, found: Found) -> None:
        arn = found.attributes["arn"]
        none = "ResourceNotFoundException"
        account.find_when_free(
            "acm", "delete_certificate", none, busy="ResourceInUseException", CertificateArn=arn
        )

    def template(self, resource: Resource) -> tuple[str, dict[str, Any]]:
        hosts = [resource.name, *resource.settings["others"]]
        return "AWS::CertificateManager::Certificate", {
            "DomainName": resource.name,
            "SubjectAlternativeNames": hosts,
            "ValidationMethod": "DNS",
            "DomainValidationOptions": [
                {"DomainName": host, "HostedZoneId": "${HostedZone}"} for host in hosts
            ],
            "Tags": pairs(resource.tags),
        }


class Validation:
    """That the certificate of its name is issued; to make it so is to wait. Settings: `certificate`."""

    name: ClassVar[str] = "acm.validation"
    attributes: ClassVar[Mapping[str, str]] = {}
    identified_by: ClassVar[frozenset[str]] = frozenset()

    def read(self, account: Account, resource: Resource) -> Found | None:
        for page in account.pages("acm", "list_certificates", CertificateStatuses=["ISSUED"]):
            for summary in page["CertificateSummaryList"]:
                if summary["DomainName"] == resource.name:
                    arn = summary["CertificateArn"]
                    return Found({"certificate": arn}, {"arn": arn})
        return None

    def create(self, account: Account, resource: Resource) -> None:
        arn = {"CertificateArn": resource.settings["certificate"]}

        def issued() -> bool:
            there = account.call("acm", "describe_certificate", **arn)["Certificate"]
            if there["Status"] not in _PENDING:
                raise CloudError(
                    f"the certificate of {resource.name} is {there['Status']}: {there.get('FailureReason')}"
                )
            return bool(there["Status"] == "ISSUED")

        wait_until(
            issued,
            f"the certificate of {resource.name} is not issued (`tagboat doctor` looks at its records)",
            timeout=_ISSUED,
        )

    def update(self, account: Account, resource: Resource, found: Found, changed: frozenset[str]) -> None:
        self.create(account, resource)

    def delete(self, account: Account, resource: Resource, found: Found) -> None:
        """It goes with the certificate."""

    def template(self, resource: Resource) -> None:
        """CloudFormation waits by itself."""


def _records(resource: Resource, there: Mapping[str, Any]) -> dict[str, str]:
    by_host = {
        option["DomainName"]: option["ResourceRecord"]
        for option in there.get("DomainValidationOptions", [])
        if "ResourceRecord" in option
    }
    found: dict[str, str] = {}
    for number, host in enumerate([resource.name, *resource.settings["others"]]):
        if host in by_host:
            found[f"record_{number}_name"] = by_host[host]["Name"]
            found[f"record_{number}_value"] = by_host[host]["Value"]
    return found
