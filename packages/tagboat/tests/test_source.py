"""A source tree is what git would keep, by content and nothing else."""

import os
import shutil
import subprocess

import pytest

from tagboat.build.source import SourceTree
from tagboat.git import GitError, head_commit, is_clean


@pytest.fixture
def repository(project):
    project.git("init", "--quiet", "--initial-branch", "main")
    (project.root / ".gitignore").write_text("__pycache__/\n*.secret\n")
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message", "Begin")
    return project


def test_ignored_files_play_no_part(repository):
    before = SourceTree.read(repository.directory)
    (repository.directory / "src" / "hail" / "key.secret").write_text("x")
    (repository.directory / "src" / "hail" / "__pycache__").mkdir()
    (repository.directory / "src" / "hail" / "__pycache__" / "x.pyc").write_text("x")
    assert SourceTree.read(repository.directory) == before


def test_files_that_could_be_added_do(repository):
    before = SourceTree.read(repository.directory)
    (repository.directory / "src" / "hail" / "new.py").write_text("")
    after = SourceTree.read(repository.directory)
    assert set(after.files) - set(before.files) == {"src/hail/new.py"}
    assert after.digest != before.digest


def test_a_file_that_is_tracked_but_gone_is_gone(repository):
    (repository.directory / "src" / "hail" / "__init__.py").unlink()
    assert "src/hail/__init__.py" not in SourceTree.read(repository.directory).files


def test_place_time_owner_and_umask_do_not_matter(repository, tmp_path):
    before = SourceTree.read(repository.directory)
    copy = tmp_path / "elsewhere"
    shutil.copytree(repository.directory, copy)
    for file in copy.rglob("*"):
        os.utime(file, (1, 1))
        if file.is_file():
            file.chmod(0o600)
    after = SourceTree.read(copy)
    assert (after.files, after.digest) == (before.files, before.digest)


@pytest.mark.parametrize("change", ["content", "name", "mode"])
def test_content_name_and_being_executable_matter(repository, change):
    before = SourceTree.read(repository.directory).digest
    file = repository.directory / "src" / "hail" / "__init__.py"
    if change == "content":
        file.write_text(file.read_text() + "\n")
    elif change == "name":
        file.rename(file.with_name("main.py"))
    else:
        file.chmod(0o755)
    assert SourceTree.read(repository.directory).digest != before


def test_a_project_that_git_ignores_as_a_whole_is_still_read(repository):
    ignored = repository.root / "x.secret"
    shutil.copytree(repository.directory, ignored)
    assert "pyproject.toml" in SourceTree.read(ignored).files


def test_the_copy_has_just_the_files_that_count(repository, tmp_path):
    (repository.directory / "left.secret").write_text("x")
    tree = SourceTree.read(repository.directory)
    target = tmp_path / "target"
    target.mkdir()
    tree.copy(target, {})
    assert sorted(str(file.relative_to(target)) for file in target.rglob("*") if file.is_file()) == list(
        tree.files
    )


def test_the_commit_is_heads_and_clean_is_about_the_given_folders(repository):
    commit = head_commit(repository.directory)
    assert commit.id == repository.git("rev-parse", "HEAD")
    assert commit.time == int(repository.git("show", "--no-patch", "--format=%ct"))
    assert is_clean((repository.directory,))
    (repository.root / "goods" / "new.py").write_text("")
    assert is_clean((repository.directory,))
    assert not is_clean((repository.directory, repository.root / "goods"))
    repository.git("config", "status.showUntrackedFiles", "no")
    assert not is_clean((repository.root / "goods",))


def test_outside_of_git_and_before_the_first_commit_there_is_no_commit(project):
    assert head_commit(project.directory) is None
    assert not is_clean((project.directory,))
    project.git("init", "--quiet")
    assert head_commit(project.directory) is None


def test_a_repository_that_git_refuses_is_an_error_and_not_no_repository(repository, monkeypatch, tmp_path):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(GitError, match="dubious ownership"):
        SourceTree.read(repository.directory)
    with pytest.raises(GitError, match="dubious ownership"):
        head_commit(repository.directory)


def test_inside_a_hook_of_another_repository_the_folder_decides(repository, tmp_path, monkeypatch):
    other = tmp_path / "other"
    subprocess.run(["git", "init", "--quiet", other], check=True)
    expected = SourceTree.read(repository.directory)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert SourceTree.read(repository.directory) == expected


@pytest.mark.parametrize("in_git", [True, False])
def test_links_to_folders_and_environments_by_any_name(project, in_git):
    if in_git:
        project.git("init", "--quiet")
    source = project.directory / "src" / "hail"
    (source / "real" / "deep").mkdir(parents=True)
    (source / "real" / "deep" / "code.py").write_text("")
    (source / "link").symlink_to("real")
    (source / "real" / "up").symlink_to("../real")  # into itself
    (source / "goods").symlink_to(project.root / "goods" / "src" / "goods")
    for name in ("venv", "env"):
        (source / name).mkdir()
        (source / name / "module.py").write_text("")
    (source / "env" / "pyvenv.cfg").write_text("")
    tree = SourceTree.read(project.directory)
    assert [name.removeprefix("src/hail/") for name in tree.files if name.startswith("src/")] == [
        "__init__.py",
        "link/deep/code.py",
        "real/deep/code.py",
        "venv/module.py",
    ]
    assert tree.left_out == ("src/hail/goods",)


def test_submodules_are_part_of_it(repository, tmp_path):
    other = tmp_path / "other"
    subprocess.run(["git", "init", "--quiet", other], check=True)
    (other / "code.py").write_text("")
    subprocess.run(["git", "-C", other, "add", "code.py"], check=True)
    identity = ("-c", "user.name=Tester", "-c", "user.email=tester@localhost")
    subprocess.run(["git", "-C", other, *identity, "commit", "--quiet", "--message", "Begin"], check=True)
    place = "hail/src/hail/shared"
    repository.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other), place)
    assert "src/hail/shared/code.py" in SourceTree.read(repository.directory).files


def test_executable_is_what_git_calls_so_wherever_it_lies_and_whoever_reads(repository):
    file = repository.directory / "src" / "hail" / "__init__.py"
    before = SourceTree.read(repository.directory).digest
    file.chmod(0o655)  # not for its owner, but who is root may run it
    assert SourceTree.read(repository.directory).digest == before
