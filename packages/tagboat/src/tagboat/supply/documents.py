"""Which documents go with an image into a registry: bills of materials, provenance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ocikit import Image, Reference, Registry
from tagboat.build.lockfile import read_lock
from tagboat.component import Component
from tagboat.supply.attachment import attach_sboms
from tagboat.supply.attestation import attach_provenance
from tagboat.supply.inventory import take_inventory, with_hashes
from tagboat.supply.key import PrivateKey


@dataclass(frozen=True, slots=True)
class Documents:
    """`sboms` are formats (`spdx`, `cyclonedx`); provenance is signed where there is a key."""

    sboms: tuple[str, ...] = ()
    provenance: bool = False
    key: PrivateKey | None = None

    def attach(
        self,
        registry: Registry,
        repository: Reference,
        image: Image,
        component: Component,
        progress: Callable[[str], None],
    ) -> None:
        """Leave them beside `image`, which was built from `component`. Raises ConfigError, OcikitError."""
        about = repository.with_digest(image.digest)
        if self.sboms:
            inventory = with_hashes(take_inventory(image), read_lock(component.lock))
            for attached in attach_sboms(registry, about, inventory, image, self.sboms):
                progress(f"bill of materials {attached} is attached")
        if self.provenance:
            attached = attach_provenance(registry, about, image, component, self.key)
            progress(f"{'signed' if self.key else 'unsigned'} provenance {attached} is attached")
