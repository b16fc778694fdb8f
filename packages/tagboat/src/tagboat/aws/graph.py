"""The order in which resources can be made: each after what it needs."""

from __future__ import annotations

from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter

from tagboat.aws.resource import Resource


def ordered(resources: Iterable[Resource]) -> list[Resource]:
    """The resources so that each comes after what it needs, and otherwise as given.

    Raises ValueError for a cycle, a key that is there twice, and a need that nobody meets: mistakes of a
    target's.
    """
    known: dict[str, Resource] = {}
    for resource in resources:
        if resource.key in known:
            raise ValueError(f"{resource.key} is there twice")
        known[resource.key] = resource
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for resource in known.values():
        for need in resource.needs:
            if need not in known:
                raise ValueError(f"{resource.key} needs {need}, which is not there")
        sorter.add(resource.key, *resource.needs)
    position = {key: number for number, key in enumerate(known)}
    try:
        sorter.prepare()
    except CycleError as error:
        raise ValueError(f"resources need each other: {error.args[1]}") from error
    found: list[Resource] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=position.__getitem__)
        found += [known[key] for key in ready]
        sorter.done(*ready)
    return found
