"""Debian packages chosen, fetched and verified by the machine's own apt, without touching the machine.

apt runs with the machine's sources, keys, proxies and credentials, but on private state: nothing is
installed, no root is needed, and what the machine has installed plays no part. Release files must be signed
by the keys that the machine trusts for them; the hashes of packages come from there.
"""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import quote, unquote

from tagboat.build.debian.release import Release
from tagboat.errors import TagboatError

_HELPER = "/usr/lib/apt/apt-helper"
_POCKETS = ("", "-updates", "-security", "/updates")
# The fields of a source that say how to reach and verify it. `Trusted` and the `Allow-…` fields are left out
# on purpose: they would switch the verification off.
_FIELDS = (
    "Signed-By", "Check-Valid-Until", "Valid-Until-Min", "Valid-Until-Max", "Check-Date", "Date-Max-Future",
    "By-Hash", "InRelease-Path", "Snapshot",
)  # fmt: skip
_ONE_LINE = re.compile(
    r"deb\s+(?:\[(?P<options>[^]]*)\]\s*)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)"
)
_URI_LINE = re.compile(r"'(?P<uri>[^']+)' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})$")


class AptError(TagboatError):
    """apt does not know the suite, cannot reach it, or does not trust it."""


@dataclass(frozen=True, slots=True)
class Source:
    """One archive of the machine's apt configuration, as far as it matters here."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    architectures: tuple[str, ...] = ()  # empty: all that the archive has
    fields: Mapping[str, str] = field(default_factory=dict)  # deb822 fields, values as written

    def stanza(self) -> str:
        lines = [
            "Types: deb",
            f"URIs: {' '.join(self.uris)}",
            f"Suites: {' '.join(self.suites)}",
            f"Components: {' '.join(self.components)}",
            "Targets: Packages",
            *(f"{name}: {value}" for name, value in self.fields.items()),
        ]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """A Debian package, exactly; `size` in bytes, `path` is where it is below the root of an archive."""

    name: str
    version: str
    architecture: str
    size: int
    sha256: str
    path: str


@dataclass(frozen=True, slots=True)
class Apt:
    """apt, set up for one release and architecture in a private directory."""

    directory: Path
    release: Release
    roots: tuple[str, ...]
    """The archives that may have a package, by their URIs, each with a slash at its end."""

    def published(self) -> datetime:
        """When the newest of the release's indexes was made, as the archive says itself."""
        dates = [
            parsedate_to_datetime(date)
            for file in (self.directory / "lists").glob("*Release")
            for date in re.findall(r"^Date: (.+)$", file.read_text(errors="replace"), re.MULTILINE)
        ]
        if not dates:
            raise AptError(f"the archive does not say when {self.release} was published")
        return max(dates).astimezone(UTC)

    def version(self, package: str) -> str | None:
        """The version that the release offers, None when it has no such package."""
        shown = self._run("apt-cache", "show", "--no-all-versions", package, allow_failure=True)
        found = re.search(r"^Version: (\S+)$", shown, re.MULTILINE)
        return found[1] if found else None

    def resolve(self, packages: Iterable[str], *, provided: Iterable[str] = ()) -> list[Package]:
        """`packages` and what they depend on, sorted, except what `provided` stand for."""
        self.pretend_installed(provided)
        printed = self._run("apt-get", "install", "--yes", "--quiet", "--print-uris", *packages)
        found = []
        for line in printed.splitlines():
            if line.startswith("'"):
                match = _URI_LINE.match(line)
                if match is None:
                    raise AptError(f"apt names no SHA256 for a package: {line}")
                name, version, architecture = unquote(match["file"]).removesuffix(".deb").split("_")
                path = self._path(unquote(match["uri"]))
                found.append(Package(name, version, architecture, int(match["size"]), match["sha256"], path))
        return sorted(found)

    def _path(self, uri: str) -> str:
        root = next((root for root in self.roots if uri.startswith(root)), None)
        if root is None:
            raise AptError(f"apt offers {uri}, which is in none of {', '.join(self.roots)}")
        return uri.removeprefix(root)

    def fetch(self, packages: Iterable[Package]) -> Iterator[tuple[Package, Path]]:
        """Download; apt compares the hashes. The files go when this Apt does.

        Raises AptError that names what no archive has any more.
        """
        target = self.directory / "debs"
        target.mkdir(exist_ok=True)
        _give_to_sandbox(target)
        files = {package: target / f"{package.sha256}.deb" for package in packages}
        trouble: list[str] = []
        for root in self.roots:
            missing = {package: file for package, file in files.items() if not file.exists()}
            if missing:
                trouble.append(self._download(root, missing))
        gone = [f"{package.name} {package.version}" for package, file in files.items() if not file.exists()]
        if gone:
            raise AptError(
                f"{self.release} does not have {', '.join(gone)}: {'; '.join(filter(None, trouble))}",
                hint="where these were replaced by newer ones, `tagboat base update` locks those",
            )
        yield from files.items()

    def _download(self, root: str, files: Mapping[Package, Path]) -> str:
        """Fetch what `root` has of these; the complaints of apt about the others."""
        triples = (
            (f"{root}{quote(package.path)}", str(file), f"SHA256:{package.sha256}")
            for package, file in files.items()
        )
        conf = str(self.directory / "apt.conf")
        words = (word for triple in triples for word in triple)
        done = _execute(_HELPER, "--config-file", conf, "download-file", *words)
        return "" if done.returncode == 0 else _complaints(done)

    def pretend_installed(self, provided: Iterable[str]) -> None:
        """Tell apt that `provided` are installed, in a version that satisfies everyone."""
        stanzas = (
            f"Package: {name}\nStatus: install ok installed\nVersion: 9999:1\nArchitecture: all\n"
            "Multi-Arch: foreign\nMaintainer: none\nDescription: provided\n"
            for name in provided
        )
        (self.directory / "status").write_text("\n".join(stanzas))

    def _run(self, program: str, *arguments: str, allow_failure: bool = False) -> str:
        return _run(
            program, "--config-file", str(self.directory / "apt.conf"), *arguments, check=not allow_failure
        )


@contextmanager
def open_apt(release: Release, architecture: str, *, index: bool = True) -> Iterator[Apt]:
    """apt with the current index of `release` (with its security and stable updates where configured).

    Without the `index`, which takes the most of the time, nothing but `fetch` is of use.

    Raises AptError when the machine's apt has no source for the release, or its archive cannot be reached
    or is not signed by a key that the machine trusts. Sources of others for the same suite are left alone.
    """
    machine = _machine_settings()
    known = list(_machine_sources(machine))
    sources = [source for source in (_narrowed(one, release.suite, architecture) for one in known) if source]
    if not sources:
        names = sorted({name for source in known for name in source.suites})
        raise AptError(
            f"the apt of this machine knows no source for {release}",
            hint=f"add one to /etc/apt/sources.list.d; it knows {', '.join(names) or 'none at all'}",
        )
    # Below the system's folder for temporary files: apt gives up root to download, and cannot enter the
    # cache.
    with tempfile.TemporaryDirectory(prefix="tagboat-apt-") as name:
        directory = Path(name)
        directory.chmod(0o711)
        _prepare(directory, sources, release, architecture)
        apt = Apt(directory, release, _roots(sources))
        apt.pretend_installed(())
        if index:
            _update(apt, sources)
        yield apt


def _roots(sources: Iterable[Source]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f"{uri.rstrip('/')}/" for source in sources for uri in source.uris))


def _prepare(directory: Path, sources: list[Source], release: Release, architecture: str) -> None:
    for part in ("lists/partial", "archives/partial", "sources.list.d"):
        (directory / part).mkdir(parents=True)
    (directory / "sources.list.d/tagboat.sources").write_text("\n".join(map(Source.stanza, sources)))
    # Only the distribution's own packages count, whatever else is published for the suite.
    (directory / "preferences").write_text(
        f"Package: *\nPin: release o={release.origin}\nPin-Priority: 500\n\n"
        "Package: *\nPin: release o=*\nPin-Priority: -1\n"
    )
    (directory / "apt.conf").write_text(_configuration(directory, architecture))


def _configuration(directory: Path, architecture: str) -> str:
    settings = {
        "APT::Architecture": architecture,
        "APT::Install-Recommends": "false",
        "APT::Get::AllowUnauthenticated": "false",
        "Acquire::AllowInsecureRepositories": "false",
        "Acquire::AllowWeakRepositories": "false",
        "Acquire::AllowDowngradeToInsecureRepositories": "false",
        "Acquire::ForceHash": "SHA256",
        "Acquire::Languages": "none",
        "Acquire::Retries": "2",
        "Acquire::http::Timeout": "20",
        "Acquire::https::Timeout": "20",
        "Debug::NoLocking": "true",  # the directories are ours alone, and the machine's lock is not
        "Dir::State": str(directory),
        "Dir::State::lists": str(directory / "lists"),
        "Dir::State::status": str(directory / "status"),
        "Dir::Cache": str(directory),
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": str(directory / "sources.list.d"),
        "Dir::Etc::preferences": str(directory / "preferences"),
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::Log": str(directory),
    }
    # What the machine does around its own updates is no business of ours.
    cleared = ("APT::Architectures", "APT::Update::Pre-Invoke", "APT::Update::Post-Invoke",
               "APT::Update::Post-Invoke-Success", "APT::Default-Release")  # fmt: skip
    lines = [
        *(f"#clear {name};" for name in cleared),
        *(f'{name} "{value}";' for name, value in settings.items()),
    ]
    return "\n".join(lines) + "\n"


def _update(apt: Apt, sources: list[Source]) -> None:
    conf = str(apt.directory / "apt.conf")
    # An archive that is away may be somebody else's: what counts is what is there afterwards.
    trouble = _complaints(_execute("apt-get", "--config-file", conf, "update", "--quiet"))
    wanted = "$(RELEASE)|$(ORIGIN)|$(CODENAME)"
    targets = _run(
        "apt-get", "--config-file", conf, "indextargets", "--format", wanted, "Created-By: Packages"
    )
    official = {
        line.split("|")[0] for line in targets.splitlines() if line.split("|")[1] == apt.release.origin
    }
    for suite in sorted({name for source in sources for name in source.suites}):
        if suite not in official:
            raise AptError(
                f"{apt.release.origin}'s {suite} cannot be used{': ' + trouble if trouble else ''}",
                hint="see that `apt-get update` works on this machine",
            )


def _machine_settings() -> dict[str, str]:
    """Where the machine's apt keeps its sources."""
    names = {"sourcelist": "Dir::Etc::sourcelist/f", "sourceparts": "Dir::Etc::sourceparts/d"}
    printed = _run("apt-config", "shell", *(word for pair in names.items() for word in pair))
    found = dict(re.findall(r"^(\w+)='(.*)'$", printed, re.MULTILINE))
    return {name: found.get(name, "/dev/null") for name in names}


def _machine_sources(machine: Mapping[str, str]) -> Iterator[Source]:
    files = [Path(machine["sourcelist"])]
    parts = Path(machine["sourceparts"])
    if parts.is_dir():
        files += sorted(parts.iterdir())
    for file in files:
        if not file.is_file():
            continue
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise AptError(f"{file} cannot be read: {error}") from error
        if file.suffix == ".sources":
            yield from parse_deb822(text)
        elif file.suffix == ".list":
            yield from parse_one_line(text)


def parse_deb822(text: str) -> Iterator[Source]:
    """The enabled binary archives of a `.sources` file (sources.list(5), DEB822-STYLE FORMAT)."""
    uncommented = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n[ \t]*\n", uncommented):
        values = {
            match["name"].lower(): match["value"].strip()
            for match in re.finditer(r"^(?P<name>[\w-]+):(?P<value>.*(?:\n[ \t].*)*)", stanza, re.MULTILINE)
        }
        enabled = values.get("enabled", "yes").lower() not in ("no", "false", "without", "off", "disable")
        if enabled and "deb" in values.get("types", "").split():
            yield Source(
                uris=tuple(values.get("uris", "").split()),
                suites=tuple(values.get("suites", "").split()),
                components=tuple(values.get("components", "").split()),
                architectures=tuple(values.get("architectures", "").split()),
                fields=_kept(values),
            )


def parse_one_line(text: str) -> Iterator[Source]:
    """The binary archives of a `.list` file (sources.list(5), ONE-LINE-STYLE FORMAT)."""
    for line in text.splitlines():
        match = _ONE_LINE.match(line.partition("#")[0].strip())
        if match is None:
            continue
        options = dict(option.partition("=")[::2] for option in (match["options"] or "").split())
        yield Source(
            uris=(match["uri"],),
            suites=(match["suite"],),
            components=tuple(match["components"].split()),
            architectures=tuple(filter(None, options.get("arch", "").split(","))),
            fields=_kept(options),
        )


def _kept(values: Mapping[str, str]) -> dict[str, str]:
    # A deb822 value that goes on over lines keeps its first line break: an embedded key begins after it.
    return {
        name: ("\n " if "\n" in values[name.lower()] else "") + values[name.lower()]
        for name in _FIELDS
        if values.get(name.lower())
    }


def _narrowed(source: Source, suite: str, architecture: str) -> Source | None:
    """The part of `source` that may hold the suite's main packages, None when there is none."""
    suites = tuple(name for name in source.suites if name in {suite + pocket for pocket in _POCKETS})
    if not suites or "main" not in source.components:
        return None
    if source.architectures and architecture not in source.architectures:
        return None
    return Source(source.uris, suites, ("main",), (), source.fields)


def _give_to_sandbox(directory: Path) -> None:
    """Let apt's unprivileged downloader write here; a user's own apt has no other user to be."""
    if os.geteuid() == 0:
        try:
            os.chown(directory, pwd.getpwnam("_apt").pw_uid, -1)
        except KeyError:
            return  # an apt without a sandbox user downloads as root


def _run(program: str, *arguments: str, check: bool = True) -> str:
    done = _execute(program, *arguments)
    if check and done.returncode != 0:
        raise AptError(f"{Path(program).name} failed: {_complaints(done)}")
    return done.stdout


def _complaints(done: subprocess.CompletedProcess[str]) -> str:
    return "; ".join(line for line in done.stderr.splitlines() if line.startswith(("E:", "W:")))


def _execute(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [program, *arguments],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
        )
    except FileNotFoundError as error:
        raise AptError(
            f"{program} is not on this machine",
            hint="apt composes debian: bases; elsewhere the base is a registry image, an OCI layout or a tar",
        ) from error
