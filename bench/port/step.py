"""A step of the load: how soon the instances that it needs answer, and that none is asked too much."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from typing import Final

from bench.port.harbour import Harbour, Images
from bench.row import Row

__all__ = ["step"]

_LIMIT: Final = 10  # requests at a time of one instance
_MOST: Final = 4  # instances
_CLIENTS: Final = 40
_LOAD: Final = 6.0  # seconds


def step(harbour: Harbour, images: Images) -> list[Row]:
    """From one instance, with nothing to do, to as many as may be."""
    scaling = harbour.client("apprunner").create_auto_scaling_configuration(
        AutoScalingConfigurationName="step", MaxConcurrency=_LIMIT, MinSize=1, MaxSize=_MOST
    )["AutoScalingConfiguration"]["AutoScalingConfigurationArn"]
    harbour.create("step", images.version("step"), AutoScalingConfigurationArn=scaling)
    ready, begin = threading.Barrier(_CLIENTS + 1), threading.Event()
    answers: list[tuple[float, str, int]] = []
    failed: list[str] = []
    with ThreadPoolExecutor(_CLIENTS) as clients:
        for _ in range(_CLIENTS):
            clients.submit(_ask, harbour, ready, begin, answers, failed)
        ready.wait(60)
        started = time.monotonic()
        begin.set()
    first: dict[str, float] = {}
    for at, identity, _ in sorted(answers):
        first.setdefault(identity, at - started)
    if len(first) < _MOST:
        raise RuntimeError(f"{len(first)} instances answered, not {_MOST}")
    case = f"step from none to {_CLIENTS} requests in flight"
    return [
        Row("port", f"{case}: {_MOST} instances answer", max(first.values()), "s", goal=1),
        Row("port", f"{case}: most at one instance", max(count for *_, count in answers), "", goal=_LIMIT),
        Row("port", f"{case}: failed", len(failed), "", goal=0),
    ]


def _ask(
    harbour: Harbour,
    ready: threading.Barrier,
    begin: threading.Event,
    answers: list[tuple[float, str, int]],
    failed: list[str],
) -> None:
    connection = harbour.connect()
    connection.connect()
    ready.wait(60)
    begin.wait()
    over = time.monotonic() + _LOAD
    while time.monotonic() < over:
        try:
            connection.request("GET", "/wait", headers={"Host": "step.localhost"})
            response = connection.getresponse()
            text = response.read().decode()
            if response.status != 200:
                failed.append(text)
                continue
            identity, count = text.split()
            answers.append((time.monotonic(), identity, int(count)))
        except (OSError, HTTPException) as error:
            failed.append(repr(error))
            connection.close()
    connection.close()
