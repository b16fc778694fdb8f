"""VPC connectors and VPC ingress connections: kept and shown, and nothing else. One host has no VPC: what
leaves an instance leaves by the host's own network, and what comes in comes by the edge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from homeport.aws.apprunner.faults import INVALID, invalid, missing, once
from homeport.aws.apprunner.settings import CONNECTOR, Settings
from homeport.aws.apprunner.tags import read_tags
from homeport.aws.pages import page
from homeport.model import Controller, NoSuchServiceError, ServiceStatus
from homeport.place import ACCOUNT
from homeport.resources import Resource, Resources

INGRESS = "vpcingressconnection"

_PAGE = 100


class VpcConnectors:
    """The operations on connectors; of a name there is one."""

    def __init__(self, resources: Resources, settings: Settings) -> None:
        self._resources = resources
        self._settings = settings

    async def create_vpc_connector(self, **request: Any) -> Mapping[str, Any]:
        name = request["VpcConnectorName"]
        if not request["Subnets"]:
            raise invalid("Subnets is empty")
        content = {"Subnets": request["Subnets"], "SecurityGroups": request.get("SecurityGroups", [])}
        tags = read_tags(request.get("Tags", ()))
        with once():
            connector = await self._resources.create(CONNECTOR, name, content, tags, once=True)
        return {"VpcConnector": _connector(connector)}

    async def describe_vpc_connector(self, **request: Any) -> Mapping[str, Any]:
        return {"VpcConnector": _connector(self._find(request))}

    async def list_vpc_connectors(self, **request: Any) -> Mapping[str, Any]:
        shown, token = page(
            self._resources.active(CONNECTOR),
            request.get("NextToken"),
            request.get("MaxResults", _PAGE),
            key=lambda one: one.arn,
            code=INVALID,
        )
        return {"VpcConnectors": [_connector(one) for one in shown], "NextToken": token}

    async def delete_vpc_connector(self, **request: Any) -> Mapping[str, Any]:
        found = self._find(request)
        if not found.active:
            raise missing(f"the VPC connector {found.arn} is deleted")
        self._settings.require_unused(found)
        await self._resources.retire(found)
        return {"VpcConnector": _connector(self._resources.find(found.arn) or found)}

    def _find(self, request: Mapping[str, Any]) -> Resource:
        named = request["VpcConnectorArn"]
        found = self._resources.find(named)
        if found is None or found.kind != CONNECTOR:
            raise missing(f"there is no VPC connector {named}")
        return found


class VpcIngressConnections:
    """The operations on ingress connections, which lead to a service."""

    def __init__(self, controller: Controller, resources: Resources) -> None:
        self._controller = controller
        self._resources = resources

    async def create_vpc_ingress_connection(self, **request: Any) -> Mapping[str, Any]:
        name, service = request["VpcIngressConnectionName"], request["ServiceArn"]
        try:
            gone = self._controller.service(service).status == ServiceStatus.DELETED
        except NoSuchServiceError:
            gone = True
        if gone:
            raise invalid(f"there is no service {service}")
        content = {
            "ServiceArn": service,
            "IngressVpcConfiguration": _vpc(request),
            "DomainName": f"{name.lower()}.{self._controller.service(service).url.partition(':')[0]}",
        }
        tags = read_tags(request.get("Tags", ()))
        with once():
            made = await self._resources.create(INGRESS, name, content, tags, once=True)
        return {"VpcIngressConnection": _ingress(made)}

    async def describe_vpc_ingress_connection(self, **request: Any) -> Mapping[str, Any]:
        return {"VpcIngressConnection": _ingress(self._find(request))}

    async def list_vpc_ingress_connections(self, **request: Any) -> Mapping[str, Any]:
        wanted = request.get("Filter", {})
        service, endpoint = wanted.get("ServiceArn"), wanted.get("VpcEndpointId")
        shown, token = page(
            [
                one
                for one in self._resources.of(INGRESS)
                if service in (None, one.content["ServiceArn"])
                and endpoint in (None, one.content["IngressVpcConfiguration"]["VpcEndpointId"])
            ],
            request.get("NextToken"),
            request.get("MaxResults", _PAGE),
            key=lambda one: one.arn,
            code=INVALID,
        )
        summaries = [
            {"VpcIngressConnectionArn": one.arn, "ServiceArn": one.content["ServiceArn"]} for one in shown
        ]
        return {"VpcIngressConnectionSummaryList": summaries, "NextToken": token}

    async def update_vpc_ingress_connection(self, **request: Any) -> Mapping[str, Any]:
        found = self._find(request)
        changed = replace(found, content={**found.content, "IngressVpcConfiguration": _vpc(request)})
        await self._resources.save(changed)
        return {"VpcIngressConnection": _ingress(changed)}

    async def delete_vpc_ingress_connection(self, **request: Any) -> Mapping[str, Any]:
        found = self._find(request)
        await self._resources.remove(found)
        return {"VpcIngressConnection": _ingress(found, "DELETED")}

    def _find(self, request: Mapping[str, Any]) -> Resource:
        named = request["VpcIngressConnectionArn"]
        found = self._resources.find(named)
        if found is None or found.kind != INGRESS:
            raise missing(f"there is no VPC ingress connection {named}")
        return found


def _vpc(request: Mapping[str, Any]) -> dict[str, Any]:
    configuration: dict[str, Any] = request["IngressVpcConfiguration"]
    for name in ("VpcId", "VpcEndpointId"):
        if not configuration.get(name):
            raise invalid(f"IngressVpcConfiguration.{name} is missing")
    return configuration


def _connector(connector: Resource) -> dict[str, Any]:
    return {
        "VpcConnectorName": connector.name,
        "VpcConnectorArn": connector.arn,
        "VpcConnectorRevision": connector.revision,
        "Subnets": connector.content["Subnets"],
        "SecurityGroups": connector.content["SecurityGroups"],
        "Status": connector.status,
        "CreatedAt": connector.created_at,
        "DeletedAt": connector.deleted_at,
    }


def _ingress(connection: Resource, status: str = "AVAILABLE") -> dict[str, Any]:
    return {
        "VpcIngressConnectionArn": connection.arn,
        "VpcIngressConnectionName": connection.name,
        "ServiceArn": connection.content["ServiceArn"],
        "Status": status,
        "AccountId": ACCOUNT,
        "DomainName": connection.content["DomainName"],
        "IngressVpcConfiguration": connection.content["IngressVpcConfiguration"],
        "CreatedAt": connection.created_at,
    }
