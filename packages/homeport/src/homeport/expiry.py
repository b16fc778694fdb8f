"""Lifecycle policies at work: images that expire leave the registry, save those that must stay."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from homeport.catalogue import Catalogue, CataloguedImage, ImageHeldError
from homeport.lifecycle import Rule, expiring, read_policy
from homeport.repositories import NoSuchRepositoryError, Repositories

_log: Final = logging.getLogger("homeport")


async def due(
    catalogue: Catalogue, repository: str, rules: Iterable[Rule], now: datetime
) -> list[tuple[CataloguedImage, int]]:
    """The images that a policy removes now, each with the priority of the rule by which it does.

    What a service runs or may go back to is never among them, nor what an index names. What is about another
    image, as a signature is, counts as no image: it goes with the other.
    """
    images = await catalogue.images(repository)
    here, held = {image.digest for image in images}, catalogue.held_among(images)
    standing = [image for image in images if image.subject not in here]
    going = expiring(rules, standing, now)
    return [
        (image, going[image.digest])
        for image in standing
        if image.digest in going and image.digest not in held
    ]


async def expire(repositories: Repositories, catalogue: Catalogue) -> int:
    """Apply every repository's policy; returns how many images went."""
    count = 0
    for repository in repositories.list():
        if repository.lifecycle_policy is not None:
            with suppress(NoSuchRepositoryError):  # deleted meanwhile
                count += await _expire(repositories, catalogue, repository.name, repository.lifecycle_policy)
    return count


async def _expire(repositories: Repositories, catalogue: Catalogue, name: str, policy: str) -> int:
    now = datetime.now(UTC)
    about = [image for image in await catalogue.images(name) if image.subject is not None]
    removed = 0
    for image, _ in await due(catalogue, name, read_policy(policy), now):
        with suppress(ImageHeldError):  # a deployment of it has begun
            for digest in (image.digest, *(one.digest for one in about if one.subject == image.digest)):
                await catalogue.remove(name, digest)
                _log.info("%s@%s expired by the repository's lifecycle policy", name, digest)
                removed += 1
    await repositories.change(name, evaluated_at=now)
    return removed
