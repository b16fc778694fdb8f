"""What the API's tests share: the real control port on loopback, over a controller that runs nothing."""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import boto3
import pytest
import uvicorn
from botocore import UNSIGNED
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.model import ListShape, OperationModel, Shape, StructureShape
from botocore.validate import ParamValidator
from obstore.store import LocalStore
from starlette.types import ASGIApp, Receive, Scope, Send

import bucketlog
from homeport.api import Gate, create_app, create_s3_app
from homeport.audit import FOLDER, Trail
from homeport.aws.protocol import service_model
from homeport.catalogue import Catalogue
from homeport.credentials import AccessKey, Keyring
from homeport.jwks import Keys
from homeport.model import (
    CustomDomain,
    CustomDomainStatus,
    DomainExistsError,
    InvalidDomainError,
    LogKind,
    LogLine,
    NoSuchDomainError,
    NoSuchReleaseError,
    NoSuchServiceError,
    Operation,
    OperationStatus,
    OperationType,
    Service,
    ServiceBusyError,
    ServiceExistsError,
    ServiceSpec,
    ServiceStatus,
    ValidationRecord,
)
from homeport.origins import Origins
from homeport.place import REGION, arn
from homeport.repositories import Repositories
from homeport.resources import Resources
from homeport.roles import Roles
from homeport.vault import Vault
from ocikit.registry import Storage

_AUDIENCE = "sts.amazonaws.com"
_SESSION = boto3.session.Session()  # keeps what it has read of AWS's models


class FakeController:
    """A controller that records and starts nothing: an operation ends when a test says so (`finish`)."""

    def __init__(self) -> None:
        self.pushed: list[tuple[str, str, str]] = []
        self.served: dict[str, list[str]] = {}
        self.lines: dict[tuple[str, LogKind], list[LogLine]] = {}
        self._services: dict[str, Service] = {}
        self._operations: dict[str, list[Operation]] = {}
        self._domains: dict[str, CustomDomain] = {}

    async def create_service(self, spec: ServiceSpec) -> tuple[Service, Operation]:
        if any(service.spec.name == spec.name for service in self.services()):
            raise ServiceExistsError(f"a service named {spec.name} is there already")
        identity = uuid.uuid4().hex
        now = datetime.now(UTC)
        service = Service(
            arn=arn("apprunner", f"service/{spec.name}/{identity}"),
            id=identity,
            spec=spec,
            status=ServiceStatus.RUNNING,
            url=f"{spec.name}.localhost:8443",
            created_at=now,
            updated_at=now,
        )
        self._services[service.arn] = service
        self._operations[service.arn] = []
        return self._begin(service.arn, OperationType.CREATE_SERVICE)

    async def update_service(self, arn: str, spec: ServiceSpec) -> tuple[Service, Operation]:
        self._require_idle(arn)
        self._services[arn] = replace(self._services[arn], spec=spec)
        return self._begin(arn, OperationType.UPDATE_SERVICE)

    async def delete_service(self, arn: str) -> tuple[Service, Operation]:
        self._require_idle(arn)
        return self._begin(arn, OperationType.DELETE_SERVICE)

    async def start_deployment(self, arn: str) -> Operation:
        self._require_idle(arn)
        return self._begin(arn, OperationType.START_DEPLOYMENT)[1]

    async def pause_service(self, arn: str) -> tuple[Service, Operation]:
        self._require_idle(arn)
        return self._begin(arn, OperationType.PAUSE_SERVICE)

    async def resume_service(self, arn: str) -> tuple[Service, Operation]:
        if self.service(arn).status != ServiceStatus.PAUSED:
            raise ServiceBusyError(f"{arn} is {self.service(arn).status}")
        return self._begin(arn, OperationType.RESUME_SERVICE)

    async def rollback(self, arn: str, digest: str) -> tuple[Service, Operation]:
        self._require_idle(arn)
        if digest not in self.releases(arn):
            raise NoSuchReleaseError(f"{digest} is none of the service's releases")
        service, operation = self._begin(arn, OperationType.START_DEPLOYMENT)
        self._operations[arn][-1] = replace(operation, digest=digest)
        return service, self._operations[arn][-1]

    async def image_pushed(self, repository: str, tag: str, digest: str) -> None:
        self.pushed.append((repository, tag, digest))

    async def associate_domain(self, arn: str, name: str, *, www: bool = True) -> CustomDomain:
        if self.service(arn).status == ServiceStatus.DELETED:
            raise ServiceBusyError(f"{arn} is deleted")
        if "." not in name:
            raise InvalidDomainError(f"{name!r} is no host name")
        if name in self._domains:
            raise DomainExistsError(f"{name} is associated already")
        names = (name, f"www.{name}") if www else (name,)
        records = tuple(ValidationRecord(f"{one}.", "blog.localhost", "PENDING_VALIDATION") for one in names)
        created = CustomDomainStatus.CREATING
        made = CustomDomain(name, arn, www, created, datetime.now(UTC), records=records)
        self._domains[name] = replace(made, status=CustomDomainStatus.PENDING_CERTIFICATE_DNS_VALIDATION)
        return made

    async def disassociate_domain(self, arn: str, name: str) -> CustomDomain:
        self.service(arn)
        if name not in self._domains:
            raise NoSuchDomainError(f"the service has no custom domain {name}")
        return replace(self._domains.pop(name), status=CustomDomainStatus.DELETING)

    def custom_domains(self, arn: str) -> list[CustomDomain]:
        self.service(arn)
        return [domain for domain in self._domains.values() if domain.service_arn == arn]

    def service(self, arn: str) -> Service:
        if arn not in self._services:
            raise NoSuchServiceError(f"there is no service {arn}")
        return self._services[arn]

    def services(self) -> list[Service]:
        return [one for one in self._services.values() if one.status != ServiceStatus.DELETED]

    def operations(self, arn: str) -> list[Operation]:
        self.service(arn)
        return self._operations[arn][::-1]

    def releases(self, arn: str) -> list[str]:
        return self.served.get(self.service(arn).arn, [])

    def digests(self) -> set[str]:
        return {digest for digests in self.served.values() for digest in digests}

    def serve(self, arn: str, *digests: str) -> None:
        """Let the service have served these, the newest first."""
        self.served[arn] = list(digests)
        self._services[arn] = replace(self._services[arn], digest=digests[0])

    def logs(self, arn: str, kind: LogKind, *, since: int = 0, limit: int = 10_000) -> list[LogLine]:
        self.service(arn)
        lines = [line for line in self.lines.get((arn, kind), []) if line.timestamp >= since]
        return lines[-limit:]

    def finish(self, arn: str) -> None:
        """End the operation under way."""
        now = datetime.now(UTC)
        last = self._operations[arn][-1]
        self._operations[arn][-1] = replace(
            last, status=OperationStatus.SUCCEEDED, updated_at=now, ended_at=now
        )
        gone = last.type == OperationType.DELETE_SERVICE
        left = {
            OperationType.DELETE_SERVICE: ServiceStatus.DELETED,
            OperationType.PAUSE_SERVICE: ServiceStatus.PAUSED,
        }
        self._services[arn] = replace(
            self._services[arn],
            status=left.get(last.type, ServiceStatus.RUNNING),
            deleted_at=now if gone else None,
        )

    def _require_idle(self, arn: str) -> None:
        if self.service(arn).status != ServiceStatus.RUNNING:
            raise ServiceBusyError(f"{arn} is {self.service(arn).status}")

    def _begin(self, arn: str, kind: OperationType) -> tuple[Service, Operation]:
        now = datetime.now(UTC)
        operation = Operation(str(uuid.uuid4()), arn, kind, OperationStatus.IN_PROGRESS, now, now)
        self._operations[arn].append(operation)
        service = replace(self._services[arn], status=ServiceStatus.OPERATION_IN_PROGRESS, updated_at=now)
        self._services[arn] = service
        return service, operation


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The code of a JSON service's error."""
        return str(json.loads(self.body)["__type"])

    @property
    def message(self) -> str:
        return str(json.loads(self.body)["message"])


@dataclass(frozen=True)
class Harbour:
    """The control port of a data directory, running."""

    data: Path
    host: str  # and port
    controller: FakeController
    keyring: Keyring
    repositories: Repositories
    resources: Resources
    catalogue: Catalogue
    trail: Trail
    database: bucketlog.Connection
    answered: Mapping[str, list[str]]  # the operations of the JSON services
    _clients: list[Any] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        return f"http://{self.host}"

    @property
    def root(self) -> AccessKey:
        return self.keyring.root

    @property
    def environment(self) -> dict[str, str]:
        """What `homeport env` would print, and nothing of the tester's own settings."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.data),
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": self.root.id,
            "AWS_SECRET_ACCESS_KEY": self.root.secret,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(
        self, service: str, key: AccessKey | None = None, token: str | None = None, **config: Any
    ) -> Any:
        """A boto3 client, of a session where there is a `token`; closed with the harbour."""
        key = key or self.root
        made = _SESSION.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=key.id,
            aws_secret_access_key=key.secret,
            aws_session_token=token,
            config=Config(retries={"total_max_attempts": 1}, **config),
        )
        made.meta.events.register(f"after-call.{service}", _check_answer)
        self._clients.append(made)
        return made

    def send(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Reply:
        """A request exactly as given."""
        connection = http.client.HTTPConnection(self.host, timeout=60)
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # it may answer before it has read all
                connection.request(method, target, body, dict(headers or {}))
            response = connection.getresponse()
            return Reply(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def sign(
        self,
        service: str,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        key: AccessKey | None = None,
    ) -> dict[str, str]:
        """The headers of a request, signed by botocore, whose path is encoded as S3 encodes it."""
        key = key or self.root
        path, _, query = target.partition("?")
        path = quote(unquote_to_bytes(path), safe="/-_.~")
        url = f"{self.endpoint}{path}?{query}" if query else self.endpoint + path
        request = AWSRequest(method, url, headers=dict(headers or {}), data=body)
        signer = S3SigV4Auth if service == "s3" else SigV4Auth
        signer(Credentials(key.id, key.secret), service, REGION).add_auth(request)
        return {"Host": self.host, **request.headers}

    def signed(
        self,
        service: str,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        key: AccessKey | None = None,
    ) -> Reply:
        """Signed by botocore and sent without its checks."""
        signed = self.sign(service, method, target, headers=headers, body=body, key=key)
        return self.send(method, target, signed, body)

    def call(self, service: str, operation: str, body: bytes | Any, key: AccessKey | None = None) -> Reply:
        """A call of a JSON service; bytes are sent as they are."""
        model = service_model(service)
        headers = {"X-Amz-Target": f"{model.metadata['targetPrefix']}.{operation}"}
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.signed(service, "POST", "/", headers=headers, body=body, key=key)

    def service_key(self, name: str) -> tuple[str, AccessKey]:
        """A new service's ARN, and the key that its instances would get."""
        created = create_service(self.client("apprunner"), name, image=f"{self.host}/{name}:latest")
        self.controller.finish(created["ServiceArn"])
        return created["ServiceArn"], self.keyring.service_key(name, created["ServiceId"])


def create_service(
    apprunner: Any, name: str = "blog", *, image: str = "h:1/blog", **settings: Any
) -> dict[str, Any]:
    """A service of this image, as its creation shows it."""
    source = {"ImageRepository": {"ImageIdentifier": image, "ImageRepositoryType": "ECR"}}
    service: dict[str, Any] = apprunner.create_service(
        ServiceName=name, SourceConfiguration=source, **settings
    )["Service"]
    return service


def _check_answer(http_response: Any, parsed: dict[str, Any], model: OperationModel, **_: Any) -> None:
    """Every answer that a client reads is held against AWS's own description of it."""
    if http_response.status_code < 300 and model.output_shape is not None:
        # S3 has one member that is there and empty: the location of a bucket in the first region.
        answer = {
            name: value for name, value in parsed.items() if name != "ResponseMetadata" and value is not None
        }
        report = _Validator().validate(answer, model.output_shape)
        assert not report.has_errors(), report.generate_report()
        assert not list(_outside_enums(model.output_shape, answer))


class _Validator(ParamValidator):
    """Takes a list of any length: the model's bounds are the requests', whose shapes answers share. IAM's
    policies are read by boto3 itself.
    """

    def _validate_string(self, param: Any, shape: Shape, errors: Any, name: str) -> None:
        if shape.name == "policyDocumentType":
            assert isinstance(param, dict)
        else:
            super()._validate_string(param, shape, errors, name)

    def _validate_list(self, param: Any, shape: ListShape, errors: Any, name: str) -> None:
        assert isinstance(param, list)
        for index, item in enumerate(param):
            self._validate(item, shape.member, errors, f"{name}[{index}]")


def _outside_enums(shape: Shape, value: Any) -> Iterator[str]:
    match shape:
        case StructureShape():
            for name, member in value.items():
                yield from _outside_enums(shape.members[name], member)
        case ListShape():
            for member in value:
                yield from _outside_enums(shape.member, member)
        case _:
            allowed = shape.metadata.get("enum")
            if allowed and value not in allowed:
                yield f"{shape.name}: {value!r}"


class _Server(uvicorn.Server):
    def install_signal_handlers(self) -> None: ...


class Clock:
    """A time in seconds that tests set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The tester's own AWS settings are no part of a test."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    nowhere = str(tmp_path_factory.getbasetemp() / "no-such-file")
    monkeypatch.setenv("AWS_CONFIG_FILE", nowhere)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", nowhere)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@dataclass
class _Berth:
    """A server for all tests; each gives it an app of its own."""

    host: str
    app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None
        await self.app(scope, receive, send)


@pytest.fixture(scope="session")
def berth() -> Iterator[_Berth]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = _Berth(f"127.0.0.1:{listener.getsockname()[1]}")
        # Idle connections are kept for longer than a test may be held up: a client must never meet their end.
        config = uvicorn.Config(
            made, log_level="error", lifespan="off", timeout_keep_alive=600, timeout_graceful_shutdown=5
        )
        server = _Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield made
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def harbour(berth: _Berth, tmp_path: Path) -> Iterator[Harbour]:
    data = tmp_path / "data"
    data.mkdir()
    controller, keyring = FakeController(), Keyring.open(data)
    with bucketlog.connect(f"file://{data / 'state'}") as database:
        repositories, resources, roles = Repositories(database), Resources(database), Roles(database)
        gate = Gate(keyring, controller, roles)
        trail = Trail(data / FOLDER)
        catalogue = Catalogue(Storage(LocalStore(data / "registry", mkdir=True)), controller.digests)
        app = create_app(
            controller,
            gate=gate,
            keyring=keyring,
            roles=roles,
            keys=Keys(),
            origins=Origins(database),
            repositories=repositories,
            resources=resources,
            catalogue=catalogue,
            vault=Vault(data / "secrets"),
            registry_url=f"http://{berth.host}",
            s3=create_s3_app(data / "buckets", gate),
            trail=trail,
        )
        berth.app = app
        made = Harbour(
            data,
            berth.host,
            controller,
            keyring,
            repositories,
            resources,
            catalogue,
            trail,
            database,
            app.aws.answered,
        )
        yield made
        for client in made._clients:
            client.close()


@pytest.fixture
def s3(harbour: Harbour) -> Any:
    """The owner's client, and a bucket named `box`."""
    client = harbour.client("s3", s3={"addressing_style": "path"})
    client.create_bucket(Bucket="box")
    return client


@pytest.fixture
def error_of() -> Callable[..., str]:
    """The code of the error that a call of boto3 ends in."""

    def code(call: Callable[..., Any], **arguments: Any) -> str:
        from botocore.exceptions import ClientError  # noqa: PLC0415

        with pytest.raises(ClientError) as caught:
            call(**arguments)
        return str(caught.value.response["Error"]["Code"])

    return code


@pytest.fixture
def trusted(harbour: Any, issuer: Any) -> Any:
    """A role `release` for octo/shop in production, and the issuer whose tokens get it."""
    iam = harbour.client("iam")
    iam.create_open_id_connect_provider(Url=issuer.url, ClientIDList=[_AUDIENCE])
    host = issuer.url.removeprefix("http://")
    condition = {
        "StringEquals": {
            f"{host}:aud": _AUDIENCE,
            f"{host}:repository_id": "100200",
            f"{host}:repository_owner_id": "300",
            f"{host}:sub": [
                "repo:octo/shop:environment:production",
                "repo:octo@300/shop@100200:environment:production",
            ],
        },
        "StringLike": {f"{host}:ref": "refs/tags/shop-v*"},
    }
    statement = {
        "Effect": "Allow",
        "Principal": {"Federated": f"arn:aws:iam::000000000000:oidc-provider/{host}"},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": condition,
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.create_role(RoleName="release", AssumeRolePolicyDocument=policy)
    return issuer


@pytest.fixture
def assume(harbour: Any) -> Callable[..., Any]:
    """Take the role with a token, as boto3 does: without a signature."""
    sts = harbour.client("sts", signature_version=UNSIGNED)

    def take(token: str, role: str = "release", **more: Any) -> Any:
        return sts.assume_role_with_web_identity(
            RoleArn=f"arn:aws:iam::000000000000:role/{role}",
            RoleSessionName="octo.shop-7",
            WebIdentityToken=token,
            **more,
        )

    return take


@pytest.fixture
def apprunner(harbour: Any) -> Any:
    return harbour.client("apprunner")
