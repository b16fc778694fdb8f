"""The credentials of an instance's role, by the endpoint that AWS's SDKs ask on App Runner and ECS.

The endpoint is a socket inside the instance's own network namespace, on the link-local address that the SDKs
know; nobody outside that namespace can reach it. What it gives out ends within the hour, is stored nowhere,
and is made anew for each question. "Container credential provider", AWS SDKs and Tools Reference Guide.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, Self

from homeport.credentials import Keyring
from homeport.errors import HomeportError
from homeport.instance import Instance
from homeport.policy import trusts_instances
from homeport.roles import Role
from homeport.sessions import LONGEST

__all__ = ["VARIABLE", "InstanceRoles", "RoleEndpoint"]

VARIABLE: Final = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
_MOST: Final = 4096  # bytes of a question
_PATIENCE: Final = 5.0  # seconds that a question may take
_AT_ONCE: Final = 16  # questions of one instance; more are hung up on
_ANSWER: Final = (
    "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n"
    "Connection: close\r\nContent-Length: {length}\r\n\r\n"
)


class InstanceRoles:
    """Gives credentials out. `find` is a role by name."""

    def __init__(self, keyring: Keyring, find: Callable[[str], Role | None]) -> None:
        self._keyring = keyring
        self._find = find

    def path(self, instance: Instance) -> str:
        """What the instance asks for, which whoever can make it ask does not know."""
        return f"/v2/credentials/{self._keyring.instance_secret(instance.id)}"

    def issue(self, instance: Instance) -> Mapping[str, str]:
        """Raises HomeportError where there is no such role any more, or it is no longer for instances."""
        name = instance.spec.role or ""
        role = self._find(name)
        if role is None or not trusts_instances(role.trust):
            raise HomeportError(f"there is no role {name} that instances may have")
        given = self._keyring.sessions.begin(
            role=role.name,
            role_id=role.id,
            name=f"{instance.spec.name}-{instance.id}",
            subject=instance.id,
            origin={},
            now=datetime.now(UTC),
            lifetime=LONGEST,
            service=instance.spec.name,
        )
        return {
            "RoleArn": role.arn,
            "AccessKeyId": given.session.key,
            "SecretAccessKey": given.secret,
            "Token": given.token,
            "Expiration": f"{given.session.ends_at:%Y-%m-%dT%H:%M:%SZ}",
        }


class RoleEndpoint:
    """Answers one instance, from `open` to `close`."""

    def __init__(self, path: str, issue: Callable[[], Mapping[str, str]]) -> None:
        self._path = path.encode()
        self._issue = issue
        self._server: asyncio.Server | None = None
        self._asking = 0

    @classmethod
    async def open(cls, listener: socket.socket, path: str, issue: Callable[[], Mapping[str, str]]) -> Self:
        endpoint = cls(path, issue)
        endpoint._server = await asyncio.start_server(endpoint._serve, sock=listener, limit=_MOST)
        return endpoint

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._asking += 1
        try:
            if self._asking <= _AT_ONCE:
                async with asyncio.timeout(_PATIENCE):
                    question = await reader.readuntil(b"\r\n\r\n")
                    status, document = self._answer(question)
                    text = json.dumps(document).encode()
                    writer.write(_ANSWER.format(status=status, length=len(text)).encode() + text)
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # no question, or nobody waits for the answer
        finally:
            self._asking -= 1
            with suppress(OSError):
                writer.close()

    def _answer(self, question: bytes) -> tuple[str, Mapping[str, Any]]:
        method, _, rest = question.partition(b" ")
        path, _, _ = rest.partition(b" ")
        if method != b"GET" or not hmac.compare_digest(path, self._path):
            return "404 Not Found", {"message": "no credentials are here"}
        try:
            return "200 OK", self._issue()
        except HomeportError as error:
            return "403 Forbidden", {"message": str(error)}
