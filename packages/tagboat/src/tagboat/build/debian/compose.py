"""The base `debian:SUITE`: just what Python needs of Debian, in one layer, the same for the same packages.

No dpkg, no chroot, no root: packages are unpacked into a folder, what an image does not need is left out, and
what installing them would have made (accounts, certificates, links) is made by hand.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from ocikit import ContainerConfig, History, Image, LayerWriter, Platform
from tagboat.build.age import tell_age
from tagboat.build.bytecode import Compiler, compile_files
from tagboat.build.cache import Cache, key_of
from tagboat.build.debian.apt import Apt, AptError, Package, open_apt
from tagboat.build.debian.deb import DebError, open_data, read_control
from tagboat.build.debian.lock import BaseLock, read_base_lock
from tagboat.build.debian.release import Release
from tagboat.build.files import Entry, File, Files, Folder, Link, write_files
from tagboat.build.interpreter import (
    Interpreter,
    find_foreign_interpreter,
    find_interpreter,
    fingerprint,
)
from tagboat.build.roots import keep_root

_FORMAT = "1"  # raise it when the same packages would make other bytes
_SEARCH = "/usr/local/bin:/usr/bin:/bin"
_NONROOT = 65532
_EPOCH = "1970-01-01T00:00:00Z"
_ARCHITECTURES = ("amd64", "arm64")  # as both OCI and Debian call them

# What depends on these does so to be installed or configured, which never happens here; or, for the last
# line, to have modules of the standard library that are left out below.
_PROVIDED = (
    "awk", "debconf", "debconf-2.0", "debianutils", "dpkg", "gawk", "install-info", "libc-bin", "mawk",
    "openssl", "perl-base", "readline-common", "tar", "ucf", "usr-is-merged",
    "libdb5.3", "libdb5.3t64", "libnsl2", "libtirpc-common", "libtirpc3", "libtirpc3t64",
)  # fmt: skip
_WANTED = ("base-files", "ca-certificates", "dash", "libstdc++6", "netbase", "tzdata")

# Matched against the path in the image; `*` reaches over slashes.
_PATTERNS = (
    "usr/lib/*/gconv/*", "usr/lib/*/engines-3/*", "usr/lib/*/audit/*", "usr/lib/*/libmemusage.so",
    "usr/lib/*/libpcprofile.so", "usr/lib/*/libc_malloc_debug.so.*", "usr/lib/*/libnss_hesiod.so.*",
    "usr/lib/*/perl*", "usr/lib/valgrind/*", "usr/sbin/update-ca-certificates", "etc/ca-certificates*",
    "usr/share/applications/*", "usr/share/apps/*", "usr/share/base-files/*", "usr/share/binfmts/*",
    "usr/share/bug/*", "usr/share/debconf/*", "usr/share/dict*", "usr/share/gcc*", "usr/share/gdb/*",
    "usr/share/info*", "usr/share/lintian/*", "usr/share/locale/*", "usr/share/man*", "usr/share/menu/*",
    "usr/share/misc*", "usr/share/pixmaps/*", "usr/share/readline/*", "usr/share/tabset/*",
    "usr/share/zoneinfo/posix/*", "usr/share/zoneinfo/right/*",
    "usr/lib/python3*/lib-dynload/_ctypes_test.*", "usr/lib/python3*/lib-dynload/_dbm.*",
    "usr/lib/python3*/lib-dynload/_test*", "usr/lib/python3*/lib-dynload/_xxtestfuzz.*",
    "usr/lib/python3*/lib-dynload/nis.*", "usr/lib/python3*/lib-dynload/xxlimited*",
    "usr/lib/python3*/sitecustomize.py", "etc/python3*",
    "usr/lib/python3*/idlelib/*", "usr/lib/python3*/lib2to3/*", "usr/lib/python3*/pydoc_data/*",
    "usr/lib/python3*/test/*", "usr/lib/python3*/tkinter/*", "usr/lib/python3*/turtledemo/*",
)  # fmt: skip
_LEFT_OUT = re.compile("|".join(map(fnmatch.translate, _PATTERNS)))
_MERGED = ("bin", "lib", "lib32", "lib64", "libo32", "libx32", "sbin")
_CERTIFICATES = "usr/share/ca-certificates/"
_BUNDLE = "etc/ssl/certs/ca-certificates.crt"

_ACCOUNTS: Files = {
    "etc/passwd": File(
        b"root:x:0:0:root:/root:/usr/sbin/nologin\n"
        b"nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
        b"nonroot:x:65532:65532:nonroot:/home/nonroot:/usr/sbin/nologin\n"
    ),
    "etc/group": File(b"root:x:0:\ntty:x:5:\nstaff:x:50:\nnogroup:x:65534:\nnonroot:x:65532:\n"),
    "home/nonroot": Folder(0o700, _NONROOT),
    "root": Folder(0o700),
}
_BY_HAND: Files = {
    "etc/nsswitch.conf": File(
        b"passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n"
    ),
    "etc/localtime": Link("/usr/share/zoneinfo/Etc/UTC"),
    "usr/bin/sh": Link("dash"),
    "usr/lib/ssl/cert.pem": Link(f"/{_BUNDLE}"),
    "usr/lib/ssl/certs": Link("/etc/ssl/certs"),
    "tmp": Folder(0o1777),
    "var/tmp": Folder(0o1777),
    **{name: Folder() for name in ("dev", "proc", "run", "sys", "var/cache", "var/lib", "var/log")},
}


@dataclass(frozen=True, slots=True)
class Composed:
    """A base; if it had to be made, its Python has been found on the way."""

    image: Image
    interpreter: Interpreter | None = None


def compose(
    release: Release,
    platform: Platform,
    cache: Cache,
    *,
    lock: Path,
    compiler: Compiler | None,
    progress: Callable[[str], None],
) -> Composed:
    """The base image of a release.

    Byte code is compiled by its own Python, or for another architecture by the `compiler`.

    It is made of the packages that `lock` names. Without that file they are chosen once and kept in the
    cache, so that a build on another machine may get others. Raises ConfigError, AptError and DebError.
    """
    architecture = _architecture(release, platform)
    locked = read_base_lock(lock, release)
    if locked is None:
        kept = cache.path(release.distribution, f"{release.suite}.lock")
        with cache.locked(f"{release.distribution}-{release.suite}"):
            locked = read_base_lock(kept, release)
            if locked is None or architecture not in locked.packages:
                chosen = choose(release, [platform], cache, progress=progress)
                known = locked.packages if locked else {}
                locked = replace(chosen, packages={**known, **chosen.packages})
                cache.write(kept, locked.to_toml().encode())
    tell_age(locked.date, f"the packages of {release} are", progress)
    packages = locked.of(architecture, lock)
    return compose_packages(packages, release, platform, cache, compiler=compiler, progress=progress)


def choose(
    release: Release, platforms: Iterable[Platform], cache: Cache, *, progress: Callable[[str], None]
) -> BaseLock:
    """What a base of the release is made of today, fetched into the cache. Raises AptError and DebError."""
    packages: dict[str, tuple[Package, ...]] = {}
    for platform in platforms:
        architecture = _architecture(release, platform)
        progress(f"choosing the packages of {release} for {platform}")
        with open_apt(release, architecture) as apt:
            chosen = tuple(_choose(apt))
            _fetch(chosen, apt, cache)
            packages[architecture] = chosen
            date = apt.published()
    return BaseLock(release, date, packages)


def _architecture(release: Release, platform: Platform) -> str:
    if platform.os != "linux" or platform.architecture not in _ARCHITECTURES:
        raise AptError(
            f"{release} cannot be composed for {platform}",
            hint=f"only for linux on {', '.join(_ARCHITECTURES)}",
        )
    return platform.architecture


def compose_packages(
    packages: Sequence[Package],
    release: Release,
    platform: Platform,
    cache: Cache,
    *,
    compiler: Compiler | None,
    progress: Callable[[str], None],
) -> Composed:
    """The image of exactly these packages. Raises AptError and DebError."""
    key = key_of(
        _FORMAT, str(release), str(platform), *(f"{p.name} {p.version} {p.sha256}" for p in packages)
    )

    made: list[tuple[Path, Interpreter]] = []

    def make(writer: LayerWriter) -> None:
        missing = [package for package in packages if not _is_kept(package, cache)]
        if missing:
            with open_apt(release, platform.architecture, index=False) as apt:
                _fetch(missing, apt, cache)
        progress(f"composing {release} of {len(packages)} packages")
        root = stack.enter_context(cache.temporary(many=compiler is not None))
        files, interpreter = _compose_files(packages, root, cache, compiler)
        write_files(writer, files)
        made.append((root, interpreter))

    with ExitStack() as stack:
        layer, _ = cache.layer(key, make, lasting=True)
        history = History(created=_EPOCH, created_by=f"tagboat base {release}")
        image = Image.empty(platform).append(layer, history)
        image = image.with_config(ContainerConfig(env=(f"PATH={_SEARCH}",)))
        if not made:
            return Composed(image)
        root, interpreter = made[0]
        if compiler is None:
            keep_root(root, image, cache, "compiler")  # its Python has run there
        return Composed(image, interpreter)


def _choose(apt: Apt) -> list[Package]:
    version = apt.version("python3-minimal")
    found = re.match(r"(?:\d+:)?(\d+\.\d+)", version or "")
    if found is None:
        raise AptError(f"{apt.release} has no python3-minimal")
    python = found[1]
    return apt.resolve([f"python{python}-minimal", f"libpython{python}-stdlib", *_WANTED], provided=_PROVIDED)


def _kept(package: Package, cache: Cache) -> Path:
    return cache.path("debs", f"{package.sha256}.deb")


def _is_kept(package: Package, cache: Cache) -> bool:
    try:
        with _kept(package, cache).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == package.sha256
    except FileNotFoundError:
        return False


def _fetch(packages: Iterable[Package], apt: Apt, cache: Cache) -> None:
    for package, file in apt.fetch(package for package in packages if not _is_kept(package, cache)):
        cache.write(_kept(package, cache), file.read_bytes())
        if not _is_kept(package, cache):
            _kept(package, cache).unlink()
            raise DebError(f"{package.path} is not the package with SHA-256 {package.sha256}")


def _compose_files(
    packages: Sequence[Package], root: Path, cache: Cache, compiler: Compiler | None
) -> tuple[Files, Interpreter]:
    """The content of the layer, and its Python; `root` is an empty folder that all is put into."""
    files: dict[str, Entry] = {}
    certificates: dict[str, bytes] = {}
    debs = [_kept(package, cache) for package in packages]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        contents = list(pool.map(lambda deb: dict(_unpack(deb, root)), debs))
    for package, deb, content in zip(packages, debs, contents, strict=True):
        if not files.keys().isdisjoint(content):
            content = dict(_unpack(deb, root))  # noqa: PLW2901  who was last is not left to chance
        for path, entry in content.items():
            if path.startswith(_CERTIFICATES) and isinstance(entry, File):
                certificates[path] = entry.read()
            else:
                files[path] = entry
        files[f"var/lib/dpkg/status.d/{package.name}"] = File(read_control(deb))
    files |= {
        name: Link(f"usr/{name}")
        for name in _MERGED
        if any(path.startswith(f"usr/{name}/") for path in files)
    }
    files |= {**_ACCOUNTS, **_BY_HAND}
    files[_BUNDLE] = File(b"".join(certificates[path].rstrip() + b"\n" for path in sorted(certificates)))
    for path, entry in files.items():
        if isinstance(entry, Link):
            # Only now that all files are in place: none can have been written through a link.
            link = root / path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(entry.target)

    if compiler is None:
        python = find_interpreter(root, path=None, search="/usr/bin")
        compiler = Compiler(python, root, fingerprint(root, python))
    else:
        python = find_foreign_interpreter(root, compiler.interpreter, path=None, search="/usr/bin")
    files["usr/bin/python3"] = Link(f"python{python.short}")
    library = {
        path: entry for path, entry in files.items() if path.startswith(f"usr/lib/python{python.short}/")
    }
    bytecode, _ = compile_files(library, compiler, cache)
    return files | bytecode, python


def _unpack(deb: Path, root: Path) -> Iterator[tuple[str, Entry]]:
    """The files and links of a package that an image needs, files written below `root`."""
    with open_data(deb) as tar:
        for member in tar:
            path = _place(member.name, deb)
            if member.isdir() or _is_left_out(path):
                continue
            if member.issym():
                yield path, Link(member.linkname)
                continue
            content = tar.extractfile(member) if member.isfile() or member.islnk() else None
            if content is None:
                raise DebError(f"{deb.name}: {member.name} is neither a file nor a link")
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("wb") as target:
                shutil.copyfileobj(content, target)
            executable = bool(member.mode & 0o111)
            file.chmod(0o755 if executable else 0o644)
            yield path, File(file, executable)


def _place(name: str, deb: Path) -> str:
    """Where a path of a package is in the image: `/bin`, `/lib` and the like are links into `/usr`."""
    parts = [part for part in PurePosixPath(name).parts if part != "/"]
    if ".." in parts:
        raise DebError(f"{deb.name}: {name} leads out of the package")
    if len(parts) > 1 and parts[0] in _MERGED:
        parts.insert(0, "usr")
    return "/".join(parts)


def _is_left_out(path: str) -> bool:
    if path.startswith("usr/share/doc/"):
        return not path.endswith("/copyright")  # the licences stay with what they license
    return _LEFT_OUT.match(path) is not None
