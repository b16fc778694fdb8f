"""The site's image, as tagboat builds it, started by runc: how soon the first page is there."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.ports import free_port
from bench.row import Row
from bench.site.servers import Bucket, Server, await_page

_ROOT: Final = Path(__file__).parent.parent.parent
_TAGBOAT: Final = Path(sys.executable).with_name("tagboat")
_TIMES: Final = 7
_SHARED: Final = ("network", "user", "cgroup")  # namespaces that a container of this machine does without
_PERIOD: Final = 100_000  # microseconds in which a container has its share of a CPU


@dataclass(frozen=True, slots=True)
class SiteImage:
    """The image, unpacked into a bundle of runc's, and the configuration that umoci made of it."""

    bundle: Path
    config: Mapping[str, Any]

    @classmethod
    def build(cls, folder: Path) -> SiteImage:
        """Build it, in `folder`."""
        layout, bundle = folder / "image", folder / "bundle"
        subprocess.run(
            [_TAGBOAT, "build", _ROOT / "examples" / "site", "--output", f"oci:{layout}"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        (tag,) = (
            entry["annotations"]["org.opencontainers.image.ref.name"]
            for entry in json.loads((layout / "index.json").read_text())["manifests"]
        )
        unpack = ("umoci", "unpack", "--image", f"{layout}:{tag}", bundle)
        subprocess.run(unpack, check=True, capture_output=True)
        return cls(bundle, json.loads((bundle / "config.json").read_text()))

    @contextmanager
    def running(
        self, settings: Mapping[str, str], *, before: Sequence[str] = (), cpus: float | None = None
    ) -> Iterator[Container]:
        """A container with these variables; `before` stands in front of its command, `cpus` bounds it."""
        process = self.config["process"]
        namespaces = [one for one in self.config["linux"]["namespaces"] if one["type"] not in _SHARED]
        linux = {**self.config["linux"], "namespaces": namespaces}
        if cpus is not None:
            linux["resources"] = {"cpu": {"quota": int(cpus * _PERIOD), "period": _PERIOD}}
        changed = {
            **self.config,
            "process": {
                **process,
                "terminal": False,
                "args": [*before, *process["args"]],
                "env": [*process["env"], *(f"{name}={value}" for name, value in settings.items())],
            },
            "root": {**self.config["root"], "readonly": False},
            "linux": linux,
        }
        (self.bundle / "config.json").write_text(json.dumps(changed))
        name = f"bench-site-{os.getpid()}-{time.monotonic_ns()}"
        log_file = self.bundle / "log"
        with log_file.open("wb") as log:
            began = time.monotonic()
            runc = subprocess.Popen(("runc", "run", "--bundle", self.bundle, name), stdout=log, stderr=log)
            try:
                yield Container(name, began, runc)
            except Exception as error:
                raise RuntimeError(f"{error}:\n{log_file.read_text()}") from error
            finally:
                subprocess.run(["runc", "delete", "--force", name], check=True, capture_output=True)
                runc.wait()


@dataclass(frozen=True, slots=True)
class Container:
    """One that runs; `began` is when runc was called, on the clock of time.monotonic."""

    name: str
    began: float
    runc: subprocess.Popen[bytes]

    @property
    def cpu(self) -> float:
        """Seconds of CPU time that its first process has used."""
        state = subprocess.run(["runc", "state", self.name], check=True, capture_output=True).stdout
        return Server("", json.loads(state)["pid"]).cpu


def container_starts(folder: Path, bucket: Bucket) -> list[Row]:
    """From the call of runc to the last byte of the home page. A container has no cache of the bucket."""
    image = SiteImage.build(folder)
    # The first one brings the files into memory, as the unpacking of a deployment does.
    _, *starts = (_start(image, bucket) for _ in range(_TIMES))
    seconds, cpu = ([start[place] for start in starts] for place in (0, 1))
    return [
        Row("site", "container start to first page", statistics.median(seconds), "s", goal=0.8),
        Row("site", "container start to first page, the best", min(seconds), "s"),
        Row("site", "container start to first page, CPU time", statistics.median(cpu), "s"),
    ]


def _start(image: SiteImage, bucket: Bucket) -> tuple[float, float]:
    """Seconds by the clock, and seconds of CPU time that the site used."""
    port = free_port()
    with image.running({**bucket.settings, "PORT": str(port)}) as container:
        await_page(f"http://127.0.0.1:{port}/", container.runc)
        return time.monotonic() - container.began, container.cpu
