"""The layer of the app: the environment itself, the component and the local packages that it needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ocikit import Layer, LayerWriter
from tagboat.build import uv
from tagboat.build.base import Base
from tagboat.build.bytecode import compile_files
from tagboat.build.cache import Cache, key_of
from tagboat.build.files import Folder, write_files
from tagboat.build.source import SourceTree
from tagboat.build.venv import installed_files, skeleton
from tagboat.component import Component

_FORMAT = "2"  # raise it when the same sources would make other bytes
WORKDIR = "app"


def app_layer(
    component: Component, base: Base, cache: Cache, *, progress: Callable[[str], None]
) -> tuple[Layer, bool]:
    """The layer, and whether it had to be made.

    Raises SourceError, GitError, UvError, VenvError, InterpreterError.
    """
    sources = {package: SourceTree.read(package.directory) for package in component.packages}
    trees = [f"{package.name} {source.digest}" for package, source in sources.items()]
    key = key_of(_FORMAT, "app", base.identity, uv.uv_version(), *trees)

    def make(writer: LayerWriter) -> None:
        wheels = [_wheel(package.name, source, cache, progress) for package, source in sources.items()]
        with cache.temporary() as folder:
            uv.install_wheels(wheels, folder, interpreter=base.interpreter)
            files = skeleton(base.interpreter) | installed_files(folder, base.interpreter)
            bytecode, broken = compile_files(
                files,
                interpreter=base.interpreter,
                root=base.root(cache),
                identity=base.identity,
                cache=cache,
            )
            for name, reason in broken.items():
                progress(f"{name} goes into the image without byte code: {reason}")
            write_files(writer, files | bytecode | {WORKDIR: Folder()})

    return cache.layer(key, make)


def _wheel(name: str, source: SourceTree, cache: Cache, progress: Callable[[str], None]) -> Path:
    """The wheel of a source tree, built from a copy of just the files that its digest covers."""
    folder = cache.path("wheels", key_of(_FORMAT, uv.uv_version(), source.digest))
    built = sorted(folder.glob("*.whl"))
    if built:
        return built[0]
    progress(f"building the wheel of {name}")
    with cache.temporary() as temporary:
        project, target = temporary / "project", temporary / "wheel"
        source.copy(project)
        try:
            uv.build_wheel(project, target)
        except uv.UvError as error:
            raise uv.UvError(str(error).replace(str(project), str(source.directory))) from error
        wheel = next(target.glob("*.whl"))
        folder.mkdir(exist_ok=True)
        kept = folder / wheel.name
        wheel.replace(kept)
        return kept
