"""The pipeline of a component as a file: a template of this folder, with what the component says in it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path, PurePosixPath

from tagboat.component import Component
from tagboat.config import Ci, Target
from tagboat.errors import ConfigError
from tagboat.git import WorkTree
from tagboat.table import Text
from tagboat.targets.place import Place

SYSTEMS = ("github", "gitlab")
_FIELD = re.compile(r"(?P<indent>^ *)?~\{(?P<name>\w+)\}", re.MULTILINE)
_RUNNER = "ubuntu-24.04"
# Each by the commit that its tag named on 2026-11-23.
_ACTIONS = {
    "checkout": "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1",
    "upload": "actions/upload-artifact@bbbca2ddaa5d8feaa63e36b76fdaad77386f024f # v7.0.0",
    "download": "actions/download-artifact@3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c # v8.0.1",
}
_INSTALL = {
    "github": """\
python3 -m venv "$RUNNER_TEMP/tagboat"
"$RUNNER_TEMP/tagboat/bin/pip" install --quiet {package}
echo "$RUNNER_TEMP/tagboat/bin" >>"$GITHUB_PATH\"""",
    "gitlab": """\
apt-get update -qq
apt-get install -qq --no-install-recommends ca-certificates git gpgv python3-venv
python3 -m venv /opt/tagboat
/opt/tagboat/bin/pip install --quiet {package}
export PATH="/opt/tagboat/bin:$PATH\"""",
}


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What the file of one CI system should hold."""

    system: str
    file: Path
    text: str

    @classmethod
    def of(cls, component: Component, system: str) -> Pipeline:
        """Raises ConfigError when nothing says how the component is tested, NoRepositoryError without git."""
        root = WorkTree.containing(component.directory).root
        folder = {"github": ".github/workflows", "gitlab": ".gitlab"}[system]
        file = root / folder / f"release-{component.name}.yml"
        template = files("tagboat.ci").joinpath(f"{system}.yml").read_text(encoding="utf-8")
        return cls(system, file, _filled(template, _fields(component, system, root)))

    @property
    def is_there(self) -> bool:
        return self.file.exists()

    def difference(self) -> str:
        """What writing it would change, as a unified diff; empty when the file is up to date."""
        there = self.file.read_text(encoding="utf-8") if self.is_there else ""
        lines = difflib.unified_diff(
            there.splitlines(keepends=True),
            self.text.splitlines(keepends=True),
            f"{self.file} (as it is)",
            f"{self.file} (as it should be)",
        )
        return "".join(lines)

    def note(self) -> str:
        """What else has to be done for the CI system to find the file."""
        if self.system == "gitlab":
            path = self.file.relative_to(self.file.parent.parent)
            return f"; .gitlab-ci.yml needs `include: [{{local: /{path}}}]`"
        return ""

    def write(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(self.text, encoding="utf-8")


def _fields(component: Component, system: str, root: Path) -> dict[str, str]:
    ci = component.config.ci
    project = component.directory / "pyproject.toml"
    if not ci.test:
        raise ConfigError(
            f"{project}: tool.tagboat.ci.test is missing: nothing is released untested",
            hint='say what tests it, from the top of the repository, e.g. test = "make test"',
        )
    config = component.config
    building = (config.base_text, *config.environment.values())
    target = _target(component, project)
    deploying = (
        *(*building, config.repository_text, *config.service.environment.values()),
        *(target.environment.values() if target else ()),
    )
    folder = PurePosixPath(component.directory.relative_to(root)).as_posix()
    runner = _plain("tool.tagboat.ci.runner", ci.runner or _RUNNER, project)
    # A homeport runs what the machines that build and that run are; those of AWS are of the target's kind.
    platform = Place(component, target, "", "").platform if target and target.kind != "homeport" else None
    return _ACTIONS | {
        "name": component.name,
        "name_pattern": re.escape(component.name).replace("/", r"\/"),
        "folder": _plain("the folder", folder, project),
        "branch": _plain("tool.tagboat.ci.branch", ci.branch, project),
        "environment": _plain("tool.tagboat.ci.environment", ci.environment, project),
        "image": _plain("tool.tagboat.ci.image", ci.image, project),
        "runner": _RUNNER,
        "build_options": f" --platform {platform}" if platform else "",
        "target": f" --target {_plain('the target', target.key, project)}"
        if target and len(config.targets) > 1
        else "",
        "deploy_runner": runner,
        "deploy_tags": f'\n  tags: ["{runner}"]' if ci.runner else "",
        "test": ci.test.strip(),
        "install": (ci.install or _INSTALL[system].format(package=_package(ci))).strip(),
        "signing": _signing(component, project),
        "signing_token": "\n    SIGSTORE_ID_TOKEN:\n      aud: sigstore" if ci.sigstore else "",
        "build_variables": _variables(building, " " * 10),
        "deploy_variables": _variables(deploying, " " * 6),
    }


def _package(ci: Ci) -> str:
    """What pip is told to install, as a shell reads it."""
    this = version("tagboat")
    return f"'tagboat[keyless]=={this}'" if ci.sigstore else f"tagboat=={this}"


def _signing(component: Component, project: Path) -> str:
    """The options with which the job signs what it deploys, as itself."""
    named = component.config.ci.sigstore
    if named is None:
        return ""
    if named == "public":
        return " --keyless"
    if not (component.directory / named).is_file():
        raise ConfigError(
            f"{project}: tool.tagboat.ci.sigstore {named!r} is no file there",
            hint='"public", or the file with the trust configuration of your own services',
        )
    return f' --keyless --trust-config "$COMPONENT/{_plain("tool.tagboat.ci.sigstore", named, project)}"'


def _target(component: Component, project: Path) -> Target | None:
    """Where it is released to: the only target, or the one that is called as CI calls its environment."""
    targets, environment = component.config.targets, component.config.ci.environment
    if len(targets) < 2:
        return next(iter(targets.values()), None)
    if environment not in targets:
        raise ConfigError(
            f"{project}: {component.name} has {len(targets)} targets, and none is called {environment}",
            hint="give tool.tagboat.ci.environment the name of the target that releases go to",
        )
    return targets[environment]


def _filled(template: str, fields: dict[str, str]) -> str:
    """The template with its fields; a field of several lines keeps the indentation of its place."""

    def value(match: re.Match[str]) -> str:
        indent = match["indent"] or ""
        return indent + fields[match["name"]].replace("\n", f"\n{indent}")

    return _FIELD.sub(value, template)


def _variables(texts: Iterable[Text], indent: str) -> str:
    """Lines that hand on the variables that the configuration asks for."""
    names = sorted({name for text in texts for name in text.variables})
    return "".join(f"\n{indent}{name}: ${{{{ vars.{name} }}}}" for name in names)


def _plain(key: str, text: str, file: Path) -> str:
    """`text`, which stands between quotes in YAML, in comments and in shell commands: it must be harmless."""
    if not re.fullmatch(r"[\w./:@+-]+", text, re.ASCII):
        raise ConfigError(
            f"{file}: {key} {text!r} cannot be part of a pipeline",
            hint="use letters, digits and . _ - / : @ +",
        )
    return text
