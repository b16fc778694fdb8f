"""Copies: an object, or a range of it, as another or as a part of one (CopyObject, UploadPartCopy)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request

from homeport.aws.errors import ApiError
from homeport.s3 import keys, objects
from homeport.s3.body import Body, temporary

__all__ = ["SOURCE", "Source"]

SOURCE = "x-amz-copy-source"
_RANGE = re.compile(r"bytes=(\d{1,15})-(\d{1,15})")
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """What is copied: bytes `first` to `last` of an object, both included, or all of it."""

    bucket: str
    key: str
    bytes: tuple[int, int] | None = None

    @classmethod
    def of(cls, request: Request) -> Source:
        """Read the headers of a copy; raises ApiError InvalidArgument, NotImplemented."""
        for name in request.headers:
            if name.startswith(f"{SOURCE}-") and name != f"{SOURCE}-range":
                raise ApiError("NotImplemented", f"{name} is not supported", 501)
        path, _, query = request.headers[SOURCE].partition("?")
        if query:
            raise ApiError("NotImplemented", "an object has no versions here", 501)
        bucket, key = keys.split(f"/{path.removeprefix('/')}")
        if not bucket or not key:
            raise ApiError("InvalidArgument", f"{SOURCE} is no bucket and key", 400)
        header = request.headers.get(f"{SOURCE}-range")
        if header is None:
            return cls(bucket, key)
        match = _RANGE.fullmatch(header)
        if match is None or int(match[1]) > int(match[2]):
            raise ApiError("InvalidArgument", f"{SOURCE}-range is no range of bytes", 400)
        return cls(bucket, key, (int(match[1]), int(match[2])))

    @contextmanager
    def copied(self, source: Path, folder: Path) -> Iterator[Body]:
        """The bytes, of the bucket whose folder is `source`, in a file in `folder` for as long as this lasts.

        Raises ApiError NoSuchKey, InvalidRange.
        """
        found, file = objects.open_object(source, self.key)
        with file, temporary(folder) as (copy, path):
            first, last = self.bytes or (0, found.size - 1)
            if last >= found.size:
                raise ApiError("InvalidRange", f"the object has {found.size} bytes", 416)
            file.seek(first)
            left = last + 1 - first
            md5 = hashlib.md5(usedforsecurity=False)
            while left and (piece := file.read(min(left, _PIECE))):
                md5.update(piece)
                copy.write(piece)
                left -= len(piece)
            copy.flush()
            yield Body(path, md5.hexdigest())
