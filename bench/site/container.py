"""The site's image, as tagboat builds it, started by runc: how soon the first page is there."""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from bench.row import Row
from bench.site.servers import Bucket, Server, await_page

_ROOT: Final = Path(__file__).parent.parent.parent
_TAGBOAT: Final = Path(sys.executable).with_name("tagboat")
_TIMES: Final = 7
_SHARED: Final = ("network", "user", "cgroup")  # namespaces that a container of this machine does without


def container_starts(folder: Path, bucket: Bucket) -> list[Row]:
    """From the call of runc to the last byte of the home page. A container has no cache of the bucket."""
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
    subprocess.run(["umoci", "unpack", "--image", f"{layout}:{tag}", bundle], check=True, capture_output=True)
    config = json.loads((bundle / "config.json").read_text())
    # The first one brings the files into memory, as the unpacking of a deployment does.
    _, *starts = (_start(bundle, config, bucket, turn) for turn in range(_TIMES))
    seconds, cpu = ([start[place] for start in starts] for place in (0, 1))
    return [
        Row("site", "container start to first page", statistics.median(seconds), "s", goal=0.8),
        Row("site", "container start to first page, the best", min(seconds), "s"),
        Row("site", "container start to first page, CPU time", statistics.median(cpu), "s"),
    ]


def _start(bundle: Path, config: dict[str, Any], bucket: Bucket, turn: int) -> tuple[float, float]:
    """Seconds by the clock, and seconds of CPU time that the site used."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = {**bucket.settings, "PORT": str(port)}
    process = {
        **config["process"],
        "terminal": False,
        "env": [*config["process"]["env"], *(f"{name}={value}" for name, value in settings.items())],
    }
    namespaces = [one for one in config["linux"]["namespaces"] if one["type"] not in _SHARED]
    changed = {
        **config,
        "process": process,
        "root": {**config["root"], "readonly": False},
        "linux": {**config["linux"], "namespaces": namespaces},
    }
    (bundle / "config.json").write_text(json.dumps(changed))
    name = f"bench-site-{os.getpid()}-{turn}"
    with (bundle / "log").open("wb") as log:
        began = time.monotonic()
        runc = subprocess.Popen(["runc", "run", "--bundle", bundle, name], stdout=log, stderr=log)
        try:
            await_page(f"http://127.0.0.1:{port}/", runc)
            seconds = time.monotonic() - began
            state = subprocess.run(["runc", "state", name], check=True, capture_output=True).stdout
            return seconds, Server("", json.loads(state)["pid"]).cpu
        except RuntimeError as error:
            raise RuntimeError(f"{error}:\n{(bundle / 'log').read_text()}") from None
        finally:
            subprocess.run(["runc", "delete", "--force", name], check=True, capture_output=True)
            runc.wait()
