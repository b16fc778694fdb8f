"""The whole image: base, dependencies, app, and the configuration that ties them together."""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from ocikit import ContainerConfig, History, Image, Layer, Platform, compressor
from tagboat.build.app import WORKDIR, app_layers
from tagboat.build.base import Base, resolve_base
from tagboat.build.cache import Cache, MadeLayer
from tagboat.build.dependencies import dependency_layers
from tagboat.build.explanation import explain, keep_inputs, last_inputs
from tagboat.build.projects import Projects
from tagboat.build.venv import VENV
from tagboat.component import Component
from tagboat.errors import ConfigError
from tagboat.git import head_commit, is_clean

# `$NAME` and `${NAME…}` are the shell's to expand when the container starts; any other `$` is a dollar sign.
_START_VARIABLE = re.compile(r"\$(?:[A-Za-z_]\w*|\{[A-Za-z_]\w*(?::?[-+?=][^}]*)?\})", re.ASCII)
_SECONDS = re.compile("[0-9]{1,11}")  # to the year 5138, which RFC 3339 can write


@dataclass(frozen=True, slots=True)
class LayerReport:
    """One layer of a built image: `size` in bytes as transferred, `seconds` that it took to have it."""

    name: str
    size: int
    cached: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Build:
    """A built image and where its layers came from."""

    image: Image
    layers: tuple[LayerReport, ...]
    explanation: tuple[str, ...]
    """Which inputs are not as they were when this folder was built the last time, by layer."""


def build(
    component: Component,
    cache: Path,
    *,
    platform: Platform | None = None,
    progress: Callable[[str], None],
    on_layer: Callable[[Layer], None] = lambda _: None,
) -> Image:
    """The component's image: a function of base, lock, sources, configuration and commit, of nothing else.

    It is for `platform`, or else for this machine's. `cache` is a folder, made when absent, that later builds
    are faster with; `progress` gets a line for each thing that takes time, `on_layer` each layer that had to
    be made, as soon as it is, from several threads. Raises TagboatError and OcikitError.
    """
    return build_with_report(component, cache, platform=platform, progress=progress, on_layer=on_layer).image


def build_with_report(
    component: Component,
    cache: Path,
    *,
    platform: Platform | None = None,
    progress: Callable[[str], None],
    on_layer: Callable[[Layer], None] = lambda _: None,
) -> Build:
    """As `build`, with what each layer cost."""
    store = Cache.open(cache, compression=component.config.compression)
    reports: list[LayerReport] = []

    started = time.monotonic()
    platform = platform or Platform.host()
    base, made = resolve_base(component, platform, store, progress=progress)
    size = sum(layer.descriptor.size for layer in base.image.layers)
    reports.append(LayerReport(base.name, size, not made, time.monotonic() - started))
    for layer in base.image.layers if made else ():
        on_layer(layer)
    before = last_inputs(store, component.directory, platform)

    image = base.image
    stamp = _stamp(component)
    with ExitStack() as stack, ThreadPoolExecutor(1) as pool:  # mostly other programs are at work
        projects = Projects(component, base, store, stack, progress)
        app = pool.submit(app_layers, projects)
        layers = dependency_layers(component, base, store, progress=progress, on_layer=on_layer)
        layers += app.result()
    layers = [replace(one, inputs={**one.inputs, **_settings(component, one)}) for one in layers]
    for one in layers:
        reports.append(LayerReport(one.name, one.layer.descriptor.size, not one.made, one.seconds))
        image = image.append(one.layer, History(created=stamp.created, created_by=f"tagboat {one.name}"))
    image = image.with_config(_container_config(component, base, stamp))
    described = replace(image.config, created=stamp.created, author=component.authors)
    image = Image(described, image.layers)
    explanation = tuple(explain(before, layers))
    keep_inputs(store, component.directory, platform, layers)
    return Build(image, tuple(reports), explanation)


def _settings(component: Component, layer: MadeLayer) -> dict[str, str]:
    """What of the configuration, beside files and packages, decides about a layer."""
    compressed = {"compression": compressor(component.config.compression)}
    return compressed | ({} if layer.kind == "assets" else {"byte code": str(component.config.byte_code)})


@dataclass(frozen=True, slots=True)
class _Stamp:
    created: str  # RFC 3339
    revision: str | None


def _stamp(component: Component) -> _Stamp:
    """When the source was made, as far as the source itself can say; never the time of the build."""
    commit = head_commit(component.directory)
    clean = commit is not None and is_clean(component.source_directories)
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch is not None and not _SECONDS.fullmatch(epoch):
        raise ConfigError(f"SOURCE_DATE_EPOCH is {epoch!r}, not a number of seconds since 1970")
    seconds = int(epoch) if epoch is not None else commit.time if commit else 0
    created = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return _Stamp(created, commit.id if commit and clean else None)


def _container_config(component: Component, base: Base, stamp: _Stamp) -> ContainerConfig:
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
        "org.opencontainers.image.revision": stamp.revision,
        "org.opencontainers.image.created": stamp.created,
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
