"""Whatever decides an image shows in the fingerprint, and what was pushed is then built again."""

import json
import os
import time

import pytest

from tagboat.component import Component
from tagboat.fingerprint import Fingerprint, Known, Pushed, Record, Scope, Seen
from tagboat.places import Places

PUSHED = Pushed("sha256:" + "0" * 64, "application/vnd.oci.image.manifest.v1+json")


@pytest.fixture
def repository(project):
    project.git("init", "--quiet", "--initial-branch=main")
    project.git("add", ".")
    project.git("commit", "--quiet", "--message=First")
    return project


def _same_size_and_time(file, content):
    before = file.stat()
    file.write_text(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size


OF_THE_APP = {
    "an edit that keeps size and time": lambda at: _same_size_and_time(
        at.root / "goods/src/goods/__init__.py", 'NAME = "other"\n'
    ),
    "a new file": lambda at: (at.directory / "src/hail/more.py").touch(),
    "a new folder": lambda at: (at.directory / "src/hail/more").mkdir(),
    "a file gone": lambda at: (at.directory / "src/hail/__init__.py").unlink(),
    "a file that can be executed": lambda at: (at.directory / "src/hail/__init__.py").chmod(0o755),
    "what git ignores": lambda at: (at.root / ".gitignore").write_text("*.txt\n"),
    "what git ignores here alone": lambda at: (at.root / ".git/info/exclude").write_text("*.txt\n"),
    "a commit": lambda at: at.git("commit", "--quiet", "--allow-empty", "--message=Second"),
    "another branch": lambda at: at.git("checkout", "--quiet", "-b", "side"),
    "something staged": lambda at: at.git("rm", "--quiet", "--cached", "goods/pyproject.toml"),
}
OF_ALL = {
    "a lock": lambda at: (at.directory / "requirements.lock").write_text(""),
    "a base.lock where there was none": lambda at: (at.directory / "base.lock").touch(),
    "a lock of the workspace around": lambda at: (at.root / "uv.lock").touch(),
    "the configuration": lambda at: at.configure('user = "7"\n'),
    "the project of a local package": lambda at: (at.root / "goods/pyproject.toml").write_text(
        '[project]\nname = "goods"\nversion = "0.2"\n'
    ),
    "the time to be stamped": lambda _: os.environ.update(SOURCE_DATE_EPOCH="7"),
}


@pytest.fixture
def environment(monkeypatch):
    """What a test puts into the environment goes with it."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    return monkeypatch


@pytest.mark.parametrize("name", [*OF_THE_APP, *OF_ALL])
def test_a_change_shows(repository, environment, tmp_path, name):
    scope = Scope.of(Component.load(repository.directory), tmp_path)
    before = scope.fingerprint()
    assert before == scope.fingerprint()
    while time.time_ns() < before.all.newest + 50_000_000:  # a file system's clock is coarser than ours
        time.sleep(0.01)
    (OF_THE_APP | OF_ALL)[name](repository)
    after = scope.fingerprint()
    assert after.all.value != before.all.value
    assert (after.settings == before.settings) is (name in OF_THE_APP)


def test_a_variable_of_the_configuration_shows_and_no_other(repository, environment, tmp_path):
    repository.configure('[tool.tagboat.environment]\nMOTTO = "${WORDS}"\n')
    environment.setenv("WORDS", "one")
    scope = Scope.of(Component.load(repository.directory), tmp_path)
    before = scope.fingerprint()
    environment.setenv("OTHER", "two")
    assert scope.fingerprint() == before
    environment.setenv("WORDS", "two")
    assert scope.fingerprint() != before


def test_a_file_of_the_version_is_a_setting(repository, tmp_path):
    project = repository.pyproject.read_text().replace('version = "1.2.3"', 'dynamic = ["version"]', 1)
    project = project.replace('"uv_build"\n', '"hatchling.build"\n')
    repository.pyproject.write_text(project + '[tool.hatch.version]\npath = "src/hail/version.py"\n')
    version = repository.directory / "src/hail/version.py"
    version.write_text('VERSION = "1"\n')
    scope = Scope.of(Component.load(repository.directory), tmp_path)
    before = scope.fingerprint()
    version.write_text('VERSION = "1.1"\n')
    assert scope.fingerprint().settings != before.settings


def test_another_work_tree_shows_its_own_commits(repository, tmp_path):
    repository.git("worktree", "add", "--quiet", "-b", "side", str(tmp_path / "side"))
    side = type(repository)(tmp_path / "side")
    scope = Scope.of(Component.load(side.directory), tmp_path)
    before = scope.fingerprint()
    side.git("commit", "--quiet", "--allow-empty", "--message=Second")
    assert scope.fingerprint() != before


def test_a_link_shows_where_it_ends(repository, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("one")
    (repository.directory / "src/hail/data.txt").symlink_to(elsewhere)
    scope = Scope.of(Component.load(repository.directory), tmp_path)
    before = scope.fingerprint()
    elsewhere.write_text("three")
    assert scope.fingerprint() != before


def _remembered(repository, cache):
    record = Record.of(cache, repository.directory, [])
    scope = Scope.of(Component.load(repository.directory), cache)
    found = scope.fingerprint()
    settled = Fingerprint(Seen(found.all.value, 0), Seen(found.settings.value, 0))
    record.remember(Known(scope, settled, None, ("a frame",), time.time()), PUSHED)
    return record


def test_what_was_pushed_is_recalled_until_something_changes(repository, tmp_path):
    record = _remembered(repository, tmp_path / "cache")
    assert record.recall().pushed == PUSHED
    assert Record.of(tmp_path / "cache", repository.directory, ["linux/arm64"]).recall() is None
    (repository.directory / "src/hail/more.py").touch()
    assert (record.recall().pushed, record.recall().frames) == (None, ("a frame",))
    (repository.directory / "base.lock").touch()
    assert record.recall() is None


def test_what_had_only_just_changed_is_not_remembered(repository, tmp_path):
    record = Record.of(tmp_path / "cache", repository.directory, [])
    scope = Scope.of(Component.load(repository.directory), tmp_path / "cache")
    found = scope.fingerprint()
    settled = Seen(found.settings.value, 0)
    known = Known(scope, found, None, ("a frame",), time.time())
    record.remember(known, PUSHED)
    assert record.recall() is None
    record.remember(known._replace(found=Fingerprint(found.all, settled)), PUSHED)
    assert record.recall().pushed is None


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"scope": {}}'])
def test_a_damaged_record_is_none(repository, tmp_path, damage):
    record = _remembered(repository, tmp_path / "cache")
    record.file.write_text(damage)
    assert record.recall() is None


def test_a_cache_that_takes_no_more_undoes_no_push(repository, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "pushed").touch()  # where a folder should be
    (cache / "places").touch()
    assert _remembered(repository, cache).recall() is None
    Places.of(cache, "registry.example").remember("team/shop", ["sha256:0"])
    assert Places.of(cache, "registry.example").known == {}


@pytest.mark.parametrize("age", [-3600, 100_000])
def test_a_record_of_another_day_is_none(repository, tmp_path, age):
    record = _remembered(repository, tmp_path / "cache")
    document = json.loads(record.file.read_text())
    record.file.write_text(json.dumps(document | {"time": document["time"] - age}))
    assert record.recall() is None


def test_an_unchanged_image_is_pushed_without_a_build(tagboat, registry, repository):
    name = f"{registry}/team/shop:1.4.0"
    wanted = tagboat("push", name).stdout
    assert wanted.startswith(f"{registry}/team/shop@sha256:")
    deadline = time.monotonic() + 300
    # A build asks git, which is not found without PATH.
    while (again := tagboat("push", name, PATH="")).returncode:  # until the project's files have settled
        assert time.monotonic() < deadline
        assert tagboat("push", name).stdout == wanted
    assert (again.stdout, again.stderr) == (wanted, "")
    assert tagboat("push", f"{registry}/team/other:1", PATH="").returncode != 0
    (repository.directory / "src/hail/__init__.py").write_text("print('Ahoy')\n")
    assert tagboat("push", name, PATH="").returncode != 0
    assert tagboat("push", name).stdout not in (wanted, "")
