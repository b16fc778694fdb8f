"""Provenance beside its image in a registry: signed, or as it is where nobody signs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocikit import (
    Digest,
    DigestMismatchError,
    Image,
    InvalidDocumentError,
    Reference,
    Registry,
    RegistryNotFoundError,
)
from tagboat.component import Component
from tagboat.index import describe
from tagboat.supply.attachment import Document, attach, read_attached
from tagboat.supply.bundle import attach_bundle
from tagboat.supply.envelope import ENVELOPE_TYPE, seal, unseal
from tagboat.supply.key import PrivateKey, PublicKey
from tagboat.supply.provenance import PREDICATE, check_release, provenance
from tagboat.supply.signature import SignatureError
from tagboat.supply.statement import STATEMENT_TYPE, check_statement

if TYPE_CHECKING:
    from tagboat.supply.keyless import KeylessSigner

_PREDICATE = "in-toto.io/predicate-type"  # as BuildKit writes it
_MAX_STATEMENTS = 64  # about one image that are looked at


def attach_provenance(
    registry: Registry,
    reference: Reference,
    image: Image,
    component: Component,
    signer: PrivateKey | KeylessSigner | None,
) -> Digest:
    """Push how `image`, which is at `reference`, was built from `component`, signed if there is a signer.

    Returns the attached manifest's digest. The same build under the same key attaches nothing new. Raises
    ConfigError, OcikitError and KeylessError.
    """
    statement = provenance(component, image, reference)
    subject, annotations = describe(image), {_PREDICATE: PREDICATE}
    if signer is None:
        return attach(registry, reference, subject, Document(STATEMENT_TYPE, statement, annotations))
    if isinstance(signer, PrivateKey):
        envelope = seal(statement, STATEMENT_TYPE, signer)
        return attach(registry, reference, subject, Document(ENVELOPE_TYPE, envelope, annotations))
    return attach_bundle(registry, reference, subject, statement, signer)[0]


def check_attached_provenance(
    registry: Registry,
    reference: Reference,
    digest: Digest,
    key: PublicKey,
    released_by: str | None = None,
) -> None:
    """Raise SignatureError unless provenance that `key` signed is attached to the image with that digest;
    with `released_by` it must say that a tag of that repository has pushed it.

    Others may have attached theirs too. Raises OcikitError.
    """
    reasons = []
    for found in registry.referrers(reference.with_digest(digest), ENVELOPE_TYPE)[:_MAX_STATEMENTS]:
        try:
            statement = unseal(read_attached(registry, reference, found.digest), STATEMENT_TYPE, key)
            if statement is None:
                reasons.append("signed by another key")
            else:
                check_statement(statement, PREDICATE, digest)
                if released_by is not None:
                    check_release(statement, released_by)
                return
        except (InvalidDocumentError, DigestMismatchError, RegistryNotFoundError) as error:
            reasons.append(str(error))
    if not reasons:
        raise SignatureError(f"{digest} has no signed provenance")
    raise SignatureError(f"{digest} has none that is signed by the key, but {'; '.join(reasons)}")
