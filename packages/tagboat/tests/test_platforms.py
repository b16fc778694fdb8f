"""Images for another architecture, made without running anything of it, and the index of several."""

import json
import subprocess
from pathlib import Path

import pytest

from ocikit import Layout, Platform, Reference, Registry, unpack
from tagboat.build import build, build_with_report
from tagboat.build.interpreter import Interpreter, InterpreterError, Libc, find_foreign_interpreter
from tagboat.build.projects import _check_portable
from tagboat.component import Component
from tagboat.errors import ConfigError

MACHINES = {"amd64": 62, "arm64": 183}  # e_machine of an ELF header
HERE = Platform.host()
OTHER = Platform("linux", "arm64" if HERE.architecture == "amd64" else "amd64")
COMPILED = """\
markupsafe==3.0.2 \\
    --hash=sha256:2cb8438c3cbb25e220c2ab33bb226559e7afb3baec11c4f218ffa7308603c832 \\
    --hash=sha256:a123e330ef0853c6e822384873bef7507557d8e4a082961e1defa947aa59ba84
"""


@pytest.fixture(scope="session")
def foreign_build(built, build_cache):
    """The component of the session, for the other architecture."""
    component = Component.load(built.project.directory)
    return build_with_report(component, build_cache, platform=OTHER, progress=lambda _: None)


@pytest.fixture(scope="session")
def foreign(foreign_build):
    return foreign_build.image


def elf_machines(root) -> set[int]:
    found = set()
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                header = file.read(20)
            if header.startswith(b"\x7fELF"):
                found.add(int.from_bytes(header[18:20], "little"))
    return found


def test_every_program_and_library_is_for_the_platform(foreign, built, tmp_path):
    assert foreign.config.platform == OTHER
    unpack(foreign, tmp_path / "foreign", ownership=False)
    assert elf_machines(tmp_path / "foreign") == {MACHINES[OTHER.architecture]}
    unpack(built.build.image, tmp_path / "here", ownership=False)
    assert elf_machines(tmp_path / "here") == {MACHINES[HERE.architecture]}


def test_what_is_no_machine_code_is_the_same_on_all_platforms(foreign, built, tmp_path):
    unpack(foreign, tmp_path / "foreign", ownership=False)
    unpack(built.build.image, tmp_path / "here", ownership=False)
    for folder in ("opt/venv", "usr/lib/python3.11"):
        codes = [
            {str(path.relative_to(root)): path.read_bytes() for path in (root / folder).rglob("*.pyc")}
            for root in (tmp_path / "foreign", tmp_path / "here")
        ]
        common = codes[0].keys() & codes[1].keys()
        assert len(common) > (10 if folder == "opt/venv" else 500)
        assert len(codes[0].keys() ^ codes[1].keys()) < 4  # _sysconfigdata is named after the architecture
        assert all(codes[0][name] == codes[1][name] for name in common)


def test_packages_that_are_the_same_for_all_platforms_make_one_layer(foreign_build, built):
    layers = [layer for layer in foreign_build.layers if layer.name.startswith("dependencies")]
    assert layers
    assert all(layer.cached for layer in layers)
    assert foreign_build.image.layers[1:] == built.build.image.layers[1:]


def test_the_same_input_gives_the_same_digest(foreign, built, build_cache, tmp_path):
    again = build(
        Component.load(built.project.directory), tmp_path / "cold", platform=OTHER, progress=lambda _: None
    )
    assert again.layers[1:] == foreign.layers[1:]
    cached = build(
        Component.load(built.project.directory), build_cache, platform=OTHER, progress=lambda _: None
    )
    assert cached.digest == foreign.digest


def test_push_makes_an_index_of_several_platforms(tagboat, registry, foreign, built):
    both = ("--platform", str(HERE), "--platform", str(OTHER))
    done = tagboat("push", *both, f"{registry}/team/shop:1.4.0")
    assert done.returncode == 0, done.stderr
    reference = Reference(registry, "team/shop", "1.4.0")
    with Registry(registry) as client:
        assert done.stdout == f"{registry}/team/shop@{client.digest(reference)}\n"
        assert client.image(reference, HERE).digest == built.build.image.digest
        assert client.image(reference, OTHER).digest == foreign.digest
    again = tagboat("push", *both, f"{registry}/team/shop:1.4.0")
    assert again.stdout == done.stdout


def test_build_makes_the_image_of_one_platform(tagboat, project, foreign):
    done = tagboat("build", "--platform", str(OTHER), "--output", "oci:image")
    assert done.stdout == f"{foreign.digest}\n", done.stderr
    assert Layout(project.directory / "image").image("1.2.3", OTHER).digest == foreign.digest


def test_build_writes_several_platforms_into_one_layout(tagboat, project, foreign, built):
    both = ("--platform", str(HERE), "--platform", str(OTHER))
    done = tagboat("build", *both, "--output", "oci:image")
    assert done.returncode == 0, done.stderr
    layout = Layout(project.directory / "image")
    assert layout.image("1.2.3", HERE).digest == built.build.image.digest
    assert layout.image("1.2.3", OTHER).digest == foreign.digest
    copied = ["skopeo", "copy", "--all", f"oci:{layout.path}:1.2.3", f"oci:{layout.path}-copy:one"]
    subprocess.run(copied, check=True, capture_output=True)
    (entry,) = json.loads(Path(f"{layout.path}-copy/index.json").read_text())["manifests"]
    assert done.stdout == f"{entry['digest']}\n"
    refused = tagboat("build", *both, "--output", "tar:image.tar")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "it holds one image" in refused.stderr


@pytest.fixture
def archives(project, foreign, built):
    """Pythons for both architectures beside the component, which is made upon them and nothing else."""
    names = {}
    for image in (built.build.image, foreign):
        architecture = image.config.platform.architecture
        names[architecture] = f"python-{architecture}.tar.gz"
        with image.layers[0].blob.open() as blob:
            (project.directory / names[architecture]).write_bytes(blob.read())
    pairs = ", ".join(f'{architecture} = "{name}"' for architecture, name in names.items())
    text = project.pyproject.read_text().replace("debian:bookworm", "scratch")
    project.pyproject.write_text(f"{text}interpreter = {{ {pairs} }}\n")


@pytest.mark.usefixtures("archives")
def test_an_archive_for_each_architecture_makes_an_index_too(tagboat, project, tmp_path):
    with (project.directory / "requirements.lock").open("a") as lock:
        lock.write(COMPILED)
    both = ("--platform", str(HERE), "--platform", str(OTHER))
    done = tagboat("build", *both, "--output", "oci:image")
    assert done.returncode == 0, done.stderr
    layout = Layout(project.directory / "image")
    assert layout.image("1.2.3", HERE).config.platform == HERE
    image = layout.image("1.2.3", OTHER)
    assert image.config.platform == OTHER
    unpack(image, tmp_path / "foreign", ownership=False)
    assert elf_machines(tmp_path / "foreign") == {MACHINES[OTHER.architecture]}
    (compiled,) = (tmp_path / "foreign").rglob("_speedups*.so")
    assert list(compiled.parent.glob("__pycache__/_native.*.pyc"))


@pytest.mark.parametrize(
    ("interpreter", "complaint"),
    [
        (f'{{ {HERE.architecture} = "here.tar" }}', f"has none for {OTHER}"),
        (f'{{ {OTHER.architecture} = "other.tar" }}', f"has none for {HERE}"),
        ('"python.tar"', f"is for {HERE}, not for {OTHER}"),
    ],
)
def test_an_architecture_without_an_archive_is_told(tagboat, project, interpreter, complaint):
    project.configure(f"interpreter = {interpreter}\n")
    done = tagboat("build", "--platform", str(OTHER))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"tool.tagboat.interpreter {complaint}" in done.stderr


@pytest.mark.parametrize(
    ("platform", "code", "complaint"),
    [("arm64", 2, "'arm64' is no platform"), ("linux/s390x", 1, "cannot be composed for linux/s390x")],
)
def test_a_platform_that_there_is_no_base_for_is_told(tagboat, platform, code, complaint):
    done = tagboat("build", "--platform", platform)
    assert done.returncode == code
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_a_base_in_a_file_is_for_its_own_platform_only(project, build_cache, built, tmp_path):
    Layout(tmp_path / "base").write(built.build.image, "1")
    project.pyproject.write_text(
        project.pyproject.read_text().replace("debian:bookworm", f"oci:{tmp_path}/base:1")
    )
    with pytest.raises(ConfigError, match=f"is for {HERE}, not for {OTHER}"):
        build(Component.load(project.directory), build_cache, platform=OTHER, progress=lambda _: None)


def test_a_package_that_was_compiled_here_is_refused_for_elsewhere(tmp_path):
    class Base:
        platform = OTHER

    _check_portable([tmp_path / "pure-1.0-py3-none-any.whl"], Base())
    with pytest.raises(
        ConfigError, match=f"native-1.0-cp311-cp311-linux_x86_64.whl was built .* for {OTHER}"
    ):
        _check_portable([tmp_path / "native-1.0-cp311-cp311-linux_x86_64.whl"], Base())


@pytest.mark.parametrize(
    ("python", "libc", "complaint"),
    [
        (b"\x003.11.2\x00", b"stable release version 2.36.", None),
        (b"\x003.11.20\x00", b"stable release version 2.36.", "is not Python 3.11.2"),
        (b"\x0013.11.2\x00", b"stable release version 2.36.", "is not Python 3.11.2"),
        (b"\x003.11.2\x00", b"stable release version 2.361.", "does not have glibc 2.36"),
        (b"\x003.11.2\x00", b"", "does not have glibc 2.36"),
    ],
)
def test_byte_code_is_compiled_by_the_same_python_only(tmp_path, python, libc, complaint):
    (tmp_path / "usr" / "bin").mkdir(parents=True)
    (tmp_path / "usr" / "lib").mkdir()
    (tmp_path / "usr" / "bin" / "python3").write_bytes(b"\x7fELF" + python)
    (tmp_path / "usr" / "lib" / "libc.so.6").write_bytes(libc)
    like = Interpreter("/usr/bin/python3.11", (3, 11, 2), Libc("glibc", (2, 36)))
    if complaint is None:
        found = find_foreign_interpreter(tmp_path, like, path=None, search="/usr/bin")
        assert found == Interpreter("/usr/bin/python3", (3, 11, 2), Libc("glibc", (2, 36)))
    else:
        with pytest.raises(InterpreterError, match=complaint):
            find_foreign_interpreter(tmp_path, like, path=None, search="/usr/bin")
