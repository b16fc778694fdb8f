"""The layers of the app: the environment itself, the component and the local packages that it needs."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import PurePosixPath

from ocikit import Layer
from ocikit.value import value
from tagboat.build.bytecode import compile_files
from tagboat.build.cache import MadeLayer, key_of
from tagboat.build.files import Entry, File, Files, Folder, write_files
from tagboat.build.projects import Projects
from tagboat.build.venv import bridge, skeleton

_FORMAT = "4"  # raise it when the same sources would make other bytes
WORKDIR = "app"


_CODE = (".py", ".pyc", ".so")
_WORTH_A_LAYER = 64 * 1024  # bytes of assets


@value
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


def app_layers(projects: Projects, *, on_layer: Callable[[Layer], None] = lambda _: None) -> list[MadeLayer]:
    """The layer of the app, below it that of its assets where these are large; `on_layer` gets what had to be
    made.

    Raises SourceError, GitError, UvError, VenvError, InterpreterError.
    """
    started = time.monotonic()
    ground, cache = projects.ground, projects.cache
    inputs = {"base": ground.base, "uv": ground.uv}
    for name, source in projects.sources().items():
        inputs |= {f"{name}: {file}": digest for file, digest in source.files.items()}
    kind = "app" if ground.compiler else "app without byte code"
    key = key_of(_FORMAT, kind, ground.base, bridge(), *projects.decides())

    @functools.cache
    def parts() -> _Parts:
        files = skeleton(ground.interpreter) | projects.files()
        byte_code, broken = compile_files(files, ground.compiler, cache)
        for name, reason in broken.items():
            projects.progress(f"{name} goes into the image without byte code: {reason}")
        return _parted(files, byte_code)

    made: list[MadeLayer] = []
    known = cache.path("assets", key)
    if not known.exists():
        cache.write(known, parts().assets_key.encode())
    if assets_key := known.read_text():
        assets, fresh = cache.layer(assets_key, lambda writer: write_files(writer, parts().assets))
        made.append(
            MadeLayer("assets", assets, fresh, time.monotonic() - started, "assets", {"assets": assets_key})
        )
        if fresh:
            on_layer(assets)
        started = time.monotonic()
    code, fresh = cache.layer(key, lambda writer: write_files(writer, parts().code))
    if fresh:
        on_layer(code)
    return [*made, MadeLayer("app", code, fresh, time.monotonic() - started, "app", inputs)]


def _parted(files: Files, byte_code: Files) -> _Parts:
    assets = {path: entry for path, entry in files.items() if _is_asset(path, entry)}
    if sum(entry.size for entry in assets.values() if isinstance(entry, File)) < _WORTH_A_LAYER:
        assets = {}
    code = {path: entry for path, entry in files.items() if path not in assets}
    return _Parts({**code, **byte_code, WORKDIR: Folder()}, assets)


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
    return entry.sha256() if isinstance(entry, File) else ""
