"""The plan of a release: what `tagboat tag` would do, once everything that makes it safe has been checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from tagboat import changelog
from tagboat.component import Component
from tagboat.errors import ConfigError
from tagboat.git import GitError, RemoteRefs, Status, WorkTree
from tagboat.refusal import (
    DetachedError,
    LockOutdatedError,
    NoChangelogError,
    NoRemoteError,
    NotCleanError,
    NotPushedError,
    PushFailedError,
    RemoteTagExistsError,
    TagExistsError,
    VersionNotAboveError,
    WrongBranchError,
)
from tagboat.version import bump, relocked, rewritten

_SHOWN = 10  # files named in a refusal; the rest are counted
_SETTINGS = r"^(remote\..*\.url|tag\.gpgsign|tag\.forcesignannotated|commit\.gpgsign)$"


@dataclass(frozen=True, slots=True)
class Plan:
    """A release that may be made: every check has held, and nothing is changed yet.

    `previous` is the component's last tag, None for its first release. `edits` are the files that a bump
    changes, in a commit of its own on top of `commit`.
    """

    tree: WorkTree = field(repr=False)
    tag: str
    version: str
    commit: str
    branch: str
    remote: str
    previous: str | None
    message: str
    signed: bool
    commits_signed: bool
    edits: Mapping[Path, str] = field(default_factory=dict)


def tag_name(component: Component) -> str:
    return f"{component.name}-v{component.version}"


def plan_release(
    component: Component, *, remote: str = "origin", branch: str | None = None, step: str | None = None
) -> Plan:
    """Check everything that makes a release of `component` safe; `step` is what `bump` takes.

    `branch` is the one that releases are made on; by default the remote's own default branch. Each refusal
    has a class and an exit code of its own. Raises also NoRepositoryError, ConfigError and GitError.
    """
    tree = WorkTree.containing(component.directory)
    version = bump(component.version, step) if step else component.version
    _require_image_tag(version)
    name = f"{component.name}-v{version}"
    status = tree.status(component.source_directories)
    if status.branch is None:
        raise DetachedError(
            f"HEAD is detached at {(status.commit or '')[:12]}: a release is made on a branch",
            hint=f"`git switch {branch or 'main'}` first",
        )
    require_clean(status, component)
    if status.commit is None:
        raise NotPushedError("there is no commit yet", hint="commit, and push the branch")
    heads = (f"refs/heads/{head}" for head in dict.fromkeys((status.branch, branch or status.branch)))
    with ThreadPoolExecutor() as pool:  # git's answers are waited for side by side, and while files are read
        there = pool.submit(tree.remote_refs, remote, *heads, f"refs/tags/{component.name}-v*")
        here = pool.submit(tree.tags, f"{component.name}-v*")
        set_up = pool.submit(tree.settings, _SETTINGS)
        require_fresh_lock(component)
        edits, section = _changelog(component, version, bumped=step is not None)
        settings = set_up.result()
        _require_remote(remote, settings)
        local = here.result()
        if name in local:
            raise TagExistsError(
                f"tag {name} exists already, on {local[name][:12]}",
                hint=f"raise the version in {_project_file(component)}, or `tagboat tag --bump patch`",
            )
        found = _answer_of(there, remote)
    _require_branch(status, branch or found.default, remote)
    _require_pushed(tree, status.commit, status.branch, found, remote)
    remote_tags = {ref.removeprefix("refs/tags/") for ref in found.refs if ref.startswith("refs/tags/")}
    if name in remote_tags:
        raise RemoteTagExistsError(
            f"tag {name} exists already on {remote}",
            hint=f"`git fetch --tags {remote}`, then raise the version in {_project_file(component)}",
        )
    previous = _require_above(component, version, {*local, *remote_tags})
    return Plan(
        tree,
        name,
        version,
        status.commit,
        status.branch,
        remote,
        previous,
        f"Release {component.name} {version}\n\n{section}\n",
        signed=_any_on(settings, "tag.gpgsign", "tag.forcesignannotated", "commit.gpgsign"),
        commits_signed=_any_on(settings, "commit.gpgsign"),
        edits=edits,
    )


def require_clean(status: Status, component: Component) -> None:
    """Raises NotCleanError that names the files when something of the image is not committed."""
    changed = status.changed
    if not changed:
        return
    # A name that would disturb the terminal is shown quoted.
    named = "\n".join(f"  {path if path.isprintable() else repr(path)}" for path in changed[:_SHOWN])
    more = f"\n  and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
    raise NotCleanError(
        f"the working tree of {component.name} is not clean:\n{named}{more}",
        hint="commit these files, or remove them, so that the tag is what will run",
    )


def releases(component: Component, tags: Iterable[str]) -> dict[Version, str]:
    """Those of `tags` that are releases of `component`, from the lowest version to the highest."""
    found = {}
    for tag in tags:
        name, separator, version = tag.partition(f"{component.name}-v")
        if separator and not name:
            try:
                found[Version(version)] = tag
            except InvalidVersion:  # such as `shop-vip-v1.0`, which is another component's
                continue
    return dict(sorted(found.items()))


def _require_image_tag(version: str) -> None:
    """The tag is the image's tag too, which knows neither epochs nor local versions."""
    if "!" in version or "+" in version:
        raise ConfigError(
            f"version {version} cannot be the tag of an image",
            hint="leave out `!` and `+` and what they set apart",
        )


def require_fresh_lock(component: Component) -> None:
    """What the packages ask for on Linux, under this Python, must be in the lock in a version that suits."""
    from tagboat.build.lockfile import read_lock  # noqa: PLC0415  only this check needs it

    linux = {"sys_platform": "linux", "os_name": "posix", "platform_system": "Linux", "extra": ""}
    local = {package.name for package in component.packages}
    locked: dict[str, list[Version]] = {}
    for pin in read_lock(component.lock).pins:
        versions = [Version(entry.version) for entry in pin.requirement.specifier if entry.operator == "=="]
        locked.setdefault(pin.name, []).extend(versions)
    for package in component.packages:
        for requirement in package.requirements:
            name = canonicalize_name(requirement.name)
            if name in local or (requirement.marker and not requirement.marker.evaluate(linux)):
                continue
            if any(
                requirement.specifier.contains(version, prereleases=True) for version in locked.get(name, ())
            ):
                continue
            has = (
                " and ".join(str(version) for version in locked[name]) if name in locked else "nothing of it"
            )
            raise LockOutdatedError(
                f"{component.lock} is out of date: {package.name} needs {requirement}, it has {has}",
                hint="write the lock anew and commit it",
            )


def _changelog(component: Component, version: str, *, bumped: bool) -> tuple[dict[Path, str], str]:
    """The files that a bump changes, and what the changelog says of `version`."""
    file = component.directory / changelog.FILE_NAME
    edits: dict[Path, str] = {}
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        text = ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error
    section = changelog.section_of(text, version)
    if bumped:
        edits.update([rewritten(component.directory / "pyproject.toml", version)])
        lock = relocked(component.lock, component.name, version)
        edits.update([lock] if lock else [])
        renamed = changelog.released(text, version, datetime.now(UTC).date()) if section is None else None
        if renamed is not None:
            edits[file] = renamed
            section = changelog.section_of(renamed, version)
    if section is None or not section.body:
        wanted = f"a section `## [{version}]`" + (" or `## [Unreleased]`" if bumped else "")
        raise NoChangelogError(
            f"{file} has no text for version {version}" if text else f"{file} does not exist",
            hint=f"write {wanted}; `tagboat changelog --write` drafts it from the commits",
        )
    return edits, section.body


def _require_remote(remote: str, settings: Mapping[str, str]) -> None:
    if f"remote.{remote}.url" not in settings:
        raise NoRemoteError(
            f"there is no remote `{remote}` to push to",
            hint=f"`git remote add {remote} URL`, or --remote NAME",
        )


def _answer_of(asked: Future[RemoteRefs], remote: str) -> RemoteRefs:
    try:
        return asked.result()
    except GitError as error:
        raise PushFailedError(f"{remote} does not answer: {error}", hint=error.hint) from error


def _require_branch(status: Status, wanted: str | None, remote: str) -> None:
    if wanted is not None and status.branch != wanted:
        raise WrongBranchError(
            f"branch {status.branch} is checked out, and releases are made on {wanted}",
            hint=f"`git switch {wanted}`; --branch says which one, if not {remote}'s default branch",
        )


def _require_pushed(tree: WorkTree, commit: str, branch: str, found: RemoteRefs, remote: str) -> None:
    """The commit must be the tip of the remote's branch, or in its history as far as that is known here."""
    tip = found.refs.get(f"refs/heads/{branch}")
    if tip == commit:
        return
    known = (tip, f"refs/remotes/{remote}/{branch}") if tip else ()
    if not any(tree.reaches(commit, name) for name in known):
        raise NotPushedError(
            f"commit {commit[:12]} is not on {remote}/{branch}",
            hint=f"`git push {remote} {branch}` first, so that the tag is on a commit that others have",
        )


def _require_above(component: Component, version: str, tags: Iterable[str]) -> str | None:
    """The last release, which must be below `version`; None where this is the first one."""
    before = releases(component, tags)
    if not before:
        return None
    last, tag = list(before.items())[-1]
    if Version(version) <= last:
        raise VersionNotAboveError(
            f"version {version} is not above the last release, {tag}",
            hint=f"raise the version in {_project_file(component)}, or `tagboat tag --bump patch`",
        )
    return tag


def _any_on(settings: Mapping[str, str], *names: str) -> bool:
    return any(settings.get(name, "").lower() in ("true", "yes", "on", "1") for name in names)


def _project_file(component: Component) -> Path:
    return component.directory / "pyproject.toml"
