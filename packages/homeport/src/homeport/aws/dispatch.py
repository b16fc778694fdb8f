"""A POST to `/`: which service and operation it is for, who signed it, and what the trail says of it."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bucketlog import BucketlogError
from homeport.audit import OK, UNKNOWN, Call, Trail, plain, subject
from homeport.aws.errors import JSON_CODES, ApiError
from homeport.aws.needs import Need, needs
from homeport.aws.protocol import JsonService
from homeport.aws.query import QueryService
from homeport.credentials import CALLER, Principal
from homeport.errors import HomeportError
from homeport.policy import ASSUME
from homeport.sigv4 import Chain, Claim, SignatureError

_MAX_REQUEST = 1 << 20  # bytes
_MOST_FIELDS = 1000  # of a form


@dataclass(slots=True)
class _Noted:
    """What is known of a call so far; `code` says what it failed of."""

    operation: str
    who: str = UNKNOWN
    about: str = ""
    code: str = OK


class Gate(Protocol):
    """Who signed a request, and what they may do."""

    def admit(self, request: Request, payload_hash: str) -> tuple[Principal, Claim, Chain]:
        """Raises SignatureError."""
        ...

    def objection(self, principal: Principal, needs: Iterable[Need]) -> str | None:
        """What of it they may not do; None where all is allowed."""
        ...


class AwsServices:
    """JSON services by X-Amz-Target, Query services by the version that the form says."""

    def __init__(
        self,
        gate: Gate,
        services: tuple[JsonService, ...],
        forms: tuple[QueryService, ...],
        trail: Trail,
    ) -> None:
        self._gate = gate
        self._services = {service.target_prefix: service for service in services}
        self._forms = {service.version: service for service in forms}
        self._form = forms[0]
        self._trail = trail

    @property
    def answered(self) -> dict[str, list[str]]:
        """Names of the operations that are answered, by service, as AWS writes them."""
        services: list[JsonService | QueryService] = [*self._services.values(), *self._forms.values()]
        return {service.name: service.answered for service in services}

    async def __call__(self, request: Request) -> Response:
        began = datetime.now(UTC)
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_REQUEST:
                return Response(f"more than {_MAX_REQUEST} bytes\n", 413)
        target = request.headers.get("x-amz-target")
        noted = _Noted(UNKNOWN)
        if target is None:
            response = await self._query(request, bytes(body), noted)
        else:
            prefix, _, operation = target.rpartition(".")
            response = await self._json(request, prefix, operation, bytes(body), noted)
        source = request.client.host if request.client else ""
        self._trail.note(Call(began, noted.who, noted.operation, noted.about, source, noted.code))
        return response

    async def _json(
        self, request: Request, prefix: str, operation: str, body: bytes, noted: _Noted
    ) -> Response:
        service = self._services.get(prefix)
        if service is None:
            noted.code = "UnknownOperationException"
            message = f"no service answers to {prefix[:100]}"
            return JSONResponse({"__type": noted.code, "message": message}, 400)

        async def answer() -> bytes:
            principal = self._signer(request, body, service.name, noted)
            document = None
            with suppress(ValueError, RecursionError):  # the service says so itself
                document = json.loads(body)
            self._require(principal, service.name, needs(service.name, operation, document))
            noted.about = subject(document)
            return await service.answer(operation, body)

        return await _answered(service, operation, answer, noted)

    async def _query(self, request: Request, body: bytes, noted: _Noted) -> Response:
        text = body.decode("utf-8", "replace")
        try:
            form = dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS))
        except ValueError:
            noted.code = "InvalidAction"
            return Response(f"more than {_MOST_FIELDS} fields\n", 400)
        operation = form.get("Action", "")
        service = self._forms.get(form.get("Version", ""), self._form)

        async def answer() -> bytes:
            if f"{service.name}:{operation}" == ASSUME:  # the token is who asks, and nothing is signed
                result = await service.answer(operation, form)
                caller = CALLER.get()
                noted.who = caller.name
                noted.about = plain(f"{subject(form)} {caller.session.subject if caller.session else ''}")
            else:
                # Whoever has a role may ask who they are; who gets a role is the owner's to say alone.
                principal = self._signer(request, body, service.name, noted)
                self._require(principal, service.name, [] if operation == "GetCallerIdentity" else None)
                noted.about = subject(form)
                result = await service.answer(operation, form)
            return result

        return await _answered(service, operation, answer, noted)

    def _signer(self, request: Request, body: bytes, service: str, noted: _Noted) -> Principal:
        """Who has signed the request, for this service. Raises ApiError."""
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
        noted.who = principal.name
        return principal

    def _require(self, principal: Principal, service: str, needed: list[Need] | None) -> None:
        """Only the owner's key drives the platform, and roles where something is `needed` that they allow; a
        service has no say in it. Raises ApiError.
        """
        if principal.is_root:
            return
        if principal.session is None or needed is None:
            raise ApiError("AccessDeniedException", f"{principal.name} may not call {service}", 403)
        objection = self._gate.objection(principal, needed)
        if objection is not None:
            raise ApiError("AccessDeniedException", objection, 403)


async def _answered(
    service: JsonService | QueryService,
    operation: str,
    answer: Callable[[], Awaitable[bytes]],
    noted: _Noted,
) -> Response:
    noted.operation = f"{service.name}:{operation if service.knows(operation) else UNKNOWN}"
    try:
        return Response(await answer(), media_type=service.media_type)
    except ApiError as error:
        refusal = error
    except (HomeportError, BucketlogError) as error:
        # What it says may name paths and programs of this machine: that is for the log.
        _say_failed(f"{service.name} {operation}", error)
        refusal = ApiError("InternalFailure", "homeport failed; its log says why", 500)
    noted.code = refusal.code
    return Response(service.refusal(refusal), refusal.status, media_type=service.media_type)


def _say_failed(call: str, error: Exception) -> None:
    print(f"homeport: {call}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
