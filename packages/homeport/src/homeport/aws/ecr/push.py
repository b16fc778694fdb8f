"""A manifest given to the registry of this process: the very push that it takes over HTTP, with its checks
and all that follows.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the registry answers instead: a code of the distribution specification, and why."""

    code: str
    message: str


async def put_manifest(
    registry: ASGIApp, path: str, manifest: bytes, *, media_type: str | None, credentials: tuple[str, str]
) -> Refusal | None:
    """PUT a manifest at `path`; None when it is stored."""
    basic = base64.b64encode(":".join(credentials).encode())
    headers = [(b"authorization", b"Basic " + basic), (b"content-length", str(len(manifest)).encode())]
    if media_type is not None:
        headers.append((b"content-type", media_type.encode()))
    scope: dict[str, Any] = {
        "type": "http",
        "http_version": "1.1",
        "method": "PUT",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": headers,
    }
    status, body = 0, bytearray()

    async def receive() -> Message:
        return {"type": "http.request", "body": manifest, "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        status = message.get("status", status)
        body.extend(message.get("body", b""))

    await registry(scope, receive, send)
    if status == 201:
        return None
    (error,) = json.loads(body)["errors"]
    return Refusal(error["code"], error["message"])
