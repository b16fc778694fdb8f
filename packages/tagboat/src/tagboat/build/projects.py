"""The component and the local packages that it needs: their sources, and what they bring into the image."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tagboat.build.cache import Cache
from tagboat.build.files import Entry
from tagboat.build.ground import Ground
from tagboat.build.mould import build_mould, project_files
from tagboat.build.source import SourceTree
from tagboat.build.venv import merged
from tagboat.errors import ConfigError, TagboatError


@dataclass
class Projects:
    """The local projects of one build. Several threads may ask; each thing is read or made once."""

    ground: Ground
    cache: Cache
    stack: ExitStack  # what is kept on disk is removed with it
    progress: Callable[[str], None]
    _turn: threading.RLock = field(default_factory=threading.RLock)
    _failure: TagboatError | None = None

    def sources(self) -> Mapping[str, SourceTree]:
        """By the project's name, the component's own first. Raises SourceError, GitError."""
        with self._turn:
            return self._sources

    def decides(self) -> list[str]:
        """What decides about the files, the base apart."""
        trees = (f"{name} {source.digest}" for name, source in self.sources().items())
        return [self.ground.uv, *trees]

    def files(self) -> dict[str, Entry]:
        """What all of them bring. Raises SourceError, UvError, VenvError, UnpackingError, ConfigError."""
        with self._turn:
            if self._failure is not None:  # it would fail again, and take as long
                raise self._failure
            try:
                return self._files
            except TagboatError as error:
                self._failure = error
                raise

    @cached_property
    def _sources(self) -> dict[str, SourceTree]:
        found = {project.name: SourceTree.read(project.directory) for project in self.ground.projects}
        for source in found.values():
            for link in source.left_out:
                self.progress(f"{source.directory / link} leads out of the project: not in the image")
        return found

    @cached_property
    def _files(self) -> dict[str, Entry]:
        moulds = {
            name: build_mould(name, source, self.ground.uv, self.cache, self.progress)
            for name, source in self._sources.items()
        }
        if self.ground.foreign:
            _check_portable([mould.wheel for mould in moulds.values()], self.ground)
        folder = self.stack.enter_context(self.cache.temporary())
        return merged(
            {
                name: project_files(one, self.ground.interpreter, self.cache, folder)
                for name, one in moulds.items()
            }
        )


def _check_portable(wheels: list[Path], ground: Ground) -> None:
    native = next((wheel.name for wheel in wheels if not wheel.name.endswith("-any.whl")), None)
    if native is not None:
        raise ConfigError(
            f"{native} was built for this machine, and the image is for {ground.platform}",
            hint="packages with compiled parts are built on the architecture that they are for",
        )
