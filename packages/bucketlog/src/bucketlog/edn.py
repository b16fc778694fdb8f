"""EDN, the text notation of queries, pull patterns and transaction data (github.com/edn-format/edn).

EDN becomes plain immutable Python: strings, integers, floats, booleans and `None` as themselves, keywords and
symbols as `Keyword` and `Symbol` (both are `str`), `[…]` as `Vector`, `(…)` as `List` (both are `tuple`),
maps as `dict`, sets as `frozenset`, `1.5M` as `Decimal`, `#inst` as an aware `datetime`, `#uuid` as
`uuid.UUID`, `#uri` as `URI`, `#bytes` (base64) as `bytes`. Other tags and characters outside of these are
refused.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Self

from bucketlog.errors import EdnError

__all__ = ["URI", "Keyword", "List", "Symbol", "Vector", "dumps", "loads", "loads_with_places"]

_MAX_DEPTH: Final = 200


class Keyword(str):
    """A keyword such as `:post/title`; the leading colon is part of the string."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Raise `ValueError` when `text` is not a keyword."""
        if not _KEYWORD.fullmatch(text):
            raise ValueError(f"{text!r} is not a keyword: it must look like ':name' or ':namespace/name'")
        return super().__new__(cls, text)


class URI(str):
    """A URI with its scheme, such as `https://example.org/a?b#c` or `urn:isbn:9780262510875`.

    Nothing is normalised: two are equal when they have the same characters. Letters outside of ASCII may
    stand as themselves (RFC 3987).
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Raise `ValueError` when `text` has no scheme, or characters that no URI has (RFC 3986)."""
        if not _URI.fullmatch(text):
            raise ValueError(f"{text!r} is not a URI: it must look like 'scheme:rest', without spaces")
        return super().__new__(cls, text)

    def __repr__(self) -> str:
        return f"URI({str.__repr__(self)})"


class Symbol(str):
    """A symbol such as `?e`, `$`, `count` or `not-join`."""

    __slots__ = ()


class Vector(tuple[Any, ...]):
    """`[a b c]`."""

    __slots__ = ()


class List(tuple[Any, ...]):
    """`(a b c)`."""

    __slots__ = ()


# Letters, digits and the punctuation of EDN's symbols; one optional namespace.
_NAME = r"[^\s\[\](){}\"';@^`~,\\/:#0-9][^\s\[\](){}\"';@^`~,\\/]*"
_KEYWORD: Final = re.compile(r":[^\s\[\](){}\"';@^`~,\\/:]+(?:/[^\s\[\](){}\"';@^`~,\\/]+)?")
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s\x00-\x20\x7f-\x9f\ud800-\udfff<>\"{}|\\^`]+")
_SYMBOL: Final = re.compile(rf"/|{_NAME}(?:/{_NAME})?")
_INTEGER: Final = re.compile(r"[+-]?[0-9]+N?")
_FLOAT: Final = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?")
_DECIMAL: Final = re.compile(rf"{_FLOAT.pattern}M")
_MAX_DIGITS: Final = 400
_TOKEN: Final = re.compile(
    r"""(?P<skip>[\s,]+|;[^\n]*)
      | (?P<string>"(?:[^"\\]|\\.)*")
      | (?P<open>\#\{|[\[({])
      | (?P<close>[\])}])
      | (?P<discard>\#_)
      | (?P<tag>\#(?=[A-Za-z])[^\s\[\](){}";,]+)
      | (?P<special>\#\#-?[A-Za-z]+)
      | (?P<character>\\(?:[A-Za-z0-9]+|.))
      | (?P<atom>[^\s\[\](){}";,\\]+)
    """,
    re.VERBOSE | re.DOTALL,
)
_CLOSING: Final = {"[": "]", "(": ")", "{": "}", "#{": "}"}
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", '"': '"', "\\": "\\", "/": "/"}
_CHARACTERS: Final = {"newline": "\n", "space": " ", "tab": "\t", "return": "\r"}
_SPECIALS: Final = {"##Inf": math.inf, "##-Inf": -math.inf}
_END: Final = object()


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    offset: int


class _Reader:
    """A recursive-descent reader over the tokens of one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._scan()
        self.offsets: dict[int, int] = {}

    def read_only_form(self) -> Any:
        form = self._read(0)
        if form is _END:
            raise EdnError("expected a form, found nothing")
        rest = next(self._tokens, None)
        if rest is not None:
            raise self._error(rest.offset, f"expected one form, found {rest.text!r} after it")
        return form

    def _scan(self) -> Iterator[_Token]:
        offset = 0
        while offset < len(self._text):
            match = _TOKEN.match(self._text, offset)
            if match is None:
                what = "a string that never ends" if self._text[offset] == '"' else repr(self._text[offset])
                raise self._error(offset, f"unexpected {what}")
            if match.lastgroup != "skip":
                yield _Token(str(match.lastgroup), match.group(), offset)
            offset = match.end()

    def place(self, offset: int) -> str:
        """An offset as people count."""
        line = self._text.count("\n", 0, offset) + 1
        column = offset - (self._text.rfind("\n", 0, offset) + 1) + 1
        return f"line {line}, column {column}"

    def _error(self, offset: int, message: str) -> EdnError:
        return EdnError(f"{self.place(offset)}: {message}")

    def _read(self, depth: int, closing: _Token | None = None) -> Any:
        """The next form, or `_END` at the closing bracket of `closing` (at the end of text without one)."""
        if depth > _MAX_DEPTH:
            raise EdnError(f"forms are nested more than {_MAX_DEPTH} deep")
        token = next(self._tokens, None)
        while token is not None and token.kind == "discard":
            self._expect(token, depth)
            token = next(self._tokens, None)
        if token is None:
            if closing is None:
                return _END
            raise self._error(closing.offset, f"{closing.text!r} is never closed")
        if token.kind == "close":
            if closing is not None and token.text == _CLOSING[closing.text]:
                return _END
            raise self._error(token.offset, f"unexpected {token.text!r}")
        if token.kind == "open":
            return self._collection(token, depth)
        if token.kind == "tag":
            return self._tagged(token, self._expect(token, depth))
        return self._atom(token)

    def _expect(self, opener: _Token, depth: int) -> Any:
        form = self._read(depth + 1)
        if form is _END:
            raise self._error(opener.offset, f"expected a form after {opener.text!r}")
        return form

    def _collection(self, opener: _Token, depth: int) -> Any:
        items: list[Any] = []
        while (item := self._read(depth + 1, opener)) is not _END:
            items.append(item)
        if opener.text in {"[", "("}:
            form = Vector(items) if opener.text == "[" else List(items)
            self.offsets[id(form)] = opener.offset
            return form
        try:
            if opener.text == "#{":
                members = frozenset(items)
                if len(members) != len(items):
                    raise self._error(opener.offset, "a set has the same member twice")
                return members
            if len(items) % 2:
                raise self._error(opener.offset, "a map has a key without a value")
            entries = dict(zip(items[::2], items[1::2], strict=True))
        except TypeError:
            raise self._error(opener.offset, "maps are not allowed as map keys or set members") from None
        if len(entries) * 2 != len(items):
            raise self._error(opener.offset, "a map has the same key twice")
        self.offsets[id(entries)] = opener.offset
        return entries

    def _tagged(self, token: _Token, value: Any) -> Any:
        try:
            if token.text == "#inst" and isinstance(value, str):
                instant = datetime.fromisoformat(value)
                return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).astimezone(UTC)
            if token.text == "#uuid" and isinstance(value, str):
                return uuid.UUID(value)
            if token.text == "#uri" and isinstance(value, str):
                return URI(value)
            if token.text == "#bytes" and isinstance(value, str):
                return base64.b64decode(value, validate=True)
        except (ValueError, OverflowError, binascii.Error) as error:
            raise self._error(token.offset, f"{token.text} {value!r}: {error}") from None
        raise self._error(
            token.offset, f"unknown tag {token.text}; #inst, #uuid, #uri and #bytes take a string"
        )

    def _atom(self, token: _Token) -> Any:  # noqa: PLR0911 -- one return a kind
        text = token.text
        if token.kind == "string":
            return self._string(token)
        if token.kind == "character":
            return self._character(token)
        if token.kind == "special":
            if text in _SPECIALS:
                return _SPECIALS[text]
            raise self._error(token.offset, f"{text} is not a value that can be stored or compared")
        constants: dict[str, bool | None] = {"true": True, "false": False, "nil": None}
        if text in constants:
            return constants[text]
        if _INTEGER.fullmatch(text):
            if len(text) > _MAX_DIGITS:
                raise self._error(token.offset, f"an integer of more than {_MAX_DIGITS} digits")
            return int(text.removesuffix("N"))
        if _DECIMAL.fullmatch(text):
            return self._decimal(token)
        if _FLOAT.fullmatch(text):
            return float(text)
        if _KEYWORD.fullmatch(text):
            return Keyword(text)
        if _SYMBOL.fullmatch(text):
            return Symbol(text)
        raise self._error(token.offset, f"{text!r} is neither a number, a keyword nor a symbol")

    def _decimal(self, token: _Token) -> Decimal:
        try:
            if len(token.text) <= _MAX_DIGITS:
                return Decimal(token.text[:-1])
        except InvalidOperation:
            raise self._error(token.offset, f"{token.text} has an exponent that is too large") from None
        raise self._error(token.offset, f"a decimal of more than {_MAX_DIGITS} digits")

    def _string(self, token: _Token) -> str:
        def unescape(match: re.Match[str]) -> str:
            code = match.group(1)
            if code.startswith("u") and len(code) == 5:
                return chr(int(code[1:], 16))
            if code in _ESCAPES:
                return _ESCAPES[code]
            raise self._error(token.offset + match.start(), f"unknown escape \\{code} in a string")

        text = re.sub(r"\\(u[0-9a-fA-F]{4}|.)", unescape, token.text[1:-1], flags=re.DOTALL)
        # Two \u escapes may spell one character outside of the basic plane, as in JSON.
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    def _character(self, token: _Token) -> str:
        name = token.text[1:]
        if len(name) == 1:
            return name
        if name in _CHARACTERS:
            return _CHARACTERS[name]
        raise self._error(token.offset, f"unknown character {token.text}")


def loads(text: str) -> Any:
    """Read exactly one form; raises `EdnError` with line and column when `text` is anything else."""
    return _Reader(text).read_only_form()


def loads_with_places(text: str) -> tuple[Any, dict[int, str]]:
    """What `loads` reads, with line and column of every vector, list and map in it by the object's `id`."""
    reader = _Reader(text)
    form = reader.read_only_form()
    return form, {key: reader.place(offset) for key, offset in reader.offsets.items()}


def dumps(form: Any) -> str:
    """Text that `loads` reads as an equal form; raises `EdnError` for types that EDN has no form for."""
    simple = _simple(form)
    if simple is not None:
        return simple
    if isinstance(form, dict):
        return "{" + ", ".join(f"{dumps(key)} {dumps(value)}" for key, value in form.items()) + "}"
    if isinstance(form, set | frozenset):
        return "#{" + " ".join(sorted(dumps(item) for item in form)) + "}"
    if isinstance(form, List):
        return "(" + " ".join(dumps(item) for item in form) + ")"
    if isinstance(form, list | tuple):
        return "[" + " ".join(dumps(item) for item in form) + "]"
    raise EdnError(f"{type(form).__name__} has no form in EDN")


def _simple(form: Any) -> str | None:  # noqa: PLR0911, PLR0912 -- one return a type
    if form is None:
        return "nil"
    if isinstance(form, bool):
        return "true" if form else "false"
    if isinstance(form, Keyword | Symbol):
        return str(form)
    if isinstance(form, URI):
        return f"#uri {_quoted(form)}"
    if isinstance(form, str):
        return _quoted(form)
    if isinstance(form, int):
        return str(int(form))
    if isinstance(form, float):
        if math.isnan(form):
            raise EdnError("NaN has no form in EDN")
        return ("##Inf" if form > 0 else "##-Inf") if math.isinf(form) else repr(form)
    if isinstance(form, Decimal):
        if not form.is_finite():
            raise EdnError(f"the decimal {form} has no form in EDN")
        return f"{form}M"
    if isinstance(form, datetime):
        if form.tzinfo is None:
            raise EdnError(f"{form!r} has no time zone")
        return f'#inst "{form.astimezone(UTC).isoformat()}"'
    if isinstance(form, uuid.UUID):
        return f'#uuid "{form}"'
    if isinstance(form, bytes):
        return f'#bytes "{base64.b64encode(form).decode()}"'
    return None


_QUOTED: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def _quoted(text: str) -> str:
    return '"' + "".join(_QUOTED.get(char, char) for char in text) + '"'
