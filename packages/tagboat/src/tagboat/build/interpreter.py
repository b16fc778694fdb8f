"""The image's own Python, run here by the image's own dynamic loader, without root and without chroot."""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path, PurePosixPath
from typing import Literal

from ocikit.value import value
from tagboat.errors import ConfigError, TagboatError

_FACTS = """
import os, sys
try:
    libc = os.confstr("CS_GNU_LIBC_VERSION")
except (OSError, ValueError):
    libc = None
print(*sys.version_info[:3], libc or "none")
"""
_LIBRARIES = ("lib", "lib64", "usr/lib", "usr/lib64", "usr/local/lib")
_MAX_LINKS = 40  # as the kernel has it

# What a Python needs to start here: itself, the links to it, its libraries and loader, and a codec.
_STARTS = re.compile(
    r"""
    (?: .*/ )? (?: python[^/]* | ld[-.][^/]* | lib[^/]*\.so[^/]* )
    | (?: usr/ )? (?: s?bin | lib[^/]* )  # links, where these are elsewhere
    | .*/encodings/ (?: __pycache__/ )? (?: __init__ | aliases | utf_8 ) \.[^/]*
    | .*/python3[^/]*/ (?: codecs | warnings ) \.py
    """,
    re.VERBOSE,
)
# And what it needs to compile: the codecs that sources may be written in, and what these import.
_COMPILES = re.compile(r".*/encodings/[^/]*|.*/python3[^/]*/(?:lib-dynload/[^/]*|stringprep\.py)")


class InterpreterError(TagboatError):
    """The base has no Python that can be used, or it does not run here."""


@value
class Libc:
    """A C library, and its version: wheels are made for one of them, and not for a newer one than it is."""

    family: Literal["glibc", "musl"]
    version: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.family} {self.version[0]}.{self.version[1]}"


@value
class Interpreter:
    """A CPython in an image: its path there, its version, and the C library below it."""

    path: str  # absolute in the image, links resolved
    version: tuple[int, int, int]
    libc: Libc

    @property
    def short(self) -> str:
        """The version as in `lib/python3.11`."""
        return f"{self.version[0]}.{self.version[1]}"

    @property
    def cache_tag(self) -> str:
        """What stands in the names of byte code files (PEP 3147)."""
        return f"cpython-{self.version[0]}{self.version[1]}"


def starts(name: str) -> bool:
    """Whether the Python of an image needs the file or link of that name, without the leading `/`, to start.

    It is a guess that suits every Python that is built in a usual way.
    """
    return _STARTS.fullmatch(name) is not None


def compiles(name: str) -> bool:
    """Whether it needs that to start or to compile."""
    return starts(name) or _COMPILES.fullmatch(name) is not None


def find_interpreter(root: Path, *, path: str | None, search: str) -> Interpreter:
    """The Python of the image that is unpacked in `root`: at `path`, or else the first on `search`, a PATH.

    Raises InterpreterError.
    """
    return _ask(root, _find(root, path, search))


def find_foreign_interpreter(root: Path, like: Interpreter, *, path: str | None, search: str) -> Interpreter:
    """As `find_interpreter`, where the Python of `root` is for another architecture and does not run here.

    It has to be what `like` is, the Python of the same base for this machine, for that one compiles its byte
    code, which is the same for every architecture. Raises InterpreterError when it is another.
    """
    real = _find(root, path, search)
    version = ".".join(map(str, like.version))
    said = rb"(?<![\d.])" + re.escape(version.encode()) + rb"(?![\d.])"
    if not any(re.search(said, file.read_bytes()) for file in _programs(root, real, like.short)):
        raise InterpreterError(
            f"{real} of the base is not Python {version}, as it is in the same base for this machine",
            hint="byte code is compiled here for all architectures, so all of them need the same Python",
        )
    if not _has_libc(root, like.libc):
        raise InterpreterError(f"the base does not have {like.libc}, as it has for this machine")
    return Interpreter(real, like.version, like.libc)


def fingerprint(root: Path, interpreter: Interpreter) -> str:
    """Stands for the Python in `root` as far as byte code depends on it: for the program and its library."""
    hasher = hashlib.sha256(repr(interpreter.version).encode())
    for file in _programs(root, interpreter.path, interpreter.short):
        with file.open("rb") as content:
            hasher.update(hashlib.file_digest(content, "sha256").digest())
    return hasher.hexdigest()


def _programs(root: Path, path: str, short: str) -> list[Path]:
    """The Python at `path`, and the libraries that may hold the most of it, each once."""
    program = root / path.lstrip("/")
    folders = [*_library_folders(root), program.parent.parent / "lib"]
    found = {
        resolve(root, f"/{file.relative_to(root)}")
        for folder in folders
        for file in folder.glob(f"libpython{short}.so*")
    }
    libraries = (root / path.lstrip("/") for path in sorted(filter(None, found)))
    return [program, *(library for library in libraries if library.is_file())]


def _has_libc(root: Path, libc: Libc) -> bool:
    """Whether the C library of `root`, which is for another machine, says that it is that one."""
    version = re.escape(".".join(map(str, libc.version)).encode())
    name, said = {
        "glibc": ("libc.so.6", rb"release version " + version + rb"(?!\d)"),
        "musl": ("ld-musl-*.so.1", rb"\x00" + version + rb"\.\d+\x00"),
    }[libc.family]
    files = (file for folder in _library_folders(root) for file in folder.glob(name))
    return any(re.search(said, file.read_bytes()) for file in files)


def _find(root: Path, path: str | None, search: str) -> str:
    """The path in the image of the Python at `path`, or else of the first on `search`; links resolved."""
    if path is not None:
        wanted = [path]
    else:
        names = [f"python3.{minor}" for minor in range(20, 10, -1)]
        wanted = [
            f"{folder}/{name}" for folder in search.split(":") for name in ("python3", "python", *names)
        ]
    for candidate in wanted:
        real = resolve(root, candidate)
        if real is not None and (root / real.lstrip("/")).is_file():
            return real
    raise InterpreterError(
        f"there is no Python in the base at {path or search}",
        hint='set tool.tagboat.python to its path in the image, e.g. python = "/opt/python/bin/python3"',
    )


def command(root: Path, interpreter: str, *arguments: str) -> list[str]:
    """The command line that runs `interpreter`, a path in the image that is unpacked in `root`."""
    binary = root / interpreter.lstrip("/")
    loader = _program_loader(binary)
    if loader is None:
        return [str(binary), *arguments]
    libraries = ":".join(map(str, _library_folders(root)))
    cache = [] if _is_musl(loader) else ["--inhibit-cache"]
    real = _real_loader(root, interpreter, loader)
    return [str(real), *cache, "--library-path", libraries, str(binary), *arguments]


def _is_musl(loader: str) -> bool:
    return PurePosixPath(loader).name.startswith("ld-musl-")


def _real_loader(root: Path, interpreter: str, loader: str) -> Path:
    real = resolve(root, loader)
    if real is None:
        raise InterpreterError(f"{interpreter} needs {loader}, which the base does not have")
    return root / real.lstrip("/")


def _library_folders(root: Path) -> list[Path]:
    places = [root / name for name in _LIBRARIES]
    places += [folder for place in places[:3] for folder in sorted(place.glob("*-linux-gnu*"))]
    return [place for place in places if place.is_dir()]


def environment(root: Path, interpreter: str) -> dict[str, str]:
    """The only variables that the image's interpreter is given here: nothing of this machine reaches it."""
    return {
        "PYTHONHOME": str((root / interpreter.lstrip("/")).parent.parent),
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LC_ALL": "C.UTF-8",
    }


def resolve(root: Path, path: str) -> str | None:
    """Follow links as the kernel would if `root` were the root. None when there is nothing at `path`."""
    parts = list(PurePosixPath(path).parts[1:])
    done: list[str] = []
    links = 0
    while parts:
        part = parts.pop(0)
        if part == "..":
            done = done[:-1]
            continue
        here = root.joinpath(*done, part)
        if here.is_symlink():
            links += 1
            if links > _MAX_LINKS:
                return None
            target = here.readlink()
            if target.is_absolute():
                done = []
            parts = [name for name in target.parts if name != "/"] + parts
        elif here.exists():
            done.append(part)
        else:
            return None
    return "/" + "/".join(done)


def _ask(root: Path, path: str) -> Interpreter:
    try:
        answer = subprocess.run(
            command(root, path, "-S", "-B", "-c", _FACTS),
            env=environment(root, path),
            capture_output=True,
            text=True,
            check=True,
            stdin=subprocess.DEVNULL,
        ).stdout.strip()
        musl = _musl(root, path)
    except OSError as error:
        raise InterpreterError(
            f"{path} of the base does not run on this machine: {error}",
            hint="byte code is compiled by the image's own Python: build where its architecture runs",
        ) from error
    except subprocess.CalledProcessError as error:
        raise InterpreterError(f"{path} of the base does not run: {error.stderr.strip()}") from error
    match = re.fullmatch(r"(\d+) (\d+) (\d+) (?:glibc (\d+)\.(\d+)|.*)", answer)
    if match is None or (match[4] is None and musl is None):
        raise InterpreterError(
            f"{path} of the base answers {answer!r}", hint="only CPython on glibc or musl is supported"
        )
    version = (int(match[1]), int(match[2]), int(match[3]))
    if version < (3, 11):
        raise ConfigError(
            f"{path} of the base is Python {version[0]}.{version[1]}", hint="Python 3.11 or newer is needed"
        )
    return Interpreter(path, version, musl or Libc("glibc", (int(match[4]), int(match[5]))))


def _musl(root: Path, interpreter: str) -> Libc | None:
    """The musl below a program, None where it is another C library.

    musl is one file, which is the loader too, and says what it is when it is run by itself.
    """
    loader = _program_loader(root / interpreter.lstrip("/"))
    if loader is None or not _is_musl(loader):
        return None
    said = subprocess.run(
        [_real_loader(root, interpreter, loader)],
        env={},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    ).stderr
    match = re.search(r"^musl libc.*\nVersion (\d+)\.(\d+)", said)
    if match is None:
        raise InterpreterError(f"{loader} of the base does not say which musl it is: {said.strip()[:200]!r}")
    return Libc("musl", (int(match[1]), int(match[2])))


def _program_loader(binary: Path) -> str | None:
    """The loader that an ELF file asks for (PT_INTERP; ELF-64, little-endian), None for a static one."""
    with binary.open("rb") as file:
        header = file.read(64)
        if len(header) < 64 or header[:6] != b"\x7fELF\x02\x01":
            raise InterpreterError(f"{binary.name} of the base is not a 64-bit ELF program")
        offset = int.from_bytes(header[32:40], "little")
        size, count = int.from_bytes(header[54:56], "little"), int.from_bytes(header[56:58], "little")
        for index in range(count):
            file.seek(offset + index * size)
            program = file.read(size)
            if int.from_bytes(program[:4], "little") == 3:
                file.seek(int.from_bytes(program[8:16], "little"))
                length = min(int.from_bytes(program[32:40], "little"), 4096)
                return file.read(length).rstrip(b"\0").decode()
    return None
