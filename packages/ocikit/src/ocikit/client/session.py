"""Requests to a registry: logged in where it asks, redirected where it says, tried again where that helps."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Protocol, cast
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from ocikit.client.address import is_loopback, is_plain, next_place, origin, shown
from ocikit.client.answer import Answer, checked, dismiss, read, reason
from ocikit.client.login import Find, Login
from ocikit.client.retry import PassingError, repeated
from ocikit.client.transport import Transport
from ocikit.credentials import Credentials
from ocikit.errors import AuthenticationError, RegistryError
from ocikit.value import value

PARALLEL = 4  # blobs on their way at once

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 5
_MOST_PAGES = 10_000
_HUB = "registry-1.docker.io"
_NEXT = re.compile(r'<([^>]+)>;\s*rel="?next"?')


class Body(Protocol):
    """A request's body that is read once."""

    def read(self, size: int = -1) -> bytes: ...


@value
class Call:
    """A request before it is sent, and may be sent again."""

    method: str
    url: str
    repository: str
    body: bytes | Body | None
    headers: Mapping[str, str]
    mount_from: str | None = None

    @property
    def scopes(self) -> tuple[str, ...]:
        """What a token is asked for."""
        actions = {"GET": "pull", "HEAD": "pull", "DELETE": "pull,delete"}.get(self.method, "pull,push")
        own = f"repository:{self.repository}:{actions}"
        return (own, f"repository:{self.mount_from}:pull") if self.mount_from else (own,)


class Session:
    """See `Registry`, of which this is the part that speaks HTTP."""

    def __init__(
        self,
        host: str,
        credentials: Credentials | Find | None,
        insecure: bool | None,
        uploads: Path | None = None,
    ) -> None:
        self.host = host
        self.uploads = uploads
        self.unknown: set[str] = set()
        """Repositories that the registry says it does not know: nobody has pushed an image there yet."""
        self.takes_whole = True
        """Whether the registry takes a blob in one POST, as far as anybody has tried."""
        plain = is_plain(host) if insecure is None else insecure
        self.base = f"{'http' if plain else 'https'}://{_HUB if host == 'docker.io' else host}/v2"
        self._transport = Transport(PARALLEL * 2)
        self._login = Login(host, credentials, self._transport, insecure=plain and not is_loopback(host))

    def close(self) -> None:
        self._transport.clear()

    def request(
        self,
        method: str,
        url: str,
        repository: str,
        *,
        body: bytes | Body | None = None,
        headers: Mapping[str, str] | None = None,
        once: bool = False,
        mount_from: str | None = None,
    ) -> Answer:
        """One request, answered or raised; tried again after passing failures unless `once`.

        Raises RegistryError, and PassingError if `once`.
        """
        call = Call(method, url, repository, body, headers or {}, mount_from)
        if once:
            return read(self.ask(call), url)
        return repeated(lambda: read(self.ask(call), url))

    def stream(self, url: str, repository: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        """An answer to GET whose body is still to be read. Raises RegistryError."""
        call = Call("GET", url, repository, None, headers)
        return repeated(lambda: self.ask(call))

    def ask(self, call: Call) -> urllib3.BaseHTTPResponse:
        """Send once, and once more where the registry asks who we are."""
        authorization = self._login.authorization(call.scopes)
        answer, url = self._send(call, authorization)
        if answer.status != 401 or not self.is_own(url):
            # Only the registry itself says where its credentials go, not where it has sent us.
            return checked(answer, call.method, url)
        try:
            challenge = answer.headers.get("WWW-Authenticate", "")
            fresh = self._login.answer(challenge, call.scopes, authorization)
        except BaseException:
            dismiss(answer)
            raise
        if fresh is not None:
            dismiss(answer)
            if call.body is not None and not isinstance(call.body, bytes):
                # The token ran out under way; what was sent is lost, but the next try has a fresh one.
                raise PassingError(RegistryError(f"{call.method} {shown(call.url)}: 401", status=401))
            answer, url = self._send(call, fresh)
        try:
            return checked(answer, call.method, url)
        except AuthenticationError as error:
            if error.status != 401:
                raise
            message = f"{error} ({self._login.tried()})"
            raise AuthenticationError(message, status=error.status, code=error.code) from error

    def is_own(self, url: str) -> bool:
        """Whether the URL is the registry's own: same scheme, host and port."""
        return origin(url) == origin(self.base)

    def pages(self, url: str, repository: str, headers: Mapping[str, str] | None = None) -> Iterator[Answer]:
        """The answers that a list consists of (RFC 8288, relation `next`).

        Raises RegistryError if the list goes on elsewhere, in a circle, or without end.
        """
        seen = set[str]()
        while len(seen) < _MOST_PAGES:
            seen.add(url)
            answer = self.request("GET", url, repository, headers=headers)
            yield answer
            match = _NEXT.match(answer.headers.get("Link", ""))
            if match is None:
                return
            url = next_place(url, match[1])
            if not self.is_own(url):
                raise RegistryError(f"{self.host} sends us to {shown(url)} for its next page")
            if url in seen:
                raise RegistryError(f"GET {shown(url)}: its pages go in a circle")
        raise RegistryError(f"GET {shown(url)}: more than {_MOST_PAGES} pages")

    def _send(self, call: Call, authorization: str | None) -> tuple[urllib3.BaseHTTPResponse, str]:
        """Send, and follow redirects of reads; the answer, and where it comes from.

        Our credentials go to the registry's own host and no other.
        """
        url = call.url
        for _ in range(_MOST_REDIRECTS):
            sent = dict(call.headers)
            if authorization and self.is_own(url):
                sent["Authorization"] = authorization
            try:
                answer = self._transport.pool(url).request(
                    call.method,
                    url,
                    body=cast("IO[Any] | bytes | None", call.body),
                    headers=sent,
                    redirect=False,
                    preload_content=False,
                    decode_content=False,
                )
            except HTTPError as error:
                raise _failed(call.method, url, error) from error
            location = answer.headers.get("Location")
            if call.method not in ("GET", "HEAD") or location is None or answer.status not in _REDIRECTS:
                return answer, url
            dismiss(answer)
            url = next_place(url, location)
        raise RegistryError(f"{shown(url)}: more than {_MOST_REDIRECTS} redirects")


def _failed(method: str, url: str, error: HTTPError) -> RegistryError | PassingError:
    cause = error.args[0] if error.args else None
    if isinstance(cause, ssl.SSLCertVerificationError):
        return RegistryError(
            f"{method} {shown(url)}: its certificate is not trusted: {cause.verify_message}; "
            "if it is of a CA of your own, name its file in SSL_CERT_FILE"
        )
    if isinstance(cause, ssl.SSLError) and cause.reason == "WRONG_VERSION_NUMBER":
        host = urlsplit(url).netloc.rpartition("@")[2]
        return RegistryError(
            f"{method} {shown(url)}: what answers there speaks no TLS; if it may be spoken to in plain HTTP, "
            f"say so: OCIKIT_INSECURE_REGISTRIES={host}"
        )
    return PassingError(RegistryError(f"{method} {shown(url)}: {reason(error)}"))
