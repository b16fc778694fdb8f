"""Signing an image in a registry: by a key, or by the identity of whoever runs this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ocikit import Digest, Reference, Registry
from tagboat.supply.bundle import sign_keyless
from tagboat.supply.key import PrivateKey
from tagboat.supply.signature import sign

if TYPE_CHECKING:
    from tagboat.supply.keyless import KeylessSigner


@dataclass(frozen=True, slots=True)
class Signing:
    """What was signed, and in words by whom."""

    digest: Digest
    said: str


def sign_image(registry: Registry, reference: Reference, signer: PrivateKey | KeylessSigner) -> Signing:
    """Sign the manifest or index that the reference stands for, unless that key has done so already.

    Raises KeylessError and OcikitError.
    """
    if isinstance(signer, PrivateKey):
        digest, fresh = sign(registry, reference, signer)
        said = f"signed by {signer.public.identity}" if fresh else "it was signed by this key already"
        return Signing(digest, said)
    digest, signed = sign_keyless(registry, reference, signer)
    return Signing(digest, f"signed by {signed}")
