"""All of it, one after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tagboat.component import Component
from tagboat.doctor.cloud import cloud
from tagboat.doctor.domains import authority, name_of_site
from tagboat.doctor.finding import Finding
from tagboat.doctor.machine import disks, tools
from tagboat.doctor.project import project
from tagboat.errors import TagboatError


def examine(
    directory: Path, cache: Path, names: Sequence[str] = (), target: str | None = None
) -> Iterator[Finding]:
    """Look at the component in `directory` and everything that its release needs.

    `names` are HOST[:PORT] that visitors come by, `target` is one of its targets (by default the only one).
    Nothing is changed anywhere.
    """
    component, configuration = _component(directory)
    yield from tools(composes=component is not None and _composes(component))
    yield from disks(cache)
    yield configuration
    if component is not None:
        yield from project(component)
    yield from authority()
    yield from cloud(component, target)
    if component is not None:
        yield from _of_targets(component, names)
    for name in names:
        yield from name_of_site(name)


def _of_targets(component: Component, others: Sequence[str]) -> Iterator[Finding]:
    """The names that the configuration gives to targets, which need not have been made yet."""
    targets = component.config.targets.values()
    said = [name for target in targets for name in (target.domain, *target.redirects) if name]
    for name in dict.fromkeys(said):
        if name in others:
            continue
        for finding in name_of_site(name):
            if finding.name.startswith("DNS ") and finding.state == "failed":
                yield replace(finding, state="warning", advice="`tagboat apply` makes the record")
            else:
                yield finding


def _component(directory: Path) -> tuple[Component | None, Finding]:
    try:
        component = Component.load(directory)
    except TagboatError as error:
        return None, Finding.of("configuration", error)
    file = component.directory / "pyproject.toml"
    return component, Finding("configuration", "ok", f"{component.name} {component.version}, {file}")


def _composes(component: Component) -> bool:
    """Whether its base is made of a distribution's packages."""
    return component.config.base_text.raw.partition(":")[0] in ("debian", "ubuntu")
