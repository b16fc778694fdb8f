"""What is made upon a frame is what a build makes."""

import shutil

import pytest

from tagboat.build.frame import Frame
from tagboat.component import Component
from tagboat.push import make, make_upon

SOURCE = "src/hail/__init__.py"


def _quiet(_):
    pass


def _make(project, cache):
    return make(Component.load(project.directory), (), cache, _quiet, _quiet)


def _commit(project):
    project.git("add", ".")
    project.git("commit", "--quiet", "--allow-empty", "--message=Another")


CHANGES = {
    "nothing": lambda _: None,
    "a line": lambda at: (at.directory / SOURCE).write_text("print('Ahoy')\n"),
    "a line of another package": lambda at: (at.root / "goods/src/goods/__init__.py").write_text("NAME = 1"),
    "a file more": lambda at: (at.directory / "src/hail/more.py").write_text("MORE = 1\n"),
    "assets": lambda at: (at.directory / "src/hail/photo.jpg").write_bytes(bytes(range(256)) * 512),
    "a file less": lambda at: (at.root / "goods/src/goods/data.txt").unlink(),
    "a program": lambda at: (at.directory / SOURCE).chmod(0o755),
    "a readme": lambda at: (at.directory / "README.md").write_text("Hail\n"),
    "a commit": _commit,
    "a line, committed": lambda at: ((at.directory / SOURCE).write_text("pass\n"), _commit(at)),
}


@pytest.fixture
def repository(project):
    (project.root / "goods/src/goods/data.txt").touch()
    project.git("init", "--quiet", "--initial-branch=main")
    _commit(project)
    return project


@pytest.mark.parametrize(
    "settings", ["", 'compression = "zstd"\nbyte-code = false\n[tool.tagboat.environment]\nA = "${HOME}"\n']
)
def test_what_is_made_upon_a_frame_is_what_a_build_makes(repository, build_cache, settings):
    repository.configure(settings)
    known = _make(repository, build_cache).known
    for name, change in CHANGES.items():
        change(repository)
        upon = make_upon(known, build_cache, _quiet, _quiet).images
        anew = _make(repository, build_cache).images
        assert [image.manifest_bytes for image in upon] == [image.manifest_bytes for image in anew], name
        assert [image.config_bytes for image in upon] == [image.config_bytes for image in anew], name


def test_with_byte_code_of_what_is_imported_a_frame_holds_while_that_is_the_same(repository, build_cache):
    repository.configure('byte-code = "imported"\n')
    known = _make(repository, build_cache).known
    source = repository.directory / SOURCE
    source.write_text(source.read_text() + "\nHAIL = 1\n")
    upon = make_upon(known, build_cache, _quiet, _quiet).images
    assert [image.digest for image in upon] == [
        image.digest for image in _make(repository, build_cache).images
    ]
    source.write_text(source.read_text() + "import jmespath\n")
    assert make_upon(known, build_cache, _quiet, _quiet) is None


def test_a_frame_is_none_without_its_layers(repository, build_cache, tmp_path):
    (text,) = _make(repository, build_cache).known.frames
    there = Frame.from_text(text)
    assert there.to_text() == text
    layer = there.layers[0].layer.blob.path
    gone = tmp_path / "gone"
    shutil.copy(layer, gone)
    text = text.replace(str(layer), str(gone))
    assert Frame.from_text(text) is not None
    gone.write_bytes(gone.read_bytes()[:-1])  # as a machine that lost power leaves it
    assert Frame.from_text(text) is None
    gone.unlink()
    assert Frame.from_text(text) is None
    assert make_upon(None, tmp_path, _quiet, _quiet) is None
