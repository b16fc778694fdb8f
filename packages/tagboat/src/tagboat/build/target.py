"""What packages are installed for: the base's Python, the C library below it, and its architecture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Final

from tagboat.build.interpreter import Interpreter

MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}  # of OCI, and what Python calls them

# The oldest glibc that there are wheels for (PEP 600), and the older names of some of its levels.
_OLDEST_GLIBC = {"x86_64": 5, "aarch64": 17}
_OLD_NAMES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
# The levels that uv can be told to install for; a wheel for a higher one than its last is for no target.
_UV_GLIBC = (17, 28, *range(31, 41))
_UV_MUSL = 2  # the 1.2 that uv means by `musl`


@dataclass(frozen=True, slots=True)
class Target:
    """A Python in an image, and that image's architecture as OCI calls it."""

    interpreter: Interpreter
    architecture: str

    def __str__(self) -> str:
        return f"Python {self.interpreter.short} with {self.interpreter.libc} on {self.machine}"

    @property
    def machine(self) -> str:
        return MACHINES[self.architecture]

    @property
    def markers(self) -> dict[str, str]:
        """The environment in the image, in the words of requirements (PEP 508); nothing is the host's."""
        version = ".".join(map(str, self.interpreter.version))
        return {
            "implementation_name": "cpython",
            "implementation_version": version,
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",  # of a kernel that is not known yet
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": version,
            "python_version": self.interpreter.short,
            "sys_platform": "linux",
            "extra": "",
        }

    @property
    def tags(self) -> Mapping[str, int]:
        """The tags of wheels that fit, as `cp311-cp311-manylinux_2_28_x86_64`; the best has the rank 0."""
        return _tags(self)

    @property
    def libc_level(self) -> int:
        """The minor version of the C library that wheels may be made for."""
        minor = self.interpreter.libc.version[1]
        return min(minor, _UV_MUSL if self.interpreter.libc.family == "musl" else _UV_GLIBC[-1])

    @property
    def uv_platform(self) -> str:
        """What uv's `--python-platform` calls it."""
        if self.interpreter.libc.family == "musl":
            return f"{self.machine}-unknown-linux-musl"
        level = max((known for known in _UV_GLIBC if known <= self.libc_level), default=_UV_GLIBC[0])
        return f"{self.machine}-manylinux_2_{level}"

    def platforms(self) -> Iterator[str]:
        """The platform tags of wheels that fit, the best first."""
        if self.interpreter.libc.family == "musl":
            yield from (f"musllinux_1_{minor}_{self.machine}" for minor in range(self.libc_level, -1, -1))
        else:
            oldest = _OLDEST_GLIBC[self.machine]
            for minor in range(self.libc_level, oldest - 1, -1):
                yield f"manylinux_2_{minor}_{self.machine}"
                if minor in _OLD_NAMES:
                    yield f"{_OLD_NAMES[minor]}_{self.machine}"
        yield f"linux_{self.machine}"


@lru_cache(maxsize=8)
def _tags(target: Target) -> dict[str, int]:
    from packaging.tags import compatible_tags, cpython_tags  # noqa: PLC0415  only to choose wheels

    version = target.interpreter.version[:2]
    abi = f"cp{version[0]}{version[1]}"
    platforms = list(target.platforms())
    tags = chain(cpython_tags(version, [abi], platforms), compatible_tags(version, abi, platforms))
    return {name: rank for rank, name in enumerate(dict.fromkeys(map(str, tags)))}
