"""A component's folder, read as a whole."""

import pytest

from tagboat.component import Component
from tagboat.errors import ConfigError


def refusal(directory) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        Component.load(directory)
    return caught.value


def test_name_version_and_description_come_from_the_project(project):
    component = Component.load(project.directory)
    assert (component.name, component.version, component.description) == ("hail", "1.2.3", "Says what it is.")
    assert component.source_url == "https://git.example/hail"
    assert component.directory == project.directory
    assert component.lock == project.directory / "requirements.lock"


def test_local_packages_go_in_too_whatever_way_they_are_reached(project):
    directory = project.root / "more"
    directory.mkdir()
    (directory / "pyproject.toml").write_text(
        '[project]\nname = "More_Goods"\nversion = "1"\ndependencies = ["hail", "goods"]\n'
        '[tool.uv.sources]\nhail = {path = "../hail"}\ngoods = {path = "../goods"}\n'
    )
    goods = project.root / "goods" / "pyproject.toml"
    goods.write_text(
        goods.read_text().replace('version = "0.1"', 'version = "0.1"\ndependencies = ["more-goods>=1"]')
        + '[tool.uv.sources]\nmore-goods = {path = "../more"}\n'
    )
    component = Component.load(project.directory)
    assert [(package.name, package.directory) for package in component.packages] == [
        ("hail", project.directory),
        ("goods", project.root / "goods"),
        ("more-goods", directory),
    ]
    assert component.source_directories == tuple(package.directory for package in component.packages)


def test_members_of_a_workspace_are_local_packages(project):
    (project.root / "pyproject.toml").write_text('[tool.uv.workspace]\nmembers = ["other*", "goods"]\n')
    text = project.pyproject.read_text().replace(
        '{ path = "../goods", editable = true }', "{ workspace = true }"
    )
    project.pyproject.write_text(text)
    assert Component.load(project.directory).source_directories == (project.directory, project.root / "goods")
    (project.root / "pyproject.toml").write_text("[tool.uv.workspace]\nmembers = []\n")
    assert f"the workspace {project.root} has no member goods" in str(refusal(project.directory))


def test_a_source_that_only_development_uses_stays_out(project):
    text = project.pyproject.read_text().replace('["goods", "h11", "jmespath"]', "[]")
    project.pyproject.write_text(text)
    assert Component.load(project.directory).source_directories == (project.directory,)


@pytest.mark.parametrize(
    "source", ['{ git = "x" }', '{ index = "x" }', '{ path = "../goods-1-py3-none-any.whl" }']
)
def test_what_comes_from_elsewhere_is_for_the_lock_to_have(project, source):
    text = project.pyproject.read_text().replace('{ path = "../goods", editable = true }', source)
    project.pyproject.write_text(text)
    assert Component.load(project.directory).source_directories == (project.directory,)


def test_a_source_where_nothing_is_gets_named(project):
    project.pyproject.write_text(project.pyproject.read_text().replace("../goods", "../gone"))
    assert f"there is no project in {project.root / 'gone'}" in str(refusal(project.directory))


def test_a_folder_without_a_project_is_refused(tmp_path):
    assert str(refusal(tmp_path)) == f"{tmp_path} has no pyproject.toml"
    (tmp_path / "file").touch()
    assert str(refusal(tmp_path / "file")) == f"{tmp_path}/file is no folder"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not toml", "not TOML"),
        ("[project]\nversion = '1'", "project.name is missing"),
        ("[project]\nname = 'shop'\ndynamic = ['version']", "the version is dynamic, and setuptools"),
        ("[project]\nname = 'shop'\nversion = 'one'", "'one' is no version"),
        ("[project]\nname = 'shop'\nversion = '1'\n[tool]\ntagboat = 1", "tool.tagboat must be a table"),
        (
            "[project]\nname='s'\nversion='1'\ndependencies=['?']\nscripts={s='s:m'}",
            "project.dependencies: '?' cannot be",
        ),
    ],
)
def test_a_project_that_says_too_little_is_refused_with_the_file(tmp_path, text, message):
    (tmp_path / "pyproject.toml").write_text(text)
    refused = str(refusal(tmp_path))
    assert refused.startswith(str(tmp_path / "pyproject.toml"))
    assert message in refused


LOCKS = ("uv.lock", "pylock.toml", "requirements.lock")


@pytest.mark.parametrize("name", LOCKS)
def test_the_lock_is_the_only_one_beside_the_project(project, name):
    (project.directory / "requirements.lock").rename(project.directory / name)
    assert Component.load(project.directory).lock == project.directory / name


def test_of_several_locks_one_must_be_named(project):
    (project.directory / "uv.lock").touch()
    with pytest.raises(ConfigError) as caught:
        _ = Component.load(project.directory).lock
    assert str(caught.value) == f"{project.directory} has 2 locks: uv.lock, requirements.lock"
    assert caught.value.hint == 'say which: lock = "uv.lock" in [tool.tagboat] of pyproject.toml'
    project.configure('lock = "uv.lock"\n')
    assert Component.load(project.directory).lock == project.directory / "uv.lock"


def test_the_lock_of_a_workspace_is_for_members_that_have_none(project):
    (project.root / "pyproject.toml").write_text('[tool.uv.workspace]\nmembers = ["hail"]\n')
    (project.root / "uv.lock").touch()
    assert Component.load(project.directory).lock == project.directory / "requirements.lock"
    (project.directory / "requirements.lock").unlink()
    assert Component.load(project.directory).lock == project.root / "uv.lock"
    (project.root / "pyproject.toml").write_text('[tool.uv.workspace]\nmembers = ["goods"]\n')
    with pytest.raises(ConfigError) as caught:
        _ = Component.load(project.directory).lock
    message = f"{project.directory} has no lock: neither uv.lock, pylock.toml nor requirements.lock"
    assert str(caught.value) == message
    assert "`uv lock`" in caught.value.hint


def test_sources_of_a_workspace_are_those_of_its_members(project):
    workspace = '[tool.uv.workspace]\nmembers = ["hail"]\n[tool.uv.sources]\ngoods = { path = "goods" }\n'
    (project.root / "pyproject.toml").write_text(workspace)
    text = project.pyproject.read_text()
    project.pyproject.write_text(text.replace('goods = { path = "../goods", editable = true }', ""))
    assert Component.load(project.directory).source_directories == (project.directory, project.root / "goods")
    (project.root / "pyproject.toml").write_text(workspace.replace('"hail"', ""))
    assert Component.load(project.directory).source_directories == (project.directory,)


def test_extras_that_are_asked_for_bring_what_they_need(project):
    extra = project.root / "extra"
    extra.mkdir()
    (extra / "pyproject.toml").write_text('[project]\nname = "extra"\nversion = "1"\n')
    goods = project.root / "goods" / "pyproject.toml"
    goods.write_text(
        goods.read_text() + '[project.optional-dependencies]\nall = ["goods[More]"]\nmore = ["extra"]\n'
        'other = ["gone"]\n[tool.uv.sources]\nextra = { path = "../extra" }\n'
    )
    assert extra not in Component.load(project.directory).source_directories
    project.pyproject.write_text(project.pyproject.read_text().replace('"goods",', '"goods[all]",'))
    component = Component.load(project.directory)
    assert component.source_directories[-1] == extra
    goods_package = component.packages[1]
    assert goods_package.extras == {"all", "more"}
    assert [str(one) for one in goods_package.requirements] == ["goods[More]", "extra"]
