"""Signatures beside their image in a registry, where cosign puts them and looks for them.

The image with digest `sha256:…` has them at the tag `sha256-….sig`: a manifest with a layer for each, which
is the payload, and the signature as an annotation of the layer (cosign's SIGNATURE_SPEC.md).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from types import MappingProxyType

from ocikit import (
    Blob,
    BytesBlob,
    Descriptor,
    Digest,
    DigestMismatchError,
    InvalidDocumentError,
    Manifest,
    NotFoundError,
    Reference,
    Registry,
    RegistryNotFoundError,
)
from ocikit.blob import verified
from ocikit.client import RegistryBlob
from ocikit.manifest import OCI_CONFIG
from tagboat.errors import TagboatError
from tagboat.supply.key import PrivateKey, PublicKey
from tagboat.supply.payload import Payload

_PAYLOAD_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
_SIGNATURE = "dev.cosignproject.cosign/signature"
_MAX_PAYLOAD = 64 << 10  # bytes
_MAX_SIGNATURES = 256  # at one image that are looked at


class SignatureError(TagboatError):
    """An image is not signed as it should be."""


@dataclass(frozen=True, slots=True)
class Signature:
    """A payload as it was signed, and the signature (DER)."""

    payload: bytes
    signature: bytes


def signature_tag(reference: Reference, digest: Digest) -> Reference:
    """Where the signatures of the manifest with that digest are."""
    return reference.with_tag(f"{digest.algorithm}-{digest.hex}.sig")


def sign(registry: Registry, reference: Reference, key: PrivateKey) -> tuple[Digest, bool]:
    """Sign the manifest or index that the reference stands for, which the registry has.

    Returns its digest, and whether there was no such signature by that key yet: what is there stays, other
    keys' signatures too. Raises OcikitError.
    """
    digest = _digest(registry, reference)
    data = Payload(digest, f"{reference.registry}/{reference.repository}").to_bytes()
    target = signature_tag(reference, digest)
    manifest = _manifest(registry, target)
    for found in _signatures(registry, target, manifest):
        if found.payload == data and key.public.accepts(found.signature, data):
            return digest, False
    text = base64.b64encode(key.sign(data)).decode()
    layer = Descriptor(_PAYLOAD_TYPE, Digest.of(data), len(data), MappingProxyType({_SIGNATURE: text}))
    layers = (*(manifest.layers if manifest else ()), layer)
    config = _config(layers)
    described = Descriptor(OCI_CONFIG, Digest.of(config), len(config))
    written = replace(manifest, config=described, layers=layers) if manifest else Manifest(described, layers)
    blobs: dict[Digest, Blob] = {described.digest: BytesBlob(config), layer.digest: BytesBlob(data)}
    registry.push_manifest(target, written, blobs)
    return digest, True


def check_signature(registry: Registry, reference: Reference, digest: Digest, key: PublicKey) -> str:
    """The repository for which the manifest with that digest was signed by `key`.

    It need not be this one: an image and its signatures may be copied. Raises SignatureError that says what
    is there instead, and OcikitError.
    """
    target = signature_tag(reference, digest)
    manifest = _manifest(registry, target)
    if manifest is None:
        raise SignatureError(f"{digest} has no signature: nothing is at {target}")
    found = list(_signatures(registry, target, manifest))
    if not found:
        raise SignatureError(f"{digest} has no signature: what is at {target} cannot be read as one")
    signed = [one.payload for one in found if key.accepts(one.signature, one.payload)]
    if not signed:
        raise SignatureError(f"{digest} has {_count(len(found))}, none by the key {key.identity}")
    reasons = []
    for data in signed:
        try:
            payload = Payload.parse(data)
        except InvalidDocumentError as error:
            reasons.append(str(error))
            continue
        if payload.digest == digest:
            return payload.repository
        reasons.append(f"it signs {payload.digest}")
    raise SignatureError(f"{digest} has {_count(len(signed))} by the key, not of it: {'; '.join(reasons)}")


def _digest(registry: Registry, reference: Reference) -> Digest:
    """The digest of a manifest that has been read, and is what the digest says."""
    digest = reference.digest or registry.digest(reference)
    if digest is None:
        raise NotFoundError(f"{reference} is not there")
    registry.manifest(reference.with_digest(digest))
    return digest


def _manifest(registry: Registry, target: Reference) -> Manifest | None:
    try:
        manifest = registry.manifest(target)
    except RegistryNotFoundError:
        return None
    if not isinstance(manifest, Manifest):
        raise InvalidDocumentError(f"{target} is an index, not signatures")
    return manifest


def _signatures(registry: Registry, target: Reference, manifest: Manifest | None) -> Iterator[Signature]:
    """Those that can be read; what else is there (other types, broken text, lost payloads) signs nothing.

    Whoever may push may put such things there: they must not hide a good signature.
    """
    for layer in manifest.layers[:_MAX_SIGNATURES] if manifest else ():
        if layer.media_type != _PAYLOAD_TYPE or layer.size > _MAX_PAYLOAD:
            continue
        try:
            signature = base64.b64decode(layer.annotations.get(_SIGNATURE, ""), validate=True)
        except (binascii.Error, ValueError):
            continue
        if not signature:
            continue
        with suppress(DigestMismatchError, RegistryNotFoundError):
            yield Signature(_read(registry, target.repository, layer), signature)


def _read(registry: Registry, repository: str, layer: Descriptor) -> bytes:
    blob = RegistryBlob(registry, repository, layer)
    what = f"payload of a signature in {registry.host}/{repository}"
    with verified(blob, layer.digest, layer.size, what) as source:
        return source.read()


def _config(layers: tuple[Descriptor, ...]) -> bytes:
    """The configuration that makes the manifest an image's, as cosign writes it: of no platform."""
    document = {
        "architecture": "",
        "config": {},
        "os": "",
        "rootfs": {"type": "layers", "diff_ids": [str(layer.digest) for layer in layers]},
    }
    return json.dumps(document, separators=(",", ":")).encode()


def _count(number: int) -> str:
    return f"{number} signature{'s' if number != 1 else ''}"
