"""JSON documents of the image specification: read strictly, written in one way only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from ocikit.digest import Digest
from ocikit.errors import InvalidDocumentError, InvalidReferenceError
from ocikit.value import value

MAX_DOCUMENT = 4 << 20  # bytes of a manifest, index or configuration: what registries accept

T = TypeVar("T")


def canonical(document: Mapping[str, Any]) -> bytes:
    """The one form in which a document is written: keys as given, no white space, UTF-8."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


@value
class Reader:
    """A JSON object and where it stands; what is missing or of the wrong type is named."""

    values: Mapping[str, Any]
    name: str

    @classmethod
    def of(cls, data: bytes, name: str) -> Reader:
        if len(data) > MAX_DOCUMENT:
            raise InvalidDocumentError(f"{name}: {len(data)} bytes, more than {MAX_DOCUMENT}")
        try:
            return cls.check(json.loads(data), name)
        except (ValueError, RecursionError) as error:
            raise InvalidDocumentError(f"{name}: not JSON: {error}") from error

    @classmethod
    def check(cls, value: object, name: str) -> Reader:
        if not isinstance(value, dict):
            raise InvalidDocumentError(f"{name} is not an object")
        return cls(value, name)

    def get(self, key: str, kind: type[T]) -> T:
        value = self.optional(key, kind)
        if value is None:
            raise InvalidDocumentError(f"{self.name}.{key} is missing")
        return value

    def optional(self, key: str, kind: type[T]) -> T | None:
        """The member; None when absent or null, as Docker writes what is empty."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise InvalidDocumentError(f"{self.name}.{key} is not of type {kind.__name__}")
        return value

    def strings(self, key: str) -> Mapping[str, str]:
        values = self.optional(key, dict) or {}
        if not all(isinstance(name, str) and isinstance(value, str) for name, value in values.items()):
            raise InvalidDocumentError(f"{self.name}.{key} does not map strings to strings")
        return MappingProxyType(values)

    def digest(self, key: str) -> Digest:
        return self._digest(key, self.get(key, str))

    def digests(self, key: str) -> tuple[Digest, ...]:
        return tuple(
            self._digest(f"{key}[{index}]", text) for index, text in enumerate(self.list_of_strings(key))
        )

    def _digest(self, key: str, text: str) -> Digest:
        try:
            return Digest.parse(text)
        except InvalidReferenceError as error:
            raise InvalidDocumentError(f"{self.name}.{key}: {error}") from error

    def list_of_strings(self, key: str) -> tuple[str, ...]:
        values = self.optional(key, list) or []
        if not all(isinstance(value, str) for value in values):
            raise InvalidDocumentError(f"{self.name}.{key} is not a list of strings")
        return tuple(values)
