"""What a registry answers when it refuses (distribution specification 1.1, "Error codes")."""

from __future__ import annotations

from collections.abc import Mapping

from ocikit.errors import OcikitError


class Refusal(OcikitError):  # noqa: N818  an answer of the protocol, not a fault
    """An error of the protocol: an HTTP status, the specification's code, and a message for a person.

    `headers` are those that HTTP wants with the status (RFC 9110: Allow, Content-Range, Retry-After …).
    """

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = dict(headers or {})


class Unauthorized(Refusal):
    """The caller has not said who they are, or has not proved it."""

    def __init__(self, message: str = "log in to use this registry") -> None:
        super().__init__(401, "UNAUTHORIZED", message, {"WWW-Authenticate": 'Basic realm="registry"'})


class Denied(Refusal):
    """The caller is known and may not do this."""

    def __init__(self, message: str = "not allowed") -> None:
        super().__init__(403, "DENIED", message)
