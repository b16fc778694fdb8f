"""App Runner (API version 2020-05-15): its operations in terms of the controller and of kept resources."""

from __future__ import annotations

from homeport.aws.apprunner.connections import Connections
from homeport.aws.apprunner.domains import CustomDomains
from homeport.aws.apprunner.observability import Observability
from homeport.aws.apprunner.scaling import AutoScaling
from homeport.aws.apprunner.services import Services
from homeport.aws.apprunner.settings import Settings
from homeport.aws.apprunner.tags import Tags
from homeport.aws.apprunner.vpc import VpcConnectors, VpcIngressConnections
from homeport.model import Controller
from homeport.resources import Resources
from homeport.roles import Roles


def operations(controller: Controller, resources: Resources, roles: Roles) -> tuple[object, ...]:
    """All operations that are answered, in classes of one method an operation, named as boto3 names it."""
    settings = Settings(controller, resources)
    scaling = AutoScaling(resources, settings)
    return (
        Services(controller, settings, scaling, roles),
        scaling,
        CustomDomains(controller),
        Observability(resources, settings),
        Connections(resources),
        VpcConnectors(resources, settings),
        VpcIngressConnections(controller, resources),
        Tags(controller, resources, settings),
    )
