"""A POST to `/`: which service and operation it is for, who signed it, and what the trail says of it."""

from __future__ import annotations

import hashlib
import json
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bucketlog import BucketlogError
from homeport.audit import OK, UNKNOWN, Call, Trail, subject
from homeport.aws.errors import JSON_CODES, ApiError
from homeport.aws.protocol import JsonService
from homeport.credentials import Principal
from homeport.errors import HomeportError
from homeport.place import ACCOUNT
from homeport.sigv4 import Chain, Claim, SignatureError

Admit = Callable[[Request, str], tuple[Principal, Claim, Chain]]

_MAX_REQUEST = 1 << 20  # bytes


@dataclass(slots=True)
class _Noted:
    """What is known of a call so far; `code` says what it failed of."""

    operation: str
    who: str = UNKNOWN
    about: str = ""
    code: str = OK


class AwsServices:
    """JSON services by X-Amz-Target, and of the Query services who one is (STS).

    `admit` says who signed a request; it raises SignatureError.
    """

    def __init__(self, admit: Admit, services: tuple[JsonService, ...], trail: Trail) -> None:
        self._admit = admit
        self._services = {service.target_prefix: service for service in services}
        self._trail = trail

    @property
    def answered(self) -> dict[str, list[str]]:
        """Names of the operations that are answered, by service, as AWS writes them."""
        return {service.name: service.answered for service in self._services.values()}

    async def __call__(self, request: Request) -> Response:
        began = datetime.now(UTC)
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_REQUEST:
                return Response(f"more than {_MAX_REQUEST} bytes\n", 413)
        target = request.headers.get("x-amz-target")
        if target is None:
            noted = _Noted("sts:GetCallerIdentity")
            response = self._query(request, bytes(body), noted)
        else:
            prefix, _, operation = target.rpartition(".")
            noted = _Noted(UNKNOWN)
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
        noted.operation = f"{service.name}:{operation if service.knows(operation) else UNKNOWN}"
        try:
            self._require_owner(request, body, service.name, noted)
            with suppress(ValueError, RecursionError):  # the service says so itself
                noted.about = subject(json.loads(body))
            return Response(await service.answer(operation, body), media_type=service.media_type)
        except ApiError as error:
            refusal = error
        except (HomeportError, BucketlogError) as error:
            # What it says may name paths and programs of this machine: that is for the log.
            _say_failed(f"{service.name} {operation}", error)
            refusal = ApiError("InternalFailure", "homeport failed; its log says why", 500)
        noted.code = refusal.code
        return Response(service.refusal(refusal), refusal.status, media_type=service.media_type)

    def _query(self, request: Request, body: bytes, noted: _Noted) -> Response:
        action = parse_qs(body.decode("latin-1")).get("Action", [""])[0]
        try:
            self._require_owner(request, body, "sts", noted)
        except ApiError as error:
            return _refused(error, noted)
        if action != "GetCallerIdentity":
            noted.operation = f"sts:{UNKNOWN}"
            message = f"homeport does not answer {action[:100] or 'this request'}"
            return _refused(ApiError("InvalidAction", message), noted)
        identity = {"Arn": f"arn:aws:iam::{ACCOUNT}:root", "UserId": ACCOUNT, "Account": ACCOUNT}
        return _xml("GetCallerIdentityResponse", "GetCallerIdentityResult", identity, 200)

    def _require_owner(self, request: Request, body: bytes, service: str, noted: _Noted) -> None:
        """Only the owner's key drives the platform: a service has no say in it. Raises ApiError."""
        payload_hash = hashlib.sha256(body).hexdigest()
        promised = request.headers.get("x-amz-content-sha256", payload_hash)
        try:
            principal, claim, _ = self._admit(request, promised)
        except SignatureError as error:
            code, status = JSON_CODES[error.flaw]
            raise ApiError(code, str(error), status) from error
        if promised != payload_hash:
            raise ApiError("InvalidSignatureException", "the body is not what was signed", 403)
        if claim.service != service:
            raise ApiError("InvalidSignatureException", f"signed for {claim.service}, not for {service}", 403)
        noted.who = principal.name
        if not principal.is_root:
            raise ApiError("AccessDeniedException", f"{principal.name} may not call {service}", 403)


def _refused(error: ApiError, noted: _Noted) -> Response:
    noted.code = error.code
    return _xml("ErrorResponse", "Error", {"Code": error.code, "Message": str(error)}, error.status)


def _say_failed(call: str, error: Exception) -> None:
    print(f"homeport: {call}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)


def _xml(root: str, child: str, content: dict[str, str], status: int) -> Response:
    element = ET.Element(root, xmlns="https://sts.amazonaws.com/doc/2011-06-15/")
    inner = ET.SubElement(element, child)
    for name, text in content.items():
        ET.SubElement(inner, name).text = text
    return Response(ET.tostring(element, encoding="utf-8"), status, media_type="text/xml")
