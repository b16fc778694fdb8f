"""A peer: Docker's daemon with BuildKit and uv, from a Dockerfile as teams write them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from bench.image.process import Outcome, run
from bench.image.registry import RegistryServer
from bench.image.shop import Shop

__all__ = ["Docker"]

_CLIENT: Final = Path("/usr/bin/docker")  # Debian's, which knows BuildKit without a plug-in
_CERTIFICATES: Final = "/etc/ssl/certs/ca-certificates.crt"
_STARTS: Final = 30.0  # seconds that the daemon has to start
_BUILDKIT: Final = {"DOCKER_BUILDKIT": "1"}

_TOOLS: Final = "FROM scratch\nCOPY uv certificates /\n"

# The lock before the source, as the manuals say, so that a changed line installs nothing anew.
_DOCKERFILE: Final = """\
FROM {base}
COPY requirements.lock /requirements.lock
RUN --mount=type=cache,target=/root/.cache/uv --mount=type=bind,from={tools},target=/tools \\
    /tools/uv venv --quiet /opt/venv && \\
    SSL_CERT_FILE=/tools/certificates UV_SYSTEM_CERTS=true UV_LINK_MODE=copy /tools/uv pip install --quiet \\
    --python /opt/venv/bin/python --no-deps --require-hashes --compile-bytecode -r /requirements.lock
COPY src /app
ENV PATH=/opt/venv/bin:/usr/bin:/bin PYTHONPATH=/app
USER 65532:65532
ENTRYPOINT ["uvicorn", "shop.main:app", "--host", "0.0.0.0", "--port", "8080"]
"""


@dataclass(frozen=True, slots=True)
class Docker:
    """Talks to a daemon of its own on the socket in `folder`."""

    folder: Path
    registry: RegistryServer

    name: ClassVar[str] = "docker + uv"

    @staticmethod
    def is_here() -> bool:
        return shutil.which("dockerd") is not None and _CLIENT.exists()

    @classmethod
    @contextmanager
    def start(cls, folder: Path, registry: RegistryServer) -> Iterator[Docker]:
        """The daemon with everything of it in `folder`, without a network of its own."""
        folder.mkdir()
        daemon = subprocess.Popen(
            [
                *("dockerd", "--data-root", folder / "data", "--exec-root", folder / "exec"),
                *("--pidfile", folder / "pid", "--host", f"unix://{folder}/socket"),
                *("--storage-driver", "overlay2", "--bridge", "none", "--iptables=false"),
                *("--insecure-registry", registry.host),
            ],
            stdout=(folder / "log").open("wb"),
            stderr=subprocess.STDOUT,
        )
        with daemon:
            try:
                docker = cls(folder, registry)
                docker._wait()
                docker._prepare()
                yield docker
            finally:
                daemon.terminate()

    def push(self, shop: Shop, repository: str) -> Outcome:
        """Build and push; `memory` is the client's alone."""
        base = f"{self.registry.host}/base:1"
        dockerfile = self.folder / "Dockerfile"
        dockerfile.write_text(_DOCKERFILE.format(base=base, tools=self._tools))
        name = f"{self.registry.host}/{repository}:1"
        built = self._run(
            "build", "--quiet", "--network", "host", "--file", dockerfile, "--tag", name, shop.directory
        )
        pushed = self._run("push", "--quiet", name)
        return Outcome(built.seconds + pushed.seconds, max(built.memory, pushed.memory), pushed.output)

    def forget_images(self) -> None:
        """Forget what was built; what was fetched from indexes stays in the cache mount."""
        self._run("image", "prune", "--all", "--force")
        self._run("builder", "prune", "--all", "--force", "--filter", "type=regular")
        self._run("builder", "prune", "--all", "--force", "--filter", "type=source.local")

    @property
    def _tools(self) -> str:
        return f"{self.registry.host}/tools:1"

    def _wait(self) -> None:
        deadline = time.monotonic() + _STARTS
        while not (self.folder / "socket").exists():
            if time.monotonic() > deadline:
                raise RuntimeError(f"dockerd does not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.1)

    def _prepare(self) -> None:
        """uv and certificates as an image that builds mount."""
        tools = self.folder / "tools"
        tools.mkdir()
        shutil.copy(Path(sys.executable).parent / "uv", tools / "uv")
        shutil.copy(_CERTIFICATES, tools / "certificates")
        (tools / "Dockerfile").write_text(_TOOLS)
        self._run("build", "--quiet", "--tag", self._tools, tools)
        self._run("push", "--quiet", self._tools)

    def _run(self, *words: str | Path) -> Outcome:
        return run(_CLIENT, "--host", f"unix://{self.folder}/socket", *words, environment=_BUILDKIT)
