"""Where versions are written, and what the next one is."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from tagboat.errors import ConfigError
from tagboat.version import bump, read_version, rewritten

ATTRIBUTE = '"""A shop."""\n__version__: str = "1.4.0"\n'


@pytest.mark.parametrize(
    ("before", "step", "after"),
    [
        ("1.4.2", "major", "2.0.0"),
        ("1.4.2", "minor", "1.5.0"),
        ("1.4.2", "patch", "1.4.3"),
        ("1.4", "patch", "1.4.1"),
        ("1.4.2", "alpha", "1.4.3a1"),
        ("1.4.3a1", "alpha", "1.4.3a2"),
        ("1.4.3a2", "beta", "1.4.3b1"),
        ("1.4.3b1", "rc", "1.4.3rc1"),
        ("1.4.3.dev2", "rc", "1.4.3rc1"),
        ("1.4.3rc1", "stable", "1.4.3"),
        ("1.4.3rc1", "patch", "1.4.3"),
        ("1.5.0rc1", "minor", "1.5.0"),
        ("1.5.1rc1", "minor", "1.6.0"),
        ("2.0.0b1", "major", "2.0.0"),
        ("2.1.0b1", "major", "3.0.0"),
        ("1.4.2", "7.0", "7.0"),
        ("1.4.2", "v7.0-rc1", "7.0rc1"),
    ],
)
def test_a_bump_gives_the_next_version(before, step, after):
    assert bump(before, step) == after


@pytest.mark.parametrize(("before", "step"), [("1.4.2", "stable"), ("1.4.2rc1", "beta"), ("1.4.2", "large")])
def test_a_step_that_leads_nowhere_is_refused(before, step):
    with pytest.raises(ConfigError, match="--bump"):
        bump(before, step)


@given(
    st.tuples(*[st.integers(0, 50)] * 3),
    st.sampled_from(["", "a1", "b2", "rc3", ".dev1"]),
    st.sampled_from(["major", "minor", "patch"]),
)
def test_every_step_leads_up_to_a_release(release, suffix, step):
    before = Version(".".join(map(str, release)) + suffix)
    after = Version(bump(str(before), step))
    assert after > before
    assert not after.is_prerelease


def project(folder: Path, text: str, **files: str) -> Path:
    for name, content in files.items():
        file = folder / name.replace("__", "/").replace("_py", ".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    (folder / "pyproject.toml").write_text(text)
    return folder / "pyproject.toml"


def dynamic(backend: str, settings: str) -> str:
    return (
        '[project]\nname = "my-shop"\ndynamic = ["version"]\n'
        f'[build-system]\nbuild-backend = "{backend}"\n{settings}\n'
    )


@pytest.mark.parametrize(
    ("text", "files"),
    [
        (
            dynamic("hatchling.build", "[tool.hatch.version]\npath = 'src/shop.py'"),
            {"src__shop_py": ATTRIBUTE},
        ),
        (
            dynamic(
                "hatchling.build",
                "[tool.hatch.version]\npath = 'shop.py'\npattern = 'V=(?P<version>.*)'",
            ),
            {"shop_py": "V=1.4.0\n"},
        ),
        (
            dynamic("setuptools.build_meta", "[tool.setuptools.dynamic]\nversion = {file = ['VERSION']}"),
            {"VERSION": "1.4.0\n"},
        ),
        (
            dynamic(
                "setuptools.build_meta", "[tool.setuptools.dynamic]\nversion = {attr = 'shop.at.VERSION'}"
            ),
            {"src__shop__at_py": "VERSION = '1.4.0'\n"},
        ),
        (
            dynamic("pdm.backend", "[tool.pdm.version]\nsource = 'file'\npath = 'shop.py'"),
            {"shop_py": ATTRIBUTE},
        ),
        (dynamic("flit_core.buildapi", ""), {"my_shop__x": "", "src__my_shop_py": ATTRIBUTE}),
        (dynamic("flit_core.buildapi", "[tool.flit.module]\nname = 'shop'"), {"shop_py": ATTRIBUTE}),
        ('[project]\nname = "my-shop"\nversion = "1.4.0" # so far\n', {}),
        ('[tool.x]\nversion = "9"\n[project] # ours\nurls = {}\nversion = \'1.4.0\'\nname = "shop"\n', {}),
    ],
)
def test_a_version_is_read_and_written_where_the_build_backend_looks_for_it(tmp_path, text, files):
    file = project(tmp_path, text, **files)
    assert read_version(tomllib.loads(text), file) == "1.4.0"
    written, changed = rewritten(file, "1.5.0")
    assert changed == written.read_text().replace("1.4.0", "1.5.0")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[project]\nname = "shop"\n', "project.version is missing"),
        ('[project]\nname = "shop"\nversion = 1\n', "project.version must be a string"),
        ('[project]\nname = "shop"\nversion = "one"\n', "'one' is no version of PEP 440"),
        (
            dynamic("hatchling.build", "[tool.hatch.version]\nsource = 'vcs'"),
            "hatchling.build is told no file",
        ),
        (dynamic("hatchling.build", "[tool.hatch.version]\npath = 'gone.py'"), "gone.py, where the version"),
        (dynamic("flit_core.buildapi", "[tool.flit.module]\nname = 'pyproject'"), "cannot be read"),
    ],
)
def test_a_version_that_is_written_nowhere_is_refused(tmp_path, text, problem):
    file = project(tmp_path, text)
    with pytest.raises(ConfigError, match=problem):
        read_version(tomllib.loads(text), file)


def test_a_file_without_the_version_is_named(tmp_path):
    text = dynamic("hatchling.build", "[tool.hatch.version]\npath = 'shop.py'")
    file = project(tmp_path, text, shop_py="pass\n")
    with pytest.raises(ConfigError, match=r"shop\.py: no version is written there"):
        read_version(tomllib.loads(text), file)


def test_a_version_written_in_another_way_is_left_to_hands(tmp_path):
    file = project(tmp_path, 'project.name = "shop"\nproject.version = "1.4.0"\n')
    with pytest.raises(ConfigError, match="no version is written there"):
        rewritten(file, "1.5.0")
    file = project(tmp_path, '[project]\nreadme = """\nversion = "0"\n"""\nversion = "1.4.0"\n')
    with pytest.raises(ConfigError, match="the version cannot be set"):
        rewritten(file, "1.5.0")
