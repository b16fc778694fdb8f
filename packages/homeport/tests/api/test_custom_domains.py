"""Custom domains with boto3; what comes of them is tested with the runtime."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def blog(harbour: Any) -> str:
    arn, _ = harbour.service_key("blog")
    return str(arn)


def test_a_domain_is_associated_shown_and_disassociated(apprunner: Any, blog: str) -> None:
    made = apprunner.associate_custom_domain(ServiceArn=blog, DomainName="example.com")
    assert (made["ServiceArn"], made["DNSTarget"], made["VpcDNSTargets"]) == (blog, "blog.localhost", [])
    assert made["CustomDomain"]["Status"] == "CREATING"
    assert made["CustomDomain"]["EnableWWWSubdomain"] is True, "as AWS has it where nothing is said"
    assert made["CustomDomain"]["CertificateValidationRecords"] == [
        {"Name": name, "Type": "CNAME", "Value": "blog.localhost", "Status": "PENDING_VALIDATION"}
        for name in ("example.com.", "www.example.com.")
    ]
    shown = apprunner.describe_custom_domains(ServiceArn=blog)
    (domain,) = shown["CustomDomains"]
    assert domain["Status"] == "PENDING_CERTIFICATE_DNS_VALIDATION"
    gone = apprunner.disassociate_custom_domain(ServiceArn=blog, DomainName="example.com")
    assert gone["CustomDomain"] == domain | {"Status": "DELETING"}
    assert apprunner.describe_custom_domains(ServiceArn=blog)["CustomDomains"] == []


def test_a_domain_may_go_without_its_www(apprunner: Any, blog: str) -> None:
    made = apprunner.associate_custom_domain(
        ServiceArn=blog, DomainName="shop.example.com", EnableWWWSubdomain=False
    )["CustomDomain"]
    assert made["EnableWWWSubdomain"] is False
    assert [record["Name"] for record in made["CertificateValidationRecords"]] == ["shop.example.com."]


def test_domains_come_in_pages_in_the_order_in_which_they_were_made(apprunner: Any, blog: str) -> None:
    names = [f"{letter}.example.com" for letter in "gcafbed"]
    for name in names:
        apprunner.associate_custom_domain(ServiceArn=blog, DomainName=name)
    seen, token = [], {}
    while True:
        shown = apprunner.describe_custom_domains(ServiceArn=blog, MaxResults=3, **token)
        seen.append([domain["DomainName"] for domain in shown["CustomDomains"]])
        if "NextToken" not in shown:
            break
        token = {"NextToken": shown["NextToken"]}
    assert seen == [names[:3], names[3:6], names[6:]]


def test_what_is_wrong_has_its_error(harbour: Any, apprunner: Any, error_of: Any, blog: str) -> None:
    nowhere = blog.replace("blog", "none")
    associate = apprunner.associate_custom_domain
    disassociate = apprunner.disassociate_custom_domain
    assert error_of(associate, ServiceArn=nowhere, DomainName="a.example") == "InvalidRequestException"
    assert error_of(associate, ServiceArn=blog, DomainName="nodots") == "InvalidRequestException"
    assert error_of(associate, ServiceArn=blog, DomainName="a_b.example") == "InvalidRequestException"
    associate(ServiceArn=blog, DomainName="a.example")
    assert error_of(associate, ServiceArn=blog, DomainName="a.example") == "InvalidRequestException"
    assert error_of(disassociate, ServiceArn=nowhere, DomainName="a.example") == "ResourceNotFoundException"
    assert error_of(disassociate, ServiceArn=blog, DomainName="b.example") == "ResourceNotFoundException"
    assert error_of(apprunner.describe_custom_domains, ServiceArn=nowhere) == "ResourceNotFoundException"
    apprunner.delete_service(ServiceArn=blog)
    harbour.controller.finish(blog)
    assert error_of(associate, ServiceArn=blog, DomainName="c.example") == "InvalidStateException"
