"""Wheels made here, an index on loopback that serves them, and projects that the real uv locks."""

import base64
import hashlib
import http.server
import io
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from uv import find_uv_bin

from tagboat.build.interpreter import Interpreter, Libc
from tagboat.build.target import Target

GLIBC = Libc("glibc", (2, 36))
LINUX = "manylinux_2_28_x86_64"
BACKEND = '[build-system]\nrequires = ["uv_build>=0.13,<0.14"]\nbuild-backend = "uv_build"\n'


def target(
    version: tuple[int, int, int] = (3, 11, 2), libc: Libc = GLIBC, architecture: str = "amd64"
) -> Target:
    return Target(Interpreter(f"/usr/bin/python{version[0]}.{version[1]}", version, libc), architecture)


@pytest.fixture(name="target", scope="session")
def _target():
    return target


def make_wheel(
    folder: Path,
    name: str,
    *,
    version: str = "1.0",
    tag: str = "py3-none-any",
    needs: Iterable[str] = (),
    provides: Iterable[str] = (),
) -> Path:
    """A wheel with one module that holds its tag (PEP 427)."""
    info = f"{name}-{version}.dist-info"
    requires = "".join(f"Requires-Dist: {one}\n" for one in needs)
    extras = "".join(f"Provides-Extra: {one}\n" for one in provides)
    pure = str(tag.endswith("-any")).lower()
    files = {
        f"{name}/__init__.py": f"TAG = {tag!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}{extras}",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: {pure}\nTag: {tag}\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},{_hash(text)},{len(text)}\n" for path, text in files.items())
    files[f"{info}/RECORD"] += f"{info}/RECORD,,\n"
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    return wheel


def _hash(text: str) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture(name="make_wheel", scope="session")
def _make_wheel():
    return make_wheel


class Index:
    """A simple index (PEP 503) of the files in a folder; with a password, for who knows it alone."""

    def __init__(self, folder: Path, password: str | None = None) -> None:
        self.folder = folder
        wanted = password and "Basic " + base64.b64encode(f"reader:{password}".encode()).decode()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, kind, body = _answer(folder, self.path)
                if wanted and self.headers.get("Authorization") != wanted:
                    status, body = 401, b""
                self.send_response(status)
                if status == 401:
                    self.send_header("WWW-Authenticate", "Basic")
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body if self.command == "GET" else b"")

            do_HEAD = do_GET  # noqa: N815  the name is the protocol's

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def settings(self) -> str:
        """Of uv, to be put into a pyproject.toml."""
        return f'[[tool.uv.index]]\nname = "house"\nurl = "http://{self.host}/simple"\ndefault = true\n'

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _answer(folder: Path, path: str) -> tuple[int, str, bytes]:
    kind, _, name = path.strip("/").partition("/")
    if kind == "files" and (folder / name).is_file():
        return 200, "application/octet-stream", (folder / name).read_bytes()
    files = sorted(one for one in folder.iterdir() if one.name.startswith(f"{name.replace('-', '_')}-"))
    if kind != "simple" or not files:
        return 404, "text/plain", b""
    links = (
        f'<a href="/files/{one.name}#sha256={hashlib.sha256(one.read_bytes()).hexdigest()}">{one.name}</a>'
        for one in files
    )
    return 200, "text/html", "".join(links).encode()


@pytest.fixture(scope="session")
def index(tmp_path_factory):
    """An index that needs a password, with what the projects of these tests need."""
    folder = tmp_path_factory.mktemp("index")
    make_wheel(folder, "plain", needs=["deep", 'speedy; extra == "fast"'], provides=["fast"])
    for name in ("deep", "speedy", "winonly", "armonly", "checker", "newer"):
        make_wheel(folder, name)
    make_wheel(folder, "forked")
    make_wheel(folder, "forked", version="2.0")
    for python in sorted({"cp311", "cp312", f"cp3{sys.version_info[1]}"}):
        for platform in (LINUX, "manylinux_2_17_aarch64.manylinux2014_aarch64"):
            make_wheel(folder, "native", tag=f"{python}-{python}-{platform}")
        for machine in ("x86_64", "aarch64"):
            make_wheel(folder, "native", tag=f"{python}-{python}-musllinux_1_2_{machine}")
    make_wheel(folder, "onglibc", tag="py3-none-manylinux_2_17_x86_64.manylinux_2_17_aarch64")
    for tag in ("cp311-cp311-manylinux_2_39_x86_64", f"cp312-cp312-{LINUX}", "cp311-cp311-macosx_11_0_arm64"):
        make_wheel(folder, "toonew", tag=tag)
    here = f"cp3{sys.version_info[1]}-cp3{sys.version_info[1]}-linux_{os.uname().machine}"
    (folder / "sourceonly-1.0.tar.gz").write_bytes(_sdist("sourceonly"))
    (folder / "compiled-1.0.tar.gz").write_bytes(_sdist("compiled", here))
    served = Index(folder, password="open-sesame")
    yield served
    served.stop()


# A backend that needs nothing: the wheel has one module, which says who has built it.
_IN_TREE = """
import zipfile
NAME, TAG = {name!r}, {tag!r}
INFO = NAME + "-1.0.dist-info/"
def build_wheel(folder, settings=None, metadata=None):
    wheel = NAME + "-1.0-" + TAG + ".whl"
    with zipfile.ZipFile(folder + "/" + wheel, "w") as archive:
        archive.writestr(NAME + "/__init__.py", "TAG = 'built'\\n")
        archive.writestr(INFO + "METADATA", "Metadata-Version: 2.1\\nName: " + NAME + "\\nVersion: 1.0\\n")
        archive.writestr(INFO + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: " + TAG + "\\n")
        archive.writestr(INFO + "RECORD", "".join(name + ",,\\n" for name in archive.namelist()))
    return wheel
"""


def _sdist(name: str, tag: str = "py3-none-any") -> bytes:
    buffer = io.BytesIO()
    files = {
        "PKG-INFO": f"Metadata-Version: 2.2\nName: {name}\nVersion: 1.0\n",
        "pyproject.toml": f'[project]\nname = "{name}"\nversion = "1.0"\n'
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": _IN_TREE.format(name=name, tag=tag),
    }
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path, text in files.items():
            entry = tarfile.TarInfo(f"{name}-1.0/{path}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


@pytest.fixture(scope="session")
def settings(tmp_path_factory):
    """All that uv is told by variables: the password of `index`, and nothing that is this machine's."""
    return {
        "UV_CACHE_DIR": str(tmp_path_factory.mktemp("uv-cache")),
        "UV_INDEX_HOUSE_USERNAME": "reader",
        "UV_INDEX_HOUSE_PASSWORD": "open-sesame",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }


@pytest.fixture
def house(monkeypatch, settings):
    """Builds, too, are told that."""
    for name in [one for one in os.environ if one.startswith("UV_")]:
        monkeypatch.delenv(name)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def uv(settings):
    """Runs uv in a folder."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("UV_")}

    def run(folder: Path, *arguments: str) -> str:
        done = subprocess.run(
            [find_uv_bin(), "--quiet", "--no-python-downloads", *arguments],
            cwd=folder,
            env=own | settings,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def workspace(tmp_path_factory, index, uv):
    """Locked: the component `shop`, the package `goods` that it needs, and `other`, which it does not."""
    root = tmp_path_factory.mktemp("locked") / "workspace"
    projects = {
        "shop": (
            'dependencies = ["goods[more]", "native", "winonly; sys_platform == \'win32\'", '
            "\"armonly; platform_machine == 'aarch64'\", \"forked<2; python_version < '3.12'\", "
            "\"forked>=2; python_version >= '3.12'\"]\n"
            'scripts = { shop = "shop:main" }\n'
            'optional-dependencies = { later = ["newer"] }\n'
            '[dependency-groups]\ndev = ["checker"]\n'
        ),
        "goods": 'optional-dependencies = { more = ["plain[fast]>=1"] }\n',
        "other": 'dependencies = ["newer"]\n',
    }
    for name, text in projects.items():
        (root / name / "src" / name).mkdir(parents=True)
        (root / name / "src" / name / "__init__.py").touch()
        project = f'[project]\nname = "{name}"\nversion = "1.0"\nrequires-python = ">=3.11"\n'
        (root / name / "pyproject.toml").write_text(project + text + BACKEND)
    (root / "pyproject.toml").write_text(
        '[tool.uv.workspace]\nmembers = ["shop", "goods", "other"]\n'
        f"[tool.uv.sources]\ngoods = {{ workspace = true }}\n{index.settings}"
    )
    uv(root, "lock")
    return root


@pytest.fixture
def shop(workspace, tmp_path):
    """The component of a copy of the workspace."""
    shutil.copytree(workspace, tmp_path / "workspace")
    return tmp_path / "workspace" / "shop"


@pytest.fixture
def edit():
    """Replaces in a file what is there just once."""

    def replace(file: Path, old: str, new: str) -> None:
        text = file.read_text()
        assert text.count(old) == 1, text
        file.write_text(text.replace(old, new))

    return replace
