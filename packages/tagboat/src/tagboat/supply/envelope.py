"""Statements and their signatures in one envelope: DSSE 1.0 (secure-systems-lab, dsse/protocol.md)."""

from __future__ import annotations

import base64
import binascii
import json

from ocikit import InvalidDocumentError
from tagboat.supply.key import PrivateKey, PublicKey

ENVELOPE_TYPE = "application/vnd.dsse.envelope.v1+json"


def seal(payload: bytes, payload_type: str, key: PrivateKey) -> bytes:
    """The envelope; the same payload under the same key always has the same one."""
    signature = {
        "keyid": key.public.identity,
        "sig": base64.b64encode(key.sign(_signed(payload, payload_type))).decode(),
    }
    document = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": payload_type,
        "signatures": [signature],
    }
    return json.dumps(document, separators=(",", ":")).encode()


def unseal(data: bytes, payload_type: str, key: PublicKey) -> bytes | None:
    """The payload, None when no signature of it is by `key`, whatever key they claim to be by.

    Raises InvalidDocumentError for what is no envelope, or one of another type.
    """
    try:
        document = json.loads(data)
        kind, payload = document["payloadType"], _decoded(document["payload"])
        signatures = [_decoded(entry["sig"]) for entry in document["signatures"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidDocumentError("not a DSSE envelope") from error
    if kind != payload_type:
        raise InvalidDocumentError(f"the envelope has a {str(kind)[:100]!r}, not a {payload_type}")
    signed = _signed(payload, payload_type)
    return payload if any(key.accepts(signature, signed) for signature in signatures) else None


def _signed(payload: bytes, payload_type: str) -> bytes:
    """The pre-authentication encoding: no payload of one type has the bytes of one of another."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def _decoded(text: object) -> bytes:
    """Base64 of either alphabet, as the protocol has readers accept. Raises ValueError."""
    if not isinstance(text, str):
        raise binascii.Error("not a string")
    return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
