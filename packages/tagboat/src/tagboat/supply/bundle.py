"""Sigstore bundles beside their image in a registry, where cosign (from 3.0) puts them and looks for them.

Each is an OCI referrer of what it is about: an artifact of the bundle's type, whose only layer it is, with
the type of its statement as an annotation. A signature of an image is a statement that says nothing more.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ocikit import (
    Descriptor,
    Digest,
    DigestMismatchError,
    InvalidDocumentError,
    Reference,
    Registry,
    RegistryNotFoundError,
)
from tagboat.supply.attachment import Document, attach, read_attached
from tagboat.supply.signature import SignatureError
from tagboat.supply.statement import check_statement, statement

if TYPE_CHECKING:
    from tagboat.supply.keyless import KeylessSigner, KeylessVerifier, Signed

BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SIGNATURE = "https://sigstore.dev/cosign/sign/v1"
_CREATED = "org.opencontainers.image.created"
_CONTENT = "dev.sigstore.bundle.content"
_PREDICATE = "dev.sigstore.bundle.predicateType"
_MAX_BUNDLES = 64  # about one image that are looked at


def sign_keyless(registry: Registry, reference: Reference, signer: KeylessSigner) -> tuple[Digest, Signed]:
    """Sign the manifest or index that the reference stands for; its digest, and who has signed it.

    Each time adds a signature, and an entry of the log. Raises KeylessError and OcikitError.
    """
    subject = registry.descriptor(reference)
    name = f"{reference.registry}/{reference.repository}"
    said = statement(name, subject.digest, SIGNATURE, {})
    return subject.digest, attach_bundle(registry, reference, subject, said, signer)[1]


def attach_bundle(
    registry: Registry, reference: Reference, subject: Descriptor, said: bytes, signer: KeylessSigner
) -> tuple[Digest, Signed]:
    """Push a statement about `subject`, signed; the digest of its manifest, and who has signed it.

    Raises KeylessError and OcikitError.
    """
    bundle, signed = signer.seal(said)
    annotations = {
        _CREATED: f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        _CONTENT: "dsse-envelope",
        _PREDICATE: json.loads(said)["predicateType"],
    }
    return attach(registry, reference, subject, Document(BUNDLE_TYPE, bundle, annotations)), signed


def bundles(
    registry: Registry, reference: Reference, digest: Digest, predicate_type: str
) -> list[Descriptor]:
    """The bundles about the manifest with that digest that say, or may say, such a predicate of it."""
    found = registry.referrers(reference.with_digest(digest), BUNDLE_TYPE)
    return [one for one in found if one.annotations.get(_PREDICATE, predicate_type) == predicate_type]


def check_bundle(
    registry: Registry, reference: Reference, digest: Digest, verifier: KeylessVerifier, predicate_type: str
) -> Signed:
    """The first statement with such a predicate of the manifest with that digest that the verifier accepts.

    Others may have attached theirs too. Raises SignatureError that says what is there instead, OcikitError.
    """
    reasons = []
    for found in bundles(registry, reference, digest, predicate_type)[:_MAX_BUNDLES]:
        try:
            signed = verifier.unseal(read_attached(registry, reference, found.digest))
            check_statement(signed.statement, predicate_type, digest)
        except (InvalidDocumentError, DigestMismatchError, RegistryNotFoundError) as error:
            reasons.append(str(error))
        else:
            return signed
    kind = "keyless signature" if predicate_type == SIGNATURE else f"keyless statement of {predicate_type}"
    if not reasons:
        raise SignatureError(f"{digest} has no {kind}")
    raise SignatureError(f"{digest} has no {kind} that holds, but {len(reasons)}: {'; '.join(reasons)}")
