"""What a signature of an image signs: which manifest, under which name.

Simple signing, the format of containers-signature.5, as cosign writes it (its SIGNATURE_SPEC.md).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ocikit import Digest, InvalidDocumentError, OcikitError

_TYPE = "cosign container image signature"


@dataclass(frozen=True, slots=True)
class Payload:
    """The manifest's digest, and the repository (`host/path`) that the image had for who signed it."""

    digest: Digest
    repository: str

    def to_bytes(self) -> bytes:
        document = {
            "critical": {
                "identity": {"docker-reference": self.repository},
                "image": {"docker-manifest-digest": str(self.digest)},
                "type": _TYPE,
            },
            "optional": None,
        }
        return json.dumps(document, separators=(",", ":")).encode()

    @classmethod
    def parse(cls, data: bytes) -> Payload:
        """Read strictly: what is critical and not understood refuses the whole.

        Raises InvalidDocumentError.
        """
        try:
            document = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise InvalidDocumentError(f"signature payload: not JSON: {error}") from error
        critical = _object(_object(document, "").get("critical"), "critical", "identity", "image", "type")
        if critical.get("type") != _TYPE:
            raise InvalidDocumentError(f"signature payload: critical.type is {_shown(critical.get('type'))}")
        identity = _object(critical.get("identity"), "critical.identity", "docker-reference")
        image = _object(critical.get("image"), "critical.image", "docker-manifest-digest")
        name, digest = identity.get("docker-reference"), image.get("docker-manifest-digest")
        if not isinstance(name, str) or not isinstance(digest, str):
            raise InvalidDocumentError("signature payload: reference or digest is not a string")
        try:
            return cls(Digest.parse(digest), name)
        except OcikitError as error:
            raise InvalidDocumentError(f"signature payload: {error}") from error


def _object(value: object, name: str, *members: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidDocumentError(f"signature payload: {name or 'it'} is not an object")
    if members and (unknown := sorted(value.keys() - set(members))):
        raise InvalidDocumentError(f"signature payload: {name} has an unknown {_shown(unknown[0])}")
    return value


def _shown(value: object) -> str:
    return repr(value)[:100]
