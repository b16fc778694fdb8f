"""App Runner's resources that homeport keeps and shows and does nothing else with; they are there after a
restart.
"""

from __future__ import annotations

from typing import Any

import pytest
from packages.homeport.tests.api.conftest import create_service

import bucketlog
from homeport.resources import Resources

_VPC = {"VpcId": "vpc-1", "VpcEndpointId": "vpce-1"}


def test_an_observability_configuration_has_revisions(apprunner: Any) -> None:
    tracing = {"Vendor": "AWSXRAY"}
    made = [
        apprunner.create_observability_configuration(
            ObservabilityConfigurationName="seen", **({"TraceConfiguration": tracing} if traced else {})
        )["ObservabilityConfiguration"]
        for traced in (False, True)
    ]
    assert [one["ObservabilityConfigurationRevision"] for one in made] == [1, 2]
    assert [one.get("TraceConfiguration") for one in made] == [None, tracing]
    latest = apprunner.list_observability_configurations()["ObservabilityConfigurationSummaryList"]
    assert [one["ObservabilityConfigurationArn"] for one in latest] == [
        made[1]["ObservabilityConfigurationArn"]
    ]
    every = apprunner.list_observability_configurations(LatestOnly=False, MaxResults=1)
    assert len(every["ObservabilityConfigurationSummaryList"]) == 1
    assert "NextToken" in every
    named = {"ObservabilityConfigurationArn": made[0]["ObservabilityConfigurationArn"]}
    assert apprunner.describe_observability_configuration(**named)["ObservabilityConfiguration"] == (
        made[0] | {"Latest": False}
    )
    gone = apprunner.delete_observability_configuration(**named)["ObservabilityConfiguration"]
    assert gone["Status"] == "INACTIVE"
    for call in (apprunner.delete_observability_configuration,):
        with pytest.raises(apprunner.exceptions.ResourceNotFoundException):
            call(**named)
    with pytest.raises(apprunner.exceptions.InvalidRequestException, match="reserved"):
        apprunner.create_observability_configuration(ObservabilityConfigurationName="DefaultConfiguration")


def test_a_connection_waits_for_a_handshake_that_no_console_offers(apprunner: Any) -> None:
    made = apprunner.create_connection(ConnectionName="code", ProviderType="GITHUB")["Connection"]
    assert made["Status"] == "PENDING_HANDSHAKE"
    with pytest.raises(apprunner.exceptions.InvalidRequestException, match="already"):
        apprunner.create_connection(ConnectionName="code", ProviderType="BITBUCKET")
    apprunner.create_connection(ConnectionName="more", ProviderType="BITBUCKET")
    assert apprunner.list_connections(ConnectionName="code")["ConnectionSummaryList"] == [made]
    assert len(apprunner.list_connections()["ConnectionSummaryList"]) == 2
    arn = made["ConnectionArn"]
    assert apprunner.delete_connection(ConnectionArn=arn)["Connection"]["Status"] == "DELETED"
    with pytest.raises(apprunner.exceptions.ResourceNotFoundException):
        apprunner.delete_connection(ConnectionArn=arn)
    again = apprunner.create_connection(ConnectionName="code", ProviderType="GITHUB")["Connection"]
    assert again["ConnectionArn"] != arn


def test_a_vpc_connector_is_kept_with_what_it_says(harbour: Any, apprunner: Any) -> None:
    says = {"VpcConnectorName": "lane", "Subnets": ["subnet-1", "subnet-2"], "SecurityGroups": ["sg-1"]}
    made = apprunner.create_vpc_connector(**says)["VpcConnector"]
    assert made.items() >= {**says, "VpcConnectorRevision": 1, "Status": "ACTIVE"}.items()
    with pytest.raises(apprunner.exceptions.InvalidRequestException, match="already"):
        apprunner.create_vpc_connector(**says)
    named = {"VpcConnectorArn": made["VpcConnectorArn"]}
    assert apprunner.describe_vpc_connector(**named)["VpcConnector"] == made
    assert apprunner.list_vpc_connectors()["VpcConnectors"] == [made]

    egress = {"EgressConfiguration": {"EgressType": "VPC", **named}}
    service = create_service(apprunner, NetworkConfiguration=egress)
    assert service["NetworkConfiguration"] == egress | {
        "IngressConfiguration": {"IsPubliclyAccessible": True},
        "IpAddressType": "IPV4",
    }
    with pytest.raises(apprunner.exceptions.InvalidRequestException, match="used by blog"):
        apprunner.delete_vpc_connector(**named)
    harbour.controller.finish(service["ServiceArn"])
    apprunner.update_service(
        ServiceArn=service["ServiceArn"],
        NetworkConfiguration={"EgressConfiguration": {"EgressType": "DEFAULT"}},
    )
    assert apprunner.delete_vpc_connector(**named)["VpcConnector"]["Status"] == "INACTIVE"
    assert apprunner.describe_vpc_connector(**named)["VpcConnector"]["Status"] == "INACTIVE"
    assert apprunner.list_vpc_connectors()["VpcConnectors"] == []
    assert apprunner.create_vpc_connector(**says)["VpcConnector"]["VpcConnectorRevision"] == 2


def test_a_vpc_ingress_connection_is_kept_with_what_it_says(harbour: Any, apprunner: Any) -> None:
    service = create_service(apprunner)["ServiceArn"]
    says = {"ServiceArn": service, "VpcIngressConnectionName": "door", "IngressVpcConfiguration": _VPC}
    made = apprunner.create_vpc_ingress_connection(**says)["VpcIngressConnection"]
    assert made.items() >= {**says, "Status": "AVAILABLE", "AccountId": "000000000000"}.items()
    with pytest.raises(apprunner.exceptions.InvalidRequestException, match="already"):
        apprunner.create_vpc_ingress_connection(**says)
    named = {"VpcIngressConnectionArn": made["VpcIngressConnectionArn"]}
    other = {**_VPC, "VpcEndpointId": "vpce-2"}
    changed = apprunner.update_vpc_ingress_connection(**named, IngressVpcConfiguration=other)
    assert changed["VpcIngressConnection"]["IngressVpcConfiguration"] == other
    described = apprunner.describe_vpc_ingress_connection(**named)["VpcIngressConnection"]
    assert described == made | {"IngressVpcConfiguration": other}
    for wanted, count in (({"ServiceArn": service}, 1), ({"VpcEndpointId": "vpce-1"}, 0)):
        listed = apprunner.list_vpc_ingress_connections(Filter=wanted)["VpcIngressConnectionSummaryList"]
        assert len(listed) == count
    gone = apprunner.delete_vpc_ingress_connection(**named)["VpcIngressConnection"]
    assert gone["Status"] == "DELETED"
    for call in (apprunner.describe_vpc_ingress_connection, apprunner.delete_vpc_ingress_connection):
        with pytest.raises(apprunner.exceptions.ResourceNotFoundException):
            call(**named)


@pytest.mark.parametrize("missing", ["VpcId", "VpcEndpointId"])
def test_an_ingress_connection_names_vpc_and_endpoint(harbour: Any, apprunner: Any, missing: str) -> None:
    vpc = {name: value for name, value in _VPC.items() if name != missing}
    service = create_service(apprunner)["ServiceArn"]
    with pytest.raises(apprunner.exceptions.InvalidRequestException, match=f"{missing} is missing"):
        apprunner.create_vpc_ingress_connection(
            ServiceArn=service, VpcIngressConnectionName="door", IngressVpcConfiguration=vpc
        )


def test_what_a_service_is_configured_with_is_answered_as_it_was_asked(harbour: Any, apprunner: Any) -> None:
    seen = apprunner.create_observability_configuration(ObservabilityConfigurationName="seen")
    seen_arn = seen["ObservabilityConfiguration"]["ObservabilityConfigurationArn"]
    observed = {"ObservabilityEnabled": True, "ObservabilityConfigurationArn": seen_arn}
    role = {"AccessRoleArn": "arn:aws:iam::000000000000:role/reads-images"}
    source = {
        "ImageRepository": {"ImageIdentifier": "h:1/blog", "ImageRepositoryType": "ECR"},
        "AuthenticationConfiguration": role,
    }
    made = apprunner.create_service(
        ServiceName="blog", SourceConfiguration=source, ObservabilityConfiguration=observed
    )["Service"]
    assert made["ObservabilityConfiguration"] == observed
    assert made["SourceConfiguration"]["AuthenticationConfiguration"] == role
    with pytest.raises(apprunner.exceptions.InvalidRequestException, match="used by blog"):
        apprunner.delete_observability_configuration(ObservabilityConfigurationArn=seen_arn)
    harbour.controller.finish(made["ServiceArn"])
    off = {"ObservabilityEnabled": False}
    updated = apprunner.update_service(ServiceArn=made["ServiceArn"], ObservabilityConfiguration=off)
    assert updated["Service"]["ObservabilityConfiguration"] == off
    assert updated["Service"]["SourceConfiguration"]["AuthenticationConfiguration"] == role


def test_everything_is_there_again_after_a_restart(harbour: Any, apprunner: Any) -> None:
    tags = [{"Key": "team", "Value": "web"}]
    apprunner.create_connection(ConnectionName="gone", ProviderType="GITHUB")
    arn = apprunner.list_connections()["ConnectionSummaryList"][0]["ConnectionArn"]
    apprunner.delete_connection(ConnectionArn=arn)
    busy = apprunner.create_auto_scaling_configuration(AutoScalingConfigurationName="busy", Tags=tags)
    busy_arn = busy["AutoScalingConfiguration"]["AutoScalingConfigurationArn"]
    apprunner.update_default_auto_scaling_configuration(AutoScalingConfigurationArn=busy_arn)
    service = create_service(apprunner, Tags=tags)["ServiceArn"]
    apprunner.create_vpc_connector(VpcConnectorName="lane", Subnets=["subnet-1"])
    with bucketlog.connect(f"file://{harbour.data / 'state'}") as database:
        again = Resources(database)
    kinds = ["autoscalingconfiguration", "connection", "default", "service", "vpcconnector"]
    for kind in kinds:
        assert again.of(kind) == harbour.resources.of(kind)
    assert [len(again.of(kind)) for kind in kinds] == [2, 0, 1, 1, 1]
    assert again.get(service).tags == {"team": "web"}
    assert again.get(service).content["AutoScalingConfigurationArn"] == busy_arn
