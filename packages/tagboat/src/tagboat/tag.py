"""The release tag: `NAME-vVERSION`, annotated with its part of the changelog, on a safe commit, pushed."""

from __future__ import annotations

from dataclasses import dataclass

from tagboat.component import Component
from tagboat.git import GitError, WorkTree
from tagboat.plan import Plan, require_clean
from tagboat.refusal import PushFailedError, TagRefusedError


@dataclass(frozen=True, slots=True)
class ReleaseTag:
    """A tag and the commit that it is on."""

    name: str
    commit: str


def tag_name(component: Component) -> str:
    return f"{component.name}-v{component.version}"


def create_release_tag(plan: Plan) -> ReleaseTag:
    """Carry out a plan: tag the commit and push the tag, with the commit of a bump if there is one.

    Raises PushFailedError when the push fails; then, as after any error, everything stands where it stood.
    """
    tree, commit = plan.tree, plan.commit
    refs = [f"refs/tags/{plan.tag}"]
    if plan.edits:
        commit = tree.commit_files(plan.edits, plan.message.partition("\n")[0], sign=plan.commits_signed)
        refs.append(f"{commit}:refs/heads/{plan.branch}")
    tag = tree.create_tag(plan.tag, plan.message, commit, sign=plan.signed)
    try:
        tree.push(plan.remote, *refs)
    except BaseException as error:
        if not _arrived(plan, tag):
            tree.delete_tag(plan.tag)
            if isinstance(error, GitError):
                raise PushFailedError(
                    f"{plan.tag} was not pushed to {plan.remote}: {error}",
                    hint="nothing was changed, here or there; mend that and run it again",
                ) from error
            raise
        if not isinstance(error, GitError):
            raise
    if plan.edits:
        tree.advance(commit)
    return ReleaseTag(plan.tag, commit)


def require_release(component: Component) -> ReleaseTag:
    """The release that is checked out: HEAD carries the component's tag and nothing has changed since.

    Raises TagRefusedError otherwise: what is not tagged cannot be found again, so it is not deployed.
    """
    tree = WorkTree.containing(component.directory)
    status = tree.status(component.source_directories)
    require_clean(status, component)
    name = tag_name(component)
    tagged = tree.tags(name).get(name)
    if tagged is None or status.commit is None:
        raise TagRefusedError(f"there is no tag {name} yet", hint="run `tagboat tag` first")
    if tagged != status.commit:
        raise TagRefusedError(
            f"HEAD is {status.commit[:12]}, but tag {name} is on {tagged[:12]}",
            hint=f"`git switch --detach {name}` to deploy that, or raise the version and `tagboat tag`",
        )
    return ReleaseTag(name, status.commit)


def _arrived(plan: Plan, tag: str) -> bool:
    """Whether the remote has this very tag after all: the line may break after it took what was pushed."""
    try:
        found = plan.tree.remote_refs(plan.remote, f"refs/tags/{plan.tag}")
    except GitError:
        return False
    return found.refs.get(f"refs/tags/{plan.tag}") == tag
