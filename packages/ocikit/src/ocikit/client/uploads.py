"""Writing a blob: mounted where the registry has it, else sent; what breaks goes on where it broke."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from threading import Event
from typing import BinaryIO
from urllib.parse import urlencode, urlsplit

from ocikit.blob import CHUNK
from ocikit.client.address import next_place, with_query
from ocikit.client.answer import Answer
from ocikit.client.blobs import has_blob
from ocikit.client.retry import ATTEMPTS, PassingError, wait
from ocikit.client.session import Session
from ocikit.client.unfinished import Note, noted
from ocikit.digest import Digest
from ocikit.errors import DigestMismatchError, RegistryError
from ocikit.value import value

Progress = Callable[[str, int], None]

_SMALL = 128 << 10  # bytes that take as long to send as to ask for
_NOTED = 4 << 20  # bytes that it is worth to note an upload for
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
    is_unknown = repository in session.unknown
    if not (content.is_new or is_unknown) and has_blob(session, repository, content.digest):
        return
    if content.size <= _SMALL:
        _provide_small(session, repository, content, progress, stop)
        return
    folder = session.uploads if content.size >= _NOTED else None
    with noted(folder, session.base, repository, str(content.digest)) as note:
        known = _noted_place(session, repository, content, note)
        if known is None:
            # A repository that is not known has no image, but may have what a push that broke off has left.
            # To mount that from itself asks for it, and begins the upload if it is not there, in one request.
            source = content.mount_from or (repository if is_unknown else None)
            content, place = _opened(session, repository, content, source)
            if place is None:
                note.is_over = True
                return
            known = place, 0
        _Upload(session, repository, content, progress, stop, note=note).run(*known)


def _provide_small(
    session: Session, repository: str, content: Content, progress: Progress | None, stop: Event
) -> None:
    place: _Place | None = None
    if content.mount_from is None and session.takes_whole and not stop.is_set():
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
        content, place = _opened(session, repository, content, content.mount_from)
    if place is not None:
        _Upload(session, repository, content, progress, stop).run(place, 0)


def _opened(
    session: Session, repository: str, content: Content, source: str | None
) -> tuple[Content, _Place | None]:
    """A new upload of the content, as it is from then on; None where it could be mounted from `source`."""
    if source is not None:
        try:
            return content, _mount(session, repository, content.digest, source)
        except RegistryError as error:
            if error.status is None or error.status >= 500:
                raise
            # Of a repository that is gone, or that we may not read, not every registry begins an upload then.
            content = replace(content, mount_from=None)
    return content, _begin(session, repository, content.digest)


def _noted_place(
    session: Session, repository: str, content: Content, note: Note
) -> tuple[_Place, int] | None:
    """Where an upload that another process began goes on, and from which byte; None where nobody knows."""
    match note.read():
        case {"url": str(url), "least": int(least)} if _is_own(session, url):
            return _reached(session, repository, _Place(url, least), content.size)
        case _:
            return None


def _is_own(session: Session, url: str) -> bool:
    """Whether it is the registry's own, without anybody's password: another's may be signed."""
    try:
        return session.is_own(url) and "@" not in urlsplit(url).netloc
    except ValueError:
        return False


def _reached(session: Session, repository: str, place: _Place, size: int) -> tuple[_Place, int] | None:
    """end-13: where the upload goes on, and how many bytes are there; None where nobody knows."""
    try:
        answer = session.request("GET", place.url, repository)
        match = _RANGE.fullmatch(answer.headers.get("Range", ""))
        # `0-0` is said of one byte and of none.
        if match is None or not 0 < int(match[1]) < size:
            return None
        return _place(place.url, answer, place.least), int(match[1]) + 1
    except RegistryError:
        return None


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
        self,
        session: Session,
        repository: str,
        content: Content,
        progress: Progress | None,
        stop: Event,
        *,
        note: Note | None = None,
    ) -> None:
        self._note = note
        self._session = session
        self._repository = repository
        self._content = content
        self._progress = progress
        self._stop = stop

    def run(self, place: _Place, reached: int) -> None:
        """Raises RegistryError; DigestMismatchError if the content is not what it should be."""
        failures = 0
        self._keep(place)
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
                self._over()
                self._cancel(place)
                raise
            else:
                self._over()
                return
            failures += 1
            # The commit may have been lost on its way back: ask before sending anything again.
            if has_blob(self._session, self._repository, self._content.digest):
                self._over()
                return
            if failures == ATTEMPTS:
                raise failed
            wait(failures, retry_after)
            before = reached
            known = self._asked(place) if goes_on else None
            if known is None:
                known = _begin(self._session, self._repository, self._content.digest), 0
            place, reached = known
            self._keep(place)
            if reached >= before + CHUNK:
                failures = 1  # slowly, but it gets there

    def _asked(self, place: _Place) -> tuple[_Place, int] | None:
        return _reached(self._session, self._repository, place, self._content.size)

    def _keep(self, place: _Place) -> None:
        if self._note is not None and _is_own(self._session, place.url):
            self._note.write({"url": place.url, "least": place.least})

    def _over(self) -> None:
        if self._note is not None:
            self._note.is_over = True

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
            self._keep(place)
        return place

    def _part(self, source: BinaryIO, size: int, *, last: bool) -> _Part:
        return _Part(source, size, str(self._content.digest), self._progress, self._stop, last=last)

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
