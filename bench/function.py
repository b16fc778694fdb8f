"""The site as a function: its image behind Lambda's runtime API, at one vCPU, with its database in S3.

The peer of a warm request is the same app asked by HTTP without the bridge. Lambda's own part (its network,
its scheduler, the fetching of the image) is not here, and is the same for every image of this size.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.db.stores import s3_server
from bench.lambda_service import LambdaService, http_event, lambda_service
from bench.ports import free_port
from bench.row import Row
from bench.site.container import SiteImage
from bench.site.servers import Bucket
from bench.site.texts import fill
from tagboat.build.lambda_bridge import PLACE

__all__ = ["function_rows"]

_POSTS: Final = 1000
_STARTS: Final = 5
_WARM: Final = 200


def function_rows() -> list[Row]:
    """Cold starts and warm requests."""
    with tempfile.TemporaryDirectory(prefix="bench-function-") as name, s3_server() as make:
        folder, bucket = Path(name), Bucket.of(make())
        fill(bucket, folder / "posts.sqlite", _POSTS)
        image = SiteImage.build(folder)
        # The first one brings the files into memory, as Lambda's cache of the image does.
        _, *starts = (_start(image, bucket) for _ in range(_STARTS + 1))
    cold, bridged, direct = (
        statistics.median(start[place] for start in starts) for place in range(len(starts[0]))
    )
    return [
        Row("aws", "the site as a function, cold: to the first answer", cold, "s", goal=1.5),
        Row("aws", "the same, warm: a request", bridged * 1e3, "ms", direct * 1e3, "the app by HTTP"),
        Row("aws", "the same, warm: of ours", (bridged - direct) * 1e3, "ms", goal=5),
    ]


def _start(image: SiteImage, bucket: Bucket) -> tuple[float, float, float]:
    """Seconds to the first answer, of a warm one, and of a warm one by HTTP."""
    port = free_port()
    with lambda_service() as service:
        settings = {
            **bucket.settings,
            "PORT": str(port),
            "AWS_LAMBDA_RUNTIME_API": service.address,
        }
        with image.running(settings, before=[f"/{PLACE}"], cpus=1) as container:
            _ask(service)
            cold = time.monotonic() - container.began
            warm = statistics.median(_timed(lambda: _ask(service)) for _ in range(_WARM))
            direct = statistics.median(_timed(lambda: _fetch(port)) for _ in range(_WARM))
    return cold, warm, direct


def _ask(service: LambdaService) -> None:
    answer = service.invoke(http_event("/posts"))
    if answer.status != 200 or not answer.body:
        raise RuntimeError(f"the function answered {answer}")


def _fetch(port: int) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/posts", timeout=60) as page:
        page.read()


def _timed(call: Callable[[], None]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
