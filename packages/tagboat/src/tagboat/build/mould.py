"""The wheels of local projects, each built once for all that decides about it.

A build backend that copies files as they are, which uv's own does, is given stand-ins for them. What it makes
then, a mould, follows from names, modes and metadata: an edited line needs no other. The files themselves go
in when the mould has been laid out.
"""

from __future__ import annotations

import base64
import csv
import io
import posixpath
import tomllib
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tagboat.build import uv
from tagboat.build.cache import Cache, key_of
from tagboat.build.source import SourceTree
from tagboat.build.unpacking import is_plain

_FORMAT = "3"  # raise it when the same sources would make other wheels
_COPYING = "uv_build"  # the backend that is known to look into no file but `pyproject.toml` and the readme
_MARK = b"tagboat stand-in "


@dataclass(frozen=True, slots=True)
class Mould:
    """A built wheel, in which the files of `source` may be stand-ins that say so by `key`."""

    wheel: Path
    source: SourceTree
    key: str


def build_mould(name: str, source: SourceTree, cache: Cache, progress: Callable[[str], None]) -> Mould:
    """The wheel of the project `name`, from a copy of just the files of `source`.

    Raises UvError, and SourceError for a file that is no longer as it was read.
    """
    stood_in = _to_stand_in(source)
    key = key_of(_FORMAT, uv.uv_version(), *_what_decides(source, stood_in))
    folder = cache.path("wheels", key)
    if (folder / "whole").exists():  # it was no wheel whose files just lie in it
        stood_in = frozenset()
        key = key_of(_FORMAT, uv.uv_version(), *_what_decides(source, stood_in))
        folder = cache.path("wheels", key)
    built = sorted(folder.glob("*.whl"))
    if built:
        return Mould(built[0], source, key)
    progress(f"building the wheel of {name}")
    with cache.temporary() as temporary:
        project, target = temporary / "project", temporary / "wheel"
        source.copy(project)
        for file in stood_in:
            (project / file).write_bytes(_stand_in(key, file))
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
            return build_mould(name, source, cache, progress)
        kept = folder / wheel.name
        wheel.replace(kept)
        return Mould(kept, source, key)


def fill(prefix: Path, moulds: Iterable[Mould]) -> None:
    """Put the files of the sources into what was laid out below `prefix`, and their hashes into RECORD.

    Raises SourceError for a file that is no longer as it was read.
    """
    sources = {mould.key: mould.source for mould in moulds}
    for record in prefix.rglob("*.dist-info/RECORD"):
        rows = list(csv.reader(record.read_text(encoding="utf-8").splitlines()))
        for row in rows:
            file = record.parent.parent / row[0]
            found = _stood_for(file)
            if found is not None and found[0] in sources:
                source, name = sources[found[0]], found[1]
                content = source.content(name)
                file.write_bytes(content)
                row[1:] = [f"sha256={_unpadded(source.content_digest(name))}", str(len(content))]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        record.write_text(text.getvalue(), encoding="utf-8")


def _to_stand_in(source: SourceTree) -> frozenset[str]:
    """The files whose content the backend does not look at. Those at the top may be metadata."""
    try:
        document = tomllib.loads((source.directory / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return frozenset()  # the backend says better what is wrong
    system = document.get("build-system")
    if not isinstance(system, dict) or system.get("build-backend") != _COPYING or "backend-path" in system:
        return frozenset()
    readme = _readme(document.get("project"))
    return frozenset(name for name in source.files if "/" in name and name != readme)


def _readme(project: Any) -> str | None:
    readme = project.get("readme") if isinstance(project, dict) else None
    name = readme.get("file") if isinstance(readme, dict) else readme
    return posixpath.normpath(name) if isinstance(name, str) else None


def _what_decides(source: SourceTree, stood_in: frozenset[str]) -> list[str]:
    """Names and modes; the content of what is no stand-in."""
    return [f"{name}\0{state[:1] if name in stood_in else state}" for name, state in source.files.items()]


def _stand_in(key: str, name: str) -> bytes:
    return _MARK + f"{key} {name}".encode(errors="surrogateescape")


def _stood_for(file: Path) -> tuple[str, str] | None:
    """The mould's key and the source's name, if the file is a stand-in."""
    try:
        with file.open("rb") as content:
            if content.read(len(_MARK)) != _MARK:
                return None
            key, _, name = content.read().decode(errors="surrogateescape").partition(" ")
    except FileNotFoundError:
        return None
    return key, name


def _unpadded(hexadecimal: str) -> str:
    """A digest as RECORD writes it (PEP 376)."""
    return base64.urlsafe_b64encode(bytes.fromhex(hexadecimal)).rstrip(b"=").decode()
