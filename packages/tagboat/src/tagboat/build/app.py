"""The layers of the app: the environment itself, the component and the local packages that it needs."""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tagboat.build import uv
from tagboat.build.base import Base
from tagboat.build.bytecode import compile_files
from tagboat.build.cache import Cache, MadeLayer, key_of
from tagboat.build.files import Entry, File, Files, Folder, write_files
from tagboat.build.mould import Mould, build_mould, project_files
from tagboat.build.source import SourceTree
from tagboat.build.venv import merged, skeleton
from tagboat.component import Component
from tagboat.errors import ConfigError

_FORMAT = "3"  # raise it when the same sources would make other bytes
WORKDIR = "app"


_CODE = (".py", ".pyc", ".so")
_WORTH_A_LAYER = 64 * 1024  # bytes of assets


@dataclass(frozen=True, slots=True)
class _Parts:
    """The files of the app: those of a layer that changes with every line, and the others."""

    code: Files
    assets: Files  # none where they are too few for a layer of their own

    @property
    def assets_key(self) -> str:
        """Empty where there are none."""
        if not self.assets:
            return ""
        names = (f"{path} {_digest(entry)}" for path, entry in sorted(self.assets.items()))
        return key_of(_FORMAT, "assets", *names)


def app_layers(
    component: Component, base: Base, cache: Cache, *, progress: Callable[[str], None]
) -> list[MadeLayer]:
    """The layer of the app, below it that of its assets where these are large.

    Raises SourceError, GitError, UvError, VenvError, InterpreterError.
    """
    started = time.monotonic()
    sources = {package: SourceTree.read(package.directory) for package in component.packages}
    trees = [f"{package.name} {source.digest}" for package, source in sources.items()]
    inputs = {"base": base.identity, "uv": uv.uv_version()}
    for package, source in sources.items():
        inputs |= {f"{package.name}: {name}": digest for name, digest in source.files.items()}
    compiler = base.compiler(cache) if component.config.byte_code else None
    kind = "app" if compiler else "app without byte code"
    key = key_of(_FORMAT, kind, base.identity, uv.uv_version(), *trees)
    with ExitStack() as stack:

        @functools.cache
        def parts() -> _Parts:
            moulds = {
                one.name: build_mould(one.name, source, cache, progress) for one, source in sources.items()
            }
            files = _install(moulds, stack.enter_context(cache.temporary()), base, cache)
            byte_code, broken = compile_files(files, compiler, cache)
            for name, reason in broken.items():
                progress(f"{name} goes into the image without byte code: {reason}")
            return _parted(files, byte_code)

        made: list[MadeLayer] = []
        known = cache.path("assets", key)
        if not known.exists():
            cache.write(known, parts().assets_key.encode())
        if assets_key := known.read_text():
            assets, fresh = cache.layer(assets_key, lambda writer: write_files(writer, parts().assets))
            made.append(
                MadeLayer(
                    "assets", assets, fresh, time.monotonic() - started, "assets", {"assets": assets_key}
                )
            )
            started = time.monotonic()
        code, fresh = cache.layer(key, lambda writer: write_files(writer, parts().code))
        return [*made, MadeLayer("app", code, fresh, time.monotonic() - started, "app", inputs)]


def _install(moulds: Mapping[str, Mould], folder: Path, base: Base, cache: Cache) -> dict[str, Entry]:
    if base.here is not None:
        _check_portable([mould.wheel for mould in moulds.values()], base)
    found = {name: project_files(one, base.interpreter, cache, folder) for name, one in moulds.items()}
    return skeleton(base.interpreter) | merged(found)


def _parted(files: Files, byte_code: Files) -> _Parts:
    assets = {path: entry for path, entry in files.items() if _is_asset(path, entry)}
    if sum(len(entry.read()) for entry in assets.values() if isinstance(entry, File)) < _WORTH_A_LAYER:
        assets = {}
    code = {path: entry for path, entry in files.items() if path not in assets}
    return _Parts({**code, **byte_code, WORKDIR: Folder()}, assets)


def _check_portable(wheels: list[Path], base: Base) -> None:
    native = next((wheel.name for wheel in wheels if not wheel.name.endswith("-any.whl")), None)
    if native is not None:
        raise ConfigError(
            f"{native} was built for this machine, and the image is for {base.platform}",
            hint="packages with compiled parts are built on the architecture that they are for",
        )


def _is_asset(path: str, entry: Entry) -> bool:
    parts = PurePosixPath(path).parts
    return (
        isinstance(entry, File)
        and not entry.executable
        and "site-packages" in parts
        and not path.endswith(_CODE)
        and not any(part.endswith(".dist-info") for part in parts)
    )


def _digest(entry: Entry) -> str:
    return hashlib.sha256(entry.read()).hexdigest() if isinstance(entry, File) else ""
