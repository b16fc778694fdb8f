"""App Runner's calls, made with boto3; every answer is held against AWS's model by the client fixture."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from homeport.model import HealthCheck

_NOWHERE = "arn:aws:apprunner:local-1:000000000000:service/nowhere/" + "0" * 32
_KMS_KEY = "arn:aws:kms:eu-west-1:000000000000:key/00000000-0000-0000-0000-000000000000"


@pytest.fixture
def apprunner(harbour: Any) -> Any:
    return harbour.client("apprunner", parameter_validation=False)


def _source(image: str = "127.0.0.1:7070/blog:latest", **configuration: Any) -> dict[str, Any]:
    return {
        "ImageRepository": {
            "ImageIdentifier": image,
            "ImageRepositoryType": "ECR",
            "ImageConfiguration": configuration,
        }
    }


def _create(apprunner: Any, name: str = "blog", **settings: Any) -> dict[str, Any]:
    settings.setdefault("SourceConfiguration", _source())
    created: dict[str, Any] = apprunner.create_service(ServiceName=name, **settings)
    return created


def test_a_service_lives_and_dies(harbour: Any, apprunner: Any) -> None:
    created = _create(apprunner)
    service, arn = created["Service"], created["Service"]["ServiceArn"]
    assert service["Status"] == "OPERATION_IN_PROGRESS"
    assert service["ServiceUrl"] == "blog.localhost:8443"
    assert abs(datetime.now(UTC) - service["CreatedAt"]) < timedelta(minutes=1)
    harbour.controller.finish(arn)
    described = apprunner.describe_service(ServiceArn=arn)["Service"]
    assert described["Status"] == "RUNNING"

    updated = apprunner.update_service(ServiceArn=arn, InstanceConfiguration={"Cpu": "2 vCPU"})
    assert updated["Service"]["InstanceConfiguration"] == {"Cpu": "2048", "Memory": "2048"}
    harbour.controller.finish(arn)
    deployment = apprunner.start_deployment(ServiceArn=arn)["OperationId"]
    harbour.controller.finish(arn)

    operations = apprunner.list_operations(ServiceArn=arn)["OperationSummaryList"]
    assert [one["Type"] for one in operations] == ["START_DEPLOYMENT", "UPDATE_SERVICE", "CREATE_SERVICE"]
    assert [one["Status"] for one in operations] == ["SUCCEEDED"] * 3
    assert operations[0]["Id"] == deployment
    assert operations[2]["Id"] == created["OperationId"]
    assert operations[0]["StartedAt"] <= operations[0]["EndedAt"]

    assert apprunner.delete_service(ServiceArn=arn)["Service"]["Status"] == "OPERATION_IN_PROGRESS"
    harbour.controller.finish(arn)
    gone = apprunner.describe_service(ServiceArn=arn)["Service"]
    assert (gone["Status"], gone["DeletedAt"] >= gone["CreatedAt"]) == ("DELETED", True)
    assert apprunner.list_services()["ServiceSummaryList"] == []


def test_what_is_asked_for_is_what_the_controller_gets_and_what_is_described(
    harbour: Any, apprunner: Any
) -> None:
    settings = {
        "SourceConfiguration": _source(
            Port="3000",
            RuntimeEnvironmentVariables={"GREETING": "grüezi\n😀", "EMPTY": ""},
            RuntimeEnvironmentSecrets={"KEY": "arn:aws:ssm:eu-west-1:123456789012:parameter/shop/key"},
            StartCommand="run it",
        )
        | {"AutoDeploymentsEnabled": False},
        "InstanceConfiguration": {"Cpu": "0.25 vCPU", "Memory": "0.5 GB"},
        "HealthCheckConfiguration": {
            "Protocol": "HTTP",
            "Path": "/well?really=yes",
            "Interval": 1,
            "Timeout": 3,
            "HealthyThreshold": 2,
            "UnhealthyThreshold": 4,
        },
    }
    described = _create(apprunner, **settings)["Service"]
    spec = harbour.controller.service(described["ServiceArn"]).spec
    assert (spec.name, spec.image, spec.port) == ("blog", "127.0.0.1:7070/blog:latest", 3000)
    assert spec.environment == {"GREETING": "grüezi\n😀", "EMPTY": ""}
    assert spec.secrets == {"KEY": "arn:aws:ssm:eu-west-1:123456789012:parameter/shop/key"}
    assert (spec.start_command, spec.auto_deploy, spec.cpu, spec.memory) == ("run it", False, 256, 512)
    assert spec.health == HealthCheck("HTTP", "/well?really=yes", 1, 3, 2, 4)
    assert described["SourceConfiguration"] == settings["SourceConfiguration"]
    assert described["HealthCheckConfiguration"] == settings["HealthCheckConfiguration"]
    assert described["InstanceConfiguration"] == {"Cpu": "256", "Memory": "512"}


def test_what_is_left_out_has_app_runners_defaults(harbour: Any, apprunner: Any) -> None:
    described = _create(apprunner)["Service"]
    spec = harbour.controller.service(described["ServiceArn"]).spec
    assert (spec.port, spec.cpu, spec.memory, spec.auto_deploy) == (8080, 1024, 2048, True)
    assert spec.health == HealthCheck()


def test_a_service_is_paused_and_resumed(harbour: Any, apprunner: Any) -> None:
    arn = _create(apprunner)["Service"]["ServiceArn"]
    harbour.controller.finish(arn)
    paused = apprunner.pause_service(ServiceArn=arn)
    harbour.controller.finish(arn)
    assert apprunner.describe_service(ServiceArn=arn)["Service"]["Status"] == "PAUSED"
    for call in (apprunner.pause_service, apprunner.update_service):
        with pytest.raises(apprunner.exceptions.InvalidStateException):
            call(ServiceArn=arn)
    resumed = apprunner.resume_service(ServiceArn=arn)
    harbour.controller.finish(arn)
    newest = apprunner.list_operations(ServiceArn=arn, MaxResults=2)["OperationSummaryList"]
    assert [(one["Type"], one["Id"]) for one in newest] == [
        ("RESUME_SERVICE", resumed["OperationId"]),
        ("PAUSE_SERVICE", paused["OperationId"]),
    ]


def test_an_update_keeps_what_it_does_not_mention(harbour: Any, apprunner: Any) -> None:
    arn = _create(apprunner, SourceConfiguration=_source(Port="3000", StartCommand="run"))["Service"][
        "ServiceArn"
    ]
    harbour.controller.finish(arn)
    apprunner.update_service(
        ServiceArn=arn, SourceConfiguration=_source("127.0.0.1:7070/blog:two", Port="3001")
    )
    spec = harbour.controller.service(arn).spec
    assert (spec.image, spec.port, spec.start_command) == ("127.0.0.1:7070/blog:two", 3001, "run")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"SourceConfiguration": _source(Port="http")}, "Port is 'http'"),
        ({"SourceConfiguration": _source(Port="0")}, "Port is '0'"),
        ({"SourceConfiguration": _source(Port="65536")}, "Port is '65536'"),
        ({"SourceConfiguration": _source(Port="")}, "Port is ''"),
        ({"SourceConfiguration": _source(Port="٨٠")}, "not a number from 1 to 65535"),
        ({"SourceConfiguration": _source(Port=8080)}, "Port is not of type str"),
        ({"SourceConfiguration": _source("no image::at all")}, "ImageIdentifier: "),
        ({"SourceConfiguration": _source("../../etc")}, "ImageIdentifier: "),
        ({"SourceConfiguration": _source(RuntimeEnvironmentVariables={"A=B": "c"})}, "'A=B' cannot be"),
        ({"SourceConfiguration": _source(RuntimeEnvironmentVariables={"A": "\0"})}, "'A' cannot be"),
        ({"SourceConfiguration": _source(RuntimeEnvironmentVariables={"A": 1})}, "A is not of type str"),
        (
            {"SourceConfiguration": _source(RuntimeEnvironmentSecrets={"A/B": "x"})},
            "'A/B' cannot be a variable's name",
        ),
        (
            {"SourceConfiguration": _source(RuntimeEnvironmentSecrets={"A": "arn:aws:s3:::b"})},
            "RuntimeEnvironmentSecrets.A: arn:aws:s3:::b is no ARN of",
        ),
        (
            {
                "SourceConfiguration": _source(
                    RuntimeEnvironmentVariables={"A": "b"}, RuntimeEnvironmentSecrets={"A": "b"}
                )
            },
            "A is in RuntimeEnvironmentVariables and in RuntimeEnvironmentSecrets",
        ),
        ({"SourceConfiguration": _source(StartCommand="a\nb")}, "StartCommand is 'a\\nb'"),
        ({"SourceConfiguration": _source(StartComand="a")}, "StartComand is not a member of"),
        ({"SourceConfiguration": {}}, "ImageRepository is missing"),
        ({"SourceConfiguration": {"CodeRepository": {}}}, "RepositoryUrl is missing"),
        (
            {"SourceConfiguration": {"ImageRepository": {"ImageIdentifier": "a"}}},
            "ImageRepositoryType is missing",
        ),
        ({"SourceConfiguration": []}, "SourceConfiguration is not of type dict"),
        ({"SourceConfiguration": None}, "SourceConfiguration is missing"),
        ({"ServiceName": "abc"}, "less than 4"),
        ({"ServiceName": "a" * 41}, "more than 40"),
        ({"ServiceName": "../x"}, "does not match"),
        ({"ServiceName": "blog\n"}, "does not match"),
        ({"ServiceName": True}, "ServiceName is not of type str"),
        ({"Colour": "blue"}, "Colour is not a member of CreateServiceRequest"),
        ({"InstanceConfiguration": {"Cpu": "3 vCPU"}}, "Cpu is '3 vCPU'"),
        ({"InstanceConfiguration": {"Memory": "lots"}}, "Memory is 'lots'"),
        (
            {"InstanceConfiguration": {"InstanceRoleArn": "arn:aws:iam::000000000000:role/x"}},
            "InstanceRoleArn: there is no role x that trusts tasks.apprunner.amazonaws.com",
        ),
        ({"HealthCheckConfiguration": {"Protocol": "UDP"}}, "not one of TCP, HTTP"),
        ({"HealthCheckConfiguration": {"Interval": 0}}, "less than 1"),
        ({"HealthCheckConfiguration": {"Timeout": 21}}, "more than 20"),
        ({"HealthCheckConfiguration": {"Timeout": 1.5}}, "Timeout is not of type int"),
        ({"HealthCheckConfiguration": {"Path": "well"}}, "must begin with /"),
        ({"HealthCheckConfiguration": {"Path": "/ HTTP/1.1\r\nHost: elsewhere"}}, "must begin with /"),
        ({"Tags": [{"Key": "a", "Value": "b"}, {"Key": "a", "Value": "c"}]}, "'a' is there twice"),
        ({"Tags": [{"Value": "b"}]}, "without a Key"),
        ({"Tags": [{"Key": str(number)} for number in range(51)]}, "more than 50"),
        ({"Tags": [{"Key": "aws:a", "Value": "b"}]}, "does not match"),
        (
            {"NetworkConfiguration": {"IngressConfiguration": {"IsPubliclyAccessible": False}}},
            "IsPubliclyAccessible must be true",
        ),
        ({"NetworkConfiguration": {"IpAddressType": "DUAL_STACK"}}, "IpAddressType must be IPV4"),
        (
            {"NetworkConfiguration": {"EgressConfiguration": {"EgressType": "VPC"}}},
            "a VpcConnectorArn goes with EgressType VPC",
        ),
        ({"AutoScalingConfigurationArn": "arn:aws:apprunner:a:000000000000:x"}, "there is no active"),
        (
            {"SourceConfiguration": _source() | {"AuthenticationConfiguration": {"ConnectionArn": _NOWHERE}}},
            "ConnectionArn is for code",
        ),
        ({"EncryptionConfiguration": {"KmsKey": _KMS_KEY}}, "EncryptionConfiguration is not supported"),
        (
            {
                "ObservabilityConfiguration": {
                    "ObservabilityEnabled": True,
                    "ObservabilityConfigurationArn": _NOWHERE,
                }
            },
            "there is no active observabilityconfiguration",
        ),
        (
            {
                "ObservabilityConfiguration": {
                    "ObservabilityEnabled": False,
                    "ObservabilityConfigurationArn": _NOWHERE,
                }
            },
            "goes with ObservabilityEnabled",
        ),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_with_what_is_wrong(
    harbour: Any, change: dict[str, Any], message: str
) -> None:
    request = {"ServiceName": "blog", "SourceConfiguration": _source()} | change
    reply = harbour.call("apprunner", "CreateService", request)
    assert (reply.status, reply.code) == (400, "InvalidRequestException")
    assert message in reply.message
    assert harbour.controller.services() == []


def test_code_is_not_run_only_images(harbour: Any) -> None:
    code = {
        "CodeRepository": {
            "RepositoryUrl": "https://host/repository",
            "SourceCodeVersion": {"Type": "BRANCH", "Value": "main"},
        }
    }
    create = harbour.call("apprunner", "CreateService", {"ServiceName": "blog", "SourceConfiguration": code})
    assert "homeport runs images" in create.message
    arn, _ = harbour.service_key("blog")
    update = harbour.call("apprunner", "UpdateService", {"ServiceArn": arn, "SourceConfiguration": code})
    assert "homeport runs images" in update.message


def test_a_name_is_given_once(apprunner: Any) -> None:
    _create(apprunner)
    with pytest.raises(apprunner.exceptions.InvalidRequestException, match="named blog is there already"):
        _create(apprunner)


@pytest.mark.parametrize("arn", [_NOWHERE, _NOWHERE.replace("nowhere", "../..")])
@pytest.mark.parametrize(
    "call",
    [
        "describe_service",
        "update_service",
        "delete_service",
        "start_deployment",
        "list_operations",
        "pause_service",
        "resume_service",
    ],
)
def test_a_service_that_is_not_there_is_a_typed_exception(apprunner: Any, call: str, arn: str) -> None:
    expected = apprunner.exceptions.ResourceNotFoundException
    if ".." in arn:
        expected = apprunner.exceptions.InvalidRequestException
    with pytest.raises(expected):
        getattr(apprunner, call)(ServiceArn=arn)


def test_a_busy_service_is_a_typed_exception(apprunner: Any) -> None:
    arn = _create(apprunner)["Service"]["ServiceArn"]
    with pytest.raises(apprunner.exceptions.InvalidStateException):
        apprunner.update_service(ServiceArn=arn)
    with pytest.raises(apprunner.exceptions.InvalidStateException):
        apprunner.delete_service(ServiceArn=arn)
    # Of these, this one alone has no InvalidStateException in AWS's model.
    with pytest.raises(apprunner.exceptions.InvalidRequestException):
        apprunner.start_deployment(ServiceArn=arn)


def test_lists_come_in_pages(harbour: Any, apprunner: Any) -> None:
    for number in range(5):
        _create(apprunner, f"blog{number}")
    names, token, sizes = [], None, []
    while True:
        page = apprunner.list_services(MaxResults=2, **({"NextToken": token} if token else {}))
        sizes.append(len(page["ServiceSummaryList"]))
        names += [service["ServiceName"] for service in page["ServiceSummaryList"]]
        token = page.get("NextToken")
        if token is None:
            break
    assert names == [f"blog{number}" for number in range(5)]
    assert sizes == [2, 2, 1]


def test_what_comes_and_goes_between_pages_hides_nothing_and_shows_nothing_twice(
    harbour: Any, apprunner: Any
) -> None:
    arns = [_create(apprunner, f"blog{number}")["Service"]["ServiceArn"] for number in range(6)]
    first = apprunner.list_services(MaxResults=3)
    for arn in (arns[0], arns[2]):
        harbour.controller.finish(arn)
        apprunner.delete_service(ServiceArn=arn)
        harbour.controller.finish(arn)
    _create(apprunner, "aaaa")
    rest = apprunner.list_services(MaxResults=20, NextToken=first["NextToken"])["ServiceSummaryList"]
    assert [service["ServiceName"] for service in rest] == ["blog3", "blog4", "blog5"]


def test_operations_come_in_pages(harbour: Any, apprunner: Any) -> None:
    arn = _create(apprunner)["Service"]["ServiceArn"]
    for _ in range(24):
        harbour.controller.finish(arn)
        apprunner.start_deployment(ServiceArn=arn)
    page = apprunner.list_operations(ServiceArn=arn)
    rest = apprunner.list_operations(ServiceArn=arn, NextToken=page["NextToken"])
    assert (len(page["OperationSummaryList"]), len(rest["OperationSummaryList"])) == (20, 5)
    assert "NextToken" not in rest
    assert len({one["Id"] for one in page["OperationSummaryList"] + rest["OperationSummaryList"]}) == 25


@pytest.mark.parametrize("token", ["x", "LTU=", "é", "MTIz!", "AAAA", "OTk5OTk5" * 100])
def test_a_token_that_was_not_given_out_is_refused(harbour: Any, token: str) -> None:
    harbour.service_key("blog")
    reply = harbour.call("apprunner", "ListServices", {"NextToken": token})
    assert (reply.status, reply.code) == (400, "InvalidRequestException")


def test_a_services_own_key_may_not_drive_the_platform(harbour: Any, error_of: Any) -> None:
    arn, key = harbour.service_key("blog")
    for call, arguments in (("list_services", {}), ("delete_service", {"ServiceArn": arn})):
        intruder = harbour.client("apprunner", key)
        assert error_of(getattr(intruder, call), **arguments) == "AccessDeniedException"
