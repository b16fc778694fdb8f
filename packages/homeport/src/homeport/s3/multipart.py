"""Uploads in parts: each part a file, joined when the upload is completed."""

from __future__ import annotations

import hashlib
import re
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from homeport.aws.errors import ApiError
from homeport.s3.body import Body

_ID = re.compile(r"[0-9a-f]{32}")
_MAX_PARTS = 10_000


@dataclass(frozen=True, slots=True)
class Multipart:
    """The uploads under way below one folder; `clean` takes away what a crash has left."""

    folder: Path

    def begin(self, bucket: str, key: str) -> str:
        upload = secrets.token_hex(16)
        directory = self.folder / upload
        directory.mkdir(mode=0o700, parents=True)
        (directory / "key").write_text(f"{bucket}/{key}")
        return upload

    def add(self, upload: str, bucket: str, key: str, number: str, body: Body) -> str:
        """Keep a part; returns its ETag."""
        directory = self._directory(upload, bucket, key)
        if not number.isascii() or not number.isdecimal() or not 1 <= int(number) <= _MAX_PARTS:
            raise ApiError("InvalidArgument", f"partNumber is not from 1 to {_MAX_PARTS}", 400)
        etag = f'"{body.md5}"'
        with tempfile.NamedTemporaryFile(dir=directory, prefix=".", delete=False) as file:
            body.file.seek(0)
            shutil.copyfileobj(body.file, file)
        # The name holds the ETag, so that completing can tell a part from another of its number.
        for old in directory.glob(f"{int(number):05}-*"):
            old.unlink()
        Path(file.name).replace(directory / f"{int(number):05}-{body.md5}")
        return etag

    def join(self, upload: str, bucket: str, key: str, parts: list[tuple[int, str]]) -> tuple[Path, str]:
        """The whole as a file, and its ETag. Raises ApiError InvalidPart, InvalidPartOrder."""
        directory = self._directory(upload, bucket, key)
        if not parts or [number for number, _ in parts] != sorted({number for number, _ in parts}):
            raise ApiError("InvalidPartOrder", "parts are listed once each, in order of their numbers", 400)
        whole = directory / "whole"
        md5s = []
        with whole.open("wb") as target:
            for number, etag in parts:
                md5 = etag.strip('"')
                part = directory / f"{number:05}-{md5}"
                if not re.fullmatch(r"[0-9a-f]{32}", md5) or not part.is_file():
                    raise ApiError("InvalidPart", f"part {number} was not uploaded with this ETag", 400)
                md5s.append(bytes.fromhex(md5))
                with part.open("rb") as source:
                    shutil.copyfileobj(source, target)
        joined = hashlib.md5(b"".join(md5s), usedforsecurity=False).hexdigest()
        return whole, f'"{joined}-{len(parts)}"'

    def end(self, upload: str, bucket: str, key: str) -> None:
        shutil.rmtree(self._directory(upload, bucket, key))

    def clean(self) -> None:
        """Remove what uploads of an earlier process left."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _directory(self, upload: str, bucket: str, key: str) -> Path:
        directory = self.folder / upload
        known = _ID.fullmatch(upload) and directory.is_dir()
        if not known or (directory / "key").read_text() != f"{bucket}/{key}":
            raise ApiError("NoSuchUpload", "there is no such upload of this key", 404)
        return directory
