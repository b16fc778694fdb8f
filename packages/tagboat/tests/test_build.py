"""The whole build: the same digest wherever and by whomever, and an image that others read and run."""

import gzip
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ocikit import (
    BytesBlob,
    Descriptor,
    Digest,
    History,
    Image,
    Layer,
    Layout,
    Platform,
    UnsafeArchiveError,
    write_docker_archive,
)
from tagboat.build import build, build_with_report
from tagboat.build.cache import Cache
from tagboat.build.debian.apt import AptError
from tagboat.build.debian.compose import compose_packages
from tagboat.build.debian.lock import read_base_lock
from tagboat.build.debian.release import Release
from tagboat.build.uv import UvError
from tagboat.component import Component
from tagboat.errors import ConfigError

# Files are listed in another order each time, and there are as many processors as a variable says.
BUILD = (
    "import os, random, sys\nfrom pathlib import Path\n"
    "listdir, processors = os.listdir, os.cpu_count()\n"
    "os.listdir = lambda *where: random.sample(found := listdir(*where), len(found))\n"
    "scandir = os.scandir\n"
    "class Shuffled:\n"
    "    def __init__(self, *where):\n"
    "        with scandir(*where) as found: entries = list(found)\n"
    "        self.entries = iter(random.sample(entries, len(entries)))\n"
    "    def __iter__(self): return self.entries\n"
    "    def __next__(self): return next(self.entries)\n"
    "    def __enter__(self): return self\n"
    "    def __exit__(self, *_): pass\n"
    "    def close(self): pass\n"
    "os.scandir = Shuffled\n"
    "os.cpu_count = lambda: int(os.environ.get('PROCESSORS', processors))\n"
    "from tagboat.build import build\nfrom tagboat.component import Component\n"
    "print(build(Component.load(Path(sys.argv[1])), Path(sys.argv[2]), progress=lambda line: None).digest)"
)
SITE = "opt/venv/lib/python3.11/site-packages"


def quiet(line: str) -> None:
    """Progress that nobody looks at."""


def start_build(directory, cache, *, prefix=(), umask=0o022, **environment) -> subprocess.Popen:
    return subprocess.Popen(
        [*prefix, sys.executable, "-c", BUILD, directory, cache],
        env=os.environ | environment,
        umask=umask,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def digest_of(process: subprocess.Popen) -> str:
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return out.strip()


@dataclass(frozen=True)
class AnotherUser:
    """Somebody else, and a folder of theirs."""

    folder: Path

    def become(self) -> tuple[str, ...]:
        """What starts a program as that user: a user namespace, or where the kernel allows none, as in a
        chroot, another uid, to which the folder is given.
        """
        namespace = ("unshare", "--user", "--map-user=1234", "--map-group=1234")
        if subprocess.run([*namespace, "true"], check=False, capture_output=True).returncode == 0:
            return namespace
        for file in (self.folder, *self.folder.rglob("*")):
            os.chown(file, 1234, 1234)
        return ("setpriv", "--reuid=1234", "--regid=1234", "--clear-groups")


def copy_inputs(cache: Path, target: Path) -> Path:
    """A cache with nothing made in it, but with the same choice of Debian packages: the base is an input."""
    for name in ("debian", "debs"):
        shutil.copytree(cache / name, target / name)
    return target


def entries(image) -> dict[str, tarfile.TarInfo]:
    """What is in the image, the last layer's last."""
    found = {}
    for layer in image.layers:
        with layer.blob.open() as blob, tarfile.open(fileobj=blob, mode="r:gz") as tar:
            found |= {member.name.rstrip("/"): member for member in tar}
    return found


def read(image, name: str) -> bytes:
    for layer in reversed(image.layers):
        with layer.blob.open() as blob, tarfile.open(fileobj=blob, mode="r:gz") as tar:
            if name in tar.getnames():
                return tar.extractfile(name).read()
    raise KeyError(name)


@pytest.fixture(scope="session")
def root(built, tmp_path_factory):
    """A bundle that umoci made of the image: `rootfs` and a configuration for runc."""
    bundle = tmp_path_factory.mktemp("umoci") / "bundle"
    subprocess.run(
        ["umoci", "unpack", "--image", f"{built.layout}:latest", bundle], check=True, capture_output=True
    )
    return bundle


def run(bundle: Path, *arguments: str, command: tuple[str, ...] | None = None, **environment: str) -> str:
    """Run the image as runc would by its own configuration, on a read-only root file system."""
    config = json.loads((bundle / "config.json").read_text())
    config["root"] = {"path": str(bundle / "rootfs"), "readonly": True}
    config["process"]["terminal"] = False
    config["process"]["args"] = [*(command or config["process"]["args"]), *arguments]
    config["process"]["env"] += [f"{name}={value}" for name, value in environment.items()]
    here = bundle.with_name(f"run-{time.monotonic_ns()}")
    here.mkdir()
    (here / "config.json").write_text(json.dumps(config))
    done = subprocess.run(
        [
            "runc",
            "--root",
            here / "state",
            "run",
            "--bundle",
            here,
            f"tagboat-test-{os.getpid()}-{time.monotonic_ns()}",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# The same digest


@pytest.fixture
def another_user() -> Iterator[AnotherUser]:
    with tempfile.TemporaryDirectory() as name:
        yield AnotherUser(Path(name))


def test_the_same_input_gives_the_same_digest_in_another_place_by_another_user(
    built, build_cache, write_project, another_user
):
    expected = str(built.build.image.digest)
    other = write_project(another_user.folder / "an other place" / "source")
    for file in other.root.rglob("*"):
        os.utime(file, (10**9, 10**9))
    cache = copy_inputs(build_cache, another_user.folder / "cache")
    builds = [
        start_build(
            other.directory,
            cache,
            prefix=another_user.become(),
            umask=0o077,
            HOME=str(another_user.folder),
            USER="somebody",
            TZ="Asia/Kathmandu",
            LC_ALL="C",
            PYTHONHASHSEED="7",
            PROCESSORS="7",
        ),
        start_build(
            built.project.directory,
            build_cache,
            umask=0o002,
            TZ="America/St_Johns",
            LANG="C.UTF-8",
            PROCESSORS="1",
        ),
    ]
    assert [digest_of(process) for process in builds] == [expected, expected]


def test_nothing_is_made_when_nothing_has_changed(built, build_cache):
    lines = []
    again = build_with_report(Component.load(built.project.directory), build_cache, progress=lines.append)
    assert again.image.digest == built.build.image.digest
    assert [(layer.name, layer.cached) for layer in again.layers] == [
        ("debian:bookworm", True),
        ("dependencies: jmespath", True),
        ("dependencies: h11", True),
        ("app", True),
    ]
    assert lines == []


def test_a_changed_line_makes_the_app_layer_alone(built, build_cache, project):
    source = project.directory / "src" / "hail" / "__init__.py"
    source.write_text(source.read_text() + "# more\n")
    changed = build_with_report(Component.load(project.directory), build_cache, progress=quiet)
    assert [layer.cached for layer in changed.layers] == [True, True, True, False]
    assert changed.image.layers[:-1] == built.build.image.layers[:-1]
    assert changed.image.digest != built.build.image.digest


def test_a_local_package_is_part_of_the_app(built, build_cache, project):
    (project.root / "goods" / "src" / "goods" / "__init__.py").write_text('NAME = "more"\n')
    changed = build(Component.load(project.directory), build_cache, progress=quiet)
    assert read(changed, f"{SITE}/goods/__init__.py") == b'NAME = "more"\n'
    assert changed.layers[:-1] == built.build.image.layers[:-1]


def test_the_time_is_that_of_the_commit_or_the_one_asked_for_and_never_now(project, build_cache, monkeypatch):
    component = Component.load(project.directory)
    assert build(component, build_cache, progress=quiet).config.created == "1970-01-01T00:00:00Z"
    project.git("init", "--quiet")
    project.git("add", "--all")
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2024-05-06T07:08:09+02:00")
    project.git("commit", "--quiet", "--message", "Begin")
    image = build(component, build_cache, progress=quiet)
    assert image.config.created == "2024-05-06T05:08:09Z"
    assert image.config.config.labels["org.opencontainers.image.revision"] == project.git("rev-parse", "HEAD")
    (project.directory / "new.txt").touch()
    assert (
        "org.opencontainers.image.revision"
        not in build(component, build_cache, progress=quiet).config.config.labels
    )
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    assert build(component, build_cache, progress=quiet).config.created == "2001-09-09T01:46:40Z"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(ConfigError, match="SOURCE_DATE_EPOCH"):
        build(component, build_cache, progress=quiet)


def test_builds_that_are_killed_at_any_point_leave_a_cache_that_works(built, build_cache, project, tmp_path):
    cache = copy_inputs(build_cache, tmp_path / "cache")
    for seconds in (0.3, 0.8, 1.5, 2.5):
        process = start_build(project.directory, cache)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert digest_of(start_build(project.directory, cache)) == str(built.build.image.digest)
    assert list((cache / "temporary").iterdir()) == []


def test_builds_at_the_same_time_share_a_cache(built, build_cache, project, tmp_path):
    cache = copy_inputs(build_cache, tmp_path / "cache")
    builds = [start_build(project.directory, cache) for _ in range(3)]
    assert {digest_of(process) for process in builds} == {str(built.build.image.digest)}


# What is in the image


def test_the_base_is_small(built):
    assert built.build.layers[0].size <= 18_000_000


def test_nothing_in_the_image_has_a_time_an_owner_or_a_mode_of_its_own(built):
    for name, member in entries(built.build.image).items():
        assert member.mtime == 0, name
        assert (member.uid, member.gid) == ((65532, 65532) if name == "home/nonroot" else (0, 0)), name
        if member.isfile():
            assert member.mode in (0o644, 0o755), name
        assert member.uname == member.gname == "", name


def test_every_python_file_has_its_byte_code(built):
    found = entries(built.build.image)
    for name, member in found.items():
        if name.endswith(".py") and member.isfile():
            folder, _, file = name.rpartition("/")
            assert f"{folder}/__pycache__/{file.removesuffix('.py')}.cpython-311.pyc" in found


def test_what_is_installed_has_no_byte_code_where_none_is_wanted(project, build_cache, built):
    project.configure("byte-code = false\n")
    image = build(Component.load(project.directory), build_cache, progress=print)
    found = [name for name in entries(image) if name.startswith("opt/")]
    assert "opt/venv/lib/python3.11/site-packages/h11/__init__.py" in found
    assert not [name for name in found if name.endswith(".pyc")]
    assert image.layers[0] == built.build.image.layers[0]


def test_no_trace_of_the_building_machine_is_in_the_image(built, build_cache):
    traces = [os.fsencode(path) for path in (built.project.root, build_cache, sys.prefix, Path.home() / ".")]
    for layer in built.build.image.layers[1:]:
        with layer.blob.open() as blob, tarfile.open(fileobj=blob, mode="r:gz") as tar:
            for member in tar:
                content = tar.extractfile(member).read() if member.isfile() else b""
                assert not any(trace in content for trace in traces), member.name
    assert not any(
        name.endswith(("/INSTALLER", "/REQUESTED", "/direct_url.json")) for name in entries(built.build.image)
    )


def test_scanners_find_the_debian_packages_and_the_licences_are_there(built):
    names = entries(built.build.image)
    status = read(built.build.image, "var/lib/dpkg/status.d/libc6").decode()
    assert "Package: libc6\n" in status
    assert "Version: 2.36-" in status
    assert "usr/share/doc/libc6/copyright" in names
    assert not any(name.startswith(("usr/share/man/", "usr/share/locale/")) for name in names)


def test_the_configuration_says_what_the_image_is(built):
    config = built.build.image.config.config
    assert config.user == "65532:65532"
    assert config.entrypoint == ("hail",)
    assert config.working_dir == "/app"
    assert config.exposed_ports == ("8080/tcp",)
    assert "PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin" in config.env
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config.labels.items()}
    assert labels["title"] == "hail"
    assert labels["version"] == "1.2.3"
    assert labels["source"] == "https://git.example/hail"
    assert labels["url"] == "https://hail.example"
    assert labels["licenses"] == "MIT"
    assert labels["authors"] == built.build.image.config.author == "Ann Other <ann@git.example>, The Crew"
    assert labels["base.name"] == "debian:bookworm"
    assert labels["base.digest"].startswith("sha256:")
    assert len(built.build.image.config.history) == len(built.build.image.layers) == 4


def test_how_it_is_asked_and_stopped_is_in_its_labels(built, project, build_cache):
    assert built.build.image.config.config.stop_signal == "SIGTERM"
    assert "tagboat.health-path" not in built.build.image.config.config.labels
    project.configure('stop-signal = "SIGINT"\nservice = { health-path = "/healthz" }\n')
    config = build(Component.load(project.directory), build_cache, progress=quiet).config.config
    assert config.stop_signal == config.labels["tagboat.stop-signal"] == "SIGINT"
    assert config.labels["tagboat.health-path"] == "/healthz"


def test_layers_may_be_zstd_of_the_same_content(built, project, build_cache, tmp_path):
    project.configure('compression = "zstd"\n')
    component = Component.load(project.directory)
    image = build(component, build_cache, progress=quiet)
    assert [layer.diff_id for layer in image.layers] == [layer.diff_id for layer in built.build.image.layers]
    assert {layer.descriptor.media_type.rpartition("+")[2] for layer in image.layers} == {"zstd"}
    for layer, other in zip(image.layers, built.build.image.layers, strict=True):
        assert layer.descriptor.size < other.descriptor.size
    again = build(component, copy_inputs(build_cache, tmp_path / "cache"), progress=quiet)
    assert again.digest == image.digest
    Layout(tmp_path / "layout").write(image, "latest")
    subprocess.run(["skopeo", "inspect", f"oci:{tmp_path}/layout:latest"], check=True, capture_output=True)


# Others read and run it


def test_skopeo_reads_the_image(built):
    done = subprocess.run(
        ["skopeo", "inspect", f"oci:{built.layout}:latest"], check=True, capture_output=True, text=True
    )
    inspected = json.loads(done.stdout)
    assert inspected["Digest"] == str(built.build.image.digest)
    assert inspected["Os"] == "linux"
    assert inspected["Architecture"] == Platform.host().architecture


def test_buildah_builds_upon_the_image(built, tmp_path):
    """It unpacks every layer, and runs what is in it in a chroot."""
    storage = (
        "buildah",
        "--root",
        tmp_path / "root",
        "--runroot",
        tmp_path / "run",
        "--storage-driver",
        "vfs",
    )

    def buildah(*arguments):
        done = subprocess.run([*storage, *arguments], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    container = buildah("from", "--quiet", f"oci:{built.layout}:latest")
    try:
        run = buildah("run", "--isolation", "chroot", container, "hail", "x")
    finally:
        buildah("rm", container)
    told = json.loads(run)
    assert (told["uid"], told["prefix"], told["arguments"]) == (65532, "/opt/venv", ["x"])


def test_the_image_runs_as_nobody_in_particular_with_its_byte_code(root):
    told = json.loads(run(root, "a", "b c"))
    assert (told["uid"], told["gid"]) == (65532, 65532)
    assert told["cwd"] == "/app"
    assert told["prefix"] == "/opt/venv"
    assert told["executable"] == "/opt/venv/bin/python"
    assert told["python"] == [3, 11]
    assert told["h11"] == "0.16.0"
    assert told["goods"] == "goods"
    assert told["arguments"] == ["a", "b c"]
    assert told["environment"] == {
        "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONSAFEPATH": "1"
    }  # fmt: skip
    for cached in told["cached"].values():
        assert (root / "rootfs" / cached.lstrip("/")).is_file()


def test_byte_code_is_used_whatever_the_time_of_the_source(root):
    source = root / "rootfs" / SITE / "goods" / "__init__.py"
    kept = source.read_bytes()
    try:
        source.write_bytes(b'raise SystemExit("the source was read")\n')
        assert json.loads(run(root))["goods"] == "goods"
    finally:
        source.write_bytes(kept)


def test_scripts_of_dependencies_run_with_the_images_python(root):
    assert run(root, command=("jp.py", "--help")).startswith("usage: jp.py")


def test_the_standard_library_works(root):
    script = (
        "import asyncio, bz2, ctypes, curses, decimal, hashlib, lzma, pwd, sqlite3, ssl, uuid, zlib\n"
        "import readline, zoneinfo\n"
        "assert ssl.create_default_context().cert_store_stats()['x509_ca'] > 100\n"
        "assert str(zoneinfo.ZoneInfo('Asia/Singapore')) == 'Asia/Singapore'\n"
        "assert pwd.getpwuid(65532).pw_name == 'nonroot'\n"
        "sqlite3.connect(':memory:').execute('select 1')\n"
        "print('works')\n"
    )
    assert run(root, command=("python", "-c", script)) == "works\n"


def test_a_variable_in_the_entry_point_is_expanded_at_start(project, build_cache, tmp_path):
    project.configure(
        'entrypoint = ["hail", "--port=$PORT", "${HOST:-here}"]\nenvironment = { PYTHONUTF8 = "1" }\n'
    )
    image = build(Component.load(project.directory), build_cache, progress=quiet)
    Layout(tmp_path / "layout").write(image, "latest")
    bundle = tmp_path / "bundle"
    subprocess.run(
        ["umoci", "unpack", "--image", f"{tmp_path / 'layout'}:latest", bundle],
        check=True,
        capture_output=True,
    )
    told = json.loads(run(bundle, "more", PORT="8123"))
    assert told["arguments"] == ["--port=8123", "here", "more"]
    assert told["environment"]["PYTHONUTF8"] == "1"


# Other bases


@pytest.mark.parametrize("kind", ["oci", "tar"])
def test_an_image_from_elsewhere_can_be_the_base(built, project, build_cache, tmp_path, kind):
    image = built.build.image
    base = type(image).empty(image.config.platform).append(image.layers[0], image.config.history[0])
    if kind == "oci":
        Layout(tmp_path / "base").write(base, "python")
        name = f"oci:{tmp_path / 'base'}:python"
    else:
        write_docker_archive(base, tmp_path / "base.tar", ["base:1"])
        name = f"tar:{tmp_path / 'base.tar'}"
    project.pyproject.write_text(project.pyproject.read_text().replace("debian:bookworm", name))
    again = build(Component.load(project.directory), build_cache, progress=quiet)
    assert again.layers[0].diff_id == image.layers[0].diff_id
    assert read(again, f"{SITE}/goods/__init__.py") == b'NAME = "goods"\n'
    assert again.config.config.labels["org.opencontainers.image.base.name"] == name


@pytest.fixture
def archive(built, project, tmp_path):
    """A Python with all that it needs, as a tar beside the component that this gives the path of."""
    file = project.directory / "python.tar.gz"
    with built.build.image.layers[0].blob.open() as blob:
        file.write_bytes(blob.read())
    return file


def test_upon_scratch_the_interpreter_is_an_archive_of_its_own(
    archive, built, project, build_cache, tmp_path
):
    text = project.pyproject.read_text().replace("debian:bookworm", "scratch")
    project.pyproject.write_text(f'{text}interpreter = "{archive.name}"\n')
    component = Component.load(project.directory)
    image = build(component, build_cache, progress=quiet)
    names = [entry.created_by for entry in image.config.history]
    assert names[0] == "tagboat interpreter"
    assert len(image.layers) == len(built.build.image.layers)
    Layout(tmp_path / "layout").write(image, "latest")
    bundle = tmp_path / "bundle"
    subprocess.run(
        ["umoci", "unpack", "--image", f"{tmp_path}/layout:latest", bundle], check=True, capture_output=True
    )
    assert json.loads(run(bundle))["executable"] == "/opt/venv/bin/python"
    touched = archive.read_bytes()
    archive.write_bytes(gzip.compress(gzip.decompress(touched), 1))  # the same files, packed otherwise
    assert build(component, build_cache, progress=quiet).layers[0].diff_id == image.layers[0].diff_id


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "No such file"),
        (b"no tar", "could not be opened"),
        ({"../out": b""}, "no name relative to the root"),
        ({"dev/null": None}, "is no file of at most"),
    ],
)
def test_an_archive_that_cannot_be_an_interpreter_is_refused(project, build_cache, content, complaint):
    text = project.pyproject.read_text().replace("debian:bookworm", "scratch")
    project.pyproject.write_text(f'{text}interpreter = "python.tar"\n')
    file = project.directory / "python.tar"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        with tarfile.open(file, "w") as tar:
            for name, data in content.items():
                entry = tarfile.TarInfo(name)
                entry.type = tarfile.REGTYPE if data is not None else tarfile.CHRTYPE
                tar.addfile(entry)
    with pytest.raises(ConfigError, match=f"tool.tagboat.interpreter: .*{complaint}"):
        build(Component.load(project.directory), build_cache, progress=quiet)


def test_scratch_has_no_python_of_its_own(project, build_cache):
    project.pyproject.write_text(project.pyproject.read_text().replace("debian:bookworm", "scratch"))
    with pytest.raises(ConfigError, match="scratch has no Python") as caught:
        build(Component.load(project.directory), build_cache, progress=quiet)
    assert "interpreter =" in caught.value.hint


@pytest.fixture
def registry(built, tmp_path):
    """A registry on loopback with one image, `base:1`; gives its address and the image's digest."""
    image = built.build.image
    base = type(image).empty(image.config.platform).append(image.layers[0], image.config.history[0])
    base = replace(base, config=replace(base.config, created="2024-05-06T07:08:09Z"))
    Layout(tmp_path / "pushed").write(base, "1")
    blobs = tmp_path / "pushed" / "blobs" / "sha256"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.rpartition("/")[2].removeprefix("sha256:")
            file = blobs / (base.digest.hex if name == "1" else name)
            known = self.path.startswith("/v2/base/") and file.is_file()
            content = file.read_bytes() if known else b""
            self.send_response(200 if known else 404)
            self.send_header("Content-Length", str(len(content)))
            if "/manifests/" in self.path:
                self.send_header("Content-Type", base.manifest.media_type)
                self.send_header("Docker-Content-Digest", str(base.digest))
            self.end_headers()
            self.wfile.write(content if self.command == "GET" else b"")

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}", base.digest
        server.shutdown()
        thread.join()


def test_a_registry_image_by_digest_is_pulled_once(built, project, build_cache, registry):
    host, digest = registry
    project.pyproject.write_text(
        project.pyproject.read_text().replace("debian:bookworm", f"{host}/base@{digest}")
    )
    component = Component.load(project.directory)
    lines = []
    image = build(component, build_cache, progress=lines.append)
    assert f"pulling {host}/base@{digest}" in lines
    assert not list((build_cache / "temporary").iterdir())
    assert (build_cache / "roots" / f"{digest.hex}-compiler").is_dir()  # unpacked on its way
    assert all(layer.blob.origin == (host, "base") for layer in image.layers[:1])
    old = re.compile(rf"the base {host}/base@{digest} is \d+ days old: `tagboat base update`")
    assert [line for line in lines if old.fullmatch(line)]
    assert image.layers[0].diff_id == built.build.image.layers[0].diff_id
    assert image.config.config.labels["org.opencontainers.image.base.digest"] == str(digest)
    lines.clear()
    assert build(component, build_cache, progress=lines.append).digest == image.digest
    assert len(lines) == 1
    assert old.fullmatch(lines[0])


def test_a_registry_image_without_its_digest_is_refused_with_the_pinned_form(project, build_cache, registry):
    host, digest = registry
    project.pyproject.write_text(project.pyproject.read_text().replace("debian:bookworm", f"{host}/base:1"))
    with pytest.raises(ConfigError, match="not pinned by its digest") as caught:
        build(Component.load(project.directory), build_cache, progress=quiet)
    assert caught.value.hint == f'base = "{host}/base:1@{digest}"'


# Refusals


@pytest.mark.parametrize("name", ["../out", "etc/../../out", "/out"])
def test_a_base_that_leads_out_of_itself_is_refused_and_leaves_nothing(project, build_cache, tmp_path, name):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("etc/hostname"))
        tar.addfile(tarfile.TarInfo(name))
    data = raw.getvalue()
    digest = Digest.of(data)
    layer = Layer(
        Descriptor("application/vnd.oci.image.layer.v1.tar", digest, len(data)), digest, BytesBlob(data)
    )
    Layout(tmp_path / "base").write(Image.empty(Platform.host()).append(layer, History()), "1")
    text = project.pyproject.read_text()
    project.pyproject.write_text(text.replace("debian:bookworm", f"oci:{tmp_path / 'base'}:1"))
    roots = set((build_cache / "roots").iterdir()) if (build_cache / "roots").exists() else set()
    with pytest.raises(UnsafeArchiveError, match="leads out of the root"):
        build(Component.load(project.directory), build_cache, progress=quiet)
    assert set((build_cache / "roots").iterdir()) == roots
    assert not list(tmp_path.rglob("out"))


def test_a_wrong_hash_in_the_lock_is_refused(project, build_cache):
    lock = project.directory / "requirements.lock"
    text = lock.read_text()
    for digest in ("4e35b956", "63cf8bbe"):
        text = text.replace(f"sha256:{digest}", f"sha256:{'0' * 8}")
    lock.write_text(text)
    with pytest.raises(UvError, match=r"(?i)hash mismatch for `?h11") as caught:
        build(Component.load(project.directory), build_cache, progress=quiet)
    assert "the index has another file" in caught.value.hint


def test_an_unset_variable_of_the_image_stops_the_build_and_one_of_the_service_does_not(project, build_cache):
    project.configure('service = { environment = { TOKEN = "$HAIL_TEST_TOKEN" } }\n')
    build(Component.load(project.directory), build_cache, progress=quiet)
    project.configure('environment = { TOKEN = "$HAIL_TEST_TOKEN" }\n')
    with pytest.raises(
        ConfigError, match=r"tool\.tagboat\.environment\.TOKEN: .* HAIL_TEST_TOKEN is not set"
    ):
        build(Component.load(project.directory), build_cache, progress=quiet)


def test_a_package_that_is_not_what_the_index_says_is_refused(built, build_cache, tmp_path):
    release = Release("debian", "bookworm")
    kept = build_cache / "debian" / "bookworm.lock"
    packages = read_base_lock(kept, release).of(Platform.host().architecture, kept)
    netbase = next(package for package in packages if package.name == "netbase")
    wrong = replace(netbase, sha256="0" * 64)
    store = Cache.open(tmp_path)
    with pytest.raises(AptError, match="Hash Sum mismatch"):
        compose_packages([wrong], release, Platform.host(), store, compiler=None, progress=quiet)


def test_a_package_that_was_damaged_in_the_cache_is_fetched_anew(built, build_cache, project, tmp_path):
    cache = copy_inputs(build_cache, tmp_path / "cache")
    for deb in sorted((cache / "debs").iterdir())[:2]:
        deb.write_bytes(deb.read_bytes()[:-1] + b"x")
    assert digest_of(start_build(project.directory, cache)) == str(built.build.image.digest)


def test_a_project_that_does_not_build_is_refused_with_the_builders_words(project, build_cache):
    shutil.rmtree(project.directory / "src")
    with pytest.raises(UvError, match=re.escape(f"`{project.directory}`")):
        build(Component.load(project.directory), build_cache, progress=quiet)
