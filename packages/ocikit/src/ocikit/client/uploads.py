"""Writing a blob: mounted where the registry has it, else sent; what breaks goes on where it broke."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from threading import Event
from typing import BinaryIO
from urllib.parse import urlencode

from ocikit.blob import CHUNK
from ocikit.client.address import next_place, with_query
from ocikit.client.answer import Answer
from ocikit.client.blobs import has_blob
from ocikit.client.retry import ATTEMPTS, PassingError, wait
from ocikit.client.session import Session
from ocikit.digest import Digest
from ocikit.errors import DigestMismatchError, RegistryError
from ocikit.value import value

Progress = Callable[[str, int], None]

_SMALL = 128 << 10  # bytes that take as long to send as to ask for
_STEP = 16 << 20  # bytes of a chunk, once an upload has broken
_PATIENCE = 3  # failures after which chunks that the registry refuses are not sent again
_NOT_SO = frozenset({400, 405, 411, 413, 415, 501})  # what a registry may say to a blob in a POST
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,18})")


@value
class Content:
    """A blob to be pushed. `mount_from`: a repository of the same registry that may have it.

    One that `is_new` is sent without asking whether it is there; where the repository itself is not known,
    nobody asks by itself.
    """

    digest: Digest
    size: int
    open: Callable[[], BinaryIO]
    mount_from: str | None = None
    is_new: bool = False


@value
class _Place:
    """Where the registry wants the bytes, and how few of them it takes in a chunk that is not the last."""

    url: str
    least: int


def provide(
    session: Session, repository: str, content: Content, progress: Progress | None, stop: Event
) -> None:
    """See to it that the repository has the blob, unless `stop` is set. Raises RegistryError,
    DigestMismatchError.
    """
    is_small, is_unknown = content.size <= _SMALL, repository in session.unknown
    if not (content.is_new or is_unknown) and has_blob(session, repository, content.digest):
        return
    place: _Place | None = None
    # A repository that is not known has no image, but may have what a push that was broken off has left. To
    # mount that from itself asks for it, and begins the upload if it is not there, in one request.
    source = content.mount_from or (repository if is_unknown and not is_small else None)
    if source is not None:
        try:
            place = _mount(session, repository, content.digest, source)
            if place is None:
                return
        except RegistryError as error:
            if error.status is None or error.status >= 500:
                raise
            # Of a repository that is gone, or that we may not read, not every registry begins an upload then.
            content = replace(content, mount_from=None)
    elif is_small and session.takes_whole and not stop.is_set():
        try:
            place = _send_whole(session, repository, content)
        except PassingError as error:
            wait(1, error.retry_after)
            if has_blob(session, repository, content.digest):  # the answer may have been lost on its way
                return
        else:
            if place is None:
                if progress is not None:
                    progress(str(content.digest), 0)
                    progress(str(content.digest), content.size)
                return
    if place is None:
        place = _begin(session, repository, content.digest)
    _Upload(session, repository, content, progress, stop).run(place)


def _send_whole(session: Session, repository: str, content: Content) -> _Place | None:
    """end-4b: None where the registry takes it so, an upload where it does not: then it is not tried again.

    Raises PassingError.
    """
    with content.open() as source:
        data = source.read()
    url = f"{session.base}/{repository}/blobs/uploads/"
    query = urlencode({"digest": str(content.digest)})
    try:
        answer = session.request(
            "POST",
            f"{url}?{query}",
            repository,
            body=data,
            headers={"Content-Type": "application/octet-stream", "Content-Length": str(len(data))},
            once=True,
        )
    except RegistryError as error:
        if error.status not in _NOT_SO:
            raise
        session.takes_whole = False
        return _begin(session, repository, content.digest)
    if answer.status == 201:
        return None
    session.takes_whole = False
    return _place(url, answer, 0)


def _mount(session: Session, repository: str, digest: Digest, source: str) -> _Place | None:
    """end-11: None where the registry mounts the blob, a new upload where it does not."""
    url = f"{session.base}/{repository}/blobs/uploads/"
    query = urlencode({"mount": str(digest), "from": source})
    elsewhere = source if source != repository else None
    answer = session.request("POST", f"{url}?{query}", repository, mount_from=elsewhere)
    return None if answer.status == 201 else _place(url, answer, 0)


def _begin(session: Session, repository: str, digest: Digest) -> _Place:
    """end-4a, and end-4c for other digests than sha256."""
    url = f"{session.base}/{repository}/blobs/uploads/"
    query = "" if digest.algorithm == "sha256" else f"?digest-algorithm={digest.algorithm}"
    return _place(url, session.request("POST", url + query, repository), 0)


def _place(url: str, answer: Answer, least: int) -> _Place:
    text = answer.headers.get("OCI-Chunk-Min-Length", "")
    given = int(text) if text.isdecimal() and len(text) < 10 else least
    return _Place(next_place(url, answer.headers.get("Location", "")), given)


class _Upload:
    """First all bytes in one PUT (end-6): the fewest requests, and what every registry takes.

    When that breaks, the registry is asked how far it got (end-13), and the rest goes in chunks (end-5), so
    that each is won. A registry that forgot, or that refuses chunks, gets all of it anew.
    """

    def __init__(
        self, session: Session, repository: str, content: Content, progress: Progress | None, stop: Event
    ) -> None:
        self._session = session
        self._repository = repository
        self._content = content
        self._progress = progress
        self._stop = stop

    def run(self, place: _Place) -> None:
        """Raises RegistryError; DigestMismatchError if the content is not what it should be."""
        reached = failures = 0
        if self._progress is not None:
            self._progress(str(self._content.digest), 0)
        while True:
            try:
                self._send(place, reached)
            except PassingError as error:
                if self._stop.is_set():
                    raise error.error from error
                failed, retry_after, goes_on = error.error, error.retry_after, True
            except RegistryError as error:
                if not reached or self._stop.is_set():
                    raise
                # The registry may be still at work on what broke off: it says so, or where it is by now.
                failed, retry_after, goes_on = (
                    error,
                    None,
                    error.status in (409, 416) and failures < _PATIENCE,
                )
            except DigestMismatchError:
                self._cancel(place)
                raise
            else:
                return
            failures += 1
            # The commit may have been lost on its way back: ask before sending anything again.
            if has_blob(self._session, self._repository, self._content.digest):
                return
            if failures == ATTEMPTS:
                raise failed
            wait(failures, retry_after)
            before = reached
            known = self._ask(place) if goes_on else None
            if known is None:
                known = _begin(self._session, self._repository, self._content.digest), 0
            place, reached = known
            if reached >= before + CHUNK:
                failures = 1  # slowly, but it gets there

    def _send(self, place: _Place, reached: int) -> None:
        with self._content.open() as source:
            _skip(source, reached)
            if reached:
                place = self._send_chunks(source, place, reached)
                reached = self._content.size
            rest = self._content.size - reached
            self._session.request(
                "PUT",
                with_query(place.url, urlencode({"digest": str(self._content.digest)})),
                self._repository,
                body=self._part(source, rest, last=True) if rest else b"",
                headers={"Content-Type": "application/octet-stream", "Content-Length": str(rest)},
                once=True,
                mount_from=self._content.mount_from,
            )

    def _send_chunks(self, source: BinaryIO, place: _Place, reached: int) -> _Place:
        while reached < self._content.size:
            end = min(reached + max(_STEP, place.least), self._content.size)
            answer = self._session.request(
                "PATCH",
                place.url,
                self._repository,
                body=self._part(source, end - reached, last=end == self._content.size),
                headers={
                    "Content-Type": "application/octet-stream",
                    "Content-Length": str(end - reached),
                    "Content-Range": f"{reached}-{end - 1}",
                },
                once=True,
                mount_from=self._content.mount_from,
            )
            place, reached = _place(place.url, answer, place.least), end
        return place

    def _part(self, source: BinaryIO, size: int, *, last: bool) -> _Part:
        return _Part(source, size, str(self._content.digest), self._progress, self._stop, last=last)

    def _ask(self, place: _Place) -> tuple[_Place, int] | None:
        """Where the upload goes on, and how many bytes are there; None where nobody knows."""
        try:
            answer = self._session.request("GET", place.url, self._repository)
            match = _RANGE.fullmatch(answer.headers.get("Range", ""))
            # `0-0` is said of one byte and of none.
            if match is None or not 0 < int(match[1]) < self._content.size:
                return None
            return _place(place.url, answer, place.least), int(match[1]) + 1
        except RegistryError:
            return None

    def _cancel(self, place: _Place) -> None:
        """end-14: the registry need not keep what is no use."""
        with suppress(RegistryError, PassingError):
            self._session.request("DELETE", place.url, self._repository, once=True)


class _Part:
    """The next `size` bytes of a source as a request's body, which tells how far it has been read."""

    def __init__(
        self,
        source: BinaryIO,
        size: int,
        name: str,
        progress: Progress | None,
        stop: Event,
        *,
        last: bool,
    ) -> None:
        self._stop = stop
        self._source = source
        self._left = size
        self._name = name
        self._progress = progress
        self._last = last

    def read(self, size: int = -1) -> bytes:
        if self._stop.is_set():
            raise RegistryError("another part of the push has failed, or it was interrupted")
        wanted = min(self._left, CHUNK if size < 0 else max(size, CHUNK))
        # Past the end of the last part too: there the source finds out whether it is what was promised.
        data = self._source.read(wanted or 1) if wanted or self._last else b""
        self._left -= len(data)
        if self._progress is not None and data:
            self._progress(self._name, len(data))
        return data


def _skip(source: BinaryIO, size: int) -> None:
    while size and (data := source.read(min(size, CHUNK))):
        size -= len(data)
