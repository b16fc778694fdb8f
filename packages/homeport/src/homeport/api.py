"""The control port: registry, AWS's JSON services, and S3 behind one address, told apart by path and headers.

`/v2/` is the registry (no bucket can have that name), a POST to `/` is an AWS service, all else is S3.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from homeport.audit import Trail
from homeport.aws import apprunner, ecr
from homeport.aws.dispatch import AwsServices
from homeport.aws.errors import S3_CODES, ApiError
from homeport.aws.logs import Logs
from homeport.aws.protocol import JsonService
from homeport.catalogue import Catalogue
from homeport.credentials import Keyring, Principal
from homeport.model import Controller, NoSuchServiceError, ServiceStatus
from homeport.place import arn
from homeport.repositories import Repositories
from homeport.resources import Resources
from homeport.s3.app import S3
from homeport.s3.buckets import Buckets
from homeport.s3.multipart import Multipart
from homeport.sigv4 import Call, Chain, Claim, SignatureError, verify
from homeport.witness import WHO, Witness
from ocikit import Credentials, Digest
from ocikit import registry as oci


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
        request.scope[WHO] = principal.name
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
    trail: Trail,
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
    return ControlPort(registry, AwsServices(gate.admit, services, trail), s3, trail)


class ControlPort:
    """The registry, AWS's JSON services, and S3."""

    def __init__(self, registry: oci.RegistryApp, aws: AwsServices, s3: ASGIApp, trail: Trail) -> None:
        self.registry = registry
        self.aws = aws
        self._images = Witness(registry, trail)
        self._buckets = Witness(s3, trail)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path, method = scope["path"], scope["method"]
        if path == "/v2" or path.startswith("/v2/"):
            await self._images(scope, receive, send)
        elif path == "/healthz" and method in ("GET", "HEAD"):
            await JSONResponse({"status": "ok"})(scope, receive, send)
        elif path == "/" and method == "POST":
            response = await self.aws(Request(scope, receive))
            await response(scope, receive, send)
        else:
            await self._buckets(scope, receive, send)
