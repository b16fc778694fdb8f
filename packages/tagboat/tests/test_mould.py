"""Moulds: what is made of one is what a wheel of the sources themselves makes, whatever they hold."""

import re

import pytest

from tagboat.build import mould, source, uv
from tagboat.build.cache import Cache
from tagboat.build.files import File
from tagboat.build.interpreter import Interpreter, Libc
from tagboat.build.mould import build_mould, project_files
from tagboat.build.source import SourceError, SourceTree
from tagboat.build.unpacking import lay_out
from tagboat.build.venv import installed_files

UV = uv.uv_version()
INTERPRETER = Interpreter("/usr/bin/python3.11", (3, 11, 2), Libc("glibc", (2, 36)))


@pytest.fixture
def store(tmp_path):
    return Cache.open(tmp_path / "cache")


def _content(files):
    return {
        path: (entry.read(), entry.executable) if isinstance(entry, File) else entry
        for path, entry in files.items()
    }


def _make(directory, store, folder):
    """What lies in the image of the project, and what was said meanwhile."""
    said = []
    folder.mkdir()
    made = build_mould("hail", SourceTree.read(directory), UV, store, said.append)
    return _content(project_files(made, INTERPRETER, store, folder)), said


def _make_whole(directory, folder):
    """What lies in the image when the wheel is made of the sources themselves."""
    uv.build_wheel(directory, folder / "wheel")
    (wheel,) = (folder / "wheel").glob("*.whl")
    (folder / "installed").mkdir()
    uv.install_wheels([wheel], folder / "installed", interpreter=INTERPRETER)
    return _content(installed_files(folder / "installed", INTERPRETER))


def test_an_edit_needs_no_other_wheel(project, store, tmp_path):
    _, said = _make(project.directory, store, tmp_path / "before")
    assert said == ["building the wheel of hail"]
    (project.directory / "src/hail/__init__.py").write_text("edited = True\n")
    made, said = _make(project.directory, store, tmp_path / "after")
    assert said == []
    site = "opt/venv/lib/python3.11/site-packages"
    assert made[f"{site}/hail/__init__.py"] == (b"edited = True\n", False)
    assert made == _make_whole(project.directory, tmp_path)


def test_files_of_every_kind_come_through(project, store, tmp_path):
    package = project.directory / "src" / "hail"
    (package / "empty.py").touch()
    (package / "tool").write_bytes(b"#!/bin/sh\n")
    (package / "tool").chmod(0o755)
    (package / "bytes.bin").write_bytes(bytes(range(256)) * 40)
    (package / 'größe, "x".txt').write_text("ü")
    (package / "two lines\u2028.txt").write_text("as a RECORD quotes them")
    (package / "LICENSE").write_text("as you like")
    (project.directory / "docs").mkdir()
    (project.directory / "docs" / "about.md").write_text("# Says what it is\n")
    text = project.pyproject.read_text().replace(
        'description = "Says what it is."',
        'readme = "./docs/about.md"\nlicense-files = ["src/*/LICENSE"]',
    )
    project.pyproject.write_text(text)
    made, _ = _make(project.directory, store, tmp_path / "ours")
    assert made == _make_whole(project.directory, tmp_path)
    assert any(b"# Says what it is" in content for path, (content, _) in _files(made) if "METADATA" in path)


def _files(made):
    return [(path, entry) for path, entry in made.items() if isinstance(entry, tuple)]


@pytest.mark.parametrize("change", ["name", "mode", "readme", "pyproject"])
def test_what_decides_about_the_wheel_makes_another(project, store, tmp_path, change):
    (project.directory / "README.md").write_text("first")
    project.pyproject.write_text(
        project.pyproject.read_text().replace("[project]\n", '[project]\nreadme = "README.md"\n')
    )
    _make(project.directory, store, tmp_path / "before")
    match change:
        case "name":
            (project.directory / "src/hail/more.py").touch()
        case "mode":
            (project.directory / "src/hail/__init__.py").chmod(0o755)
        case "readme":
            (project.directory / "README.md").write_text("second")
        case "pyproject":
            project.pyproject.write_text(project.pyproject.read_text().replace("1.2.3", "1.2.4"))
    made, said = _make(project.directory, store, tmp_path / "after")
    assert said == ["building the wheel of hail"]
    assert made == _make_whole(project.directory, tmp_path)


def test_a_wheel_with_files_for_other_places_is_made_of_the_sources(project, store, tmp_path):
    (project.directory / "scripts").mkdir()
    (project.directory / "scripts" / "shout").write_text("#!python\nprint('HAIL')\n")
    project.pyproject.write_text(
        project.pyproject.read_text() + '[tool.uv.build-backend.data]\nscripts = "scripts"\n'
    )
    made, said = _make(project.directory, store, tmp_path / "ours")
    assert said == ["building the wheel of hail"] * 2  # it shows only in the mould
    assert made["opt/venv/bin/shout"][0].endswith(b"\nprint('HAIL')\n")
    assert made == _make_whole(project.directory, tmp_path)
    assert _make(project.directory, store, tmp_path / "again") == (made, [])


def test_a_backend_that_may_look_into_files_gets_them(project, store, tmp_path, monkeypatch):
    monkeypatch.setattr(mould, "_COPYING", "another")
    made = build_mould("hail", SourceTree.read(project.directory), UV, store, print)
    assert lay_out([made.wheel], tmp_path / "ours", INTERPRETER)
    assert _content(installed_files(tmp_path / "ours", INTERPRETER)) == _make_whole(
        project.directory, tmp_path
    )


def _with_backend(project, requires, backend, more=""):
    text = (
        project.pyproject.read_text()
        .replace("uv_build>=0.13,<0.14", requires)
        .replace('"uv_build"', f'"{backend}"')
    )
    project.pyproject.write_text(text + more)


@pytest.mark.parametrize(
    "backend",
    [
        ("hatchling", "hatchling.build"),
        ("flit_core", "flit_core.buildapi"),
        ("setuptools", "setuptools.build_meta", '[tool.setuptools.package-data]\nhail = ["*.txt"]\n'),
    ],
)
def test_other_backends_copy_too(project, store, tmp_path, backend):
    _with_backend(project, *backend)
    package = project.directory / "src" / "hail"
    (package / "data.txt").write_text("data\n")
    _, said = _make(project.directory, store, tmp_path / "before")
    assert said == ["building the wheel of hail"]
    (package / "__init__.py").write_text('"""Edited."""\n')
    (package / "data.txt").write_text("edited\n")
    made, said = _make(project.directory, store, tmp_path / "after")
    assert said == []
    assert made == _make_whole(project.directory, tmp_path)


@pytest.mark.parametrize(
    ("backend", "beside"),
    [
        (('hatchling", "hatch-vcs', "hatchling.build", ""), ""),
        (("hatchling", "hatchling.build", "[tool.hatch.build.targets.wheel.hooks.custom]\n"), ""),
        (("hatchling", "hatchling.build", ""), "hatch.toml"),
        (("setuptools", "setuptools.build_meta", ""), "setup.py"),
        (("setuptools", "setuptools.build_meta", "[tool.setuptools.cmdclass]\nbuild = 'a.b'\n"), ""),
        (("setuptools", "setuptools.build_meta", "[tool.distutils.build_ext]\n"), ""),
        (("setuptools", "setuptools.build_meta:__legacy__", ""), ""),
        (("poetry-core", "poetry.core.masonry.api", ""), ""),
        (("file.whl @ file:///file.whl", "hatchling.build", ""), ""),
    ],
)
def test_a_backend_that_is_asked_for_more_gets_the_files(project, store, backend, beside):
    _with_backend(project, *backend)
    (project.directory / (beside or "other")).touch()
    assert mould._to_stand_in(SourceTree.read(project.directory), store) == frozenset()


def test_dynamic_metadata_is_looked_up_in_files(project, store):
    _with_backend(
        project, "hatchling", "hatchling.build", '[tool.hatch.version]\npath = "src/hail/__init__.py"\n'
    )
    stood_in = mould._to_stand_in(SourceTree.read(project.directory), store)
    assert stood_in == {"src/hail/__init__.py"}
    text = project.pyproject.read_text().replace('version = "1.2.3"', 'dynamic = ["version"]', 1)
    project.pyproject.write_text(text)
    assert mould._to_stand_in(SourceTree.read(project.directory), store) == frozenset()


def test_a_licence_goes_into_the_metadata_as_it_is(project, store):
    (project.directory / "texts").mkdir()
    (project.directory / "texts/licence").write_text("Do what you like.\n")
    text = project.pyproject.read_text().replace('license = "MIT"', 'license = { file = "texts/licence" }')
    project.pyproject.write_text(text)
    assert "texts/licence" not in mould._to_stand_in(SourceTree.read(project.directory), store)


def test_large_sources_are_not_held_in_memory(project, store, tmp_path, monkeypatch):
    monkeypatch.setattr(source, "_IN_MEMORY", 100)
    (project.directory / "src/hail/large.bin").write_bytes(bytes(101))
    made, _ = _make(project.directory, store, tmp_path / "ours")
    assert [file.read_bytes() for file in (tmp_path / "ours").iterdir() if file.stat().st_size == 101]
    assert made == _make_whole(project.directory, tmp_path)


def test_a_file_that_changes_meanwhile_is_as_it_was_read(project, store, tmp_path):
    made = build_mould("hail", SourceTree.read(project.directory), UV, store, print)
    expected = _make_whole(project.directory, tmp_path)
    (project.directory / "src/hail/__init__.py").write_text("too late\n")
    assert _content(project_files(made, INTERPRETER, store, tmp_path)) == expected


def test_a_large_file_that_changes_meanwhile_stops_the_build(project, store, tmp_path, monkeypatch):
    monkeypatch.setattr(source, "_IN_MEMORY", 0)
    made = build_mould("hail", SourceTree.read(project.directory), UV, store, print)
    file = project.directory / "src/hail/__init__.py"
    file.write_text("too late\n")
    with pytest.raises(SourceError, match=re.escape(f"{file} was changed while the image was built")):
        project_files(made, INTERPRETER, store, tmp_path)
    file.unlink()
    with pytest.raises(SourceError, match="cannot be read"):
        project_files(made, INTERPRETER, store, tmp_path)


def test_a_project_that_cannot_be_built_is_named_by_its_own_folder(project, store):
    project.pyproject.write_text(project.pyproject.read_text().replace("1.2.3", "no version"))
    with pytest.raises(uv.UvError, match=re.escape(str(project.directory))):
        build_mould("hail", SourceTree.read(project.directory), UV, store, print)
