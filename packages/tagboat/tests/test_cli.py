"""The command line: what it prints where, its exit codes, and every command that the README shows."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ocikit import Layout, Reference, Registry, read_docker_archive
from tagboat.cli import parser

README = (Path(__file__).parents[1] / "README.md").read_text()
SHELL = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = [line.partition("#")[0].strip() for block in SHELL for line in block.splitlines()]


def test_the_readme_shows_just_the_commands_that_are_tested():
    """`tag`, `changelog`, `ci` and `trust` by release/, `plan` to `cutover` by aws/, `deploy` and what
    follows it by aws/ and the workspace's tests, others by test_NAME.py, keyless/ or here.
    """
    assert COMMANDS == [
        "tagboat tag",
        "tagboat deploy",
        "tagboat changelog --write",
        "tagboat tag --dry-run",
        "tagboat tag --bump minor",
        "tagboat status",
        "tagboat logs --follow",
        "tagboat history",
        "tagboat rollback",
        "tagboat smoke https://shop.example",
        "tagboat doctor",
        "tagboat doctor --name www.shop.example",
        "tagboat ci github",
        "tagboat ci gitlab",
        "tagboat ci --check",
        "tagboat trust github octo/shop",
        "tagboat cost --chart",
        "tagboat cost --details --views 1000000 --region us-east-1",
        "tagboat plan",
        "tagboat apply",
        "tagboat drift",
        "tagboat destroy",
        "tagboat promote --from staging --target production",
        "tagboat export cloudformation",
        "tagboat export cloud-init",
        "tagboat export zone",
        "tagboat cutover www.shop.example",
        "tagboat build",
        "tagboat build --explain",
        "tagboat build --output oci:image",
        "tagboat build --output tar:shop.tar",
        "tagboat build --output dir:files",
        "tagboat push --tag latest registry.example/team/shop:1.4.0",
        "tagboat run --port 9000:8080 . -- --verbose",
        "tagboat image ls oci:image",
        "tagboat image inspect oci:image",
        "tagboat image layers --files oci:image",
        "tagboat image diff oci:image tar:shop.tar",
        "tagboat image sbom oci:image",
        "tagboat image sbom --format cyclonedx oci:image",
        "tagboat push --sbom spdx --sbom cyclonedx registry.example/team/shop:1.4.0",
        "tagboat key release",
        "tagboat push --key release.key registry.example/team/shop:1.4.0",
        "tagboat sign --key release.key registry.example/team/shop:1.4.0",
        "tagboat verify --key release.pub registry.example/team/shop:1.4.0",
        "tagboat verify oci:image",
        "tagboat push --provenance --key release.key registry.example/team/shop:1.4.0",
        "tagboat verify --provenance --key release.pub registry.example/team/shop:1.4.0",
        "tagboat verify --released-by octo/shop --key origin.pub registry.example/team/shop:1.4.0",
        "tagboat sign --keyless registry.example/team/shop:1.4.0",
        (
            "tagboat verify --identity 'https://github.com/octo/shop/*' "
            "--issuer https://token.actions.githubusercontent.com registry.example/team/shop:1.4.0"
        ),
        "tagboat base update",
        "tagboat base update --check",
        "tagboat push --platform linux/amd64 --platform linux/arm64 registry.example/team/shop:1.4.0",
        "tagboat build --platform linux/amd64 --platform linux/arm64 --output oci:image",
    ]


def test_build_prints_the_digest_and_nothing_else(tagboat, built):
    done = tagboat("build")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{built.build.image.digest}\n"


def test_build_writes_an_image_layout(tagboat, project):
    done = tagboat("build", "--output", "oci:image")
    assert done.returncode == 0, done.stderr
    assert str(Layout(project.directory / "image").image("1.2.3").digest) == done.stdout.strip()


def test_build_writes_what_docker_load_reads(tagboat, project):
    done = tagboat("build", "--output", "tar:shop.tar")
    assert done.returncode == 0, done.stderr
    assert read_docker_archive(project.directory / "shop.tar").config.config.entrypoint == ("hail",)


def test_build_writes_the_files_themselves(tagboat, project):
    done = tagboat("build", "--output", "dir:files")
    assert done.returncode == 0, done.stderr
    assert (project.directory / "files" / "opt" / "venv" / "bin" / "hail").is_file()
    again = tagboat("build", "--output", "dir:files")
    assert (again.returncode, again.stdout) == (2, "")
    assert "it exists" in again.stderr


@pytest.mark.parametrize("output", ["zip:x", "image", "oci:"])
def test_another_output_is_wrong_use(tagboat, output):
    done = tagboat("build", "--output", output)
    assert done.returncode == 2
    assert f"--output {output}: not oci:DIR, tar:FILE or dir:DIR" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("output", ["oci:full/image", "tar:full/shop.tar", "dir:full/files"])
def test_a_full_disk_is_told_in_a_line_and_leaves_no_result(project, build_cache, output):
    (project.directory / "full").mkdir()
    home = project.root / "home"
    home.mkdir()
    (home / "tagboat").symlink_to(build_cache)
    shell = 'mount -t tmpfs -o size=2m tmpfs full && "$@"; code=$?; find full ! -type d >&2; exit $code'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", shell, "sh", sys.executable, "-m", "tagboat", "build",
         "--output", output],
        cwd=project.directory, env=os.environ | {"XDG_CACHE_HOME": str(home)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    last = done.stderr.splitlines()[-1]
    assert "No space left on device" in last
    assert last.startswith("tagboat: ")


def test_a_layer_that_was_damaged_in_the_cache_is_told_and_made_anew(project, build_cache):
    home = project.root / "home"
    shutil.copytree(build_cache, home / "tagboat", copy_function=os.link, symlinks=True)

    def build(output):
        return subprocess.run(
            [sys.executable, "-m", "tagboat", "build", "--output", output],
            cwd=project.directory, env=os.environ | {"XDG_CACHE_HOME": str(home)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    assert build("oci:../good").returncode == 0
    layer = Layout(project.root / "good").image().layers[-1].descriptor.digest
    blob = home / "tagboat" / "blobs" / layer.path
    content = blob.read_bytes()
    blob.unlink()
    blob.write_bytes(bytes(len(content)))
    done = build("oci:../bad")
    assert (done.returncode, done.stdout) == (1, "")
    assert "damaged in the cache" in done.stderr
    assert build("oci:../bad").returncode == 0
    assert blob.read_bytes() == content


def test_a_place_that_cannot_be_is_told_in_a_line(tagboat, project):
    done = tagboat("build", "--output", f"oci:{project.pyproject}/image")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].endswith("Not a directory")


def test_names_are_utf_8_in_any_locale(tagboat, project):
    (project.directory / "src" / "hail" / "données").mkdir()
    (project.directory / "src" / "hail" / "données" / "é.txt").write_text("x")
    expected = tagboat("build").stdout
    assert expected
    script = (sys.executable, "-c", "import sys, tagboat.cli; sys.exit(tagboat.cli.main())", "build")
    done = subprocess.run(
        script, cwd=project.directory, capture_output=True, text=True, check=False,
        env=os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0",
                          "XDG_CACHE_HOME": str(project.root.parent / "cache")},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, expected), done.stderr


def test_memory_does_not_grow_with_the_files_of_a_project(project, build_cache):
    with (project.directory / "src" / "hail" / "large.bin").open("wb") as file:
        file.truncate(200 << 20)
    home = project.root / "home"
    home.mkdir()
    (home / "tagboat").symlink_to(build_cache)
    script = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=sys.stderr); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, sys.executable, "-m", "tagboat", "build"],
        cwd=project.directory, env=os.environ | {"XDG_CACHE_HOME": str(home)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(done.stdout) < 120_000  # KiB


def test_push_prints_the_pinned_reference(tagboat, registry, built):
    done = tagboat("push", f"{registry}/team/shop:1.4.0")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{registry}/team/shop@{built.build.image.digest}\n"


def test_push_gives_more_tags_and_says_how_much_it_sent(tagboat, registry, built):
    done = tagboat("push", "--tag", "latest", "--tag", "1.4", f"{registry}/team/many:1.4.0")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^tagboat: pushed \d+\.\d MB in \d+\.\d s, \d+\.\d MB/s$", done.stderr, re.MULTILINE)
    assert "\r" not in done.stderr
    with Registry(registry) as client:
        for tag in ("1.4.0", "latest", "1.4"):
            assert client.digest(Reference(registry, "team/many", tag)) == built.build.image.digest
    assert "pushed" not in tagboat("push", f"{registry}/team/many:1.4.0").stderr


def test_push_sends_no_layer_that_another_repository_of_the_registry_has(tagboat, registry):
    assert "pushed 1" in tagboat("push", f"{registry}/team/one:1").stderr  # megabytes
    done = tagboat("push", f"{registry}/team/two:1")
    assert done.returncode == 0, done.stderr
    assert "pushed 0.0 MB" in done.stderr  # its configuration
    with Registry(registry) as client:
        client.delete(Reference(registry, "team/two", "1"))
        assert client.digest(Reference(registry, "team/one", "1"))


def test_push_attaches_bills_of_materials_once(tagboat, registry, built):
    for _ in range(2):
        done = tagboat("push", "--sbom", "spdx", "--sbom", "cyclonedx", f"{registry}/team/shop:1.4.0")
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"{registry}/team/shop@{built.build.image.digest}\n"
        with Registry(registry) as client:
            attached = client.referrers(Reference(registry, "team/shop", "1.4.0"))
        assert sorted(descriptor.artifact_type for descriptor in attached) == [
            "application/spdx+json",
            "application/vnd.cyclonedx+json",
        ]


def test_push_to_nobody_fails_and_names_the_host(tagboat):
    done = tagboat("push", "127.0.0.1:1/shop:1")
    assert done.returncode == 1
    assert "127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_reference_or_tag_is_told_before_anything_is_built(tagboat):
    for arguments, complaint in (
        (["127.0.0.1:1/SHOP:1"], "'SHOP' is no repository name"),
        (["127.0.0.1:1/shop:1", "--tag", "a b"], "'a b' is no tag"),
    ):
        done = tagboat("push", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"tagboat: {complaint}")


def test_help_names_every_command_with_an_example():
    done = subprocess.run(
        [sys.executable, "-m", "tagboat", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    for command in ("build", "push", "tag", "deploy", "demo"):
        assert re.search(rf"^ +{command} ", done.stdout, re.MULTILINE)
    assert "example: tagboat tag && tagboat deploy" in done.stdout


@pytest.mark.parametrize(
    "arguments", [(), ("sail",), ("deploy", "--timeout", "nan"), ("logs", "--lines", "-3")]
)
def test_wrong_use_ends_with_two(arguments):
    done = subprocess.run(
        [sys.executable, "-m", "tagboat", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "usage: tagboat" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "component"),
    [
        ("smoke https://shop.example --timeout 5 shop", "shop"),
        ("trust github octo/shop --json shop", "shop"),
        ("ci github --check shop", "shop"),
        ("ci --check", "."),
        ("deploy --json shop --timeout 5", "shop"),
        ("run --port 9000:8080 . -- --verbose", "."),
    ],
)
def test_options_and_folders_come_in_any_order(arguments, component):
    assert str(parser().parse_args(arguments.split()).component) == component


@pytest.mark.parametrize(
    "command",
    [
        "tag",
        "changelog",
        "ci",
        "trust",
        "deploy",
        "status",
        "logs",
        "history",
        "rollback",
        "smoke",
        "verify",
        "cost",
        "doctor",
    ],
)
def test_scripts_can_have_json_of_every_step_of_a_release(command, capsys):
    with pytest.raises(SystemExit):
        parser().parse_args([command, "--help"])
    assert "--json" in capsys.readouterr().out


def test_help_loads_no_client_of_anything():
    code = "import sys; from tagboat.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "print([m for m in ('boto3', 'botocore', 'urllib3', 'rich', 'packaging') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
