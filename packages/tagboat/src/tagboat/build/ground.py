"""What the app is made upon: all that decides about its layers but the sources themselves."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ocikit import Platform
from ocikit.value import value
from tagboat.build.bytecode import Compiler
from tagboat.build.interpreter import Interpreter, Libc


@value
class Project:
    """A local project that becomes a part of the app; `name` is normalised."""

    name: str
    directory: Path


@value
class Ground:
    """`base` stands for the base and its `interpreter`; `uv` is the version of what builds wheels.

    Without a `compiler` there is no byte code. What is built for this machine does not run on `foreign` one.
    """

    projects: tuple[Project, ...]
    base: str
    platform: Platform
    interpreter: Interpreter
    compiler: Compiler | None
    foreign: bool
    uv: str

    def to_json(self) -> dict[str, Any]:
        return {
            "projects": [(one.name, str(one.directory)) for one in self.projects],
            "base": self.base,
            "platform": str(self.platform),
            "interpreter": asdict(self.interpreter),
            "compiler": self.compiler
            and {
                "interpreter": asdict(self.compiler.interpreter),
                "root": str(self.compiler.root),
                "identity": self.compiler.identity,
            },
            "foreign": self.foreign,
            "uv": self.uv,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Ground:
        """Raises KeyError, ValueError or TypeError for what `to_json` has not made."""
        compiler = values["compiler"]
        return cls(
            tuple(Project(name, Path(directory)) for name, directory in values["projects"]),
            values["base"],
            Platform.parse(values["platform"]),
            read_interpreter(values["interpreter"]),
            compiler
            and Compiler(
                read_interpreter(compiler["interpreter"]), Path(compiler["root"]), compiler["identity"]
            ),
            values["foreign"],
            values["uv"],
        )


def read_interpreter(values: dict[str, Any]) -> Interpreter:
    """What `asdict` makes of one. Raises KeyError, ValueError or TypeError."""
    libc = values["libc"]
    return Interpreter(values["path"], tuple(values["version"]), Libc(libc["family"], tuple(libc["version"])))
