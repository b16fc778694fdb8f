"""Which documents go with an image into a registry: bills of materials, provenance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ocikit import Image, Reference, Registry
from tagboat.build.lockfile import read_lock
from tagboat.component import Component
from tagboat.supply.attachment import attach_sboms
from tagboat.supply.attestation import attach_provenance
from tagboat.supply.inventory import take_inventory, with_hashes
from tagboat.supply.key import PrivateKey

if TYPE_CHECKING:
    from tagboat.supply.keyless import KeylessSigner


@dataclass(frozen=True, slots=True)
class Documents:
    """`sboms` are formats (`spdx`, `cyclonedx`); provenance is signed where there is a signer."""

    sboms: tuple[str, ...] = ()
    provenance: bool = False
    signer: PrivateKey | KeylessSigner | None = None

    def attach(
        self,
        registry: Registry,
        repository: Reference,
        image: Image,
        component: Component,
        progress: Callable[[str], None],
    ) -> None:
        """Leave them beside `image`, which was built from `component`. Raises ConfigError, OcikitError,
        KeylessError.
        """
        about = repository.with_digest(image.digest)
        if self.sboms:
            inventory = with_hashes(take_inventory(image), read_lock(component.lock))
            for attached in attach_sboms(registry, about, inventory, image, self.sboms):
                progress(f"bill of materials {attached} is attached")
        if self.provenance:
            attached = attach_provenance(registry, about, image, component, self.signer)
            progress(f"{'signed' if self.signer else 'unsigned'} provenance {attached} is attached")
