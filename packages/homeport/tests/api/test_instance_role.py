"""The role of a service's instances: who may give it, and what its credentials open."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from homeport.credentials import AccessKey
from homeport.errors import HomeportError
from homeport.instance import Instance
from homeport.instance_role import InstanceRoles
from homeport.model import ServiceSpec
from homeport.policy import INSTANCES, PolicyError, read_trust, trusts_instances
from homeport.roles import Roles

_TRUST = {"Effect": "Allow", "Principal": {"Service": INSTANCES}, "Action": "sts:AssumeRole"}
_ROLE = "arn:aws:iam::000000000000:role/shop-runs"


def text(*statements: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def statement(effect: str, actions: list[str], *resources: str) -> dict[str, Any]:
    return {"Effect": effect, "Action": actions, "Resource": list(resources)}


@pytest.fixture
def iam(harbour: Any) -> Any:
    client = harbour.client("iam")
    client.create_role(RoleName="shop-runs", AssumeRolePolicyDocument=text(_TRUST))
    return client


@pytest.fixture
def instance(harbour: Any) -> Instance:
    """One of the service `shop`, whose instances have the role."""
    harbour.service_key("shop")
    spec = ServiceSpec("shop", "registry.localhost/shop", role="shop-runs")
    return Instance("0123456789ab", "0" * 32, "sha256:" + "0" * 64, spec, "10.0.0.2")


@pytest.fixture
def roles(harbour: Any, iam: Any) -> InstanceRoles:
    return InstanceRoles(harbour.keyring, lambda name: Roles(harbour.database).find(name))


@pytest.fixture
def s3(harbour: Any, roles: InstanceRoles, instance: Instance) -> Callable[[], Any]:
    """S3's client with credentials as the instance gets them now."""

    def client() -> Any:
        given = roles.issue(instance)
        return harbour.client("s3", AccessKey(given["AccessKeyId"], given["SecretAccessKey"]), given["Token"])

    return client


@pytest.mark.parametrize(
    "changes",
    [
        {"Action": "sts:AssumeRoleWithWebIdentity"},
        {"Action": "*"},
        {"Effect": "Deny"},
        {"Principal": {"Service": "ec2.amazonaws.com"}},
        {"Principal": {"Service": [INSTANCES, "ec2.amazonaws.com"]}},
        {"Principal": {"Service": INSTANCES, "AWS": "*"}},
        {"Condition": {"StringEquals": {"aws:SourceAccount": "1"}}},
    ],
)
def test_a_trust_in_instances_says_that_and_nothing_else(changes: dict[str, Any]) -> None:
    assert trusts_instances(text(_TRUST))
    assert read_trust(text(_TRUST)) == ()
    for reading in (trusts_instances, read_trust):
        with pytest.raises(PolicyError, match=r"."):
            reading(text(_TRUST | changes))


def test_a_service_is_given_a_role_that_trusts_its_instances(harbour: Any, iam: Any, trusted: Any) -> None:
    apprunner = harbour.client("apprunner")
    image = {"ImageRepository": {"ImageIdentifier": "h:1/shop", "ImageRepositoryType": "ECR"}}
    made = apprunner.create_service(
        ServiceName="shop", SourceConfiguration=image, InstanceConfiguration={"InstanceRoleArn": _ROLE}
    )["Service"]
    assert made["InstanceConfiguration"]["InstanceRoleArn"] == _ROLE
    assert harbour.controller.service(made["ServiceArn"]).spec.role == "shop-runs"
    harbour.controller.finish(made["ServiceArn"])
    for role, message in (
        ("arn:aws:iam::000000000000:role/release", "there is no role release that trusts"),
        ("arn:aws:iam::000000000000:role/none", "there is no role none that trusts"),
        ("arn:aws:iam::111111111111:role/shop-runs", "does not begin with"),
    ):
        with pytest.raises(apprunner.exceptions.InvalidRequestException, match=message):
            apprunner.update_service(
                ServiceArn=made["ServiceArn"], InstanceConfiguration={"InstanceRoleArn": role}
            )


def test_whoever_deploys_gives_no_role_unless_they_may_pass_it(
    harbour: Any, iam: Any, trusted: Any, assume: Any, error_of: Any
) -> None:
    arn, _ = harbour.service_key("shop")
    given = assume(trusted.token())["Credentials"]
    key = AccessKey(given["AccessKeyId"], given["SecretAccessKey"])
    client = harbour.client("apprunner", key, given["SessionToken"])
    call = {"ServiceArn": arn, "InstanceConfiguration": {"InstanceRoleArn": _ROLE}}
    may = [statement("Allow", ["apprunner:*"], "*")]
    iam.put_role_policy(RoleName="release", PolicyName="release", PolicyDocument=text(*may))
    assert error_of(client.update_service, **call) == "AccessDeniedException"
    may.append(statement("Allow", ["iam:PassRole"], _ROLE))
    iam.put_role_policy(RoleName="release", PolicyName="release", PolicyDocument=text(*may))
    client.update_service(**call)


def test_an_instance_has_its_services_buckets_and_what_its_role_allows(
    harbour: Any, iam: Any, s3: Any, error_of: Any
) -> None:
    root = harbour.client("s3")
    root.create_bucket(Bucket="shared")
    for key in ("public/a", "public/b", "private"):
        root.put_object(Bucket="shared", Key=key, Body=b"x")
    client = s3()
    client.put_object(Bucket="shop-data", Key="a", Body=b"mine")
    assert client.get_object(Bucket="shop-data", Key="a")["Body"].read() == b"mine"
    assert error_of(client.get_object, Bucket="shared", Key="public/a") == "AccessDenied"
    policy = text(
        statement("Allow", ["s3:GetObject", "s3:DeleteObject"], "arn:aws:s3:::shared/public/*"),
        statement("Deny", ["s3:DeleteObject"], "arn:aws:s3:::shared/public/b", "arn:aws:s3:::shop-data/*"),
    )
    iam.put_role_policy(RoleName="shop-runs", PolicyName="shared", PolicyDocument=policy)
    assert client.get_object(Bucket="shared", Key="public/a")["Body"].read() == b"x"
    for call, key in (("get_object", "private"), ("put_object", "public/a"), ("delete_object", "public/b")):
        assert error_of(getattr(client, call), Bucket="shared", Key=key) == "AccessDenied"
    assert error_of(client.list_objects_v2, Bucket="shared") == "AccessDenied"
    client.copy_object(Bucket="shop-data", Key="b", CopySource="shared/public/a")
    source = {"Bucket": "shop-data", "Key": "c", "CopySource": "shared/private"}
    assert error_of(client.copy_object, **source) == "AccessDenied"
    assert error_of(client.delete_object, Bucket="shop-data", Key="a") == "AccessDenied"
    keys = [{"Key": key} for key in ("public/a", "public/b", "private")]
    deleted = client.delete_objects(Bucket="shared", Delete={"Objects": keys})
    assert [one["Key"] for one in deleted["Deleted"]] == ["public/a"]
    assert {one["Code"] for one in deleted["Errors"]} == {"AccessDenied"}
    assert {one["Name"] for one in client.list_buckets()["Buckets"]} == {"shop-data"}


def test_what_is_given_out_ends_with_the_role_and_is_revoked_with_it(
    iam: Any, s3: Any, roles: InstanceRoles, instance: Instance, error_of: Any
) -> None:
    client = s3()
    client.put_object(Bucket="shop", Key="a", Body=b"x")
    revoked = {
        **statement("Deny", ["*"], "*"),
        "Condition": {"DateLessThan": {"aws:TokenIssueTime": "2100-01-01T00:00:00Z"}},
    }
    iam.put_role_policy(RoleName="shop-runs", PolicyName="revoked", PolicyDocument=text(revoked))
    assert error_of(client.get_object, Bucket="shop", Key="a") == "AccessDenied"
    iam.delete_role_policy(RoleName="shop-runs", PolicyName="revoked")
    client.get_object(Bucket="shop", Key="a")
    iam.delete_role(RoleName="shop-runs")
    assert error_of(client.get_object, Bucket="shop", Key="a") == "InvalidAccessKeyId"
    with pytest.raises(HomeportError, match="there is no role shop-runs"):
        roles.issue(instance)


def test_each_instance_asks_at_a_path_of_its_own(roles: InstanceRoles, instance: Instance) -> None:
    other = replace(instance, id="ba9876543210")
    assert roles.path(instance) == roles.path(instance)
    assert roles.path(instance) != roles.path(other)
    assert len(roles.path(instance)) > 64
