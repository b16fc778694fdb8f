"""uv, as the installer and builder of wheels: always for the image, never for the Python that runs this."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from ocikit import MAX_SIZE
from tagboat.errors import TagboatError

if TYPE_CHECKING:
    from tagboat.build.interpreter import Interpreter
    from tagboat.build.target import Target

# Most builds have no need of uv: what finds it takes longer to load than all the rest of this.
# ruff: noqa: PLC0415

# Settings of the user that would change what is installed; those about where to find packages stay.
_UNWANTED = (
    "UV_BREAK_SYSTEM_PACKAGES", "UV_BUILD_CONSTRAINT", "UV_COMPILE_BYTECODE", "UV_CONSTRAINT", "UV_EXCLUDE",
    "UV_EXCLUDE_NEWER", "UV_NO_BINARY", "UV_NO_BINARY_PACKAGE", "UV_NO_BUILD_ISOLATION", "UV_OVERRIDE",
    "UV_PRERELEASE", "UV_PYTHON", "UV_REQUIRE_HASHES", "UV_RESOLUTION", "UV_SYSTEM_PYTHON", "VIRTUAL_ENV",
    "UV_PROJECT_ENVIRONMENT", "UV_WORKING_DIR", "UV_WORKING_DIRECTORY", "UV_TARGET", "UV_PREFIX",
)  # fmt: skip


_FINDING = threading.Lock()
_GLANCE = 0.5  # seconds from one look at what it does to the next


class UvError(TagboatError):
    """uv could not install or build what was asked for."""


class TooLargeError(UvError):
    """What is to be installed becomes larger, unpacked, than an image can hold."""


def uv_version() -> str:
    from importlib.metadata import version as installed_version

    return installed_version("uv")


def install(
    requirements: Path, prefix: Path, *, target: Target, directory: Path, build: bool = False
) -> None:
    """Install a hashed lock for the target into `prefix`. Raises UvError.

    The lock is hashed requirements, or a `pylock.NAME.toml`. `directory` is where uv looks for the user's
    settings, e.g. a private index. Only with `build` are wheels built of source distributions, by what these
    say that it takes.
    """
    command = (
        "pip", "install", "--quiet", "--prefix", str(prefix), "--python", sys.executable, "--no-deps",
        "--require-hashes", *(() if build else ("--only-binary", ":all:")),
        "--python-version", target.interpreter.short,
        "--python-platform", target.uv_platform, "--link-mode", "hardlink", "--no-compile-bytecode",
        "--preview-features", "pylock", "--requirements", str(requirements),
    )  # fmt: skip
    try:
        # The hashes say what is installed: no index has to be asked about what lies in uv's cache.
        _run(*command, "--offline", directory=directory)
    except TooLargeError:
        raise
    except UvError:
        _run(*command, directory=directory)


def wheels_of(requirements: Path, *, directory: Path) -> str:
    """Every wheel that the indexes have of hashed requirements, as a `pylock.toml`. Raises UvError."""
    return _run(
        "pip", "compile", "--quiet", "--universal", "--no-deps", "--only-binary", ":all:", "--format",
        "pylock.toml", "--no-header", "--python", sys.executable, str(requirements),
        directory=directory,
    )  # fmt: skip


def wheels_for(requirements: str, *, target: Target, directory: Path) -> str:
    """The wheels of hashed requirements that suit the target, as a `pylock.toml`, as far as uv knows them
    without asking an index. Raises UvError."""
    return _run(
        "pip", "compile", "--quiet", "--no-deps", "--only-binary", ":all:", "--format", "pylock.toml",
        "--no-header", "--python", sys.executable, "--python-version", target.interpreter.short,
        "--python-platform", target.uv_platform, "--offline", "-",
        directory=directory, text=requirements,
    )  # fmt: skip


def cache_folder(directory: Path) -> Path:
    """Where uv keeps what it has fetched. Raises UvError."""
    return Path(_run("cache", "dir", directory=directory).strip())


def install_wheels(wheels: list[Path], prefix: Path, *, interpreter: Interpreter) -> None:
    """Install wheels that were built here, and nothing else, into `prefix`. Raises UvError."""
    _run(
        "pip", "install", "--quiet", "--prefix", str(prefix), "--python", sys.executable, "--no-deps",
        "--offline", "--no-index", "--no-config", "--python-version", interpreter.short,
        "--link-mode", "copy", "--no-compile-bytecode", *map(str, wheels),
        directory=prefix,
    )  # fmt: skip


def build_wheel(project: Path, target: Path) -> None:
    """Build the project's wheel into the folder `target`. Raises UvError."""
    _run(
        "build", "--quiet", "--wheel", "--no-sources", "--python", sys.executable, "--out-dir", str(target),
        str(project), directory=project,
    )  # fmt: skip


def _program() -> str:
    from uv import find_uv_bin

    # It asks `sysconfig`, which answers nonsense to a thread while another's first question is worked on.
    with _FINDING:
        return find_uv_bin()


def _run(*arguments: str, directory: Path, text: str = "") -> str:
    environment = {name: value for name, value in os.environ.items() if name not in _UNWANTED}
    # For build backends that would put the date into what they make: the first that a zip can hold.
    environment["SOURCE_DATE_EPOCH"] = "315532800"
    environment.setdefault("UV_SYSTEM_CERTS", "true")  # the machine's own, which may know a company's proxy
    # By a file: a pipe that was full at the first glance would not be written to again.
    with tempfile.TemporaryFile("w+") as given:
        given.write(text)
        given.seek(0)
        process = subprocess.Popen(
            [_program(), "--color", "never", "--no-progress", *arguments],
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=directory,
            env=environment,
        )
    with process:
        try:
            printed, complaint = _watched(process)
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        own = "if that is a certificate of a CA of your own, name the CA's file in SSL_CERT_FILE"
        other = "the index has another file than the lock was written for: find out why, or lock anew"
        hint = own if "invalid peer certificate" in complaint else None
        hint = other if "Hash mismatch" in complaint else hint
        raise UvError(f"uv {arguments[0]} failed:\n{complaint.strip()}", hint=hint)
    return printed


def _watched(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What it prints and complains of. Raises TooLargeError.

    uv unpacks wheels while they come, however large they become, so it is looked at from outside.
    """
    while True:
        try:
            return process.communicate(timeout=_GLANCE)
        except subprocess.TimeoutExpired:
            written = _written(process.pid)
            if written > MAX_SIZE:
                raise TooLargeError(
                    f"uv was stopped: what it unpacks has more than {MAX_SIZE} bytes",
                    hint="see that the lock names what is meant; `uv cache clean` frees the room",
                ) from None


def _written(process: int) -> int:
    """Bytes that a process has written so far, and those of its own that have ended (proc_pid_io(5))."""
    try:
        said = Path(f"/proc/{process}/io").read_text()
    except OSError:
        return 0  # it has just ended
    return int(said.partition("wchar: ")[2].split()[0])
