"""Statements about an image: in-toto v1 (in-toto.io/Statement/v1), which say a predicate of its digest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ocikit import Digest, InvalidDocumentError

STATEMENT_TYPE = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"


def statement(name: str, digest: Digest, predicate_type: str, predicate: Mapping[str, Any]) -> bytes:
    """The statement about the image with that digest, which is called `name`; the same always is the same."""
    document = {
        "_type": _STATEMENT,
        "subject": [{"name": name, "digest": {digest.algorithm: digest.hex}}],
        "predicateType": predicate_type,
        "predicate": predicate,
    }
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def check_statement(data: bytes, predicate_type: str, digest: Digest) -> None:
    """Raise InvalidDocumentError unless the statement says such a predicate of the image with that digest."""
    try:
        document = json.loads(data)
        kinds = (document["_type"], document["predicateType"])
        subjects = [subject["digest"].get(digest.algorithm) for subject in document["subject"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidDocumentError("not an in-toto statement") from error
    if kinds != (_STATEMENT, predicate_type):
        raise InvalidDocumentError(f"a statement of type {str(kinds)[:200]}, not {predicate_type}")
    if digest.hex not in subjects:
        about = ", ".join(f"{digest.algorithm}:{subject}" for subject in subjects)
        raise InvalidDocumentError(f"it is about {about[:200] or 'nothing'}")
