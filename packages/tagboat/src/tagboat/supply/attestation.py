"""Provenance beside its image in a registry: in a signed envelope, or as it is where there is no key."""

from __future__ import annotations

from ocikit import (
    Digest,
    DigestMismatchError,
    Image,
    InvalidDocumentError,
    Manifest,
    Reference,
    Registry,
    RegistryNotFoundError,
)
from ocikit.blob import verified
from ocikit.client import RegistryBlob
from tagboat.component import Component
from tagboat.supply.attachment import Document, attach
from tagboat.supply.envelope import ENVELOPE_TYPE, seal, unseal
from tagboat.supply.key import PrivateKey, PublicKey
from tagboat.supply.provenance import (
    PREDICATE,
    STATEMENT_TYPE,
    check_provenance,
    check_release,
    provenance,
)
from tagboat.supply.signature import SignatureError

_PREDICATE = "in-toto.io/predicate-type"  # as BuildKit writes it
_MAX_STATEMENT = 16 << 20  # bytes
_MAX_STATEMENTS = 64  # about one image that are looked at


def attach_provenance(
    registry: Registry, reference: Reference, image: Image, component: Component, key: PrivateKey | None
) -> Digest:
    """Push how `image`, which is at `reference`, was built from `component`, signed if there is a key.

    Returns the attached manifest's digest. The same build under the same key attaches nothing new. Raises
    ConfigError and OcikitError.
    """
    statement = provenance(component, image, reference)
    annotations = {_PREDICATE: PREDICATE}
    if key is None:
        return attach(registry, reference, image, Document(STATEMENT_TYPE, statement, annotations))
    envelope = seal(statement, STATEMENT_TYPE, key)
    return attach(registry, reference, image, Document(ENVELOPE_TYPE, envelope, annotations))


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
            statement = unseal(_read(registry, reference, found.digest), STATEMENT_TYPE, key)
            if statement is None:
                reasons.append("signed by another key")
            else:
                check_provenance(statement, digest)
                if released_by is not None:
                    check_release(statement, released_by)
                return
        except (InvalidDocumentError, DigestMismatchError, RegistryNotFoundError) as error:
            reasons.append(str(error))
    if not reasons:
        raise SignatureError(f"{digest} has no signed provenance")
    raise SignatureError(f"{digest} has none that is signed by the key, but {'; '.join(reasons)}")


def _read(registry: Registry, reference: Reference, digest: Digest) -> bytes:
    """The only document of an artifact. Raises InvalidDocumentError and DigestMismatchError."""
    manifest = registry.manifest(reference.with_digest(digest))
    if not isinstance(manifest, Manifest) or len(manifest.layers) != 1:
        raise InvalidDocumentError(f"{digest} is not an artifact of one document")
    (layer,) = manifest.layers
    if layer.size > _MAX_STATEMENT:
        raise InvalidDocumentError(f"{layer.digest} has {layer.size} bytes, more than {_MAX_STATEMENT}")
    blob = RegistryBlob(registry, reference.repository, layer)
    with verified(blob, layer.digest, layer.size, f"attached {digest}") as source:
        return source.read()
