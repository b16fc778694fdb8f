"""`tagboat tag --bump`: the next version, in a commit that is pushed together with its tag."""

import json

import pytest

UNRELEASED = "# Changelog\n\n## [Unreleased]\n\n- New things.\n\n## [1.4.0]\n\n- Old ones.\n"


@pytest.fixture
def released(checkout):
    """Version 1.4.0 is tagged, and there is something new."""
    assert checkout.tag().returncode == 0
    checkout.write("shop/CHANGELOG.md", UNRELEASED)
    checkout.commit("New things")
    return checkout


def test_a_bump_is_a_commit_of_its_own_pushed_with_its_tag(released):
    before = released.git("rev-parse", "HEAD")
    done = released.tag("--bump", "minor", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["tag"], report["previous"]) == ("shop-v1.5.0", "shop-v1.4.0")
    assert report["commit"] == released.git("rev-parse", "HEAD")
    assert released.git("rev-parse", "HEAD^") == before
    assert released.git("log", "-1", "--format=%s") == "Release shop 1.5.0"
    assert released.git("rev-parse", "shop-v1.5.0^{commit}") == report["commit"]
    assert released.git("ls-remote", "origin", "refs/heads/main").split()[0] == report["commit"]
    assert released.git("status", "--porcelain") == ""
    assert 'version = "1.5.0"' in released.read("shop/pyproject.toml")


def test_a_bump_makes_the_unreleased_section_that_of_its_version(released):
    assert released.tag("--bump", "2.0.0").returncode == 0
    assert "Unreleased" not in released.read("shop/CHANGELOG.md")
    assert "## [2.0.0] - 20" in released.read("shop/CHANGELOG.md")
    assert "- New things." in released.git("tag", "--list", "--format=%(contents)", "shop-v2.0.0")
    assert "- Old ones." not in released.git("tag", "--list", "--format=%(contents)", "shop-v2.0.0")


def test_a_section_that_has_the_version_already_stays(released):
    released.write("shop/CHANGELOG.md", UNRELEASED.replace("Unreleased", "1.4.1"))
    released.commit("Named")
    assert released.tag("--bump", "patch").returncode == 0
    assert released.git("show", "--format=", "--name-only") == "shop/pyproject.toml"


def test_a_bump_without_words_for_it_is_refused(released):
    released.write("shop/CHANGELOG.md", UNRELEASED.replace("- New things.", ""))
    released.commit("Nothing to say")
    before = released.state()
    done = released.tag("--bump", "minor")
    assert done.returncode == 19
    assert "`## [1.5.0]` or `## [Unreleased]`" in done.stderr
    assert released.state() == before


@pytest.mark.parametrize("bump", ["1.4.0", "1.3.9", "1.4.0rc1"])
def test_a_bump_never_goes_back(released, bump):
    before = released.state()
    done = released.tag("--bump", bump)
    assert done.returncode in (16, 18)
    assert released.state() == before


def test_a_bump_that_nobody_knows_is_wrong_use(released):
    done = released.tag("--bump", "huge")
    assert done.returncode == 2
    assert "--bump huge: neither a version nor one of major, minor, patch" in done.stderr


def test_a_push_that_fails_leaves_everything_as_it_was(released):
    released.refuse_pushes()
    before = released.state()
    done = released.tag("--bump", "minor")
    assert done.returncode == 21
    assert "protected" in done.stderr
    assert released.state() == before


def test_a_branch_that_moved_meanwhile_takes_neither_the_commit_nor_the_tag(released):
    """`--atomic`: the tag alone could be pushed, and is not."""
    hook = released.root / ".git" / "hooks" / "pre-push"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexec git push --quiet --no-verify origin other:main\n")
    hook.chmod(0o755)
    released.git("branch", "other")
    released.git("switch", "--quiet", "other")
    released.write("other/code.py", "meanwhile = True\n")
    released.git("commit", "--quiet", "--all", "--message", "Meanwhile")
    released.git("switch", "--quiet", "main")
    done = released.tag("--bump", "minor")
    assert done.returncode == 21
    assert released.tags() == ("shop-v1.4.0", "shop-v1.4.0")
    assert released.git("log", "-1", "--format=%s") == "New things"
    assert released.git("status", "--porcelain") == ""


def test_a_dry_run_names_the_files_that_a_bump_would_change(released):
    before = released.state()
    done = released.tag("--bump", "major", "--dry-run")
    assert done.stdout == "shop-v2.0.0\n"
    assert "would commit shop/pyproject.toml, shop/CHANGELOG.md" in done.stderr
    assert released.state() == before


def test_a_dynamic_version_is_raised_where_it_is_written(released):
    project = released.read("shop/pyproject.toml").replace('version = "1.4.0"', 'dynamic = ["version"]')
    released.write(
        "shop/pyproject.toml",
        project
        + '\n[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        + '\n[tool.hatch.version]\npath = "shop.py"\n',
    )
    released.write("shop/shop.py", '"""A shop."""\n\n__version__ = "1.4.0"  # the last one\n')
    released.commit("Dynamic")
    assert released.tag("--bump", "patch").stdout == "shop-v1.4.1\n"
    assert released.read("shop/shop.py") == '"""A shop."""\n\n__version__ = "1.4.1"  # the last one\n'


def test_uv_s_lock_has_the_new_version_too(released):
    """Without it `uv sync --locked` of a job would fail on each release."""
    released.git("rm", "--quiet", "shop/requirements.lock")
    package = '[[package]]\nname = "{}"\nversion = "{}"\nsource = {{ {} = "{}" }}\n'
    goods = package.format("goods", "1.4.0", "directory", "../goods")
    shop = package.format("shop", "1.3.7", "virtual", ".")  # it was behind
    lock = f'version = 1\nrevision = 3\nrequires-python = ">=3.11"\n\n{goods}\n{shop}'
    released.write("shop/uv.lock", lock)
    released.commit("Locked by uv")
    done = released.tag("--bump", "minor")
    assert done.stdout == "shop-v1.5.0\n", done.stderr
    assert released.read("shop/uv.lock") == lock.replace("1.3.7", "1.5.0")
    assert released.git("status", "--porcelain") == ""


def test_a_file_keeps_its_mode(released):
    (released.root / "shop" / "CHANGELOG.md").chmod(0o755)
    released.commit("Executable, why not")
    assert released.tag("--bump", "minor").returncode == 0
    assert "100755" in released.git("ls-files", "--stage", "shop/CHANGELOG.md")
