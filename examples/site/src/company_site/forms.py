"""Reading a submitted form within bounds: what comes out is clean text and bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

_FIELDS = 20
_FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Form:
    """Texts have line feeds only, no other control characters, and always encode to UTF-8."""

    texts: Mapping[str, str]
    files: Mapping[str, bytes]

    def text(self, name: str) -> str:
        return self.texts.get(name, "")

    def file(self, name: str) -> bytes:
        """The content of an uploaded file; empty when none was chosen."""
        return self.files.get(name, b"")


async def read_form(request: Request, *, limit: int) -> Form:
    """Read the body, at most `limit` bytes of it.

    Raises HTTPException: 413 for a larger body, 415 for another media type, 400 for a broken form.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in _FORM_TYPES:
        raise HTTPException(415)
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > limit:
        raise HTTPException(413)
    received = 0

    async def receive() -> Message:
        nonlocal received
        message = await request.receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise HTTPException(413)
        return message

    texts: dict[str, str] = {}
    files: dict[str, bytes] = {}
    bounded = Request(request.scope, receive)
    async with bounded.form(max_files=1, max_fields=_FIELDS, max_part_size=limit) as form:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                files[name] = await value.read()
            else:
                texts[name] = _clean(value)
    return Form(texts, files)


def _clean(text: str) -> str:
    # A form may name a charset that decodes to lone surrogates; those cannot be stored.
    text = text.encode("utf-8", "replace").decode("utf-8")
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
