"""The control port: registry, AWS's JSON services, and S3 behind one address, told apart by path and headers.

`/v2/` is the registry (no bucket can have that name), a POST to `/` is an AWS service, all else is S3.
"""

from __future__ import annotations

import hashlib
import sys
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from bucketlog import BucketlogError
from homeport.aws import apprunner, ecr
from homeport.aws.errors import JSON_CODES, S3_CODES, ApiError
from homeport.aws.logs import Logs
from homeport.aws.protocol import JsonService
from homeport.catalogue import Catalogue
from homeport.credentials import Keyring, Principal
from homeport.errors import HomeportError
from homeport.model import Controller, NoSuchServiceError, ServiceStatus
from homeport.place import ACCOUNT, arn
from homeport.repositories import Repositories
from homeport.resources import Resources
from homeport.s3.app import S3
from homeport.s3.buckets import Buckets
from homeport.s3.multipart import Multipart
from homeport.sigv4 import Call, Chain, Claim, SignatureError, verify
from ocikit import Credentials, Digest
from ocikit import registry as oci

_MAX_REQUEST = 1 << 20  # bytes of a call to a JSON service


class Gate:
    """Who signed a request."""

    def __init__(self, keyring: Keyring, controller: Controller) -> None:
        self._keyring = keyring
        self._controller = controller

    def admit(self, request: Request, payload_hash: str) -> tuple[Principal, Claim, Chain]:
        """Raises SignatureError."""
        raw_path: bytes = request.scope["raw_path"]
        query: bytes = request.scope["query_string"]
        call = Call(
            request.method, raw_path.decode("latin-1"), query.decode("latin-1"), request.headers.items()
        )
        found: list[tuple[Principal, str]] = []

        def secret_of(access_key: str) -> str | None:
            known = self._keyring.find(access_key)
            if known is None or not self._alive(known[0]):
                return None
            found.append(known)
            return known[1]

        claim = verify(call, payload_hash, secret_of, now=datetime.now(UTC))
        principal, secret = found[0]
        return principal, claim, Chain(call, claim, secret)

    def admit_to_s3(self, request: Request) -> tuple[Principal, Chain]:
        """Who signed it, and what the signatures of its body go on from. Raises ApiError with S3's codes."""
        try:
            principal, claim, chain = self.admit(request, request.headers.get("x-amz-content-sha256", ""))
        except SignatureError as error:
            code, status = S3_CODES[error.flaw]
            raise ApiError(code, str(error), status) from error
        if claim.service != "s3":
            raise ApiError("AuthorizationHeaderMalformed", f"signed for {claim.service}, not for s3", 400)
        return principal, chain

    def admit_to_registry(
        self, credentials: Credentials | None, _repository: str | None, _action: oci.Action
    ) -> None:
        if credentials is None:
            raise oci.Unauthorized
        if not self._keyring.opens_registry(credentials.username, credentials.password, datetime.now(UTC)):
            raise oci.Unauthorized("the user or the token is wrong, or the token has ended")

    def _alive(self, principal: Principal) -> bool:
        """A service's key ends with the service."""
        if principal.is_root:
            return True
        try:
            service = self._controller.service(
                arn("apprunner", f"service/{principal.service}/{principal.service_id}")
            )
        except NoSuchServiceError:
            return False
        return service.status != ServiceStatus.DELETED


def create_s3_app(folder: Path, gate: Gate) -> ASGIApp:
    """S3 over the buckets in `folder`: all of the host that an instance can reach."""
    multipart = Multipart(folder.with_name(f"{folder.name}-uploads"))
    multipart.clean()
    return S3(Buckets(folder), multipart, gate.admit_to_s3)


def create_app(
    controller: Controller,
    *,
    gate: Gate,
    keyring: Keyring,
    repositories: Repositories,
    resources: Resources,
    catalogue: Catalogue,
    registry_host: str,
    s3: ASGIApp,
) -> ControlPort:
    """Everything that answers on the control port."""

    async def pushed(repository: str, tag: str | None, digest: Digest, _media_type: str) -> None:
        if tag is not None:
            await controller.image_pushed(repository, tag, str(digest))

    async def keep(repository: str, digest: Digest) -> str | None:
        return (await catalogue.held(repository)).get(str(digest))

    registry = oci.create_app(
        catalogue.storage.store,
        authorize=gate.admit_to_registry,
        on_push=pushed,
        mutable=repositories.mutable,
        repository_exists=repositories.exists,
        keep=keep,
    )
    services = (
        JsonService("apprunner", *apprunner.operations(controller, resources)),
        JsonService(
            "ecr",
            *ecr.operations(repositories, catalogue, keyring, registry=registry, registry_host=registry_host),
        ),
        JsonService("logs", Logs(controller)),
    )
    return ControlPort(registry, AwsServices(gate, services), s3)


class ControlPort:
    """The registry, AWS's JSON services, and S3."""

    def __init__(self, registry: oci.RegistryApp, aws: AwsServices, s3: ASGIApp) -> None:
        self.registry = registry
        self.aws = aws
        self._s3 = s3

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path, method = scope["path"], scope["method"]
        if path == "/v2" or path.startswith("/v2/"):
            await self.registry(scope, receive, send)
        elif path == "/healthz" and method in ("GET", "HEAD"):
            await JSONResponse({"status": "ok"})(scope, receive, send)
        elif path == "/" and method == "POST":
            response = await self.aws(Request(scope, receive))
            await response(scope, receive, send)
        else:
            await self._s3(scope, receive, send)


class AwsServices:
    """A POST to `/`: JSON services by X-Amz-Target, and of the Query services who one is (STS)."""

    def __init__(self, gate: Gate, services: tuple[JsonService, ...]) -> None:
        self._gate = gate
        self._services = {service.target_prefix: service for service in services}

    @property
    def answered(self) -> dict[str, list[str]]:
        """Names of the operations that are answered, by service, as AWS writes them."""
        return {service.name: service.answered for service in self._services.values()}

    async def __call__(self, request: Request) -> Response:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_REQUEST:
                return Response(f"more than {_MAX_REQUEST} bytes\n", 413)
        target = request.headers.get("x-amz-target")
        if target is None:
            return self._query(request, bytes(body))
        prefix, _, operation = target.rpartition(".")
        service = self._services.get(prefix)
        if service is None:
            document = {
                "__type": "UnknownOperationException",
                "message": f"no service answers to {prefix[:100]}",
            }
            return JSONResponse(document, 400)
        try:
            self._admit(request, bytes(body), service.name)
            answer = await service.answer(operation, bytes(body))
        except ApiError as error:
            return Response(service.refusal(error), error.status, media_type=service.media_type)
        except (HomeportError, BucketlogError) as error:
            # What it says may name paths and programs of this machine: that is for the log.
            _say_failed(f"{service.name} {operation}", error)
            failure = ApiError("InternalFailure", "homeport failed; its log says why", 500)
            return Response(service.refusal(failure), failure.status, media_type=service.media_type)
        return Response(answer, media_type=service.media_type)

    def _admit(self, request: Request, body: bytes, service: str) -> None:
        """Only the owner's key drives the platform: a service has no say in it."""
        payload_hash = hashlib.sha256(body).hexdigest()
        promised = request.headers.get("x-amz-content-sha256", payload_hash)
        try:
            principal, claim, _ = self._gate.admit(request, promised)
        except SignatureError as error:
            code, status = JSON_CODES[error.flaw]
            raise ApiError(code, str(error), status) from error
        if promised != payload_hash:
            raise ApiError("InvalidSignatureException", "the body is not what was signed", 403)
        if claim.service != service:
            raise ApiError("InvalidSignatureException", f"signed for {claim.service}, not for {service}", 403)
        if not principal.is_root:
            raise ApiError(
                "AccessDeniedException", f"service {principal.service} may not call {service}", 403
            )

    def _query(self, request: Request, body: bytes) -> Response:
        action = parse_qs(body.decode("latin-1")).get("Action", [""])[0]
        try:
            self._admit(request, body, "sts")
        except ApiError as error:
            return _xml("ErrorResponse", "Error", {"Code": error.code, "Message": str(error)}, error.status)
        if action != "GetCallerIdentity":
            message = f"homeport does not answer {action[:100] or 'this request'}"
            return _xml("ErrorResponse", "Error", {"Code": "InvalidAction", "Message": message}, 400)
        identity = {"Arn": f"arn:aws:iam::{ACCOUNT}:root", "UserId": ACCOUNT, "Account": ACCOUNT}
        return _xml("GetCallerIdentityResponse", "GetCallerIdentityResult", identity, 200)


def _say_failed(call: str, error: Exception) -> None:
    print(f"homeport: {call}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)


def _xml(root: str, child: str, content: dict[str, str], status: int) -> Response:
    element = ET.Element(root, xmlns="https://sts.amazonaws.com/doc/2011-06-15/")
    inner = ET.SubElement(element, child)
    for name, text in content.items():
        ET.SubElement(inner, name).text = text
    return Response(ET.tostring(element, encoding="utf-8"), status, media_type="text/xml")
