"""Custom domains: names of the owner's that lead to a service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeport.aws.apprunner.faults import INVALID, invalid, missing, refused
from homeport.aws.pages import page
from homeport.model import (
    Controller,
    CustomDomain,
    DomainExistsError,
    InvalidDomainError,
    NoSuchDomainError,
    NoSuchServiceError,
    Service,
    ServiceBusyError,
)

_PAGE = 5  # the most that AWS shows at a time


class CustomDomains:
    """One method an operation, named as boto3 names it."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    async def associate_custom_domain(self, **request: Any) -> Mapping[str, Any]:
        arn, www = request["ServiceArn"], request.get("EnableWWWSubdomain", True)
        try:
            domain = await self._controller.associate_domain(arn, request["DomainName"], www=www)
        except ServiceBusyError as error:
            raise refused(error) from error
        except (InvalidDomainError, DomainExistsError, NoSuchServiceError) as error:
            # This operation knows no ResourceNotFoundException.
            raise invalid(str(error)) from error
        return _named(self._controller.service(arn)) | {"CustomDomain": _shown(domain)}

    async def disassociate_custom_domain(self, **request: Any) -> Mapping[str, Any]:
        arn = request["ServiceArn"]
        try:
            domain = await self._controller.disassociate_domain(arn, request["DomainName"])
        except NoSuchServiceError as error:
            raise refused(error) from error
        except NoSuchDomainError as error:
            raise missing(str(error)) from error
        return _named(self._controller.service(arn)) | {"CustomDomain": _shown(domain)}

    async def describe_custom_domains(self, **request: Any) -> Mapping[str, Any]:
        arn = request["ServiceArn"]
        try:
            domains = self._controller.custom_domains(arn)
        except NoSuchServiceError as error:
            raise refused(error) from error
        shown, token = page(
            domains,
            request.get("NextToken"),
            request.get("MaxResults", _PAGE),
            key=lambda domain: f"{domain.created_at.isoformat()} {domain.name}",
            code=INVALID,
        )
        return _named(self._controller.service(arn)) | {
            "CustomDomains": [_shown(domain) for domain in shown],
            "NextToken": token,
        }


def _named(service: Service) -> dict[str, Any]:
    """What each answer begins with. One host has no VPC."""
    return {
        "DNSTarget": service.url.partition(":")[0],
        "ServiceArn": service.arn,
        "VpcDNSTargets": [],
    }


def _shown(domain: CustomDomain) -> dict[str, Any]:
    return {
        "DomainName": domain.name,
        "EnableWWWSubdomain": domain.www,
        "CertificateValidationRecords": [
            {"Name": record.name, "Type": record.type, "Value": record.value, "Status": record.status}
            for record in domain.records
        ],
        "Status": domain.status.value,
    }
