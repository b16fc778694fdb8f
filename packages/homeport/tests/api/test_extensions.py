"""What rides in a service's tags `homeport:*`, and tags as such, with boto3."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import Any

import pytest

from homeport.model import Entrance, ServiceStatus
from homeport.mounts import Mounts, Tmpfs, Volume
from homeport.state import _spec, _spec_json

_NEW, _OLD, _OLDER = (f"sha256:{digit * 64}" for digit in "cba")


@pytest.fixture
def blog(harbour: Any) -> str:
    """A running service's ARN."""
    arn, _ = harbour.service_key("blog")
    return str(arn)


def _tags(**tags: str) -> list[dict[str, str]]:
    return [{"Key": f"homeport:{key.replace('_', '-')}", "Value": value} for key, value in tags.items()]


def _listed(apprunner: Any, arn: str) -> dict[str, str]:
    tags = apprunner.list_tags_for_resource(ResourceArn=arn)["Tags"]
    return {tag["Key"]: tag["Value"] for tag in tags}


def test_a_service_is_made_to_scale_to_zero(harbour: Any, apprunner: Any) -> None:
    source = {"ImageRepository": {"ImageIdentifier": "h:1/blog", "ImageRepositoryType": "ECR"}}
    tags = [*_tags(scale_to_zero="true", idle_seconds="300", freeze="true"), {"Key": "team", "Value": "web"}]
    made = apprunner.create_service(ServiceName="blog", SourceConfiguration=source, Tags=tags)["Service"]
    scaling = harbour.controller.service(made["ServiceArn"]).spec.scaling
    assert (scaling.to_zero, scaling.idle_after, scaling.max_concurrency) == (True, 300, 100)
    assert scaling.freeze
    assert _listed(apprunner, made["ServiceArn"]) == {tag["Key"]: tag["Value"] for tag in tags}


def test_what_an_instance_has_beside_its_image_is_said_by_tags(
    harbour: Any, apprunner: Any, blog: str
) -> None:
    tags = _tags(
        volumes="data:/data logs:/var/log",
        tmpfs="/run/app:16 /cache",
        read_only="true",
        host_ports="5432 6379",
        track="semver:site-v",
    )
    apprunner.tag_resource(ResourceArn=blog, Tags=tags)
    spec = harbour.controller.service(blog).spec
    assert spec.mounts == Mounts(
        read_only=True,
        tmpfs=(Tmpfs("/run/app", 16), Tmpfs("/cache")),
        volumes=(Volume("data", "/data"), Volume("logs", "/var/log")),
    )
    assert (spec.host_ports, spec.track) == ((5432, 6379), "semver:site-v")
    assert _spec(_spec_json(spec)) == spec
    harbour.controller.finish(blog)
    apprunner.untag_resource(ResourceArn=blog, TagKeys=[tag["Key"] for tag in tags])
    spec = harbour.controller.service(blog).spec
    assert (spec.mounts, spec.host_ports, spec.track) == (Mounts(), (), None)


def test_a_tag_that_acts_is_an_update(harbour: Any, apprunner: Any, blog: str) -> None:
    apprunner.tag_resource(ResourceArn=blog, Tags=_tags(scale_to_zero="true"))
    assert harbour.controller.service(blog).spec.scaling.to_zero
    assert harbour.controller.operations(blog)[0].type == "UPDATE_SERVICE"
    with pytest.raises(apprunner.exceptions.InvalidStateException):
        apprunner.untag_resource(ResourceArn=blog, TagKeys=["homeport:scale-to-zero"])
    assert _listed(apprunner, blog) == {"homeport:scale-to-zero": "true"}
    harbour.controller.finish(blog)
    apprunner.untag_resource(ResourceArn=blog, TagKeys=["homeport:scale-to-zero", "not there"])
    assert not harbour.controller.service(blog).spec.scaling.to_zero
    assert _listed(apprunner, blog) == {}


def test_what_tags_have_said_stays_where_a_crash_kept_them_from_being_written_down(
    harbour: Any, apprunner: Any, blog: str
) -> None:
    """Above all a policy: another tag does not take it away."""
    policy = "token.actions.githubusercontent.com:repository_id=100200"
    apprunner.tag_resource(ResourceArn=blog, Tags=_tags(policy=policy, read_only="true"))
    harbour.controller.finish(blog)
    known = harbour.resources.find(blog)
    asyncio.run(harbour.resources.save(replace(known, tags={})))  # as it is after the first of two writes
    apprunner.tag_resource(ResourceArn=blog, Tags=_tags(access_log="true"))
    harbour.controller.finish(blog)
    spec = harbour.controller.service(blog).spec
    assert (spec.origin, spec.mounts.read_only, spec.entrance.log) == (policy, True, True)
    apprunner.untag_resource(ResourceArn=blog, TagKeys=["homeport:policy"])
    assert harbour.controller.service(blog).spec.origin is None


def test_whom_the_edge_lets_in_is_said_by_tags(harbour: Any, apprunner: Any, blog: str) -> None:
    networks = "192.0.2.7 10.0.0.0/8 2001:DB8::/32 10.0.0.0/8"
    apprunner.tag_resource(ResourceArn=blog, Tags=_tags(allow=networks, request_timeout="600"))
    assert harbour.controller.service(blog).spec.entrance == Entrance(
        ("192.0.2.7/32", "10.0.0.0/8", "2001:db8::/32"), 600
    )
    harbour.controller.finish(blog)
    apprunner.untag_resource(ResourceArn=blog, TagKeys=["homeport:allow", "homeport:request-timeout"])
    assert harbour.controller.service(blog).spec.entrance == Entrance()


def test_a_tag_that_says_what_holds_already_is_no_update(harbour: Any, apprunner: Any, blog: str) -> None:
    before = harbour.controller.operations(blog)
    apprunner.tag_resource(ResourceArn=blog, Tags=_tags(scale_to_zero="false"))
    apprunner.tag_resource(ResourceArn=blog, Tags=[{"Key": "team", "Value": "web"}])
    assert harbour.controller.operations(blog) == before
    assert _listed(apprunner, blog) == {"homeport:scale-to-zero": "false", "team": "web"}


def test_an_update_of_the_service_keeps_what_its_tags_say(harbour: Any, apprunner: Any, blog: str) -> None:
    apprunner.tag_resource(ResourceArn=blog, Tags=_tags(scale_to_zero="true"))
    harbour.controller.finish(blog)
    apprunner.update_service(ServiceArn=blog, InstanceConfiguration={"Cpu": "2 vCPU"})
    assert harbour.controller.service(blog).spec.scaling.to_zero


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        (_tags(scale_to_zero="yes"), "'yes', not true or false"),
        (_tags(idle_seconds="0"), "from 1 to 86400"),
        (_tags(idle_seconds="86401"), "from 1 to 86400"),
        (_tags(idle_seconds="1e3"), "from 1 to 86400"),
        (_tags(idle_seconds="9" * 200), "from 1 to 86400"),
        (_tags(volumes="data:data"), "'data:data', not NAME:PATH.*no absolute path"),
        (_tags(volumes="a:/etc/hosts"), "/etc/hosts is taken"),
        (_tags(volumes="a:/data", tmpfs="/data/x"), "/data/x and /data.*in each other's way"),
        (_tags(tmpfs="/cache:1g"), "not PATH or PATH:MIB"),
        (_tags(read_only="1"), "not true or false"),
        (_tags(host_ports="5432 x"), "not TCP ports"),
        (_tags(host_ports="0"), "not TCP ports"),
        (_tags(track="newest"), "'newest', not semver"),
        (_tags(allow="here"), "'here', not addresses or networks"),
        (_tags(allow="192.0.2.1/24"), "not addresses or networks"),
        (_tags(allow=" "), "not addresses or networks"),
        (_tags(request_timeout="0"), "from 1 to 3600"),
        (_tags(request_timeout="3601"), "from 1 to 3600"),
        (_tags(warp_speed="9"), "no tag homeport:warp-speed; it knows homeport:"),
    ],
)
def test_a_tag_that_homeport_does_not_know_is_refused(
    harbour: Any, apprunner: Any, blog: str, tags: list[dict[str, str]], message: str
) -> None:
    with pytest.raises(apprunner.exceptions.InvalidRequestException, match=message):
        apprunner.tag_resource(ResourceArn=blog, Tags=tags)
    assert _listed(apprunner, blog) == {}
    made = harbour.call(
        "apprunner",
        "CreateService",
        {
            "ServiceName": "shop",
            "SourceConfiguration": {
                "ImageRepository": {"ImageIdentifier": "h:1/shop", "ImageRepositoryType": "ECR"}
            },
            "Tags": tags,
        },
    )
    assert re.search(message, made.message)
    assert len(harbour.controller.services()) == 1


@pytest.mark.parametrize("to", ["previous", _OLD])
def test_a_rollback_is_a_tag_that_is_not_kept(harbour: Any, apprunner: Any, blog: str, to: str) -> None:
    harbour.controller.serve(blog, _NEW, _OLD, _OLDER)
    apprunner.tag_resource(ResourceArn=blog, Tags=_tags(rollback=to))
    newest = harbour.controller.operations(blog)[0]
    assert (newest.type, newest.digest) == ("START_DEPLOYMENT", _OLD)
    assert _listed(apprunner, blog) == {}


def test_a_rollback_to_what_never_served_says_what_can_be_had(
    harbour: Any, apprunner: Any, blog: str
) -> None:
    invalid = apprunner.exceptions.InvalidRequestException
    with pytest.raises(invalid, match="has served nothing else"):
        apprunner.tag_resource(ResourceArn=blog, Tags=_tags(rollback="previous"))
    harbour.controller.serve(blog, _NEW, _OLD)
    with pytest.raises(invalid, match=f"can go back to {_OLD}"):
        apprunner.tag_resource(ResourceArn=blog, Tags=_tags(rollback=_OLDER))
    with pytest.raises(invalid, match="a call of its own"):
        apprunner.tag_resource(ResourceArn=blog, Tags=_tags(rollback=_OLD, scale_to_zero="true"))
    apprunner.tag_resource(ResourceArn=blog, Tags=_tags(rollback=_OLD))
    with pytest.raises(apprunner.exceptions.InvalidStateException):
        apprunner.tag_resource(ResourceArn=blog, Tags=_tags(rollback=_OLD))


def test_what_has_an_arn_has_tags(harbour: Any, apprunner: Any, blog: str) -> None:
    tags = [{"Key": "team", "Value": "web"}]
    made = [
        apprunner.create_auto_scaling_configuration(AutoScalingConfigurationName="busy", Tags=tags),
        apprunner.create_observability_configuration(ObservabilityConfigurationName="seen", Tags=tags),
        apprunner.create_connection(ConnectionName="code", ProviderType="GITHUB", Tags=tags),
        apprunner.create_vpc_connector(VpcConnectorName="lane", Subnets=["subnet-1"], Tags=tags),
        apprunner.create_vpc_ingress_connection(
            ServiceArn=blog,
            VpcIngressConnectionName="door",
            IngressVpcConfiguration={"VpcId": "vpc-1", "VpcEndpointId": "vpce-1"},
            Tags=tags,
        ),
    ]
    for answer in made:
        answer.pop("ResponseMetadata")
        ((_, resource),) = answer.items()
        (arn,) = [value for name, value in resource.items() if name.endswith("Arn") and name != "ServiceArn"]
        apprunner.tag_resource(ResourceArn=arn, Tags=[{"Key": "a", "Value": ""}])
        assert _listed(apprunner, arn) == {"a": "", "team": "web"}
        apprunner.untag_resource(ResourceArn=arn, TagKeys=["team"])
        assert _listed(apprunner, arn) == {"a": ""}


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:apprunner:local-1:000000000000:service/nowhere/" + "0" * 32,
        "arn:aws:apprunner:local-1:000000000000:default/autoscalingconfiguration",
        "arn:aws:ecr:local-1:000000000000:repository/blog",
    ],
)
def test_what_is_not_there_has_no_tags(apprunner: Any, arn: str) -> None:
    for call, more in (
        (apprunner.tag_resource, {"Tags": [{"Key": "a", "Value": "b"}]}),
        (apprunner.untag_resource, {"TagKeys": ["a"]}),
        (apprunner.list_tags_for_resource, {}),
    ):
        with pytest.raises(apprunner.exceptions.ResourceNotFoundException):
            call(ResourceArn=arn, **more)


def test_what_is_deleted_takes_no_tags(harbour: Any, apprunner: Any, blog: str) -> None:
    apprunner.delete_service(ServiceArn=blog)
    harbour.controller.finish(blog)
    assert harbour.controller.service(blog).status == ServiceStatus.DELETED
    with pytest.raises(apprunner.exceptions.InvalidStateException):
        apprunner.tag_resource(ResourceArn=blog, Tags=[{"Key": "a", "Value": "b"}])


def test_more_than_fifty_tags_are_refused_also_bit_by_bit(apprunner: Any, blog: str) -> None:
    for start in (0, 25):
        tags = [{"Key": str(start + number), "Value": ""} for number in range(25)]
        apprunner.tag_resource(ResourceArn=blog, Tags=tags)
    apprunner.tag_resource(ResourceArn=blog, Tags=[{"Key": "0", "Value": "new"}])
    with pytest.raises(apprunner.exceptions.InvalidRequestException, match="more than 50"):
        apprunner.tag_resource(ResourceArn=blog, Tags=[{"Key": "one more", "Value": ""}])
