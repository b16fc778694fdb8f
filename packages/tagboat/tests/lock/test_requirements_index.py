"""Hashed requirements that name no files: the index is asked which wheels there are when none fits."""

import pytest

from tagboat.build.cache import Cache
from tagboat.build.installer import Installer
from tagboat.build.selection import Selection
from tagboat.build.uv import UvError
from tagboat.component import Component
from tagboat.errors import ConfigError


@pytest.fixture
def install(tmp_path, index, uv, house, target):
    """Locks a component that needs these packages and installs them."""

    def run(needs: str, change=str, allowed: str = "") -> None:
        app = tmp_path / "app"
        app.mkdir()
        (app / "pyproject.toml").write_text(
            f'[project]\nname = "app"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = [{needs}]\n'
            'scripts = { app = "app:main" }\n'
            f"[tool.tagboat]\nbuild-from-source = [{allowed}]\n{index.settings}"
        )
        arguments = ("--generate-hashes", "--universal", "--no-header", "pyproject.toml")
        (app / "requirements.lock").write_text(change(uv(app, "pip", "compile", *arguments)))
        selection = Selection(Component.load(app), target(), Cache.open(tmp_path / "cache"))
        (tmp_path / "installed").mkdir()
        Installer(selection, tmp_path / "installed").install(selection.pins, "all")

    return run


def test_they_come_from_the_projects_own_index(install, tmp_path):
    install('"native", "plain"')
    (module,) = (tmp_path / "installed" / "all").rglob("native/__init__.py")
    assert "cp311-cp311-manylinux_2_28_x86_64" in module.read_text()


def test_a_missing_wheel_is_told_with_those_that_there_are(install, tmp_path):
    with pytest.raises(ConfigError) as caught:
        install('"plain", "toonew"')
    file = tmp_path / "app" / "requirements.lock"
    assert str(caught.value).splitlines() == [
        f"{file}: toonew 1.0 has no wheel for Python 3.11 with glibc 2.36 on x86_64",
        "  needs glibc 2.39, and the base has glibc 2.36: toonew-1.0-cp311-cp311-manylinux_2_39_x86_64.whl",
        "  for CPython 3.12: toonew-1.0-cp312-cp312-manylinux_2_28_x86_64.whl",
        "  for macOS: toonew-1.0-cp311-cp311-macosx_11_0_arm64.whl",
    ]
    assert caught.value.hint.startswith("take a base with glibc 2.39 or newer")


def test_a_package_that_has_only_its_source_is_told(install):
    with pytest.raises(ConfigError, match=r"(?s)sourceonly 1\.0 has no wheel.*there is only a source"):
        install('"sourceonly"')


def test_a_source_distribution_is_built_where_that_is_allowed(install, tmp_path):
    install('"plain", "sourceonly"', allowed='"SourceOnly"')
    (module,) = (tmp_path / "installed" / "all-built").rglob("sourceonly/__init__.py")
    assert module.read_text() == "TAG = 'built'\n"
    assert not list((tmp_path / "installed" / "all").rglob("sourceonly"))


def test_a_wheel_is_taken_where_there_is_one_though_it_could_be_built(install, tmp_path):
    install('"native"', allowed='"native"')
    (module,) = (tmp_path / "installed" / "all-built").rglob("native/__init__.py")
    assert "cp311-cp311-manylinux_2_28_x86_64" in module.read_text()


def test_what_was_compiled_for_this_machine_is_refused(install):
    with pytest.raises(ConfigError, match="compiled has parts that were compiled, for this machine"):
        install('"compiled"', allowed='"compiled"')


def test_what_the_index_does_not_have_at_all_is_said_in_uvs_words(install):
    with pytest.raises(UvError, match=r"no version of plain==7"):
        install('"plain"', lambda text: text.replace("plain==1.0", "plain==7"))
