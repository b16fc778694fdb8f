"""The image's virtual environment, made from what uv installed, with every trace of this machine removed."""

from __future__ import annotations

import base64
import csv
import functools
import hashlib
import io
import os
import posixpath
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ocikit import MAX_ENTRIES, MAX_SIZE
from tagboat.build import lambda_bridge
from tagboat.build.files import Entry, File, Files, Link
from tagboat.build.interpreter import Interpreter
from tagboat.errors import TagboatError

VENV = "opt/venv"
PYTHON = f"/{VENV}/bin/python"

# What an installer says about how and from where it installed.
_INSTALLER_FILES = frozenset(
    {"INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_build.json", "uv_cache.json"}
)
# Entry points of scripts (PyPA specification "Entry points"); extras say nothing about how it is called.
_POINT = re.compile(r"\s*([\w.]+)\s*:\s*([\w.]+)\s*(?:\[.*\]\s*)?")
_LARGEST_READ = 64 << 20  # bytes of a file that is held in memory: metadata, scripts
_SCRIPT = re.compile(r"[^/\0]*[^/\0.][^/\0]*")
_PYTHON = re.compile(r"python[0-9.]*")
# The line, or the three lines for the shell, that start a script with some Python of some machine.
_SHEBANG = re.compile(rb"#!(?:/bin/sh\n'''exec' .*\n' '''.*|[ \t]*/\S*/pythonw?[\d.]*(?:[ \t].*)?|(.*))\n")
_PLACEHOLDERS = (b"python", b"pythonw")  # what a wheel has there for an installer to put its own in


class VenvError(TagboatError):
    """What was installed does not make an environment."""


def site_packages(interpreter: Interpreter) -> str:
    """The folder in the image that packages are imported from."""
    return f"{VENV}/lib/python{interpreter.short}/site-packages"


def skeleton(interpreter: Interpreter) -> dict[str, Entry]:
    """A virtual environment with nothing installed (PEP 405), and the way to it from AWS Lambda."""
    home = posixpath.dirname(interpreter.path)
    version = ".".join(map(str, interpreter.version))
    config = f"home = {home}\ninclude-system-site-packages = false\nversion = {version}\n"
    return {
        f"{VENV}/pyvenv.cfg": File(config.encode()),
        f"{VENV}/bin/python": Link(interpreter.path),
        f"{VENV}/bin/python3": Link("python"),
        f"{VENV}/bin/python{interpreter.short}": Link("python"),
        lambda_bridge.PLACE: File(bridge(), executable=True),
    }


@functools.cache
def bridge() -> bytes:
    """The way from AWS Lambda to the app: a part of every image that changes with tagboat itself."""
    return f"#!{PYTHON} -I\n".encode() + Path(lambda_bridge.__file__).read_bytes()


def installed_files(prefix: Path, interpreter: Interpreter) -> dict[str, Entry]:
    """The files of every distribution installed below `prefix`, where they belong in the image.

    Raises VenvError, also when two distributions bring the same file with different content.
    """
    files: dict[str, Entry] = {}
    for found in installed_distributions(prefix, interpreter).values():
        files |= found
    return files


def merged(found: Mapping[str, Files]) -> dict[str, Entry]:
    """The files of all, by who brings them. Raises VenvError when two bring the same with other content."""
    files: dict[str, Entry] = {}
    owners: dict[str, str] = {}
    for name, brought in found.items():
        for path, entry in brought.items():
            owner = owners.setdefault(path, name)
            if owner != name and not _same(files[path], entry):
                raise VenvError(f"{owner} and {name} both bring /{path}, and they differ")
            files[path] = entry
    return files


def _same(one: Entry, other: Entry) -> bool:
    if isinstance(one, File) and isinstance(other, File):
        return one.executable == other.executable and one.read() == other.read()
    return one == other


def installed_distributions(
    prefix: Path, interpreter: Interpreter, *, install_alone: Callable[[str], Path] | None = None
) -> dict[str, dict[str, Entry]]:
    """The files of each distribution installed below `prefix`, by its normalised name, sorted.

    Distributions that bring the same file with different content were installed in no certain order: their
    files are those that `install_alone` gives, the prefix where one was installed by itself. Raises
    VenvError.
    """
    from packaging.utils import canonicalize_name  # noqa: PLC0415  where sources alone change, nothing is installed

    found = {canonicalize_name(one.name): one for one in _distributions(prefix, interpreter)}
    owners: dict[str, _Distribution] = {}
    contested: set[str] = set()
    for name, distribution in found.items():
        for path, row in distribution.rows.items():
            owner = owners.setdefault(path, distribution)
            if owner.rows[path][1] != row[1]:
                if install_alone is None:
                    raise VenvError(
                        f"{owner.name} and {distribution.name} both bring /{path}, and they differ"
                    )
                contested |= {name, canonicalize_name(owner.name)}
    files = {}
    for name, distribution in sorted(found.items()):
        here = distribution
        if name in contested and install_alone is not None:
            here = next(_distributions(install_alone(name), interpreter))
        files[str(name)] = here.files()
    return files


def unpacked_wheel(folder: Path, interpreter: Interpreter) -> dict[str, Entry] | None:
    """The same of the wheel that is unpacked in `folder` as it is, without anything being installed.

    None where that takes an installer: it has parts that belong elsewhere than into `site-packages` and
    `bin`, or a script that says in an unusual way that it is Python's. Raises VenvError.
    """
    infos = list(folder.glob("*.dist-info"))
    if len(infos) != 1:
        return None
    distribution = _Distribution.read(infos[0], interpreter)
    scripts = f"{infos[0].name.removesuffix('.dist-info')}.data/scripts/"
    moved: dict[str, str] = {}
    for path in distribution.rows:
        name = _relative(path, distribution.site)
        if ".data/" not in name.partition("/")[0] + "/":
            continue
        script = name.removeprefix(scripts)
        if script == name or "/" in script:
            return None
        moved[path] = f"{VENV}/bin/{script}"
    for path, script in moved.items():
        file = distribution.disk(path)
        first = _read(file).partition(b"\n")[0] if file.is_file() else b""
        if first.startswith(b"#!python") and first[2:] not in _PLACEHOLDERS:
            return None
        distribution.rows[script] = distribution.rows.pop(path)
        distribution.moved[script] = file
    return distribution.files()


@dataclass(frozen=True, slots=True)
class _Distribution:
    """One installed distribution, as its RECORD lists it (PEP 376)."""

    name: str
    info: Path  # its `.dist-info` folder on disk
    site: str  # where that folder's parent is in the image
    rows: dict[str, tuple[str, str]]  # path in the image: this distribution, the recorded hash
    folder: str  # its parent on disk
    moved: dict[str, Path] = field(default_factory=dict)  # what is elsewhere on disk than in the image

    @classmethod
    def read(cls, info: Path, interpreter: Interpreter) -> _Distribution:
        """The one that has that `.dist-info` folder. Raises VenvError."""
        site = site_packages(interpreter)
        name = info.name.split("-")[0]
        try:
            text = _read(info / "RECORD").decode()
            recorded = list(csv.reader(io.StringIO(text, newline="")))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise VenvError(f"{name}: its RECORD cannot be read: {error}") from error
        notes = {f"{site}/{info.name}/{file}" for file in _INSTALLER_FILES}
        rows: dict[str, tuple[str, str]] = {}
        for row in recorded:
            path = f"{site}/{row[0]}"
            if "/." in path or "//" in path:  # rare, and there are thousands
                path = posixpath.normpath(path)
                if row[0].startswith("/") or not path.startswith(f"{VENV}/"):
                    raise VenvError(f"{name}: {row[0]} would be installed outside of the environment")
            if path not in notes and not path.endswith(".pyc"):
                rows[path] = (name, row[1] if len(row) > 1 else "")
        return cls(name, info, site, rows, str(info.parent))

    def files(self) -> dict[str, Entry]:
        scripts = self._console_scripts()
        files = {path: self._entry(path) for path in self.rows if path not in scripts}
        files |= scripts
        size = sum(entry.size for entry in files.values() if isinstance(entry, File))
        if size > MAX_SIZE or len(files) > MAX_ENTRIES:
            raise VenvError(
                f"{self.name} has {size} bytes in {len(files)} files; "
                f"{MAX_SIZE} and {MAX_ENTRIES} are the most"
            )
        files[f"{self.site}/{self.info.name}/RECORD"] = File(self._record(files))
        return files

    def disk(self, path: str) -> Path:
        """Where the file is that belongs to `path` in the image."""
        return self.moved.get(path) or Path(f"{self.folder}/{_relative(path, self.site)}")

    def _entry(self, path: str) -> Entry:
        disk = self.disk(path)
        try:
            status = disk.stat()
            if path == f"{self.site}/{self.info.name}/WHEEL":
                # Which builder made it, in which version, is the only line that is not about the project.
                lines = _read(disk).splitlines(keepends=True)
                return File(b"".join(line for line in lines if not line.startswith(b"Generator:")))
            if path.startswith(f"{VENV}/bin/"):
                return File(_with_our_python(_read(disk)), executable=True)
        except FileNotFoundError as error:
            raise VenvError(f"{self.name}: /{path} is recorded but not installed") from error
        return File(disk, bool(status.st_mode & 0o100), known_size=status.st_size)

    def _console_scripts(self) -> dict[str, Entry]:
        from importlib.metadata import PathDistribution  # noqa: PLC0415  as above

        if (points := self.info / "entry_points.txt").is_file():
            _check_readable(points)
        found = PathDistribution(self.info).entry_points
        scripts: dict[str, Entry] = {}
        for point in (*found.select(group="console_scripts"), *found.select(group="gui_scripts")):
            match = _POINT.fullmatch(point.value)
            if match is None:
                raise VenvError(
                    f"{self.name}: its script {point.name} is {point.value!r}, which names no function",
                    hint=f'write `{point.name} = "module:function"`',
                )
            if not _SCRIPT.fullmatch(point.name) or _PYTHON.fullmatch(point.name):
                raise VenvError(
                    f"{self.name} has a script {point.name!r}, which cannot lie in /{VENV}/bin",
                    hint="it is no name of a file there, or that of the image's Python",
                )
            scripts[f"{VENV}/bin/{point.name}"] = _script(match[1], match[2])
        return scripts

    def _record(self, files: Files) -> bytes:
        rows = []
        for path, entry in files.items():
            if isinstance(entry, File):
                recorded = self.rows.get(path, ("", ""))[1]
                written = isinstance(entry.content, bytes) or not recorded  # by us, just now
                digest = _record_hash(entry.read()) if written else recorded
                rows.append((_relative(path, self.site), digest, str(entry.size)))
        rows.append((f"{self.info.name}/RECORD", "", ""))
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(sorted(rows))
        return text.getvalue().encode()


def _read(file: Path) -> bytes:
    """Its content. Raises VenvError where that is too much for memory."""
    _check_readable(file)
    return file.read_bytes()


def _check_readable(file: Path) -> None:
    if file.stat().st_size > _LARGEST_READ:
        raise VenvError(f"{file.parent.name}/{file.name} has more than {_LARGEST_READ} bytes")


def _relative(path: str, site: str) -> str:
    """As RECORD names a file; most are below its own folder, and there are thousands."""
    here = f"{site}/"
    return path[len(here) :] if path.startswith(here) else posixpath.relpath(path, site)


def _distributions(prefix: Path, interpreter: Interpreter) -> Iterator[_Distribution]:
    """What is installed below `prefix`, sorted by name; where exactly depends on this machine's Python."""
    for info in sorted(prefix.rglob("*.dist-info"), key=lambda path: path.name):
        yield _Distribution.read(info, interpreter)


def _script(module: str, attribute: str) -> File:
    first = attribute.partition(".")[0]
    text = (
        f"#!{PYTHON}\nimport sys\n\nfrom {module} import {first}\n\n"
        f'if __name__ == "__main__":\n    sys.exit({attribute}())\n'
    )
    return File(text.encode(), executable=True)


def _with_our_python(script: bytes) -> bytes:
    """A script as the wheel brought it, with the image's interpreter in place of any other Python.

    uv has put this machine's in, by whatever path it found it; a wheel that names one itself means the one
    that has its packages.
    """
    match = _SHEBANG.match(script)
    if match is None:
        return script
    if not (match[1] is None or match[1] in _PLACEHOLDERS or os.fsencode(sys.executable) in match[1]):
        return script
    return f"#!{PYTHON}\n".encode() + script[match.end() :]


def _record_hash(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
