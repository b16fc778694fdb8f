"""tagboat on the reference app: what each kind of change takes from its command line to the registry."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.image.circumstance import Circumstance
from bench.image.process import Outcome, run
from bench.image.registry import Counts, RegistryServer
from bench.image.shop import Shop
from ocikit import ContainerConfig, Image, Reference, Registry

__all__ = ["Pushed", "Tagboat", "forget_all_but_what_was_fetched"]

_TAGBOAT = Path(sys.executable).parent / "tagboat"
_FETCHED = ("debian", "debs", "distributions")


@dataclass(frozen=True, slots=True)
class Pushed:
    """One command that built and pushed."""

    outcome: Outcome
    counts: Counts

    @property
    def digest(self) -> str:
        return self.outcome.output.rpartition("@")[2]


@dataclass(frozen=True, slots=True)
class Tagboat:
    """The command with a cache of its own, and where it pushes to."""

    cache: Path
    registry: RegistryServer

    def push(self, shop: Shop, repository: str, *platforms: str) -> Pushed:
        """Build and push, for the named platforms or else for this machine's."""
        self.registry.counts()
        outcome = run(
            *(_TAGBOAT, "push", f"{self.registry.host}/{repository}:1", shop.directory),
            *(word for platform in platforms for word in ("--platform", platform)),
            environment={"XDG_CACHE_HOME": str(self.cache)},
        )
        return Pushed(outcome, self.registry.counts())

    def build(self, directory: Path, circumstance: Circumstance) -> str:
        """Build and push nowhere; the digest."""
        return run(
            *circumstance.prefix,
            *(_TAGBOAT, "build", directory),
            environment={"XDG_CACHE_HOME": str(self.cache), **circumstance.environment},
            mask=circumstance.mask,
        ).output

    def forget_all_but_what_was_fetched(self) -> None:
        forget_all_but_what_was_fetched(self.cache)

    def push_base(self, repository: str, base: str) -> str:
        """Push what the image in `repository` is built upon as the image `base:1`; that with its digest."""
        with Registry(self.registry.host) as registry:
            image = registry.image(Reference(self.registry.host, repository, "1"))
            lowest = Image.empty(image.config.platform).append(image.layers[0], image.config.history[0])
            configured = lowest.with_config(ContainerConfig(env=("PATH=/usr/local/bin:/usr/bin:/bin",)))
            reference = Reference(self.registry.host, base, "1")
            registry.push(configured, reference)
            return str(reference.with_digest(configured.digest))

    def layers(self, repository: str) -> dict[str, int]:
        """The layers of what was pushed, by digest, and their bytes as they travel."""
        with Registry(self.registry.host) as registry:
            image = registry.image(Reference(self.registry.host, repository, "1"))
        return {str(layer.descriptor.digest): layer.descriptor.size for layer in image.layers}


def forget_all_but_what_was_fetched(cache: Path) -> None:
    """What a cold build finds: packages, and nothing that was made of them."""
    for folder in (cache / "tagboat").iterdir():
        if folder.name not in _FETCHED:
            shutil.rmtree(folder)
