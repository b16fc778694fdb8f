"""Uploads in parts: each part a file, joined when the upload is completed."""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from homeport.aws.errors import ApiError
from homeport.s3.body import Body, temporary

_ID = re.compile(r"[0-9a-f]{32}")
_MD5 = re.compile(r"[0-9a-f]{32}")
_MAX_PARTS = 10_000


@dataclass(frozen=True, slots=True)
class Multipart:
    """The uploads under way below one folder, which is on the file system of the buckets."""

    folder: Path

    def clean(self) -> None:
        """Make the folder; what uploads of an earlier process left there goes."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def begin(self, bucket: str, key: str) -> str:
        upload = secrets.token_hex(16)
        directory = self.folder / upload
        directory.mkdir(mode=0o700)
        (directory / "key").write_text(f"{bucket}/{key}")
        return upload

    def add(self, upload: str, bucket: str, key: str, number: str, body: Body) -> str:
        """Keep a part; returns its ETag. Raises ApiError InvalidArgument, NoSuchUpload."""
        directory = self._directory(upload, bucket, key)
        if not number.isascii() or not number.isdecimal() or len(number) > 9:
            number = "0"
        if not 1 <= int(number) <= _MAX_PARTS:
            raise ApiError("InvalidArgument", f"partNumber is not from 1 to {_MAX_PARTS}", 400)
        # The name holds the ETag, so that completing can tell a part from another of its number.
        for old in directory.glob(f"{int(number):05}-*"):
            old.unlink(missing_ok=True)
        try:
            body.path.replace(directory / f"{int(number):05}-{body.md5}")
        except FileNotFoundError:
            raise _gone() from None
        return f'"{body.md5}"'

    @contextmanager
    def joined(self, upload: str, bucket: str, key: str, parts: list[tuple[int, str]]) -> Iterator[Path]:
        """The whole in a file, which is the caller's to move away.

        Raises ApiError InvalidPart, InvalidPartOrder, NoSuchUpload.
        """
        directory = self._directory(upload, bucket, key)
        if not parts or [number for number, _ in parts] != sorted({number for number, _ in parts}):
            raise ApiError("InvalidPartOrder", "parts are listed once each, in order of their numbers", 400)
        with temporary(self.folder) as (whole, path):
            for number, etag in parts:
                md5 = etag.strip('"')
                missing = ApiError("InvalidPart", f"part {number} was not uploaded with this ETag", 400)
                if not _MD5.fullmatch(md5):
                    raise missing
                try:
                    part = (directory / f"{number:05}-{md5}").open("rb")
                except FileNotFoundError:
                    raise missing from None
                with part:
                    shutil.copyfileobj(part, whole)
            whole.flush()
            yield path

    def end(self, upload: str, bucket: str, key: str) -> None:
        """Take away an upload's parts. Raises ApiError NoSuchUpload."""
        shutil.rmtree(self._directory(upload, bucket, key), ignore_errors=True)

    def _directory(self, upload: str, bucket: str, key: str) -> Path:
        directory = self.folder / upload
        try:
            known = _ID.fullmatch(upload) and (directory / "key").read_text() == f"{bucket}/{key}"
        except FileNotFoundError:
            known = False
        if not known:
            raise _gone()
        return directory


def _gone() -> ApiError:
    return ApiError("NoSuchUpload", "there is no such upload of this key", 404)
