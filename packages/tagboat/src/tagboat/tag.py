"""The release tag: `NAME-vVERSION`, annotated, on a clean commit, pushed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tagboat.component import Component
from tagboat.errors import TagboatError
from tagboat.git import GitError, WorkTree

_SHOWN = 10  # files named in a refusal; the rest are counted


class TagRefusedError(TagboatError):
    """The release is not safe to tag; nothing was changed."""


@dataclass(frozen=True, slots=True)
class ReleaseTag:
    """A tag and the commit that it is on."""

    name: str
    commit: str


def tag_name(component: Component) -> str:
    return f"{component.name}-v{component.version}"


def create_release_tag(component: Component, *, remote: str = "origin") -> ReleaseTag:
    """Tag HEAD as the component's version and push the tag; both or neither.

    Raises TagRefusedError when the tree is dirty, the tag exists here or there, or the remote is unknown;
    GitError when git itself fails. After any error the tag stands nowhere that it did not stand before.
    """
    tree = WorkTree.containing(component.directory)
    name = tag_name(component)
    require_clean(tree, component)
    if remote not in tree.remotes():
        raise TagRefusedError(
            f"there is no remote `{remote}` to push {name} to", hint=f"`git remote add {remote} URL`"
        )
    if tree.local_tag(name) is not None:
        raise TagRefusedError(
            f"tag {name} exists already", hint=f"raise `version` in {_project_file(component)}"
        )
    if tree.remote_has_tag(remote, name):
        raise TagRefusedError(
            f"tag {name} exists already on {remote}",
            hint=f"`git fetch --tags {remote}`, then raise `version` in {_project_file(component)}",
        )
    commit = tree.head()
    tree.create_tag(name, f"Release {component.name} {component.version}")
    try:
        tree.push_tag(remote, name)
    except GitError:
        tree.delete_tag(name)
        raise
    return ReleaseTag(name, commit)


def require_release(component: Component) -> ReleaseTag:
    """The release that is checked out: HEAD carries the component's tag and nothing has changed since.

    Raises TagRefusedError otherwise: what is not tagged cannot be found again, so it is not deployed.
    """
    tree = WorkTree.containing(component.directory)
    require_clean(tree, component)
    name = tag_name(component)
    head = tree.head()
    tagged = tree.local_tag(name)
    if tagged is None:
        raise TagRefusedError(f"there is no tag {name} yet", hint="run `tagboat tag` first")
    if tagged != head:
        raise TagRefusedError(
            f"HEAD is {head[:12]}, but tag {name} is on {tagged[:12]}",
            hint=f"`git switch --detach {name}` to deploy that, or raise the version and `tagboat tag`",
        )
    return ReleaseTag(name, head)


def require_clean(tree: WorkTree, component: Component) -> None:
    """Raises TagRefusedError that names the files when something of the image is not committed."""
    changed = tree.changed_files(component.source_directories)
    if not changed:
        return
    # A name that would disturb the terminal is shown quoted.
    named = "\n".join(f"  {path if path.isprintable() else repr(path)}" for path in changed[:_SHOWN])
    more = f"\n  and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
    raise TagRefusedError(
        f"the working tree of {component.name} is not clean:\n{named}{more}",
        hint="commit these files, or remove them, so that the tag is what will run",
    )


def _project_file(component: Component) -> Path:
    return component.directory / "pyproject.toml"
