"""The peer: Debian's buildah with uv and its cache mount, from a Containerfile as teams write them."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from bench.image.process import Outcome, run
from bench.image.registry import RegistryServer
from bench.image.shop import Shop

__all__ = ["Buildah"]

_CERTIFICATES: Final = "/etc/ssl/certs/ca-certificates.crt"

# The lock before the source, as the manuals say, so that a changed line installs nothing anew.
_CONTAINERFILE: Final = """\
FROM {host}/base:1
COPY requirements.lock /requirements.lock
RUN --mount=type=cache,target=/root/.cache/uv uv venv --quiet /opt/venv && \\
    UV_SYSTEM_CERTS=true UV_LINK_MODE=copy uv pip install --quiet --python /opt/venv/bin/python --no-deps \\
    --require-hashes --compile-bytecode -r /requirements.lock
COPY src /app
ENV PATH=/opt/venv/bin:/usr/bin:/bin PYTHONPATH=/app
USER 65532:65532
ENTRYPOINT ["uvicorn", "shop.main:app", "--host", "0.0.0.0", "--port", "8080"]
"""


@dataclass(frozen=True, slots=True)
class Buildah:
    """buildah with its storage in `folder`, pushing to the same registry as everybody."""

    folder: Path
    registry: RegistryServer

    name: ClassVar[str] = "buildah + uv"

    @staticmethod
    def is_here() -> bool:
        return shutil.which("buildah") is not None

    def push(self, shop: Shop, repository: str) -> Outcome:
        """Build and push; `memory` is the larger of the two."""
        containerfile = self.folder / "Containerfile"
        containerfile.parent.mkdir(parents=True, exist_ok=True)
        containerfile.write_text(_CONTAINERFILE.format(host=self.registry.host))
        name = f"{self.registry.host}/{repository}:1"
        uv = Path(sys.executable).parent / "uv"
        storage = (
            *("--root", self.folder / "root", "--runroot", self.folder / "run"),
            *("--storage-driver", "overlay"),
        )
        built = run(
            *("buildah", *storage, "build", "--quiet", "--layers", "--isolation", "chroot"),
            *("--network", "host", "--tls-verify=false"),
            *("--volume", f"{uv}:/usr/local/bin/uv:ro", "--volume", f"{_CERTIFICATES}:{_CERTIFICATES}:ro"),
            *("--file", containerfile, "--tag", name, shop.directory),
        )
        pushed = run("buildah", *storage, "push", "--quiet", "--tls-verify=false", name)
        return Outcome(built.seconds + pushed.seconds, max(built.memory, pushed.memory), pushed.output)

    def forget_images(self) -> None:
        """Forget what was built; what was fetched from indexes stays in the cache mount."""
        storage = (
            "--root",
            self.folder / "root",
            "--runroot",
            self.folder / "run",
            "--storage-driver",
            "overlay",
        )
        run("buildah", *storage, "rmi", "--all", "--force")
