"""Whether all that decides an image is as it was, by the word of the file system alone.

A build is a pure function of files, of some variables, and of this program. None of the files is opened here:
what was written, replaced or moved has another time of change or another number; git's index knows it by the
same. So what was pushed last is known again in a fraction of the time that a build needs to change nothing.

Where only sources have changed, all of the image but its app is known (see build/frame.py): fewer files
decide about that, the settings.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tagboat.component import Component

_LIFE = 86_400  # seconds that a record is good for: a build says what has become old, such as the base
_SETTLED = 2_000_000_000  # nanoseconds after which every file system gives a changed file another time
_MOST = 20_000  # files; to look at more takes about as long as a build that changes nothing
_VARIABLE = re.compile(rb"\$\{?([A-Za-z_]\w*)")
_PREFIXES = ("GIT_", "UV_", "SOURCE_DATE_EPOCH")
_NEVER = frozenset({".git", ".hg", ".venv", "__pycache__", "node_modules"})  # not in any image
# In a component's folder or above it: workspaces and locks; and what git is told to ignore.
_SETTINGS = ("base.lock", "pylock.toml", "pyproject.toml", "requirements.lock", "uv.lock", "uv.toml")
_IGNORED = (".gitattributes", ".gitignore")
_OF_GIT = (
    "HEAD",
    "index",
    "config",
    "packed-refs",
    "info/exclude",
    "info/attributes",
    "reftable/tables.list",
)
_OF_USER = (".gitconfig", ".config/git/config", ".config/git/ignore", ".config/git/attributes")


class Scope(NamedTuple):
    """Where to look: folders with all that is below them, files that are there or not, variables.

    Of the app alone the roots decide, and what says which files in them count.
    """

    roots: tuple[str, ...]
    settings: tuple[str, ...]
    files: tuple[str, ...]
    variables: tuple[str, ...]

    @classmethod
    def of(cls, component: Component, cache: Path) -> Scope:
        """All that an image of the component is made of; `cache` may hold what its base is made of."""
        roots = component.source_directories
        around = {folder for root in roots for folder in (root, *root.parents)}
        settings = {
            *(f"{folder}/{name}" for folder in around for name in _SETTINGS),
            str(component.version_file),
            str(component.lock),
            *_base_files(component, cache),
        }
        files = {
            *(f"{folder}/{name}" for folder in around for name in _IGNORED),
            *(path for folder in around for path in _git_files(folder)),
            *(f"{Path.home()}/{name}" for name in _OF_USER),
        }
        text = (component.directory / "pyproject.toml").read_bytes()
        variables = {match.decode() for match in _VARIABLE.findall(text)}
        return cls(
            tuple(map(str, roots)), tuple(sorted(settings)), tuple(sorted(files)), tuple(sorted(variables))
        )

    def fingerprint(self) -> Fingerprint | None:
        """Of what is there now; None where there are too many files to be worth it."""
        machine = f"{sys.version} {sys.executable} {os.getuid()} {os.uname().machine}"
        look = _Look(hashlib.sha256(machine.encode()))
        for name in sorted({*self.variables, *(one for one in os.environ if one.startswith(_PREFIXES))}):
            look.hasher.update(os.fsencode(f"{name}={os.environ.get(name)}\0"))
        look.at(itertools.chain(self.settings, _program()))
        settings = look.seen()
        look.at(itertools.chain(self.files, *map(_below, self.roots)))
        return None if look.count > _MOST else Fingerprint(look.seen(), settings)


class _Look:
    """Files one after the other, until there are too many of them."""

    def __init__(self, hasher: hashlib._Hash) -> None:
        self.hasher = hasher
        self.newest = 0
        self.count = 0

    def at(self, paths: Iterable[str]) -> None:
        for path in itertools.islice(paths, _MOST + 1 - self.count):
            self.count += 1
            self.hasher.update(os.fsencode(path))
            for found in _found(path):
                numbers = found.st_mode, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
                self.hasher.update(str(numbers).encode())
                self.newest = max(self.newest, found.st_ctime_ns)

    def seen(self) -> Seen:
        return Seen(self.hasher.hexdigest(), self.newest)


class Seen(NamedTuple):
    """`newest` is the last time of change of anything in it, in nanoseconds since 1970."""

    value: str
    newest: int

    @property
    def is_settled(self) -> bool:
        """Whether nothing had only just changed: it may have changed again without showing."""
        return self.newest + _SETTLED <= time.time_ns()


class Fingerprint(NamedTuple):
    """Of `all` that decides an image, and of the `settings` that decide what is not its app."""

    all: Seen
    settings: Seen


class Pushed(NamedTuple):
    """An image, or the index of several, that was pushed."""

    digest: str
    media_type: str


class Known(NamedTuple):
    """What is as it was: `pushed` where all is, else the `frames` of its images (`Frame.to_text`) alone.

    `time` is when the frames were made, in seconds since 1970.
    """

    scope: Scope
    found: Fingerprint
    pushed: Pushed | None
    frames: tuple[str, ...]
    time: float


class Record(NamedTuple):
    """Where it is kept what was pushed last of a component's folder for these platforms."""

    file: Path

    @classmethod
    def of(cls, cache: Path, directory: Path, platforms: Sequence[str]) -> Record:
        name = "\0".join((os.path.realpath(directory), *platforms))
        return cls(cache / "pushed" / f"{hashlib.sha256(os.fsencode(name)).hexdigest()}.json")

    def recall(self) -> Known | None:
        """What a build would make again; None where that is nothing."""
        try:
            record = json.loads(self.file.read_bytes())
            scope = Scope(**{name: tuple(values) for name, values in record["scope"].items()})
            if not 0 <= time.time() - record["time"] < _LIFE:
                return None
            found = scope.fingerprint()
            if found is None or found.settings.value != record["settings"]:
                return None
            pushed = Pushed(**record["pushed"]) if found.all.value == record["all"] else None
            return Known(scope, found, pushed, tuple(record["frames"]), record["time"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None  # there is none, or a machine that lost power has cut it off

    def remember(self, known: Known, pushed: Pushed) -> None:
        """Keep what was pushed; what is known was found before it was built.

        Nothing is kept of what had only just changed.
        """
        if not known.found.settings.is_settled:
            return
        record = {
            "time": known.time,
            "scope": known.scope._asdict(),
            "settings": known.found.settings.value,
            "all": known.found.all.value if known.found.all.is_settled else None,
            "pushed": pushed._asdict(),
            "frames": known.frames,
        }
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            new = self.file.with_name(f"{self.file.name}.{os.getpid()}")
            new.write_text(json.dumps(record))
            new.replace(self.file)
        except OSError:
            return  # a disk that is full now makes no push undone


def _found(path: str) -> Iterator[os.stat_result]:
    """What is at a path, and at the end of a link there; nothing where nothing is."""
    try:
        found = os.lstat(path)
        yield found
        if found.st_mode & 0o170000 == 0o120000:
            yield os.stat(path)  # noqa: PTH116  there are thousands of them
    except OSError:
        return


def _below(root: str, *, top: bool = True) -> Iterator[str]:
    """A folder and all that is in it, sorted, but for what is in no image."""
    yield root
    try:
        with os.scandir(root) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError:
        return
    if not top and any(entry.name == "pyvenv.cfg" for entry in entries):
        return  # a virtual environment
    for entry in entries:
        if not entry.is_dir(follow_symlinks=False):
            yield entry.path
        elif entry.name not in _NEVER:
            yield from _below(entry.path, top=False)


def _program() -> Iterator[str]:
    """This program's own files, and where what it uses is installed."""
    import ocikit  # noqa: PLC0415  only its place is asked

    for package in (__file__, ocikit.__file__):
        yield from _below(os.path.dirname(package))  # noqa: PTH120
    yield from (path for path in sys.path if path.endswith("site-packages"))


def _git_files(folder: Path) -> Iterable[str]:
    """What says which commit is checked out in a work tree, and what is staged and ignored in it."""
    entry = folder / ".git"
    if not entry.exists():
        return
    own = entry
    if entry.is_file():  # another work tree of the repository, or a submodule
        own = (folder / entry.read_text().partition("gitdir:")[2].strip()).resolve()
        yield str(entry)
    common = own / "commondir"
    shared = (own / common.read_text().strip()).resolve() if common.exists() else own
    for place in {own, shared}:
        yield from (f"{place}/{name}" for name in _OF_GIT)
    head = (own / "HEAD").read_text().strip()
    if head.startswith("ref: "):
        yield f"{shared}/{head.removeprefix('ref: ')}"


def _base_files(component: Component, cache: Path) -> Iterator[str]:
    archives = component.config.interpreter or {}
    for archive in (archives,) if isinstance(archives, str) else archives.values():
        yield str(component.directory / archive)
    kind, _, rest = component.config.base.partition(":")
    if kind == "oci":
        yield str(component.directory / rest.partition(":")[0] / "index.json")
    elif kind == "tar":
        yield str(component.directory / rest)
    else:
        yield str(cache / kind / f"{rest}.lock")  # what a distribution's packages were when first asked for
