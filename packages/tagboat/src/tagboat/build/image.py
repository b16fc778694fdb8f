"""The whole image: base, dependencies, app, and the configuration that ties them together."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event
from typing import Final

from ocikit import ContainerConfig, Image, Layer, Platform
from tagboat.build.app import WORKDIR, app_layers
from tagboat.build.base import Base, resolve_base
from tagboat.build.cache import Cache
from tagboat.build.dependencies import dependency_layers
from tagboat.build.frame import Build, Frame, LayerReport, finish, stamp_of
from tagboat.build.ground import Ground, Project
from tagboat.build.mould import build_mould
from tagboat.build.projects import Projects
from tagboat.build.source import SourceTree
from tagboat.build.uv import uv_version
from tagboat.build.venv import VENV
from tagboat.component import Component
from tagboat.errors import TagboatError

_AT_ONCE: Final = 0.05  # seconds that it takes at most to find a base that is in the cache

# `$NAME` and `${NAME…}` are the shell's to expand when the container starts; any other `$` is a dollar sign.
_START_VARIABLE = re.compile(r"\$(?:[A-Za-z_]\w*|\{[A-Za-z_]\w*(?::?[-+?=][^}]*)?\})", re.ASCII)


def build(
    component: Component,
    cache: Path,
    *,
    platform: Platform | None = None,
    progress: Callable[[str], None],
) -> Image:
    """The component's image: a function of base, lock, sources, configuration and commit, of nothing else.

    It is for `platform`, or else for this machine's. `cache` is a folder, made when absent, that later builds
    are faster with; `progress` gets a line for each thing that takes time. Raises TagboatError and
    OcikitError.
    """
    return build_with_report(component, cache, platform=platform, progress=progress).image


def build_with_report(
    component: Component,
    cache: Path,
    *,
    platform: Platform | None = None,
    progress: Callable[[str], None],
    on_layer: Callable[[Layer], None] = lambda _: None,
) -> Build:
    """As `build`, with what each layer cost.

    `on_layer` gets each layer that had to be made, as soon as it is, from several threads.
    """
    store = Cache.open(cache, compression=component.config.compression)
    started = time.monotonic()
    platform = platform or Platform.host()
    with ExitStack() as stack, ThreadPoolExecutor(1) as pool:  # mostly other programs are at work
        found = Event()
        pool.submit(_prepare, component, store, found, progress)
        try:
            base, made = resolve_base(component, platform, store, progress=progress)
        finally:
            found.set()
        size = sum(layer.descriptor.size for layer in base.image.layers)
        report = LayerReport(base.name, size, not made, time.monotonic() - started)
        for layer in base.image.layers if made else ():
            on_layer(layer)
        ground = _ground(component, base, store)
        stamp = stamp_of(ground)
        projects = Projects(ground, store, stack, progress)
        app = pool.submit(app_layers, projects, on_layer=on_layer)
        layers = dependency_layers(component, base, projects, on_layer=on_layer)
        frame = Frame(
            base.name,
            base.image,
            tuple(layers),
            _container_config(component, base),
            component.authors,
            component.config.compression,
            ground,
            _imports(component, projects),
        )
        return finish(frame, stamp, app.result(), store, [report])


def _prepare(component: Component, cache: Cache, found: Event, progress: Callable[[str], None]) -> None:
    """Do what takes long and has nothing to do with the base, if that is not `found` at once.

    It is kept in the cache. What fails here fails again where it is needed, and is told there.
    """
    if found.wait(_AT_ONCE):
        return
    import tagboat.build.installer  # noqa: PLC0415  loaded while the base is on its way
    import tagboat.build.uvcache  # noqa: F401, PLC0415

    with suppress(TagboatError):
        for package in component.packages:
            build_mould(package.name, SourceTree.read(package.directory), uv_version(), cache, progress)


def _ground(component: Component, base: Base, cache: Cache) -> Ground:
    return Ground(
        tuple(Project(package.name, package.directory) for package in component.packages),
        base.identity,
        base.platform,
        base.interpreter,
        base.compiler(cache) if component.config.byte_code else None,
        base.here is not None,
        uv_version(),
    )


def _imports(component: Component, projects: Projects) -> str | None:
    if component.config.byte_code != "imported":
        return None
    from tagboat.build.reach import imports_key  # noqa: PLC0415  most builds do not ask

    return imports_key(projects)


def _container_config(component: Component, base: Base) -> ContainerConfig:
    config = component.config
    variables = {
        "PATH": f"/{VENV}/bin:{base.search_path}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONSAFEPATH": "1",  # `-P`: what lies in the folder of a script or in /app shadows no module
        "PYTHONUNBUFFERED": "1",
        "VIRTUAL_ENV": f"/{VENV}",
    }
    inherited = dict(variable.partition("=")[::2] for variable in base.image.config.config.env)
    environment = inherited | variables | config.expanded_environment()
    labels = {
        "org.opencontainers.image.title": component.name,
        "org.opencontainers.image.description": component.description,
        "org.opencontainers.image.version": component.version,
        "org.opencontainers.image.authors": component.authors,
        "org.opencontainers.image.licenses": component.license,
        "org.opencontainers.image.url": component.url("homepage"),
        "org.opencontainers.image.documentation": component.url("documentation", "docs"),
        "org.opencontainers.image.source": component.source_url,
        "org.opencontainers.image.base.name": base.name,
        "org.opencontainers.image.base.digest": str(base.digest),
        "tagboat.health-path": config.service.health_path,
        "tagboat.stop-signal": config.stop_signal,
    }
    return ContainerConfig(
        user=config.user,
        env=tuple(f"{name}={value}" for name, value in sorted(environment.items())),
        entrypoint=start_command(config.entrypoint),
        cmd=(),
        working_dir=f"/{WORKDIR}",
        labels={name: value for name, value in sorted(labels.items()) if value is not None},
        exposed_ports=(f"{config.service.port}/tcp",),
        stop_signal=config.stop_signal,
        volumes=(),
    )


def start_command(entrypoint: tuple[str, ...]) -> tuple[str, ...]:
    """The command of the image: as it is, or through a shell where it holds a variable to expand at start.

    The shell then becomes the command (`exec`), so that signals reach the app; arguments given at start
    follow.
    """
    if not any(_START_VARIABLE.search(word) for word in entrypoint):
        return entrypoint
    return ("/bin/sh", "-c", f'exec {" ".join(map(_shell_word, entrypoint))} "$@"', entrypoint[0])


def _shell_word(word: str) -> str:
    if not _START_VARIABLE.search(word):
        return shlex.quote(word)
    parts: list[str] = []
    end = 0
    for match in _START_VARIABLE.finditer(word):
        parts += [re.sub(r'([$`"\\])', r"\\\1", word[end : match.start()]), match[0]]
        end = match.end()
    parts.append(re.sub(r'([$`"\\])', r"\\\1", word[end:]))
    return '"' + "".join(parts) + '"'
