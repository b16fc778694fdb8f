"""How values look: in the cells of a table, as EDN, as JSON."""

from __future__ import annotations

import base64
import json
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from bucketlog import edn

__all__ = ["cell", "json_text", "notation", "print_json", "print_table", "styled"]

_STYLES: Final = {"heading": "1", "added": "32", "retracted": "31", "dim": "2"}


def styled(text: str, style: str) -> str:
    """`text` in a style, on a terminal whose user has not set NO_COLOR (no-color.org)."""
    if os.environ.get("NO_COLOR") or not sys.stdout.isatty():
        return text
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"


def notation(value: Any) -> str:
    """A value in EDN on one line, with nothing in it that a terminal would act on."""
    return _printable(edn.dumps(_edn_form(value)))


def cell(value: Any) -> str:
    """A value in a table: text without quotes, instants and UUIDs without tags, nothing for `None`."""
    if value is None:
        return ""
    if isinstance(value, str):
        return _printable(value)
    if isinstance(value, datetime):
        return _instant(value)
    if isinstance(value, UUID | Decimal):
        return str(value)
    return notation(value)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Rows below their headings in aligned columns; columns of numbers are aligned to the right."""
    values = [list(row) for row in rows]
    cells = [[cell(value) for value in row] for row in values]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    right = [
        bool(values)
        and all(isinstance(row[n], int | float | Decimal) and not isinstance(row[n], bool) for row in values)
        for n in range(len(columns))
    ]

    def line(texts: Sequence[str]) -> str:
        padded = [
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(texts, widths, right, strict=True)
        ]
        return "  ".join(padded).rstrip()

    print(styled(line(columns), "heading"))
    for texts in cells:
        print(line(texts))


def print_json(value: Any) -> None:
    """A value as one line of JSON."""
    print(json_text(value))


def json_text(value: Any) -> str:
    """JSON of a result: keywords and UUIDs are strings, instants ISO 8601 in UTC, bytes base64, decimals and
    infinite numbers strings.
    """
    return json.dumps(_json_form(value), ensure_ascii=False, allow_nan=False)


def _json_form(value: Any) -> Any:  # noqa: PLR0911 -- one return a type
    if isinstance(value, Mapping):
        return {str(key): _json_form(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_json_form(item) for item in value]
    if isinstance(value, datetime):
        return _instant(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, str | int | float):
        return value
    return str(value)


def _edn_form(value: Any) -> Any:
    """The value with the keys of maps, which results give as strings, as the keywords that they are."""
    if isinstance(value, Mapping):
        return {_key(key): _edn_form(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        kind = edn.List if isinstance(value, edn.List) else edn.Vector
        return kind(_edn_form(item) for item in value)
    return value


def _key(key: Any) -> Any:
    if isinstance(key, str) and key.startswith(":"):
        try:
            return edn.Keyword(key)
        except ValueError:
            return key
    return key


def _instant(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)
