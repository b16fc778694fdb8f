"""Byte code of what the app imports alone: which modules that is, and which layers hang on it."""

import os
import shutil
import tarfile
from pathlib import Path

import pytest

from tagboat.build import Build, build_with_report
from tagboat.component import Component

SITE = "opt/venv/lib/python3.11/site-packages"


@pytest.fixture
def imported(project, build_cache):
    """Builds the project with byte code of what is imported, and more of a configuration."""

    def build(more: str = "", *, cache: Path = build_cache) -> Build:
        project.configure(f'byte-code = "imported"\n{more}')
        return build_with_report(Component.load(project.directory), cache, progress=lambda _: None)

    return build


def files(build: Build) -> set[str]:
    found = set()
    for layer in build.image.layers[1:]:
        with layer.blob.open() as blob, tarfile.open(fileobj=blob, mode="r:gz") as tar:
            found |= set(tar.getnames())
    return found


def compiled(build: Build) -> set[str]:
    """The modules that have byte code, as paths of sources."""
    suffix = ".cpython-311.pyc"
    return {
        name.removeprefix(f"{SITE}/").replace("__pycache__/", "").removesuffix(suffix) + ".py"
        for name in files(build)
        if name.endswith(suffix)
    }


def sources(build: Build, package: str) -> set[str]:
    names = (name.removeprefix(f"{SITE}/") for name in files(build))
    return {name for name in names if name.startswith(f"{package}/") and name.endswith(".py")}


def changed(before: Build, after: Build) -> list[str]:
    """The layers that are not as they were, by what they hold."""
    names = [layer.name for layer in after.layers]
    layers = zip(names, before.image.layers, after.image.layers, strict=True)
    return [name for name, old, new in layers if old != new]


def edit(project, text: str) -> None:
    with (project.directory / "src" / "hail" / "__init__.py").open("a") as source:
        source.write(text)


def test_the_projects_are_compiled_whole_and_of_packages_what_they_import(imported, project):
    (project.directory / "src" / "hail" / "unused.py").write_text("")
    build = imported()
    assert compiled(build) == {"hail/__init__.py", "hail/unused.py", "goods/__init__.py"} | sources(
        build, "h11"
    )
    assert len(sources(build, "h11")) > 8
    assert "jmespath/parser.py" in sources(build, "jmespath")


@pytest.mark.parametrize(
    "entrypoint", ['["python", "-m", "jmespath.parser"]', '["serve", "--class=jmespath.parser:Parser"]']
)
def test_the_command_names_modules_too(imported, entrypoint):
    found = compiled(imported(f"entrypoint = {entrypoint}\n"))
    assert found >= {f"jmespath/{name}.py" for name in ("__init__", "parser", "lexer", "ast")}


def test_a_change_of_what_is_imported_changes_the_layers_that_it_is_about(imported, project):
    first = imported()
    edit(project, "\ndef later():\n    from jmespath import lexer\n    import json.tool\n")
    second = imported()
    assert compiled(second) - compiled(first) == {
        f"jmespath/{name}.py"
        for name in ("__init__", "ast", "compat", "exceptions", "functions", "lexer", "parser", "visitor")
    }
    assert changed(first, second) == ["dependencies: jmespath", "app"]
    assert "  byte code: +8 modules" in second.explanation


def test_another_line_changes_no_layer_but_the_apps(imported, project):
    first = imported()
    edit(project, "\nimport calendar\nGREETING = 'hello'\n")
    second = imported()
    assert changed(first, second) == ["app"]
    assert [layer.name for layer in second.layers if not layer.cached] == ["app"]


def test_what_is_made_anew_is_the_same(imported, build_cache, tmp_path):
    one = imported()
    cache = tmp_path / "cold"
    shutil.copytree(build_cache, cache, copy_function=os.link, symlinks=True)
    for name in ("imports", "bytecode", "sizes"):
        shutil.rmtree(cache / name)
    for record in (cache / "layers").iterdir():
        if str(one.image.layers[0].descriptor.digest) not in record.read_text():
            record.unlink()
    again = imported(cache=cache)
    assert [layer.cached for layer in again.layers] == [True, False, False, False]
    assert again.image.digest == one.image.digest


def test_a_switch_between_kinds_of_byte_code_is_told_once_a_layer(imported, project, built, build_cache):
    imported()
    project.configure("")
    build = build_with_report(Component.load(project.directory), build_cache, progress=lambda _: None)
    assert [line for line in build.explanation if "byte code" in line] == ["  ~ byte code"] * 2
    assert build.image.layers[:-1] == built.build.image.layers[:-1]
