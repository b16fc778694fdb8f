"""Plain wheels are laid out as the installer would; others, and what is no wheel, are not."""

import zipfile

import pytest

from tagboat.build import uv
from tagboat.build.files import File
from tagboat.build.interpreter import Interpreter, Libc
from tagboat.build.unpacking import UnpackingError, lay_out
from tagboat.build.venv import installed_files

INTERPRETER = Interpreter("/usr/bin/python3.11", (3, 11, 2), Libc("glibc", (2, 36)))


def _content(files):
    return {
        path: (entry.read(), entry.executable) if isinstance(entry, File) else entry
        for path, entry in files.items()
    }


@pytest.fixture
def wheels(project, tmp_path):
    tool = project.directory / "src" / "hail" / "tool"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    for folder in (project.directory, project.root / "goods"):
        uv.build_wheel(folder, tmp_path / "wheels")
    return sorted((tmp_path / "wheels").glob("*.whl"))


def test_the_same_files_as_an_installer_makes(wheels, tmp_path):
    assert len(wheels) == 2
    assert lay_out(wheels, tmp_path / "ours", INTERPRETER)
    (tmp_path / "theirs").mkdir()
    uv.install_wheels(wheels, tmp_path / "theirs", interpreter=INTERPRETER)
    ours = _content(installed_files(tmp_path / "ours", INTERPRETER))
    assert ours == _content(installed_files(tmp_path / "theirs", INTERPRETER))
    assert ours["opt/venv/bin/hail"][1]


def test_a_wheel_with_files_for_other_places_is_left_to_the_installer(wheels, tmp_path):
    with zipfile.ZipFile(wheels[1], "a") as archive:
        archive.writestr("hail-1.2.3.data/scripts/hello", "#!python\n")
    assert not lay_out(wheels, tmp_path / "ours", INTERPRETER)
    assert not (tmp_path / "ours").exists()


def test_what_is_no_wheel_is_named(tmp_path):
    (tmp_path / "bad.whl").write_bytes(b"nothing")
    with pytest.raises(UnpackingError, match=r"bad\.whl is no wheel"):
        lay_out([tmp_path / "bad.whl"], tmp_path / "ours", INTERPRETER)


def test_no_name_leads_out(wheels, tmp_path):
    with zipfile.ZipFile(wheels[1], "a") as archive:
        archive.writestr("../../../../../outside", "")
        archive.writestr("/outside", "")
    assert lay_out(wheels, tmp_path / "deep" / "ours", INTERPRETER)
    assert [path for path in tmp_path.rglob("outside") if "site-packages" not in path.parts] == []


@pytest.mark.parametrize("limit", ["MAX_SIZE", "MAX_ENTRIES"])
def test_a_wheel_that_is_too_large_unpacked_leaves_nothing(wheels, tmp_path, monkeypatch, limit):
    monkeypatch.setattr(f"tagboat.build.unpacking.{limit}", 2)
    with pytest.raises(
        UnpackingError, match=rf"{wheels[0].name} has \d+ bytes in \d+ files unpacked; .* most"
    ):
        lay_out(wheels, tmp_path / "ours", INTERPRETER)
    assert not (tmp_path / "ours").exists()
