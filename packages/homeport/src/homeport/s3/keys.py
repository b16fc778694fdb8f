"""Which bucket and key a path names, and which keys can be files."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from homeport.aws.errors import ApiError

_LONGEST = 1024  # bytes of UTF-8, as in S3
_LONGEST_SEGMENT = 255  # bytes of UTF-8, as in Linux's file systems
# Control characters, and the two that XML cannot hold.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f\ufffe\uffff]")


def split(raw_path: str) -> tuple[str, str]:
    """Bucket and key of a percent-encoded path, path style; each may be empty.

    Raises ApiError (InvalidURI, KeyTooLongError, InvalidArgument).
    """
    try:
        path = unquote_to_bytes(raw_path).decode()
    except UnicodeDecodeError:
        raise ApiError("InvalidURI", "the path is not UTF-8", 400) from None
    bucket, _, key = path.removeprefix("/").partition("/")
    if key:
        check(key)
    return bucket, key


def check(key: str) -> None:
    """Raise ApiError unless the key can be kept as a file of just this name below its bucket's folder."""
    if len(key.encode()) > _LONGEST:
        raise ApiError("KeyTooLongError", f"a key has at most {_LONGEST} bytes", 400)
    if not is_path(key):
        message = "a key here is made like a file's path: no empty, . or .. part, no control characters"
        raise ApiError("InvalidArgument", f"{message}, {_LONGEST_SEGMENT} bytes a part at most", 400)


def is_path(key: str) -> bool:
    """Whether each part between slashes is a file's name."""
    return not _UNPRINTABLE.search(key) and all(
        part not in ("", ".", "..") and len(part.encode()) <= _LONGEST_SEGMENT for part in key.split("/")
    )
