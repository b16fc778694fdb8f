"""Which input changed a layer, told by the build that made it anew."""

import re

import pytest

from tagboat.build import build_with_report
from tagboat.build.explanation import explain
from tagboat.component import Component


@pytest.fixture
def explained(project, build_cache):
    """Builds the project, and gives the explanation."""

    def build() -> list[str]:
        component = Component.load(project.directory)
        return list(build_with_report(component, build_cache, progress=lambda _: None).explanation)

    return build


def changed(lines: list[str]) -> list[str]:
    return [line for line in lines if not line.endswith("MB") or "as before" not in line]


def test_of_a_first_build_all_layers_are_new(explained):
    lines = explained()
    assert all(re.fullmatch(r"\S.*: new, \d+\.\d\d MB", line) for line in lines)
    assert [line.partition(":")[0] for line in lines if not line.startswith("dependencies")] == ["app"]


def test_of_a_build_with_the_same_inputs_none_is(explained):
    explained()
    lines = explained()
    assert lines
    assert changed(lines) == []


def test_a_changed_file_is_named(explained, project):
    explained()
    (project.directory / "src" / "hail" / "__init__.py").write_text("def main(): pass\n")
    (project.directory / "src" / "hail" / "more.py").write_text("")
    assert changed(explained())[1:] == ["  ~ hail: src/hail/__init__.py", "  + hail: src/hail/more.py"]
    (project.directory / "src" / "hail" / "more.py").unlink()
    assert changed(explained())[1:] == ["  - hail: src/hail/more.py"]


def test_a_changed_local_package_is_named(explained, project):
    explained()
    (project.root / "goods" / "src" / "goods" / "__init__.py").write_text('NAME = "other"\n')
    lines = changed(explained())
    assert re.fullmatch(r"app: changed, \d+\.\d\d MB", lines[0])
    assert lines[1:] == ["  ~ goods: src/goods/__init__.py"]


def test_a_changed_setting_is_named_at_every_layer_that_it_is_about(explained, project):
    explained()
    project.configure("byte-code = false\n")
    lines = changed(explained())
    layers = [line.partition(":")[0] for line in lines if not line.startswith(" ")]
    assert layers == ["dependencies", "dependencies", "app"]
    assert lines.count("  ~ byte code") == len(layers)
    assert [line for line in lines if line.startswith("  ~ hail")] == ["  ~ hail: pyproject.toml"]


def test_a_layer_that_came_out_the_same_is_not_called_changed(explained, project):
    explained()
    project.configure('stop-signal = "SIGINT"\n')
    *_, app, change = explained()
    assert re.fullmatch(r"app: made anew, as before, \d+\.\d\d MB", app)
    assert change == "  ~ hail: pyproject.toml"


def test_a_removed_dependency_is_named(explained, project):
    explained()
    lock = project.directory / "requirements.lock"
    lock.write_text(lock.read_text().partition("jmespath")[0])
    pyproject = project.pyproject.read_text()
    project.pyproject.write_text(pyproject.replace(', "jmespath"', ""))
    lines = changed(explained())
    assert "  ~ hail: pyproject.toml" in lines
    assert "  ~ hail: requirements.lock" in lines
    assert any(re.fullmatch(r"dependencies \d+: gone", line) for line in lines)


def test_of_many_changes_some_are_named(explained, project):
    explained()
    for number in range(20):
        (project.directory / "src" / "hail" / f"part{number:02}.py").write_text("")
    lines = changed(explained())
    assert lines[1] == "  + hail: src/hail/part00.py"
    assert lines[-1] == "  and 12 more"


def test_nothing_to_compare_explains_nothing():
    assert list(explain({"app": {}}, [])) == ["app: gone"]
    assert list(explain(None, [])) == []


def test_the_command_says_it_beside_the_digest(tagboat, project, built):
    first = tagboat("build", "--explain")
    assert first.stdout == f"{built.build.image.digest}\n"
    assert "tagboat: app: new, " in first.stderr
    (project.directory / "src" / "hail" / "more.py").write_text("")
    second = tagboat("build", "--explain")
    assert "tagboat:   + hail: src/hail/more.py\n" in second.stderr
