"""tagboat on the reference app: what each kind of change takes from its command line to the registry."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.image.process import Outcome, run
from bench.image.registry import Counts, RegistryServer
from bench.image.shop import Shop
from ocikit import ContainerConfig, Image, Reference, Registry

__all__ = ["Pushed", "Tagboat"]

_TAGBOAT = Path(sys.executable).parent / "tagboat"
# What a cache holds that was fetched: a cold build finds that and nothing that was made of it.
_FETCHED = ("debian", "debs", "distributions")


@dataclass(frozen=True, slots=True)
class Pushed:
    """One command that built and pushed."""

    outcome: Outcome
    counts: Counts


@dataclass(frozen=True, slots=True)
class Tagboat:
    """The command with a cache of its own, and where it pushes to."""

    cache: Path
    registry: RegistryServer

    def push(self, shop: Shop, repository: str) -> Pushed:
        self.registry.counts()
        outcome = run(
            *(_TAGBOAT, "push", f"{self.registry.host}/{repository}:1", shop.directory),
            environment={"XDG_CACHE_HOME": str(self.cache)},
        )
        return Pushed(outcome, self.registry.counts())

    def forget_all_but_what_was_fetched(self) -> None:
        for folder in (self.cache / "tagboat").iterdir():
            if folder.name not in _FETCHED:
                shutil.rmtree(folder)

    def push_base(self, repository: str, base: str) -> None:
        """Push what the image in `repository` is built upon as the image `base:1`, for peers."""
        with Registry(self.registry.host) as registry:
            image = registry.image(Reference(self.registry.host, repository, "1"))
            lowest = Image.empty(image.config.platform).append(image.layers[0], image.config.history[0])
            configured = lowest.with_config(ContainerConfig(env=("PATH=/usr/local/bin:/usr/bin:/bin",)))
            registry.push(configured, Reference(self.registry.host, base, "1"))

    def image_bytes(self, repository: str) -> int:
        """All layers of what was pushed, as they travel."""
        with Registry(self.registry.host) as registry:
            image = registry.image(Reference(self.registry.host, repository, "1"))
        return sum(layer.descriptor.size for layer in image.layers)
