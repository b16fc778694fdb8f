"""Bodies in chunks (`aws-chunked`): what SDKs send that hash and sign while they read.

AWS documentation, "Signature calculations for the Authorization header: transferring payload in multiple
chunks" and "Including trailing headers". A chunk is `SIZE;chunk-signature=…`, its content, and a line's end;
the last one is empty, and after it come the fields that `x-amz-trailer` has announced.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping

from homeport.aws.errors import S3_CODES, ApiError
from homeport.sigv4 import Chain, SignatureError

_SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
MODES = frozenset({_SIGNED, f"{_SIGNED}-TRAILER", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"})

_HEAD = re.compile(rb"([0-9a-fA-F]{1,16})(?:;chunk-signature=([0-9a-f]{64}))?\r\n")
_LONGEST_HEAD = 128  # bytes
_LONGEST_TRAILER = 4096  # bytes
_TRAILER_SIGNATURE = "x-amz-trailer-signature"


class Encoded:
    """One body on its way in. What `decode` gives is to be believed only once `finish` has returned."""

    def __init__(self, headers: Mapping[str, str], chain: Chain) -> None:
        """Raises ApiError MissingContentLength."""
        mode = headers.get("x-amz-content-sha256", "")
        self._chain = chain if mode.startswith(_SIGNED) else None
        announced = headers.get("x-amz-trailer", "") if mode.endswith("-TRAILER") else ""
        self._announced = {name.strip().lower() for name in announced.split(",")} - {""}
        length = headers.get("x-amz-decoded-content-length", "")
        if not length.isascii() or not length.isdecimal() or len(length) > 16:
            raise ApiError("MissingContentLength", "x-amz-decoded-content-length must say a number", 411)
        self._missing = int(length)
        self._left: int | None = None  # of the chunk under way; None between chunks
        self._signature = ""
        self._sha256 = hashlib.sha256()
        self._ended = False
        self._buffer = bytearray()

    def decode(self, arrived: bytes) -> Iterator[bytes]:
        """The content in what arrived. Raises ApiError IncompleteBody, SignatureDoesNotMatch."""
        self._buffer += arrived
        while not self._ended:
            if self._left is None:
                if not self._begin():
                    return
            elif self._left:
                piece = bytes(self._buffer[: self._left])
                if not piece:
                    return
                del self._buffer[: len(piece)]
                self._left -= len(piece)
                self._sha256.update(piece)
                yield piece
            elif not self._end():
                return
        _require(len(self._buffer) <= _LONGEST_TRAILER, f"has more than {_LONGEST_TRAILER} bytes at its end")

    def finish(self) -> Mapping[str, str]:
        """The announced fields, by their names in lower case.

        Raises ApiError IncompleteBody, MalformedTrailerError, SignatureDoesNotMatch.
        """
        _require(self._ended, "ends before its last chunk")
        _require(self._missing == 0, f"lacks {self._missing} bytes of x-amz-decoded-content-length")
        fields = dict(_fields(bytes(self._buffer)))
        if self._chain is not None and self._announced:
            signature = fields.pop(_TRAILER_SIGNATURE, "")
            signed = "".join(f"{name}:{value}\n" for name, value in fields.items())
            _believe(self._chain.trailer, hashlib.sha256(signed.encode()).hexdigest(), signature)
        if fields.keys() != self._announced:
            message = f"x-amz-trailer announces {sorted(self._announced)}, what came is {sorted(fields)}"
            raise ApiError("MalformedTrailerError", message[:1000], 400)
        return fields

    def _begin(self) -> bool:
        """Read a chunk's first line, if all of it is here."""
        end = self._buffer.find(b"\n", 0, _LONGEST_HEAD) + 1
        if not end:
            _require(len(self._buffer) < _LONGEST_HEAD, "is not in chunks")
            return False
        head = _HEAD.fullmatch(bytes(self._buffer[:end]))
        if head is None or (head[2] is None) != (self._chain is None):
            raise _incomplete("is not in chunks")
        del self._buffer[:end]
        self._left = int(head[1], 16)
        self._missing -= self._left
        _require(self._missing >= 0, "is longer than x-amz-decoded-content-length")
        self._signature = (head[2] or b"").decode()
        self._ended = self._left == 0
        if self._ended:
            self._check()
        return True

    def _end(self) -> bool:
        """Read what ends a chunk, if all of it is here."""
        if len(self._buffer) < 2:
            return False
        _require(self._buffer.startswith(b"\r\n"), "has a chunk of another size than it says")
        del self._buffer[:2]
        self._check()
        self._left = None
        return True

    def _check(self) -> None:
        if self._chain is not None:
            _believe(self._chain.chunk, self._sha256.hexdigest(), self._signature)
        self._sha256 = hashlib.sha256()


def _fields(trailer: bytes) -> Iterator[tuple[str, str]]:
    for line in trailer.decode("latin-1").split("\n"):
        name, colon, value = line.strip().partition(":")
        if colon:
            yield name.lower(), value.strip()
        elif name:
            raise ApiError("MalformedTrailerError", "what follows the last chunk is no field", 400)


def _believe(link: Callable[[str, str], None], sha256: str, signature: str) -> None:
    try:
        link(sha256, signature)
    except SignatureError as error:
        code, status = S3_CODES[error.flaw]
        raise ApiError(code, str(error), status) from error


def _require(held: bool, otherwise: str) -> None:
    if not held:
        raise _incomplete(otherwise)


def _incomplete(why: str) -> ApiError:
    return ApiError("IncompleteBody", f"the body {why}", 400)
