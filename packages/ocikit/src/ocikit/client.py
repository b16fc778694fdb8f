"""The client of a registry: OCI distribution specification 1.1, with the usual ways to log in."""

from __future__ import annotations

import io
import json
import random
import re
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from types import TracebackType
from typing import IO, Any, BinaryIO, Self, TypeVar, cast
from urllib.parse import urlencode, urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from ocikit._document import MAX_DOCUMENT, Reader
from ocikit.blob import CHUNK, BytesBlob, verified
from ocikit.credentials import Credentials
from ocikit.digest import Digest
from ocikit.errors import (
    AuthenticationError,
    DigestMismatchError,
    InvalidDocumentError,
    InvalidReferenceError,
    RegistryError,
    RegistryNotFoundError,
    TagExistsError,
)
from ocikit.image import Image
from ocikit.layer import Layer
from ocikit.layout import choose
from ocikit.manifest import INDEXES, MANIFESTS, Descriptor, Index
from ocikit.platform import Platform
from ocikit.reference import Reference, check_repository

_ATTEMPTS = 5
_PARALLEL = 4  # blobs on their way at once
_ACCEPT = {"Accept": ", ".join((*MANIFESTS, *INDEXES))}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_TOKEN = re.compile(r"[\x21-\x7e]+")  # what a header can carry
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_LONGEST_PAUSE = 60.0  # seconds
_MAX_ERROR = 64 << 10  # bytes of an error answer that are read
_HUB = "registry-1.docker.io"

Progress = Callable[[str, int], None]

T = TypeVar("T")


class Registry:
    """One registry host. Thread-safe; a context manager that closes its connections.

    `insecure` allows plain HTTP; by default only a loopback host is spoken to in plain HTTP.
    Credentials go to that host, over the scheme that it is spoken to in, and to where it has tokens fetched,
    if that is HTTPS or a loopback host; never to where it redirects.
    Every method raises RegistryError: AuthenticationError for 401 and 403, RegistryNotFoundError for 404;
    and InvalidDocumentError for what is no manifest.
    Passing failures (connection lost, 408, 429, 5xx) are tried again after growing pauses or Retry-After.
    """

    def __init__(
        self, host: str, *, credentials: Credentials | None = None, insecure: bool | None = None
    ) -> None:
        self.host = host
        plain = _is_loopback(host) if insecure is None else insecure
        self._insecure = insecure is True
        self._base = f"{'http' if plain else 'https'}://{_HUB if host == 'docker.io' else host}"
        self._credentials = credentials
        self._pool = urllib3.PoolManager(
            maxsize=_PARALLEL * 2, timeout=urllib3.Timeout(connect=10, read=120), retries=False
        )
        self._authorization: dict[str, str] = {}  # scope -> header value
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._pool.clear()

    def digest(self, reference: Reference) -> Digest | None:
        """The digest that the reference stands for, None where the registry has no such manifest."""
        try:
            answer = self._request(
                "HEAD", self._manifest_url(reference), reference.repository, headers=_ACCEPT
            )
        except RegistryNotFoundError:
            return None
        given = answer.headers.get("Docker-Content-Digest")
        if not given:
            return Digest.of(self._manifest(reference)[0])
        try:
            return Digest.parse(given)
        except InvalidReferenceError as error:
            raise RegistryError(f"{reference}: the registry answers that {error}") from error

    def image(self, reference: Reference, platform: Platform | None = None) -> Image:
        """The image; of an index, the one for `platform` (default: this machine's). Layers come lazily."""
        raw, media_type = self._manifest(reference)
        if media_type in INDEXES:
            chosen = choose(Index.parse(raw), platform, str(reference))
            raw, _ = self._manifest(reference.with_digest(chosen.digest))
        return Image.assemble(
            raw,
            lambda config: self._document(reference.repository, config),
            lambda layer: RegistryBlob(self, reference.repository, layer),
        )

    def push(self, image: Image, reference: Reference, *, progress: Progress | None = None) -> Digest:
        """Upload what the registry lacks, several blobs at once, then the manifest; returns its digest.

        Where the reference stands for this very image already, that is all that is asked. `progress` gets a
        blob's digest and a number of bytes as they are sent, from several threads. Raises TagExistsError when
        the tag is immutable and another image's, DigestMismatchError when a layer is not what it should be.
        """
        if reference.digest not in (None, image.digest):
            raise DigestMismatchError(f"{reference} cannot be pushed to: the image has digest {image.digest}")
        if self.digest(reference) == image.digest:
            return image.digest
        manifest = image.manifest
        config = image.config_bytes
        uploads: dict[Digest, Callable[[], BinaryIO]] = {
            manifest.config.digest: BytesBlob(config).open,
        }
        for layer in image.layers:
            uploads.setdefault(layer.descriptor.digest, _opener(layer, str(reference)))
        sizes = {entry.digest: entry.size for entry in (manifest.config, *manifest.layers)}

        def provide(digest: Digest) -> None:
            if not self._has_blob(reference.repository, digest):
                self._upload(reference.repository, digest, sizes[digest], uploads[digest], progress)

        with ThreadPoolExecutor(_PARALLEL) as pool:
            waiting = [pool.submit(provide, digest) for digest in uploads]
            try:
                for done in waiting:
                    done.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        self._put_manifest(reference, image.manifest_bytes, manifest.media_type)
        return image.digest

    def tag(self, reference: Reference, tag: str) -> Digest:
        """Give the manifest that `reference` stands for another tag in the same repository."""
        raw, media_type = self._manifest(reference)
        self._put_manifest(reference.with_tag(tag), raw, media_type)
        return Digest.of(raw)

    def tags(self, repository: str) -> list[str]:
        check_repository(repository)
        url: str | None = f"{self._base}/v2/{repository}/tags/list"
        found: list[str] = []
        while url is not None:
            answer = self._request("GET", url, repository)
            try:
                found += Reader.of(answer.data, "tags").list_of_strings("tags")
            except InvalidDocumentError as error:
                raise RegistryError(f"GET {_shown(url)}: {error}") from error
            url = self._next_page(answer)
        return found

    def open_blob(self, repository: str, descriptor: Descriptor) -> BinaryIO:
        """The blob's bytes as they arrive; see `ocikit.blob.verified` for who checks them.

        A stream that breaks is taken up again where it broke.
        """
        url = f"{self._base}/v2/{repository}/blobs/{descriptor.digest}"

        def fetch(offset: int) -> urllib3.BaseHTTPResponse:
            headers = {"Range": f"bytes={offset}-"} if offset else {}
            call = _Call("GET", url, repository, None, headers)
            return _repeated(lambda: self._ask(call))

        return cast("BinaryIO", io.BufferedReader(_Download(fetch, descriptor.size, _shown(url)), CHUNK))

    # Manifests and blobs

    def _manifest_url(self, reference: Reference) -> str:
        return f"{self._base}/v2/{reference.repository}/manifests/{reference.identifier}"

    def _manifest(self, reference: Reference) -> tuple[bytes, str]:
        answer = self._request("GET", self._manifest_url(reference), reference.repository, headers=_ACCEPT)
        raw = answer.data
        if reference.digest is not None and Digest.of(raw) != reference.digest:
            raise DigestMismatchError(f"{reference}: the registry answers with {Digest.of(raw)}")
        return raw, answer.headers.get("Content-Type", "").partition(";")[0].strip()

    def _put_manifest(self, reference: Reference, raw: bytes, media_type: str) -> None:
        self._request(
            "PUT",
            self._manifest_url(reference),
            reference.repository,
            body=raw,
            headers={"Content-Type": media_type},
        )

    def _document(self, repository: str, descriptor: Descriptor) -> bytes:
        if descriptor.size > MAX_DOCUMENT:
            raise RegistryError(f"{descriptor.digest} has {descriptor.size} bytes, more than {MAX_DOCUMENT}")
        blob = RegistryBlob(self, repository, descriptor)
        with verified(blob, descriptor.digest, descriptor.size, f"{self.host}/{repository}") as source:
            return source.read()

    def _has_blob(self, repository: str, digest: Digest) -> bool:
        try:
            self._request("HEAD", f"{self._base}/v2/{repository}/blobs/{digest}", repository)
        except RegistryNotFoundError:
            return False
        return True

    def _upload(
        self,
        repository: str,
        digest: Digest,
        size: int,
        opener: Callable[[], BinaryIO],
        progress: Progress | None,
    ) -> None:
        """POST then one PUT (end-4a and end-6 of the specification); a failed upload starts a new session."""
        for attempt in range(_ATTEMPTS):
            answer = self._request("POST", f"{self._base}/v2/{repository}/blobs/uploads/", repository)
            place = self._next(f"{self._base}/v2/", answer.headers.get("Location", ""))
            url = place + ("&" if urlsplit(place).query else "?") + urlencode({"digest": str(digest)})
            try:
                with opener() as source:
                    self._request(
                        "PUT",
                        url,
                        repository,
                        body=_Reported(source, str(digest), progress),
                        headers={"Content-Type": "application/octet-stream", "Content-Length": str(size)},
                        once=True,
                    )
            except _PassingError as error:
                # The commit may have been lost on its way back: ask before sending everything again.
                if self._has_blob(repository, digest):
                    return
                if attempt + 1 == _ATTEMPTS:
                    raise error.error from error
                time.sleep(_pause(attempt, error.retry_after))
            else:
                return

    # Requests

    def _request(
        self,
        method: str,
        url: str,
        repository: str,
        *,
        body: bytes | _Reported | None = None,
        headers: Mapping[str, str] | None = None,
        once: bool = False,
    ) -> _Answer:
        """One request, answered or raised; tried again after passing failures unless `once`."""
        call = _Call(method, url, repository, body, dict(headers or {}))
        if once:
            return _read(self._ask(call), url)
        return _repeated(lambda: _read(self._ask(call), url))

    def _ask(self, call: _Call) -> urllib3.BaseHTTPResponse:
        authorization = self._authorization.get(call.scope)
        answer, url = self._send(call, authorization)
        if answer.status != 401 or not self._is_own(url):
            # Only the registry itself says where its credentials go, not where it has sent us.
            return _checked(answer, call.method, url)
        try:
            fresh = self._log_in(answer, call.scope, authorization)
        except BaseException:
            _dismiss(answer)
            raise
        if fresh is not None:
            _dismiss(answer)
            if isinstance(call.body, _Reported):
                # The token ran out under way; what was sent is lost, but the next upload has a fresh one.
                raise _PassingError(RegistryError(f"{call.method} {_shown(call.url)}: 401", status=401), None)
            answer, url = self._send(call, fresh)
        return _checked(answer, call.method, url)

    def _is_own(self, url: str) -> bool:
        return _origin(url) == _origin(self._base)

    def _send(self, call: _Call, authorization: str | None) -> tuple[urllib3.BaseHTTPResponse, str]:
        """Send, and follow redirects of reads; the answer, and where it comes from.

        Our credentials go to the registry's own host and no other.
        """
        url = call.url
        for _ in range(5):
            own = self._is_own(url)
            sent = call.headers | ({"Authorization": authorization} if authorization and own else {})
            try:
                answer = self._pool.request(
                    call.method,
                    url,
                    body=cast("IO[Any] | bytes | None", call.body),
                    headers=sent,
                    redirect=False,
                    preload_content=False,
                    decode_content=False,
                )
            except HTTPError as error:
                failed = RegistryError(f"{call.method} {_shown(url)}: {_reason(error)}")
                raise _PassingError(failed, None) from error
            location = answer.headers.get("Location")
            if call.method not in ("GET", "HEAD") or location is None or answer.status not in _REDIRECTS:
                return answer, url
            _dismiss(answer)
            url = self._next(url, location)
        raise RegistryError(f"{_shown(url)}: more than 5 redirects")

    def _next(self, url: str, location: str) -> str:
        """Where an answer from `url` sends us. Raises RegistryError if that is no place to go."""
        try:
            target = urljoin(url, location)
            scheme, _, _ = _origin(target)
        except ValueError:
            scheme = ""
        if not location or scheme not in ("http", "https"):
            raise RegistryError(f"{_shown(url)} sends us to {location[:200]!r}, which is no place to go")
        if urlsplit(url).scheme == "https" and scheme != "https":
            raise RegistryError(f"{_shown(url)} sends us from https to {scheme}")
        return target

    def _log_in(self, answer: urllib3.BaseHTTPResponse, scope: str, used: str | None) -> str | None:
        """The Authorization that the challenge asks for; None when there is nothing new to try.

        Basic as in RFC 7617, Bearer as in the distribution project's token specification.
        """
        challenge = answer.headers.get("WWW-Authenticate", "")
        kind, _, rest = challenge.partition(" ")
        if kind.lower() == "basic":
            fresh = self._credentials.basic() if self._credentials else None
        elif kind.lower() == "bearer":
            fresh = self._token(dict(_CHALLENGE.findall(rest)), scope)
        else:
            return None
        if fresh is None or fresh == used:
            return None
        with self._lock:
            self._authorization[scope] = fresh
        return fresh

    def _token(self, challenge: Mapping[str, str], scope: str) -> str:
        realm = challenge.get("realm", "")
        try:
            scheme, host, _ = _origin(realm)
        except ValueError:
            raise AuthenticationError(
                f"{self.host} sends us to {realm[:200]!r} for a token, which is no place to go"
            ) from None
        if scheme != "https" and not (scheme == "http" and (_is_loopback(host) or self._insecure)):
            raise AuthenticationError(
                f"{self.host} sends us to {_shown(realm)!r} for a token: credentials do not go there"
            )
        query = {"scope": challenge.get("scope", scope)}
        if "service" in challenge:
            query["service"] = challenge["service"]
        headers = {"Authorization": self._credentials.basic()} if self._credentials else {}
        url = f"{realm}{'&' if urlsplit(realm).query else '?'}{urlencode(query)}"
        try:
            answer = self._pool.request("GET", url, headers=headers, redirect=False, preload_content=False)
        except HTTPError as error:
            raise _PassingError(
                RegistryError(f"token from {_shown(realm)}: {_reason(error)}"), None
            ) from error
        data = _read(_checked(answer, "GET", realm), realm).data
        try:
            document = Reader.of(data, "token")
            token = document.optional("token", str) or document.get("access_token", str)
        except InvalidDocumentError:
            token = ""
        if not _TOKEN.fullmatch(token):
            raise AuthenticationError(f"{_shown(realm)} answered without a token")
        return f"Bearer {token}"

    def _next_page(self, answer: _Answer) -> str | None:
        match = re.match(r'<([^>]+)>;\s*rel="?next"?', answer.headers.get("Link", ""))
        if match is None:
            return None
        url = self._next(f"{self._base}/v2/", match[1])
        if not self._is_own(url):
            raise RegistryError(f"{self.host} sends us to {_shown(url)} for its next page")
        return url


@dataclass(frozen=True, slots=True)
class _Call:
    """A request before it is sent, and may be sent again."""

    method: str
    url: str
    repository: str
    body: bytes | _Reported | None
    headers: dict[str, str]

    @property
    def scope(self) -> str:
        """What a token is asked for."""
        return f"repository:{self.repository}:" + ("pull" if self.method in ("GET", "HEAD") else "pull,push")


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer whose body, of a bounded size, has been read."""

    headers: Mapping[str, str]
    data: bytes


@dataclass(frozen=True, slots=True)
class RegistryBlob:
    """A blob that stays in its registry until it is read."""

    registry: Registry
    repository: str
    descriptor: Descriptor

    def open(self) -> BinaryIO:
        return self.registry.open_blob(self.repository, self.descriptor)


class _PassingError(Exception):
    """A failure that may be gone at the next try."""

    def __init__(self, error: RegistryError, retry_after: str | None) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry_after = retry_after


class _Reported:
    """A request body that tells how far it has been read."""

    def __init__(self, source: BinaryIO, name: str, progress: Progress | None) -> None:
        self._source = source
        self._name = name
        self._progress = progress

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(CHUNK if size < 0 else max(size, CHUNK))
        if self._progress is not None and data:
            self._progress(self._name, len(data))
        return data


class _Download(io.RawIOBase):
    """A blob's bytes; a connection that is lost is made again, for what is missing."""

    def __init__(self, fetch: Callable[[int], urllib3.BaseHTTPResponse], size: int, what: str) -> None:
        super().__init__()
        self._fetch = fetch
        self._size = size
        self._what = what
        self._read = 0
        self._failures = 0
        self._answer = fetch(0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast("bytearray", buffer)).cast("B")
        while True:
            try:
                data = self._answer.read(len(view), decode_content=False)
            except HTTPError as error:
                self._again(error)
            else:
                view[: len(data)] = data
                self._read += len(data)
                return len(data)

    def _again(self, error: Exception) -> None:
        _dismiss(self._answer)
        self._failures += 1
        failed = RegistryError(f"GET {self._what}: broken off after {self._read} bytes: {_reason(error)}")
        if self._failures == _ATTEMPTS or self._read >= self._size:
            raise failed from error
        time.sleep(_pause(self._failures, None))
        self._answer = self._fetch(self._read)
        if self._read and self._answer.status != 206:
            raise failed from error  # this registry cannot continue

    def close(self) -> None:
        _dismiss(self._answer)
        super().close()


def _checked(answer: urllib3.BaseHTTPResponse, method: str, url: str) -> urllib3.BaseHTTPResponse:
    if answer.status < 300:
        return answer
    code, message = _first_error(_bounded(answer, _MAX_ERROR, url))
    shown = f"{method} {_shown(url)}: {answer.status} {code or answer.reason or ''} {message or ''}".rstrip()
    status = answer.status
    if status in (401, 403):
        raise AuthenticationError(shown, status=status, code=code)
    if status == 404:
        raise RegistryNotFoundError(shown, status=status, code=code)
    if method == "PUT" and (status == 409 or (code == "TAG_INVALID" and "immutable" in (message or ""))):
        raise TagExistsError(shown, status=status, code=code)  # as ECR has it, and others
    error = RegistryError(shown, status=status, code=code)
    if status in _PASSING:
        raise _PassingError(error, answer.headers.get("Retry-After"))
    raise error


def _read(answer: urllib3.BaseHTTPResponse, url: str) -> _Answer:
    return _Answer(answer.headers, _bounded(answer, MAX_DOCUMENT, url))


def _repeated(attempt: Callable[[], T]) -> T:
    """What `attempt` returns, which is called again after a pause when it fails in passing."""
    for number in range(1, _ATTEMPTS):
        try:
            return attempt()
        except _PassingError as error:
            time.sleep(_pause(number, error.retry_after))
    try:
        return attempt()
    except _PassingError as error:
        raise error.error from error


def _opener(layer: Layer, what: str) -> Callable[[], BinaryIO]:
    return lambda: verified(layer.blob, layer.descriptor.digest, layer.descriptor.size, what)


def _is_loopback(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _dismiss(answer: urllib3.BaseHTTPResponse) -> None:
    """Done with an answer, read or not: an unread one takes its connection with it."""
    answer.close()
    answer.release_conn()  # of one without a body, `close` closes nothing


def _bounded(answer: urllib3.BaseHTTPResponse, limit: int, url: str) -> bytes:
    """The body, which is not read further than `limit`."""
    data = b""
    try:
        # Up to the read that gives nothing: only that one notices what is missing.
        while len(data) <= limit and (more := answer.read(limit + 1 - len(data), decode_content=False)):
            data += more
    except HTTPError as error:
        _dismiss(answer)
        failed = RegistryError(f"{_shown(url)}: the answer broke off: {_reason(error)}")
        raise _PassingError(failed, None) from error
    if len(data) > limit:
        _dismiss(answer)
        raise RegistryError(f"{_shown(url)}: an answer of more than {limit} bytes")
    answer.release_conn()
    return data


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname or "", port


def _first_error(text: bytes) -> tuple[str | None, str | None]:
    """Code and message of the specification's error document, if it is one."""
    try:
        entry = json.loads(text)["errors"][0]
        return str(entry["code"]), str(entry.get("message", ""))
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return None, None


def _shown(url: str) -> str:
    """A URL without its query, which may hold a signature."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"


def _reason(error: Exception) -> str:
    return re.sub(r"^.*?object at 0x\w+>:\s*", "", str(error)) or type(error).__name__


def _pause(attempt: int, retry_after: str | None) -> float:
    """Seconds before the next try: what the registry asks for, up to a minute, or doubling with jitter."""
    if retry_after is not None:
        seconds = _seconds(retry_after)
        if seconds is not None:
            return min(max(seconds, 0.0), _LONGEST_PAUSE)
    doubling: float = 0.1 * 2**attempt
    return doubling * random.uniform(0.5, 1.5)  # noqa: S311  spread, not secrecy


def _seconds(retry_after: str) -> float | None:
    """RFC 9110 section 10.2.3: a number of seconds, or a date."""
    if retry_after.isdecimal():
        return float(retry_after[:9])
    try:
        return (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return None
