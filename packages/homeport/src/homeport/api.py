"""The control port: registry, AWS's JSON services, and S3 behind one address, told apart by path and headers.

`/v2/` is the registry (no bucket can have that name), a POST to `/` is an AWS service, all else is S3.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from homeport.attestation import Attestor
from homeport.audit import Trail
from homeport.aws import apprunner, ecr
from homeport.aws.dispatch import AwsServices
from homeport.aws.errors import S3_CODES, ApiError
from homeport.aws.iam import Iam
from homeport.aws.logs import Logs
from homeport.aws.needs import Need, registry_need
from homeport.aws.protocol import JsonService
from homeport.aws.query import QueryService
from homeport.aws.secrets import Secrets
from homeport.aws.sts import Sts
from homeport.catalogue import Catalogue
from homeport.command import off_loop
from homeport.credentials import CALLER, TOKEN_USER, Keyring, Principal
from homeport.jwks import Keys
from homeport.model import Controller, NoSuchServiceError, ServiceStatus
from homeport.origins import Origins
from homeport.place import arn
from homeport.policy import allowed, effect
from homeport.repositories import Repositories
from homeport.resources import Resources
from homeport.roles import Roles
from homeport.s3.app import S3
from homeport.s3.buckets import Buckets
from homeport.s3.multipart import Multipart
from homeport.sessions import PREFIX
from homeport.sigv4 import Call, Chain, Claim, Flaw, SignatureError, verify
from homeport.vault import Vault
from homeport.witness import Witness
from ocikit import Credentials, Digest
from ocikit import registry as oci

_NO_ENTRY = "the user or the token is wrong, or the token has ended"


class Gate:
    """Who signed a request, and what a role lets them do."""

    def __init__(self, keyring: Keyring, controller: Controller, roles: Roles) -> None:
        self._keyring = keyring
        self._controller = controller
        self._roles = roles

    def admit(self, request: Request, payload_hash: str) -> tuple[Principal, Claim, Chain]:
        """Raises SignatureError."""
        raw_path: bytes = request.scope["raw_path"]
        query: bytes = request.scope["query_string"]
        call = Call(
            request.method, raw_path.decode("latin-1"), query.decode("latin-1"), request.headers.items()
        )
        found: list[tuple[Principal, str]] = []
        now = datetime.now(UTC)

        def secret_of(access_key: str) -> str | None:
            if access_key.startswith(PREFIX):
                known = self._session(access_key, call.header("x-amz-security-token") or "", now)
            else:
                known = self._keyring.find(access_key)
            if known is None or not self._alive(known[0]):
                return None
            found.append(known)
            return known[1]

        claim = verify(call, payload_hash, secret_of, now=now)
        principal, secret = found[0]
        CALLER.set(principal)
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
        self, credentials: Credentials | None, repository: str | None, action: oci.Action
    ) -> None:
        if credentials is None:
            raise oci.Unauthorized
        now = datetime.now(UTC)
        if credentials.username == TOKEN_USER:
            session = self._keyring.sessions.read_registry_token(credentials.password)
            if session is not None:
                self._admit_session_to_registry(Principal(session=session), repository, action, now)
                return
        if not self._keyring.opens_registry(credentials.username, credentials.password, now):
            raise oci.Unauthorized(_NO_ENTRY)
        CALLER.set(Principal())

    def objection(self, principal: Principal, needs: Iterable[Need]) -> str | None:
        """What of it a role does not let its session do; None where it allows all."""
        session = principal.session
        permissions = self._roles.role(session.role).permissions if session else ()
        for action, resource in needs:
            if session is None or not allowed(permissions, action, resource, session.began_at):
                return f"{principal.name} may not call {action} on {resource}"
        return None

    def may(self, principal: Principal, action: str, bucket: str, key: str | None = None) -> bool:
        """Whether they may do that to a bucket or an object. What a role denies, it denies of a service's own
        buckets too.
        """
        if (session := principal.session) is None:
            return principal.may_use_bucket(bucket)
        role = self._roles.find(session.role)
        resource = f"arn:aws:s3:::{bucket}" if key is None else f"arn:aws:s3:::{bucket}/{key}"
        said = effect(role.permissions if role else (), action, resource, session.began_at)
        return said == "Allow" or (said is None and principal.may_use_bucket(bucket))

    def _admit_session_to_registry(
        self, principal: Principal, repository: str | None, action: oci.Action, now: datetime
    ) -> None:
        session = principal.session
        if session is None or now >= session.ends_at or not self._alive(principal):
            raise oci.Unauthorized(_NO_ENTRY)
        CALLER.set(principal)
        need = registry_need(action, repository)
        objection = self.objection(principal, (need,) if need else ())
        if objection is not None:
            raise oci.Denied(objection)

    def _session(self, access_key: str, token: str, now: datetime) -> tuple[Principal, str] | None:
        """Whose session it is, and its secret. Raises SignatureError where it has ended."""
        session = self._keyring.sessions.read(token)
        if session is None or session.key != access_key:
            return None
        if now >= session.ends_at:
            raise SignatureError(Flaw.EXPIRED)
        return Principal(session=session), self._keyring.sessions.secret(session)

    def _alive(self, principal: Principal) -> bool:
        """A service's key ends with the service, a session with its role."""
        if principal.is_root:
            return True
        if principal.session is not None:
            known = self._roles.find(principal.session.role)
            return known is not None and known.id == principal.session.role_id
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
    return S3(Buckets(folder), multipart, gate.admit_to_s3, gate.may)


def create_app(
    controller: Controller,
    *,
    gate: Gate,
    keyring: Keyring,
    roles: Roles,
    keys: Keys,
    origins: Origins,
    repositories: Repositories,
    resources: Resources,
    catalogue: Catalogue,
    vault: Vault,
    registry_url: str,
    s3: ASGIApp,
    trail: Trail,
) -> ControlPort:
    """Everything that answers on the control port."""

    attestor = Attestor(keyring.attestation_key, catalogue.storage)

    async def pushed(repository: str, tag: str | None, digest: Digest, _media_type: str) -> None:
        session = CALLER.get().session
        if session is not None:  # before anything can be deployed that asks for it
            await off_loop(origins.note, str(digest), session)
            await attestor.attest(repository, digest, session)
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
        JsonService("apprunner", *apprunner.operations(controller, resources, roles)),
        JsonService(
            "ecr",
            *ecr.operations(repositories, catalogue, keyring, registry=registry, registry_url=registry_url),
        ),
        JsonService("logs", Logs(controller)),
        JsonService("secretsmanager", Secrets(vault)),
    )
    forms = (QueryService("sts", Sts(roles, keyring.sessions, keys)), QueryService("iam", Iam(roles)))
    return ControlPort(registry, AwsServices(gate, services, forms, trail), s3, trail)


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
