"""S3's documents: XML in its own namespace."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence

from starlette.responses import Response

from homeport.aws.errors import ApiError

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"

# What no XML document can hold (XML 1.0 section 2.2).
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Node = str | int | bool | Mapping[str, "Node"] | Sequence["Node"]


def document(root: str, content: Mapping[str, Node], status: int = 200) -> Response:
    """A document; a list stands for its element repeated."""
    element = ET.Element(root, xmlns=_NAMESPACE)
    _fill(element, content)
    data = ET.tostring(element, encoding="utf-8", xml_declaration=True)
    return Response(data, status, media_type="application/xml")


def refusal(error: ApiError, resource: str) -> Response:
    """The error document ("Error responses"); it has no namespace."""
    element = ET.Element("Error")
    _fill(element, {"Code": error.code, "Message": str(error), "Resource": resource})
    data = ET.tostring(element, encoding="utf-8", xml_declaration=True)
    return Response(data, error.status, media_type="application/xml")


def parse(data: bytes, root: str) -> ET.Element:
    """A document's root with namespaces taken off. Raises ApiError MalformedXML."""
    malformed = ApiError("MalformedXML", f"the body is no {root} document", 400)
    try:
        text = data.decode()  # in UTF-16, say, declarations would not be seen
        if "<!" in text:  # neither entities nor document types: nothing in here may grow
            raise malformed
        element = ET.fromstring(text)  # noqa: S314  no declarations get this far, and the size is bounded
    except (UnicodeDecodeError, ET.ParseError):
        raise malformed from None
    for node in element.iter():
        node.tag = node.tag.rpartition("}")[2]
    if element.tag != root:
        raise malformed
    return element


def _fill(element: ET.Element, content: Node) -> None:
    if isinstance(content, Mapping):
        for name, value in content.items():
            repeated = isinstance(value, Sequence) and not isinstance(value, str)
            for item in value if repeated else [value]:  # type: ignore[union-attr]
                _fill(ET.SubElement(element, name), item)
    elif isinstance(content, bool):
        element.text = "true" if content else "false"
    else:
        element.text = _NOT_XML.sub("\ufffd", str(content))
