"""`tagboat tag` in real git repositories: a safe release is tagged and pushed, any other is refused."""

import json
import shutil
import subprocess
import sys

import pytest


def refused(checkout, code, *words, arguments=(), folder="shop"):
    """The command ends with `code`, says `words`, and leaves everything as it was."""
    before = checkout.state()
    done = checkout.tag(*arguments, folder=folder)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    for word in words:
        assert word in done.stderr
    assert checkout.state() == before


def test_a_safe_release_is_tagged_annotated_and_pushed(checkout):
    done = checkout.tag()
    assert done.returncode == 0, done.stderr
    assert done.stdout == "shop-v1.4.0\n"
    assert checkout.tags() == ("shop-v1.4.0", "shop-v1.4.0")
    assert checkout.git("cat-file", "-t", "shop-v1.4.0") == "tag"
    assert checkout.git("rev-parse", "shop-v1.4.0^{commit}") == checkout.git("rev-parse", "HEAD")
    assert "git push origin --delete shop-v1.4.0 && git tag --delete shop-v1.4.0" in done.stderr


def test_the_tag_says_what_the_changelog_says(checkout):
    section = "### Added\n\n- Prices\n\n#### Of fruit\n\n- Apples"
    checkout.write("shop/CHANGELOG.md", f"# Changelog\n\n## 1.4.0\n\n{section}\n\n## 1.3.0\n\n- Old.\n")
    checkout.commit("Changelog")
    assert checkout.tag().returncode == 0
    assert checkout.git("tag", "--list", "--format=%(contents)") == f"Release shop 1.4.0\n\n{section}"


@pytest.mark.parametrize("path", ["shop/code.py", "shop/new.py", "goods/code.py", "shop/ü ä.py"])
def test_a_dirty_tree_is_refused_with_the_file_named(checkout, path):
    checkout.write(path, "changed = True\n")
    refused(checkout, 14, path, "commit these files")


def test_a_staged_deletion_is_refused_too(checkout):
    checkout.git("rm", "--quiet", "shop/code.py")
    refused(checkout, 14, "shop/code.py")


def test_an_unmerged_file_is_refused_too(checkout):
    checkout.git("switch", "--quiet", "--create", "side")
    checkout.write("shop/code.py", "side = 1\n")
    checkout.git("commit", "--quiet", "--all", "--message", "Side")
    checkout.git("switch", "--quiet", "main")
    checkout.write("shop/code.py", "main = 1\n")
    checkout.commit("Main")
    with pytest.raises(subprocess.CalledProcessError):
        checkout.git("merge", "side")
    refused(checkout, 14, "shop/code.py")


def test_many_dirty_files_are_counted_rather_than_listed(checkout):
    for number in range(25):
        checkout.write(f"shop/file{number:02}.py", "")
    done = checkout.tag()
    assert "shop/file09.py" in done.stderr
    assert "shop/file10.py" not in done.stderr
    assert "and 15 more" in done.stderr


def test_changes_in_another_component_do_not_matter(checkout):
    checkout.write("other/code.py", "changed = True\n")
    assert checkout.tag().returncode == 0


def test_a_tag_that_exists_here_is_refused(checkout):
    checkout.git("tag", "shop-v1.4.0")
    refused(checkout, 16, "tag shop-v1.4.0 exists already, on ", "raise the version in ")


def test_a_tag_that_exists_only_on_the_remote_is_refused(checkout):
    checkout.git("tag", "shop-v1.4.0")
    checkout.git("push", "--quiet", "origin", "shop-v1.4.0")
    checkout.git("tag", "--delete", "shop-v1.4.0")
    refused(checkout, 17, "tag shop-v1.4.0 exists already on origin")


@pytest.mark.parametrize("last", ["shop-v1.4.1", "shop-v2.0", "shop-v1.4.0.post1", "shop-v1.4"])
def test_a_version_that_is_not_above_the_last_one_is_refused(checkout, last):
    checkout.git("tag", last)
    refused(checkout, 18, f"version 1.4.0 is not above the last release, {last}")


def test_the_last_one_may_be_on_the_remote_only(checkout):
    checkout.git("tag", "shop-v9")
    checkout.git("push", "--quiet", "origin", "shop-v9")
    checkout.git("tag", "--delete", "shop-v9")
    refused(checkout, 18, "the last release, shop-v9")


def test_tags_of_others_do_not_count(checkout):
    for tag in ("other-v2.0.0", "shop-vip-v3.0.0", "v4.0.0", "shop-v5-draft", "workshop-v6.0.0"):
        checkout.git("tag", tag)
    assert checkout.tag().returncode == 0


def test_a_pre_release_comes_before_its_release(checkout):
    checkout.git("tag", "shop-v1.4.0rc1")
    assert json.loads(checkout.tag("--json").stdout)["previous"] == "shop-v1.4.0rc1"


def test_the_next_version_gets_the_next_tag(checkout):
    assert checkout.tag().returncode == 0
    checkout.release("1.5.0")
    assert checkout.tag().stdout == "shop-v1.5.0\n"


def test_a_detached_head_is_refused(checkout):
    checkout.git("switch", "--quiet", "--detach")
    done = checkout.tag()
    assert done.returncode == 12
    assert "HEAD is detached at " in done.stderr
    assert checkout.tags() == ("", "")


def test_another_branch_than_the_remotes_default_is_refused(checkout):
    checkout.git("switch", "--quiet", "--create", "feature")
    checkout.git("push", "--quiet", "origin", "feature")
    refused(checkout, 13, "branch feature is checked out, and releases are made on main")


def test_the_branch_of_releases_can_be_named(checkout):
    refused(checkout, 13, "releases are made on stable", arguments=("--branch", "stable"))
    checkout.git("switch", "--quiet", "--create", "stable")
    checkout.git("push", "--quiet", "origin", "stable")
    assert checkout.tag("--branch", "stable").returncode == 0


def test_a_remote_whose_default_branch_is_not_there_takes_any_branch(checkout):
    subprocess.run(["git", "-C", checkout.origin, "symbolic-ref", "HEAD", "refs/heads/none"], check=True)
    assert checkout.tag().returncode == 0


def test_a_commit_that_is_not_on_the_remote_is_refused(checkout):
    checkout.write("shop/code.py", "more = 1\n")
    checkout.git("commit", "--quiet", "--all", "--message", "More")
    refused(checkout, 15, "is not on origin/main", "git push origin main")


def test_a_commit_that_the_remote_has_lost_is_refused(checkout):
    """What was fetched once proves nothing when the branch is gone."""
    subprocess.run(["git", "-C", checkout.origin, "update-ref", "-d", "refs/heads/main"], check=True)
    refused(checkout, 15, "is not on origin/main")


def test_a_commit_behind_the_remotes_tip_is_on_the_remote(checkout, tmp_path):
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", checkout.origin, clone], check=True)
    (clone / "new").touch()
    identity = ["-c", "user.name=Other", "-c", "user.email=other@localhost"]
    for command in (
        ["add", "new"],
        [*identity, "commit", "--quiet", "--message", "New"],
        ["push", "--quiet"],
    ):
        subprocess.run(["git", "-C", clone, *command], check=True)
    assert checkout.tag().returncode == 0


def test_a_branch_without_a_commit_is_refused(checkout):
    checkout.git("switch", "--quiet", "--orphan", "new")
    checkout.git("rm", "--quiet", "--cached", "-r", "--ignore-unmatch", ".")
    checkout.write(".gitignore", "*\n")
    checkout.project("1.4.0")
    checkout.write("goods/pyproject.toml", '[project]\nname = "goods"\nversion = "1"\n')
    done = checkout.tag()
    assert done.returncode == 15
    assert "there is no commit yet" in done.stderr


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "does not exist"),
        ("# Changelog\n\n## [1.3.0]\n\n- Old.\n", "has no text for version 1.4.0"),
        ("# Changelog\n\n## [1.4.0]\n\n## [1.3.0]\n\n- Old.\n", "has no text for version 1.4.0"),
        ("# Changelog\n\n## [Unreleased]\n\n- Soon.\n", "has no text for version 1.4.0"),
    ],
)
def test_a_version_that_the_changelog_says_nothing_of_is_refused(checkout, text, problem):
    file = checkout.root / "shop" / "CHANGELOG.md"
    file.unlink() if text is None else file.write_text(text)
    checkout.commit("Changelog")
    refused(checkout, 19, f"CHANGELOG.md {problem}", "`## [1.4.0]`", "tagboat changelog --write")


def test_a_lock_that_lacks_what_is_needed_is_refused(checkout):
    checkout.project("1.4.0", "h11>=0.16")
    checkout.commit("Need more")
    refused(checkout, 20, "requirements.lock is out of date: shop needs h11>=0.16, it has nothing of it")
    checkout.write("shop/requirements.lock", f"h11==0.14.0 --hash=sha256:{'0' * 64}\n")
    checkout.commit("Lock too little")
    refused(checkout, 20, "shop needs h11>=0.16, it has 0.14.0")
    checkout.write("shop/requirements.lock", f"h11==0.16.0 --hash=sha256:{'0' * 64}\n")
    checkout.commit("Lock")
    assert checkout.tag().returncode == 0


def test_what_other_platforms_need_may_be_missing_in_the_lock(checkout):
    checkout.project("1.4.0", "pywin32; sys_platform == 'win32'")
    checkout.commit("Windows")
    assert checkout.tag().returncode == 0


def test_an_unknown_remote_is_refused(checkout):
    refused(checkout, 11, "no remote `upstream`", arguments=("--remote", "upstream"))


def test_a_repository_without_a_remote_is_refused(checkout):
    checkout.git("remote", "remove", "origin")
    refused(checkout, 11, "there is no remote `origin`", "git remote add origin URL")


def test_a_refused_push_leaves_no_tag_behind(checkout):
    checkout.refuse_pushes()
    refused(checkout, 21, "protected", "nothing was changed")


def test_a_remote_that_cannot_be_reached_leaves_no_tag_behind(checkout):
    checkout.git("remote", "set-url", "origin", str(checkout.root / "nowhere"))
    done = checkout.tag()
    assert done.returncode == 21
    assert "nowhere" in done.stderr
    assert checkout.tags()[0] == ""


def test_a_line_that_breaks_after_the_remote_took_the_tag_is_no_failure(checkout):
    """The push fails here, and the tag is there: to take it back here alone would be the half-done thing."""
    path = checkout.root.parent / "bin"
    path.mkdir()
    wrapper = path / "git"
    git = shutil.which("git")
    wrapper.write_text(
        f'#!/bin/sh\n{git} "$@" || exit\ncase " $* " in *" push "*) echo broken >&2; exit 1;; esac\n'
    )
    wrapper.chmod(0o755)
    done = checkout.tagboat("tag", "shop", PATH=f"{path}:/usr/bin:/bin")
    assert done.returncode == 0, done.stderr
    assert checkout.tags() == ("shop-v1.4.0", "shop-v1.4.0")


def test_only_the_tag_itself_is_pushed(checkout):
    checkout.git("config", "push.followTags", "true")
    checkout.git("tag", "--annotate", "mine", "--message", "Mine")
    assert checkout.tag().returncode == 0
    assert checkout.tags()[1] == "shop-v1.4.0"


def test_a_folder_in_no_repository_is_refused(tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "shop"\nversion = "1"\n[tool.tagboat]\nentrypoint = ["shop"]\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "tagboat", "tag", tmp_path],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 10
    assert "is not in a git repository" in done.stderr


def test_a_folder_without_a_component_is_wrong_use(checkout):
    done = checkout.tag(folder="other")
    assert done.returncode == 2
    assert "has no pyproject.toml" in done.stderr


@pytest.mark.parametrize("version", ["1.4.0+local", "1!2.0"])
def test_a_version_that_no_image_can_be_tagged_with_is_wrong_configuration(checkout, version):
    checkout.release(version)
    refused(checkout, 2, f"version {version} cannot be the tag of an image")


def test_a_component_may_be_all_of_the_repository(checkout):
    for file in ("pyproject.toml", "CHANGELOG.md", "requirements.lock"):
        (checkout.root / "shop" / file).rename(checkout.root / file)
    checkout.write("pyproject.toml", checkout.read("pyproject.toml").replace("../goods", "goods"))
    checkout.commit("All in one")
    assert checkout.tag(folder=".").stdout == "shop-v1.4.0\n"


def test_a_dry_run_checks_everything_says_what_it_would_do_and_changes_nothing(checkout):
    before = checkout.state()
    done = checkout.tag("--dry-run")
    assert (done.returncode, done.stdout) == (0, "shop-v1.4.0\n")
    assert "would create shop-v1.4.0 on " in done.stderr
    assert "- What 1.4.0 has." in done.stderr
    assert checkout.state() == before
    checkout.write("shop/code.py", "changed = True\n")
    refused(checkout, 14, arguments=("--dry-run",))


@pytest.mark.parametrize("pushed", [True, False])
def test_the_report_says_all_of_the_release(checkout, pushed):
    done = checkout.tag("--json", *([] if pushed else ["--dry-run"]))
    assert json.loads(done.stdout) == {
        "tag": "shop-v1.4.0",
        "version": "1.4.0",
        "previous": None,
        "commit": checkout.git("rev-parse", "HEAD"),
        "branch": "main",
        "remote": "origin",
        "signed": False,
        "pushed": pushed,
        "subject": "Release shop 1.4.0",
        "changelog": "- What 1.4.0 has.",
    }
    checked = checkout.tag("--check", "--json")
    if pushed:
        assert json.loads(checked.stdout) == {
            "tag": "shop-v1.4.0",
            "commit": checkout.git("rev-parse", "HEAD"),
        }
    else:
        assert (checked.returncode, checked.stdout) == (1, "")


@pytest.fixture
def signer(checkout):
    """A signing program that git takes for gpg. (gpg itself is not on every machine that runs the tests.)"""
    program = checkout.root.parent / "signer"
    program.write_text(
        "#!/bin/sh\ncat >/dev/null\necho '[GNUPG:] SIG_CREATED ' >&2\n"
        "printf -- '-----BEGIN PGP SIGNATURE-----\\n\\nc2lnbmVk\\n-----END PGP SIGNATURE-----\\n'\n"
    )
    program.chmod(0o755)
    checkout.git("config", "gpg.program", str(program))
    checkout.git("config", "user.signingKey", "ABCD")
    return program


@pytest.mark.parametrize("setting", ["tag.gpgSign", "tag.forceSignAnnotated", "commit.gpgSign"])
def test_the_tag_is_signed_when_git_is_set_up_to_sign(checkout, signer, setting):
    checkout.git("config", setting, "true")
    done = checkout.tag("--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["signed"]
    assert "-----BEGIN PGP SIGNATURE-----" in checkout.git("cat-file", "tag", "shop-v1.4.0")


def test_a_signature_that_cannot_be_made_leaves_no_tag_behind(checkout, signer):
    checkout.git("config", "tag.gpgSign", "true")
    signer.write_text("#!/bin/sh\necho 'no such key' >&2\nexit 1\n")
    refused(checkout, 1, "failed to sign")


def test_a_package_outside_of_the_repository_is_refused(checkout, tmp_path):
    (checkout.root / "goods").rename(tmp_path / "goods")
    checkout.project("1.4.0")
    project = checkout.read("shop/pyproject.toml").replace("../goods", "../../goods")
    checkout.write("shop/pyproject.toml", project)
    checkout.commit("Goods of elsewhere")
    done = checkout.tag()
    assert done.returncode == 1
    assert f"{tmp_path}/goods is built into the image, and is not in the repository" in done.stderr
    assert "bring that package in" in done.stderr
    assert checkout.tags() == ("", "")


def test_a_deployment_that_lacks_a_variable_is_refused_before_anything_is_built(checkout):
    checkout.write(
        "shop/pyproject.toml",
        checkout.read("shop/pyproject.toml")
        + '\n[tool.tagboat.service]\nenvironment = { HUE = "$SURELY_UNSET" }\n',
    )
    checkout.commit("A hue")
    assert checkout.tag().returncode == 0
    done = checkout.tagboat("deploy", "shop")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[0].endswith("the environment variable SURELY_UNSET is not set")


def test_what_a_homeport_has_not_is_refused_before_anything_is_built_and_by_doctor(checkout):
    said = "a homeport cannot do all that is asked:\n  - cpu = 300: a homeport has 256, 512"
    checkout.write(
        "shop/pyproject.toml",
        checkout.read("shop/pyproject.toml") + "\n[tool.tagboat.service]\ncpu = 300\n",
    )
    checkout.commit("Three hundred")
    assert checkout.tag().returncode == 0
    done = checkout.tagboat("deploy", "shop", AWS_ENDPOINT_URL="http://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"tagboat: {said}")
    assert said in checkout.tagboat("doctor", "shop", AWS_ENDPOINT_URL="http://127.0.0.1:1").stdout
