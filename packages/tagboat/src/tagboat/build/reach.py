"""Which modules of the locked packages the app can reach by imports: those that get byte code, if so asked.

The answer follows from files alone, nothing is run. What each package imports is known from the first time
that it is installed, and what all of it comes to from the first time that the app imports just that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tagboat.build.cache import Cache, key_of
from tagboat.build.files import File, Files
from tagboat.build.imports import FORMAT, Module, modules_of, names_in_strings, reached
from tagboat.build.projects import Projects
from tagboat.build.venv import site_packages

if TYPE_CHECKING:  # where a line was edited, loading takes longer than the build
    from tagboat.build.lock import Pin
    from tagboat.build.target import Target
    from tagboat.config import Config

_NAME = re.compile(r"[A-Za-z_]\w*(?:\.\w+)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Reach:
    """What the local projects and the command of the image reach in the packages of a lock."""

    projects: Projects
    target: Target
    config: Config

    def unknown(self, pins: Iterable[Pin]) -> list[Pin]:
        """Those of which it is not known what they import."""
        return [pin for pin in pins if not self._record("package", [pin]).is_file()]

    def keep(self, pins: Iterable[Pin], packages: Mapping[str, Files]) -> None:
        """Remember what `pins` import that have been installed as `packages`."""
        for pin in pins:
            modules = modules_of(packages.get(pin.name, {}), site_packages(self.target.interpreter))
            written = {path: [module.name, *module.imports] for path, module in modules.items()}
            _write(self._cache, self._record("package", [pin]), written)

    def sources(self, pins: Sequence[Pin]) -> dict[str, list[str]] | None:
        """The paths of sources that are reached, sorted, by the package that brings them.

        `pins` are the whole lock; None while it is not known what one of them imports. Raises what Projects
        raises.
        """
        if self.unknown(pins):
            return None
        names = self._names()
        record = self._record("lock", pins, *names)
        try:
            found: dict[str, list[str]] = json.loads(record.read_bytes())
        except (FileNotFoundError, ValueError):
            found = self._reached(pins, names)
            _write(self._cache, record, found)
        return found

    def _reached(self, pins: Iterable[Pin], names: Iterable[str]) -> dict[str, list[str]]:
        packages: dict[str, dict[str, Module]] = {}
        for pin in pins:
            written = json.loads(self._record("package", [pin]).read_bytes())
            modules = {path: Module(name, tuple(imports)) for path, (name, *imports) in written.items()}
            packages[pin.name] = packages.get(pin.name, {}) | modules
        everything = {path: module for modules in packages.values() for path, module in modules.items()}
        found = sorted(path for path in reached(everything, names) if path.endswith(".py"))
        return {name: [path for path in found if path in modules] for name, modules in packages.items()}

    def _names(self) -> list[str]:
        return sorted({*_imports(self.projects), *_names_of_command(self.config)})

    def _record(self, kind: str, pins: Iterable[Pin], *more: str) -> Path:
        texts = (pin.text for pin in pins)
        return self._cache.path("imports", key_of(FORMAT, kind, repr(self.target), *texts, "", *more))

    @property
    def _cache(self) -> Cache:
        return self.projects.cache


def imports_key(projects: Projects) -> str:
    """Stands for what the projects import: while it is the same, so is what they reach."""
    return key_of(*_imports(projects))


def _imports(projects: Projects) -> list[str]:
    """What the projects import, sorted."""
    site = site_packages(projects.ground.interpreter)
    record = projects.cache.path("imports", key_of(FORMAT, "projects", site, *projects.decides()))
    try:
        found: list[str] = json.loads(record.read_bytes())
    except (FileNotFoundError, ValueError):
        found = sorted(set(_names_in(projects.files(), site)))
        _write(projects.cache, record, found)
    return found


def _write(cache: Cache, record: Path, content: object) -> None:
    cache.write(record, json.dumps(content, separators=(",", ":")).encode())


def _names_in(files: Files, site: str) -> Iterator[str]:
    """What the modules of a project import. Settings name modules in strings, and packages in them, of which
    a framework loads what it likes."""
    for path, module in modules_of(files, site).items():
        yield from module.imports
        entry = files.get(path)
        if path.endswith(".py") and isinstance(entry, File):
            for name in names_in_strings(entry.read(), module.name.rpartition(".")[0]):
                yield from (name, f"{name}.*")


def _names_of_command(config: Config) -> Iterator[str]:
    """Whatever in the command, or in a variable of the image, may be a script, a module or what is in one."""
    words = [*config.entrypoint, *(text.raw for text in config.environment.values())]
    for before, word in zip(("", *words), words, strict=False):
        yield f"script:{word.rpartition('/')[2]}"
        yield from _NAME.findall(word)
        if before == "-m":
            yield f"{word}.__main__"
