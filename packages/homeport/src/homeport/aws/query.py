"""AWS's Query protocol: a form in, XML out, checked and shaped by botocore's own service models.

Smithy, "AWS Query protocol": lists are `Name.member.1`, structures `Name.Member`.
"""

from __future__ import annotations

import re
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from botocore.model import ListShape, MapShape, Shape, StructureShape

from homeport.aws.errors import ApiError
from homeport.aws.protocol import Service, checked

_INTEGER: Final = re.compile(r"-?[0-9]{1,18}")
_BOOLEANS: Final = {"true": True, "false": False}
_MOST: Final = 1000  # members of one list


class QueryService(Service):
    """Answers the operations of one service in AWS Query."""

    media_type = "text/xml"

    @property
    def version(self) -> str:
        """By which a request says that it is for this service."""
        return str(self._model.api_version)

    async def answer(self, operation: str, form: Mapping[str, str]) -> bytes:
        """Raises ApiError for whatever is wrong with the call."""
        handler = self._handlers.get(operation)
        if handler is None:
            raise ApiError("InvalidAction", f"homeport does not answer {operation[:100] or 'this request'}")
        model = self._model.operation_model(operation)
        members = {name: value for name, value in form.items() if name not in ("Action", "Version")}
        document = _read(model.input_shape, members, "") if model.input_shape else {}
        if members:
            raise ApiError("ValidationError", f"{min(members)[:100]} is not a member of {operation}")
        result = await handler(**checked(model, document or {}, "ValidationError"))
        root = self._element(f"{operation}Response")
        if model.output_shape is not None:
            _write(root, f"{operation}Result", model.output_shape, result)
        ET.SubElement(ET.SubElement(root, "ResponseMetadata"), "RequestId").text = str(uuid.uuid4())
        return _bytes(root)

    def refusal(self, error: ApiError) -> bytes:
        root = self._element("ErrorResponse")
        said = ET.SubElement(root, "Error")
        ET.SubElement(said, "Type").text = "Sender" if error.status < 500 else "Receiver"
        ET.SubElement(said, "Code").text = error.code
        ET.SubElement(said, "Message").text = str(error)
        ET.SubElement(root, "RequestId").text = str(uuid.uuid4())
        return _bytes(root)

    def _element(self, name: str) -> ET.Element:
        return ET.Element(name, xmlns=str(self._model.metadata["xmlNamespace"]))


def _bytes(root: ET.Element) -> bytes:
    text: bytes = ET.tostring(root, encoding="utf-8")
    return text


def _read(shape: Shape, form: dict[str, str], name: str) -> Any:
    """What the form holds under a name, as JSON would have it; what is read is taken out of the form. None
    where there is nothing.
    """
    prefix = f"{name}." if name else ""
    match shape:
        case StructureShape():
            if prefix and not any(key.startswith(prefix) for key in form):
                return None
            members = {one: _read(of, form, prefix + one) for one, of in shape.members.items()}
            return {one: value for one, value in members.items() if value is not None}
        case ListShape():
            found: list[Any] = []
            while len(found) < _MOST:
                item = _read(shape.member, form, f"{prefix}member.{len(found) + 1}")
                if item is None:
                    break
                found.append(item)
            return found or None
        case MapShape():
            return None  # no operation that is answered takes one
        case _:
            text = form.pop(name, None)
            return None if text is None else _scalar(shape, text)


def _scalar(shape: Shape, text: str) -> Any:
    """What is not of its type stays a text, and is then refused as one."""
    if shape.type_name in ("integer", "long") and _INTEGER.fullmatch(text):
        return int(text)
    if shape.type_name == "boolean":
        return _BOOLEANS.get(text, text)
    return text


def _write(parent: ET.Element, name: str, shape: Shape, value: Any) -> None:
    element = ET.SubElement(parent, name)
    match shape:
        case StructureShape():
            # A member that the model lacks is our mistake, and a KeyError says so.
            for member, item in value.items():
                if item is not None:
                    _write(element, member, shape.members[member], item)
        case ListShape():
            for item in value:
                _write(element, "member", shape.member, item)
        case _:
            element.text = _text(value)


def _text(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case datetime():
            return f"{value:%Y-%m-%dT%H:%M:%S}Z"
        case _:
            return str(value)
