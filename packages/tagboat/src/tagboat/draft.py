"""What the commits since the last release suggest that the changelog says."""

from __future__ import annotations

from dataclasses import dataclass

from packaging.version import Version

from tagboat import changelog
from tagboat.component import Component
from tagboat.git import WorkTree
from tagboat.plan import releases


@dataclass(frozen=True, slots=True)
class Draft:
    """A section of the changelog as the commits after tag `since` (None: all) suggest it."""

    version: str | None  # None: the component's version is released already
    since: str | None
    commits: int
    body: str


def draft_changelog(component: Component) -> Draft:
    """A section from the commits that touch what goes into the image since the last release before HEAD."""
    tree = WorkTree.containing(component.directory)
    before = releases(component, tree.tags(f"{component.name}-v*", merged=True))
    since = list(before.values())[-1] if before else None
    entries = tree.log(since, component.source_directories)
    body = changelog.draft(entries)
    version = None if Version(component.version) in before else component.version
    return Draft(version, since, len(entries), body)
