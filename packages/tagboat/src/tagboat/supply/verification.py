"""Whether an image is, to the last byte, what its digest promises, and who has signed that."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ocikit import (
    Digest,
    DigestMismatchError,
    Image,
    InvalidDocumentError,
    Layer,
    NotFoundError,
    OcikitError,
    Platform,
    Reference,
    Registry,
    find_credentials,
    layer_entries,
)
from ocikit.blob import CHUNK, verified
from ocikit.manifest import OCI_LAYERS
from tagboat.errors import ConfigError
from tagboat.location import Location
from tagboat.supply.attestation import check_attached_provenance
from tagboat.supply.bundle import SIGNATURE, bundles, check_bundle
from tagboat.supply.key import PublicKey
from tagboat.supply.provenance import PREDICATE
from tagboat.supply.signature import SignatureError, check_signature, signature_tag

if TYPE_CHECKING:
    from tagboat.supply.keyless import KeylessVerifier

_PARALLEL = 4  # layers that are read at once
_UNPACKED = {*OCI_LAYERS.keys(), *OCI_LAYERS.values()}  # in all compressions


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: what it is, and what is wrong with it, if anything."""

    what: str
    problem: str | None = None

    def __str__(self) -> str:
        return f"FAILED  {self.what}: {self.problem}" if self.problem else f"ok      {self.what}"


def verify(
    location: Location,
    platform: Platform | None,
    key: PublicKey | None,
    keyless: KeylessVerifier | None,
    *,
    attested: bool = False,
    released_by: str | None = None,
) -> list[Check]:
    """Read all of an image, of an index the one for `platform`, and compare it with its digests.

    With a key, the manifest or index that the name stands for must be signed by it, in a registry, and so it
    must be by the identity of `keyless`; with `attested` the image must have provenance that is. With
    `released_by` the key is a homeport's, which has to have seen a tag of that repository push the image, and
    signs nothing else. A docker-archive has no digests but the diff IDs of its layers. Raises OcikitError
    when there is no image to look at.
    """
    if location.kind != "registry":
        if key is not None or keyless is not None:
            raise ConfigError(
                f"{location.kind}:{location.rest} has no signatures: they are beside images in registries"
            )
        return _contents(lambda: location.image(platform), documents=location.kind == "oci")
    reference = Reference.parse(location.rest)
    with Registry(reference.registry, credentials=find_credentials(reference.registry)) as registry:
        # The name is looked up once: what is checked below is one image, even if the tag moves meanwhile.
        digest = reference.digest or registry.digest(reference)
        if digest is None:
            raise NotFoundError(f"{reference} is not there")
        pinned = reference.with_digest(digest)
        checks = _contents(lambda: registry.image(pinned, platform))
        if key is not None and released_by is None:
            checks.append(_signature(registry, reference, digest, key))
        if key is not None and (attested or released_by is not None):
            checks.append(_provenance(registry, pinned, platform, key, released_by))
        if keyless is not None:
            checks.append(_keyless_signature(registry, reference, digest, keyless))
            if attested:
                checks.append(_keyless_provenance(registry, pinned, platform, keyless))
        return checks


def _contents(find: Callable[[], Image], *, documents: bool = True) -> list[Check]:
    """`documents`: whether something promises the digests of manifest and configuration."""
    try:
        image = find()
    except (DigestMismatchError, InvalidDocumentError) as error:
        return [Check("manifest and configuration", str(error))]
    with ThreadPoolExecutor(_PARALLEL) as pool:
        checks = list(pool.map(_layer, image.layers))
    if not documents:
        return checks
    configuration = Digest.of(image.config_bytes)
    return [Check(f"manifest {image.digest}"), Check(f"configuration {configuration}"), *checks]


def _layer(layer: Layer) -> Check:
    descriptor = layer.descriptor
    what = f"layer {descriptor.digest}"
    try:
        if descriptor.media_type in _UNPACKED:
            for _ in layer_entries(layer):  # reads to the end, and compares digest and diff ID
                pass
        else:
            with verified(layer.blob, descriptor.digest, descriptor.size, what) as source:
                while source.read(CHUNK):
                    pass
    except (OcikitError, OSError) as error:
        return Check(what, str(error).removeprefix(f"{what}: "))
    return Check(what)


def _signature(registry: Registry, reference: Reference, digest: Digest, key: PublicKey) -> Check:
    what = f"signature by the key {key.identity}"
    try:
        repository = check_signature(registry, reference, digest, key)
    except (SignatureError, DigestMismatchError, InvalidDocumentError) as error:
        return Check(what, str(error) + _keyless_ones(registry, reference, digest))
    return Check(f"{what}, as {repository}")


def _provenance(
    registry: Registry,
    reference: Reference,
    platform: Platform | None,
    key: PublicKey,
    released_by: str | None,
) -> Check:
    what = f"provenance by {key.identity}"
    if released_by is not None:
        what = f"released by a tag of {released_by}, by the word of {key.identity}"
    try:
        image = registry.image(reference, platform)  # provenance is of one platform's image, not of an index
        check_attached_provenance(registry, reference, image.digest, key, released_by)
    except (SignatureError, DigestMismatchError, InvalidDocumentError) as error:
        return Check(what, str(error))
    return Check(what)


def _keyless_signature(
    registry: Registry, reference: Reference, digest: Digest, keyless: KeylessVerifier
) -> Check:
    try:
        signed = check_bundle(registry, reference, digest, keyless, SIGNATURE)
    except SignatureError as error:
        by_key = registry.digest(signature_tag(reference, digest)) is not None
        other = "; it has signatures by keys, which --key checks" if by_key else ""
        return Check(f"keyless signature by {keyless.wanted}", f"{error}{other}")
    return Check(f"keyless signature by {signed}")


def _keyless_provenance(
    registry: Registry, reference: Reference, platform: Platform | None, keyless: KeylessVerifier
) -> Check:
    try:
        image = registry.image(reference, platform)
        signed = check_bundle(registry, reference, image.digest, keyless, PREDICATE)
    except (SignatureError, DigestMismatchError, InvalidDocumentError) as error:
        return Check(f"keyless provenance by {keyless.wanted}", str(error))
    return Check(f"keyless provenance by {signed}")


def _keyless_ones(registry: Registry, reference: Reference, digest: Digest) -> str:
    """What else there is, in words, for whom the signatures by keys did not suffice."""
    number = len(bundles(registry, reference, digest, SIGNATURE))
    return f"; it has {number} without a key, which --identity and --issuer check" if number else ""
