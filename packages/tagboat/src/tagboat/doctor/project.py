"""The component: its configuration, its lock, its repository, its pipeline."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from tagboat.ci import SYSTEMS, Pipeline
from tagboat.component import Component
from tagboat.doctor.finding import Finding, found
from tagboat.errors import ConfigError, TagboatError
from tagboat.git import GitError, NoRepositoryError, WorkTree
from tagboat.plan import require_fresh_lock
from tagboat.table import Text
from tagboat.targets.place import Place, UnsupportedError
from tagboat.targets.target import default_target, require_possible

_REMOTE = "origin"


def project(component: Component) -> Iterator[Finding]:
    """Everything about it that needs no cloud."""
    yield from _variables(component)
    yield from _service(component)
    yield from found("lock", lambda: _lock(component))
    yield from _repository(component)
    yield from _pipelines(component)


def _variables(component: Component) -> Iterator[Finding]:
    """Those that the configuration asks the environment for; CI may have what this shell has not."""
    config = component.config
    of_build = _unset((config.base_text, config.repository_text, *config.environment.values()))
    of_deployment = _unset([*config.service.environment.values(), *config.service.secrets.values()])
    for names, state, when in (
        (of_build, "failed", "a build"),
        (of_deployment, "warning", "`tagboat deploy`"),
    ):
        if names:
            yield Finding(
                "variables",
                "failed" if state == "failed" else "warning",
                f"not set here: {', '.join(names)}",
                f"export {'it' if len(names) == 1 else 'them'} before {when}",
            )
    if not of_build and not of_deployment:
        yield Finding("variables", "ok", "all that the configuration asks for are set")


def _unset(texts: Iterable[Text]) -> list[str]:
    return sorted({name for text in texts for name in text.variables if name not in os.environ})


def _service(component: Component) -> Iterator[Finding]:
    """Whether each target can do what is asked of it."""
    targets = component.config.targets.values() or (default_target(component, None),)
    try:
        for target in targets:
            require_possible(Place(component, target, "", ""))
    except UnsupportedError as error:
        yield Finding.of("service's settings", error)
    except ConfigError:  # a variable that is not set, which is told
        return


def _lock(component: Component) -> str:
    require_fresh_lock(component)
    return f"{component.lock} has what the packages need"


def _repository(component: Component) -> Iterator[Finding]:
    try:
        tree = WorkTree.containing(component.directory)
        tree.require_inside(component.source_directories)
        settings = tree.settings(r"^(user\.(name|email)|remote\..*\.url)$")
    except GitError as error:
        yield Finding.of("repository", error)
        return
    yield Finding("repository", "ok", str(tree.root))
    missing = [
        name
        for name in ("user.name", "user.email")
        if name not in settings and f"GIT_COMMITTER_{name[5:].upper()}" not in os.environ
    ]
    yield (
        Finding(
            "git's user",
            "failed",
            f"{' and '.join(missing)} not set: nobody can be named in a tag",
            "; ".join(f"`git config --global {name} …`" for name in missing),
        )
        if missing
        else Finding("git's user", "ok", settings.get("user.email", "of the environment"))
    )
    if f"remote.{_REMOTE}.url" not in settings:
        yield Finding(
            "remote", "failed", f"there is no remote {_REMOTE}", f"`git remote add {_REMOTE} ADDRESS`"
        )
        return
    yield from found("remote", lambda: _remote(tree), "check its address, and that you may read it")


def _remote(tree: WorkTree) -> str:
    default = tree.remote_refs(_REMOTE).default
    return f"{_REMOTE} answers; releases are made on {default or 'any branch: it has none yet'}"


def _pipelines(component: Component) -> Iterator[Finding]:
    if not component.config.ci.test:
        return
    for system in SYSTEMS:
        try:
            pipeline = Pipeline.of(component, system)
        except NoRepositoryError:
            return
        except TagboatError as error:
            yield Finding.of("pipeline", error)
            return
        if pipeline.is_there:
            yield (
                Finding("pipeline", "warning", f"{pipeline.file} is out of date", f"`tagboat ci {system}`")
                if pipeline.difference()
                else Finding("pipeline", "ok", str(pipeline.file))
            )
