"""A short storm of SIGKILLs over a homeport at work; the long one is the benchmark's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.port.harbour import Harbour
from bench.port.storm import storm


def test_after_a_storm_every_service_serves_every_operation_has_ended_and_nothing_is_left_over(
    tmp_path: Path, make_image: Any
) -> None:
    idle = {"homeport:idle-seconds": "1"}
    services = {
        "warm": {},
        "zero": {"homeport:scale-to-zero": "true", **idle},
        "cold": {"homeport:freeze": "true", **idle},
    }
    with Harbour.start(tmp_path / "port") as harbour:
        arns = {name: harbour.create(name, make_image(VERSION=name), tags) for name, tags in services.items()}
        for name, arn in arns.items():
            harbour.push(name, make_image(VERSION=f"{name} again"))
            harbour.settle(arn)
        toll = storm(harbour, arns, kills=8, seed=5)
    assert toll.kills.total() == 8
    assert (toll.ended, toll.lost, toll.stuck, toll.leaked) == (0, [], [], [])
