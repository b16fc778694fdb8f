"""The wheels of local projects, each built once for all that decides about it.

A build backend that copies files as they are is given stand-ins for them: uv's own does, and others where
nothing in `pyproject.toml` asks them for more. What they make then, a mould, follows from names, modes and
metadata: an edited line needs no other. The files themselves go in when the mould has been laid out.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import posixpath
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ocikit.value import value
from tagboat.build import uv
from tagboat.build.cache import Cache, key_of
from tagboat.build.files import Entry, File, Files
from tagboat.build.interpreter import Interpreter
from tagboat.build.source import SourceTree

# An edited line needs no other mould: what makes them is not loaded for it.
# ruff: noqa: PLC0415

_FORMAT = "5"  # raise it when the same sources would make other wheels, or these would be installed otherwise
_COPYING = "uv_build"  # the backend that is known to look into no file but those that `_looked_at` names
# Those that do the same for a project with static metadata and without plugins: what they may require, and
# the files at the top that would tell them to do more.
_OTHERS = {
    "hatchling.build": ({"hatchling"}, {"hatch.toml"}),
    "flit_core.buildapi": ({"flit-core"}, set[str]()),
    "setuptools.build_meta": ({"setuptools", "wheel"}, {"setup.py", "setup.cfg"}),
}
_PLAIN_SETUPTOOLS = {
    "exclude-package-data", "include-package-data", "license-files", "package-data", "package-dir",
    "packages", "py-modules", "zip-safe",
}  # fmt: skip
_MARK = b"tagboat stand-in "


@value
class Mould:
    """A built wheel, in which the files of `source` may be stand-ins that say so by `key`."""

    wheel: Path
    source: SourceTree
    key: str


def build_mould(
    name: str, source: SourceTree, uv_version: str, cache: Cache, progress: Callable[[str], None]
) -> Mould:
    """The wheel of the project `name`, as that version of uv builds it from a copy of just the `source`.

    Raises UvError, and SourceError for a file that is no longer as it was read.
    """
    stood_in = _to_stand_in(source, cache)
    key = key_of(_FORMAT, uv_version, *_what_decides(source, stood_in))
    folder = cache.path("wheels", key)
    if (folder / "whole").exists():  # it was no wheel whose files just lie in it
        stood_in = frozenset()
        key = key_of(_FORMAT, uv_version, *_what_decides(source, stood_in))
        folder = cache.path("wheels", key)
    built = sorted(folder.glob("*.whl"))
    if built:
        return Mould(built[0], source, key)
    import zipfile

    from tagboat.build.unpacking import is_plain

    progress(f"building the wheel of {name}")
    with cache.temporary() as temporary:
        project, target = temporary / "project", temporary / "wheel"
        source.copy(project, {file: _stand_in(key, file) for file in stood_in})
        try:
            uv.build_wheel(project, target)
        except uv.UvError as error:
            raise uv.UvError(str(error).replace(str(project), str(source.directory))) from error
        wheel = next(target.glob("*.whl"))
        folder.mkdir(exist_ok=True)
        with zipfile.ZipFile(wheel) as archive:
            plain = is_plain(archive)
        if stood_in and not plain:
            (folder / "whole").touch()
            return build_mould(name, source, uv_version, cache, progress)
        kept = folder / wheel.name
        wheel.replace(kept)
        return Mould(kept, source, key)


def project_files(mould: Mould, interpreter: Interpreter, cache: Cache, folder: Path) -> dict[str, Entry]:
    """What the project brings into the image, with its sources as they were read.

    `folder` is where those are kept that are too large for memory; it must stay until the files are written.
    Raises SourceError for a file that is no longer as it was read, UnpackingError, UvError and VenvError.
    """
    files: dict[str, Entry] = {}
    rows: dict[str, tuple[str, str]] = {}
    for path, part in _parts(mould, interpreter, cache).items():
        if part.source is None:
            files[path] = File(part.content, part.executable)
            continue
        kept: bytes | Path | None = mould.source.contents.get(part.source)
        if kept is None:
            kept = folder / f"{mould.key} {len(rows)}"
            mould.source.copy_file(part.source, kept)
        files[path] = file = File(kept, part.executable, mould.source.content_digest(part.source))
        rows[path] = (f"sha256={_unpadded(file.sha256())}", str(file.size))
    for path, entry in files.items():
        if path.endswith(".dist-info/RECORD") and isinstance(entry, File):
            site = posixpath.dirname(posixpath.dirname(path))
            files[path] = File(_record(entry.read().decode(), site, rows))
    return files


@value
class _Part:
    """A file of a mould: what stands for `source`, or else as it is."""

    source: str | None
    content: bytes | Path
    executable: bool


def _parts(mould: Mould, interpreter: Interpreter, cache: Cache) -> dict[str, _Part]:
    """The files that a mould leaves in the image, by their paths there; found out once."""
    key = key_of(_FORMAT, mould.key, interpreter.short)
    prefix, record = cache.path("moulds", key), cache.path("moulds", f"{key}.json")
    if prefix.is_dir():
        try:
            known = json.loads(record.read_bytes())
            return {path: _part(values, prefix) for path, values in known.items()}
        except (FileNotFoundError, ValueError):
            pass
    found = _laid_out(mould, interpreter, cache, prefix)
    known = {
        path: _values(entry, mould.key, prefix) for path, entry in found.items() if isinstance(entry, File)
    }
    cache.write(record, json.dumps(known).encode())
    return {path: _part(values, prefix) for path, values in known.items()}


def _values(entry: File, key: str, prefix: Path) -> list[Any]:
    """A part, in JSON: source, content, where on disk that is, whether it can be executed."""
    source = _stood_for(entry, key)
    if not isinstance(entry.content, Path):
        return [source, entry.read().decode("latin-1"), None, entry.executable]
    return [source, None, os.fspath(entry.content.relative_to(prefix)), entry.executable]


def _part(values: list[Any], prefix: Path) -> _Part:
    source, content, place, executable = values
    return _Part(source, prefix / place if content is None else content.encode("latin-1"), executable)


def _laid_out(mould: Mould, interpreter: Interpreter, cache: Cache, prefix: Path) -> Files:
    from tagboat.build.unpacking import lay_out
    from tagboat.build.venv import installed_files

    if not prefix.is_dir():
        with cache.locked(f"mould-{prefix.name}"), cache.temporary() as folder:
            if not prefix.is_dir():
                made = folder / "prefix"
                made.mkdir()
                if not lay_out([mould.wheel], made, interpreter):
                    uv.install_wheels([mould.wheel], made, interpreter=interpreter)
                made.rename(prefix)
    return installed_files(prefix, interpreter)


def _record(text: str, site: str, known: Mapping[str, tuple[str, str]]) -> bytes:
    """A RECORD with hash and size of what is known better (PEP 376)."""
    rows = [
        [row[0], *known.get(posixpath.normpath(f"{site}/{row[0]}"), row[1:])]
        for row in csv.reader(io.StringIO(text, newline=""))
    ]
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows(rows)
    return written.getvalue().encode()


def _to_stand_in(source: SourceTree, cache: Cache) -> frozenset[str]:
    """The files whose content the backend does not look at. Those at the top may be metadata."""
    if "pyproject.toml" not in source.files:
        return frozenset()
    text = source.content("pyproject.toml")
    record = cache.path("backends", key_of(_FORMAT, _COPYING, text))
    try:
        backend, looked_at = json.loads(record.read_bytes())
    except (FileNotFoundError, ValueError):
        backend, looked_at = _read_backend(text)
        cache.write(record, json.dumps([backend, looked_at]).encode())
    if backend is None or (backend in _OTHERS and not _OTHERS[backend][1].isdisjoint(source.files)):
        return frozenset()
    return frozenset(name for name in source.files if "/" in name and name not in looked_at)


def _read_backend(text: bytes) -> tuple[str | None, list[str]]:
    """The backend of a `pyproject.toml`, if it copies what it does not look at; and what it does."""
    import tomllib

    try:
        document = tomllib.loads(text.decode())
    except ValueError:
        return None, []  # the backend says better what is wrong
    system, project, tool = (document.get(key) for key in ("build-system", "project", "tool"))
    if not isinstance(system, dict) or "backend-path" in system:
        return None, []
    backend = system.get("build-backend")
    if backend != _COPYING and not (
        backend in _OTHERS
        and isinstance(project, dict)
        and not project.get("dynamic")
        and _names(system.get("requires")) <= _OTHERS[backend][0]
        and _is_plain(backend, tool if isinstance(tool, dict) else {})
    ):
        return None, []
    return backend, _looked_at(project)


def _names(requirements: Any) -> set[str]:
    """The packages of requirements, normalised; what is none stays as it is."""
    found = (re.match(r"[\w.-]*", str(one)) for one in requirements or ["?"])
    return {re.sub(r"[-_.]+", "-", match[0]).lower() for match in found if match}


def _is_plain(backend: str, tool: dict[str, Any]) -> bool:
    """Whether no setting of the backend makes it do more than copy."""
    if backend == "setuptools.build_meta":
        return tool.get("setuptools", {}).keys() <= _PLAIN_SETUPTOOLS and "distutils" not in tool
    return not _has_hooks(tool.get("hatch"))


def _has_hooks(table: Any) -> bool:
    return isinstance(table, dict) and ("hooks" in table or any(map(_has_hooks, table.values())))


def _looked_at(project: Any) -> list[str]:
    """The files that go into the metadata: readme and licence."""
    if not isinstance(project, dict):
        return []
    found = [project.get("readme"), project.get("license")]
    names = [one.get("file") if isinstance(one, dict) else one for one in found]
    return [posixpath.normpath(name) for name in names if isinstance(name, str)]


def _what_decides(source: SourceTree, stood_in: frozenset[str]) -> list[str]:
    """Names and modes; the content of what is no stand-in."""
    return [f"{name}\0{state[:1] if name in stood_in else state}" for name, state in source.files.items()]


def _stand_in(key: str, name: str) -> bytes:
    return _MARK + f"{key} {name}".encode(errors="surrogateescape")


def _stood_for(entry: Entry, key: str) -> str | None:
    """The source's name, if the entry is a stand-in of that mould."""
    if not isinstance(entry, File) or not isinstance(entry.content, Path):
        return None
    mark = _stand_in(key, "")
    with entry.content.open("rb") as content:
        if content.read(len(mark)) != mark:
            return None
        return content.read().decode(errors="surrogateescape")


def _unpadded(hexadecimal: str) -> str:
    """A digest as RECORD writes it (PEP 376)."""
    return base64.urlsafe_b64encode(bytes.fromhex(hexadecimal)).rstrip(b"=").decode()
