"""A server that speaks AWS JSON for what moto does not have, held to botocore's own service models.

Each request is checked against the operation's input shape and each answer against its output shape, so that
what passes here has AWS's words in it. ECS Express Mode: a service is rolled out over a few looks at it.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import botocore.session
from bench.serving import in_thread
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from botocore.validate import ParamValidator

ACCOUNT = "123456789012"
_make_call = BaseClient._make_api_call  # as it is before a test records calls
_LOOKS = 2  # at a deployment before it is over


class WireError(Exception):
    """An error of AWS's, by its code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class ExpressGateway:
    """ECS Express Mode. While it is `broken` no image gets healthy: the one before stays."""

    region: str
    broken: bool = False
    services: dict[str, dict[str, Any]] = field(default_factory=dict)
    deployments: dict[str, dict[str, Any]] = field(default_factory=dict)

    def CreateExpressGatewayService(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        name = asked["serviceName"]
        arn = f"arn:aws:ecs:{self.region}:{ACCOUNT}:service/default/{name}"
        if arn in self.services:
            raise WireError("InvalidParameterException", f"Creation of service {name} was not idempotent.")
        self.services[arn] = {
            "cluster": "default",
            "serviceName": name,
            "serviceArn": arn,
            "infrastructureRoleArn": asked["infrastructureRoleArn"],
            "status": {"statusCode": "ACTIVE"},
            "activeConfigurations": [],
            "tags": asked.get("tags", []),
            "createdAt": datetime.now(UTC),
            "updatedAt": datetime.now(UTC),
        }
        self._deploy(arn, asked)
        self.services[arn]["activeConfigurations"] = [self._configuration(arn, asked)]
        return {"service": self.services[arn]}

    def DescribeExpressGatewayService(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        service = dict(self._service(asked))
        if "TAGS" not in asked.get("include", []):
            del service["tags"]
        return {"service": service}

    def UpdateExpressGatewayService(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        service = self._service(asked)
        self._deploy(service["serviceArn"], asked)
        kept = ("serviceArn", "cluster", "serviceName", "status", "createdAt", "updatedAt")
        target = self._configuration(service["serviceArn"], asked)
        return {"service": {name: service[name] for name in kept} | {"targetConfiguration": target}}

    def DeleteExpressGatewayService(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        service = self._service(asked)
        service["status"] = {"statusCode": "INACTIVE"}
        del self.services[service["serviceArn"]]
        return {"service": service}

    def DescribeServiceDeployments(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        found = []
        for arn in asked["serviceDeploymentArns"]:
            deployment = self.deployments[arn]
            deployment["looks"] -= 1
            if deployment["looks"] <= 0 and deployment["status"] == "IN_PROGRESS":
                self._finish(deployment)
            found.append({
                "serviceDeploymentArn": arn,
                "serviceArn": deployment["service"],
                "status": deployment["status"],
                "createdAt": deployment["createdAt"],
            })  # fmt: skip
        return {"serviceDeployments": found}

    def ListServiceDeployments(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        ours = [
            {"serviceDeploymentArn": arn, "status": one["status"], "createdAt": one["createdAt"],
             "serviceArn": one["service"]}
            for arn, one in self.deployments.items()
            if one["service"].endswith(f"/{asked['service']}")
        ]  # fmt: skip
        return {"serviceDeployments": ours[::-1]}

    def TagResource(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        service = self._service({"serviceArn": asked["resourceArn"]})
        tags = {one["key"]: one["value"] for one in [*service["tags"], *asked["tags"]]}
        service["tags"] = [{"key": key, "value": value} for key, value in tags.items()]
        return {}

    def _service(self, asked: dict[str, Any]) -> dict[str, Any]:
        try:
            return self.services[asked["serviceArn"]]
        except KeyError:
            raise WireError("ResourceNotFoundException", "The service was not found.") from None

    def _deploy(self, arn: str, asked: dict[str, Any]) -> None:
        number = len(self.deployments) + 1
        deployment = f"{arn.replace(':service/', ':service-deployment/')}/{number}"
        self.deployments[deployment] = {
            "service": arn,
            "status": "IN_PROGRESS",
            "looks": _LOOKS,
            "asked": asked,
            "createdAt": datetime.now(UTC),
        }
        self.services[arn]["currentDeployment"] = deployment

    def _finish(self, deployment: dict[str, Any]) -> None:
        service, asked = self.services[deployment["service"]], deployment["asked"]
        if self.broken:
            deployment["status"] = "ROLLBACK_SUCCESSFUL"
            return
        deployment["status"] = "SUCCESSFUL"
        service["activeConfigurations"] = [self._configuration(deployment["service"], asked)]

    def _configuration(self, arn: str, asked: dict[str, Any]) -> dict[str, Any]:
        named = (
            "executionRoleArn", "taskRoleArn", "cpu", "memory", "cpuArchitecture", "healthCheckPath",
            "primaryContainer", "scalingTarget",
        )  # fmt: skip
        host = f"{arn.rpartition('/')[2]}.ecs.{self.region}.on.aws"
        said = {name: asked[name] for name in named if name in asked}
        return {
            "cpuArchitecture": "X86_64",
            **said,
            "serviceRevisionArn": f"{arn.replace(':service/', ':service-revision/')}/{len(self.deployments)}",
            "ingressPaths": [{"accessType": "PUBLIC", "endpoint": f"https://{host}"}],
            "createdAt": datetime.now(UTC),
        }


@dataclass
class AppRunner:
    """App Runner of AWS, as far as one service goes, with roles (homeport, the real thing, has none)."""

    region: str
    services: dict[str, dict[str, Any]] = field(default_factory=dict)
    tags: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    scaling: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._revision("DefaultConfiguration", MaxConcurrency=100, MinSize=1, MaxSize=25, IsDefault=True)

    def CreateAutoScalingConfiguration(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        name, tags = asked.pop("AutoScalingConfigurationName"), asked.pop("Tags", [])
        if len(self._revisions(name)) >= 5:
            raise WireError("ServiceQuotaExceededException", f"{name} has 5 revisions.")
        made = self._revision(name, **{"MaxConcurrency": 100, "MinSize": 1, "MaxSize": 25, **asked})
        self.tags[made["AutoScalingConfigurationArn"]] = tags
        return {"AutoScalingConfiguration": made}

    def DescribeAutoScalingConfiguration(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"AutoScalingConfiguration": self._scaling(asked["AutoScalingConfigurationArn"])}

    def ListAutoScalingConfigurations(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        name = asked.get("AutoScalingConfigurationName")
        return {
            "AutoScalingConfigurationSummaryList": [
                self._scaling_summary(one["AutoScalingConfigurationArn"])
                for one in self.scaling.values()
                if name in (None, one["AutoScalingConfigurationName"])
            ]
        }

    def DeleteAutoScalingConfiguration(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        arn = asked["AutoScalingConfigurationArn"]
        if asked.get("DeleteAllRevisions"):
            if not arn.count("/") == 1:
                raise WireError("InvalidRequestException", "All revisions go by the name alone.")
            going = self._revisions(arn.rpartition("/")[2])
        else:
            going = [self._scaling(arn)]
        if any(self._scaling_summary(one["AutoScalingConfigurationArn"])["HasAssociatedService"]
               for one in going):  # fmt: skip
            raise WireError("InvalidRequestException", f"{arn} has a service.")
        for one in going:
            del self.scaling[one["AutoScalingConfigurationArn"]]
        return {"AutoScalingConfiguration": going[-1]}

    def TagResource(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self.tags[asked["ResourceArn"]] = asked["Tags"]
        return {}

    def _revision(self, name: str, **sizes: Any) -> dict[str, Any]:
        number = (
            max((one["AutoScalingConfigurationRevision"] for one in self._revisions(name)), default=0) + 1
        )
        arn = (
            f"arn:aws:apprunner:{self.region}:{ACCOUNT}:autoscalingconfiguration/{name}/{number}/{number:032}"
        )
        self.scaling[arn] = {
            "AutoScalingConfigurationArn": arn,
            "AutoScalingConfigurationName": name,
            "AutoScalingConfigurationRevision": number,
            "Status": "ACTIVE",
            **sizes,
        }
        return self.scaling[arn]

    def _revisions(self, name: str) -> list[dict[str, Any]]:
        return [one for one in self.scaling.values() if one["AutoScalingConfigurationName"] == name]

    def _scaling(self, arn: str) -> dict[str, Any]:
        try:
            return self.scaling[arn]
        except KeyError:
            raise WireError("ResourceNotFoundException", "There is no such configuration.") from None

    def _scaling_summary(self, arn: str) -> dict[str, Any]:
        there = self._scaling(arn)
        named = ("AutoScalingConfigurationArn", "AutoScalingConfigurationName", "IsDefault",
                 "AutoScalingConfigurationRevision", "Status")  # fmt: skip
        used = {
            service["AutoScalingConfigurationSummary"]["AutoScalingConfigurationArn"]
            for service in self.services.values()
        }
        return {name: there[name] for name in named if name in there} | {"HasAssociatedService": arn in used}

    def _scaled(self, asked: dict[str, Any]) -> dict[str, Any]:
        """What a request says of how the service scales, as the service shows it."""
        arn = asked.pop("AutoScalingConfigurationArn", None)
        return {"AutoScalingConfigurationSummary": self._scaling_summary(arn)} if arn else {}

    def CreateService(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        name = asked["ServiceName"]
        arn = f"arn:aws:apprunner:{self.region}:{ACCOUNT}:service/{name}/{len(self.services) + 1:032}"
        self.tags[arn] = asked.pop("Tags", [])
        asked.setdefault("AutoScalingConfigurationArn", next(iter(self.scaling)))
        self.services[arn] = {
            **self._scaled(asked),
            **asked,
            "ServiceId": arn.rpartition("/")[2],
            "ServiceArn": arn,
            "ServiceUrl": f"{name}.{self.region}.awsapprunner.com",
            "CreatedAt": datetime.now(UTC),
            "UpdatedAt": datetime.now(UTC),
            "Status": "OPERATION_IN_PROGRESS",
            "NetworkConfiguration": {},
        }
        return {"Service": self.services[arn], "OperationId": "1" * 36}

    def DescribeService(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        service = self._service(asked)
        answer = dict(service)
        service["Status"] = "RUNNING"  # at the next look
        return {"Service": answer}

    def ListServices(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        named = ("ServiceName", "ServiceId", "ServiceArn", "ServiceUrl", "Status")
        return {
            "ServiceSummaryList": [
                {name: service[name] for name in named} for service in self.services.values()
            ]
        }

    def UpdateService(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        service = self._service(asked)
        service.update(self._scaled(asked) | asked, Status="OPERATION_IN_PROGRESS")
        return {"Service": service, "OperationId": "2" * 36}

    def DeleteService(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        service = self._service(asked)
        del self.services[asked["ServiceArn"]]
        return {"Service": service | {"Status": "OPERATION_IN_PROGRESS"}, "OperationId": "3" * 36}

    def ListTagsForResource(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"Tags": self.tags[asked["ResourceArn"]]}

    def _service(self, asked: dict[str, Any]) -> dict[str, Any]:
        try:
            return self.services[asked["ServiceArn"]]
        except KeyError:
            raise WireError("ResourceNotFoundException", "There is no such service.") from None


class Behind:
    """A service of AWS's as a homeport answers it: for this account and region, which are its own there."""

    def __init__(self, client: Any, region: str) -> None:
        self._client = client
        self._names = ((ACCOUNT, "000000000000"), (region, "local-1"))

    def __getattr__(self, operation: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
        return lambda asked: self.forwarded(operation, asked)

    def forwarded(self, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = _make_call(self._client, operation, _renamed(asked, self._names))
        except ClientError as error:
            detail = error.response["Error"]
            raise WireError(detail["Code"], detail["Message"]) from None
        del answer["ResponseMetadata"]
        return dict(_renamed(answer, [(ours, theirs) for theirs, ours in self._names]))


class BehindEcr(Behind):
    """A homeport scans no image, which ECR does."""

    def forwarded(self, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        asked = {name: value for name, value in asked.items() if name != "imageScanningConfiguration"}
        answer = super().forwarded(operation, asked)
        for repository in answer.get("repositories", [answer.get("repository")]):
            if repository:
                repository["imageScanningConfiguration"] = {"scanOnPush": True}
        return answer


def _renamed(value: Any, names: Sequence[tuple[str, str]]) -> Any:
    """A value with words in its strings replaced."""
    if isinstance(value, dict):
        return {key: _renamed(one, names) for key, one in value.items()}
    if isinstance(value, list):
        return [_renamed(one, names) for one in value]
    if isinstance(value, str):
        for before, after in names:
            value = value.replace(before, after)
    return value


@dataclass
class Budgets:
    """AWS Budgets, as far as an alarm goes: moto has no tags, subscribers and updates of them."""

    budgets: dict[str, dict[str, Any]] = field(default_factory=dict)

    def CreateBudget(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        name = asked["Budget"]["BudgetName"]
        if name in self.budgets:
            raise WireError("DuplicateRecordException", f"{name} exists.")
        self.budgets[name] = asked
        return {}

    def DescribeBudget(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"Budget": self._budget(asked)["Budget"]}

    def DescribeNotificationsForBudget(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        alarms = self._budget(asked)["NotificationsWithSubscribers"]
        return {"Notifications": [alarm["Notification"] for alarm in alarms]}

    def DescribeSubscribersForNotification(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        for alarm in self._budget(asked)["NotificationsWithSubscribers"]:
            if alarm["Notification"] == asked["Notification"]:
                return {"Subscribers": alarm["Subscribers"]}
        raise WireError("NotFoundException", "There is no such notification.")

    def ListTagsForResource(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        name = asked["ResourceARN"].rpartition("budget/")[2]
        return {"ResourceTags": self._budget({"BudgetName": name})["ResourceTags"]}

    def TagResource(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        name = asked["ResourceARN"].rpartition("budget/")[2]
        self._budget({"BudgetName": name})["ResourceTags"] = asked["ResourceTags"]
        return {}

    def DeleteBudget(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self._budget(asked)
        del self.budgets[asked["BudgetName"]]
        return {}

    def _budget(self, asked: dict[str, Any]) -> dict[str, Any]:
        try:
            return self.budgets[asked["BudgetName"]]
        except KeyError:
            raise WireError("NotFoundException", f"There is no {asked['BudgetName']}.") from None


@dataclass
class CostExplorer:
    """Which tags costs are kept apart by; a member of an organization may not ask, and `refused` is one."""

    active: set[str] = field(default_factory=set)
    refused: bool = False

    def ListCostAllocationTags(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        if self.refused:
            raise WireError("AccessDeniedException", "Linked account doesn't have access to cost tags.")
        return {
            "CostAllocationTags": [
                {"TagKey": key, "Type": "UserDefined", "Status": "Active"}
                for key in asked["TagKeys"]
                if key in self.active
            ]
        }


@dataclass
class Wire:
    """The running server, and what it keeps."""

    url: str
    services: dict[str, Any]

    @property
    def express(self) -> ExpressGateway:
        found: ExpressGateway = self.services["ecs"]
        return found

    @property
    def budgets(self) -> Budgets:
        found: Budgets = self.services["budgets"]
        return found

    @property
    def apprunner(self) -> AppRunner:
        found: AppRunner = self.services["apprunner"]
        return found

    @property
    def costs(self) -> CostExplorer:
        found: CostExplorer = self.services["ce"]
        return found

    def reset(self) -> None:
        self.services.update(_fresh(self.express.region))


def _fresh(region: str) -> dict[str, Any]:
    return {
        "ecs": ExpressGateway(region),
        "apprunner": AppRunner(region),
        "budgets": Budgets(),
        "ce": CostExplorer(),
    }


@contextmanager
def serving(region: str, services: dict[str, Any] | None = None) -> Iterator[Wire]:
    """The server on a free port of loopback, as long as the context lasts; of these services where some are
    given.
    """
    services = _fresh(region) if services is None else services
    session = botocore.session.get_session()
    models = {name: session.get_service_model(name) for name in services}
    by_prefix = {model.metadata["targetPrefix"]: name for name, model in models.items()}
    lock = threading.Lock()

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            prefix, _, operation = self.headers["X-Amz-Target"].partition(".")
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            service = by_prefix[prefix]
            model = models[service].operation_model(operation)
            try:
                _check(model.input_shape, body, f"{operation} is asked")
                method: Callable[[Any], Any] = getattr(services[service], operation)
                with lock:
                    answer = method(body)
                    _check(model.output_shape, answer, f"{operation} answers")
                    self._send(200, json.dumps(answer, default=lambda time: time.timestamp()))
            except WireError as error:
                self._send(400, json.dumps({"__type": error.code, "message": str(error)}))

        def _send(self, status: int, text: str) -> None:
            data = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", self.headers["Content-Type"])
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.daemon_threads = True
    with in_thread(server):
        yield Wire(f"http://127.0.0.1:{server.server_port}", services)


def _check(shape: Any, value: Any, what: str) -> None:
    """Types, required and unknown members, lengths; and what botocore itself leaves to AWS: enumerations."""
    report = ParamValidator().validate(value, shape)
    if what.endswith(" answers"):
        # AWS answers with lists that have nothing in them also where its models want one thing at least.
        report._errors = [one for one in report._errors if one[0] != "invalid length" or one[2]["param"] != 0]
    if report.has_errors():
        raise WireError("InvalidParameterException", f"{what}: {report.generate_report()}")
    _check_enums(shape, value, what)


def _check_enums(shape: Any, value: Any, what: str) -> None:
    if shape.type_name == "structure":
        for name, one in value.items():
            _check_enums(shape.members[name], one, f"{what}: {name}")
    elif shape.type_name == "list":
        for one in value:
            _check_enums(shape.member, one, what)
    elif shape.type_name == "string" and shape.enum and value not in shape.enum:
        raise WireError("InvalidParameterException", f"{what}: {value!r} is none of {shape.enum}")


if __name__ == "__main__":  # for whoever needs it as a process of its own: until its standard input ends
    with serving(sys.argv[1]) as wire:
        print(wire.url, flush=True)
        sys.stdin.read()
