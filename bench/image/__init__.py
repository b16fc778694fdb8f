"""The image builder on the reference app: what each kind of change costs, from command line to registry.

The peer is buildah with uv and its cache mount, on the same base, app, lock and registry. Both have fetched
their wheels before; nothing is measured over the network.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.image.buildah import NAME, Buildah
from bench.image.ours import Pushed, Tagboat
from bench.image.registry import serve_registry
from bench.image.shop import Shop
from bench.row import Row

__all__ = ["run"]

_BASE = "debian:bookworm"
_MEMORY = 120e6
_SIZE = 80e6  # bytes of the whole image with byte code
_CHANGES = ("certifi", "click", "idna")  # dependencies that another version is locked of


def run() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="bench-image-") as name:
        folder = Path(name)
        with serve_registry(folder / "registry") as server:
            shop = Shop(folder / "shop", _BASE)
            ours = Tagboat(folder / "cache", server)
            ours.push(shop, "fetched")  # what this fetches is there for all that follows
            ours.push_base("fetched", "base")
            theirs = _buildah(Buildah(folder / "buildah", server), shop) if Buildah.is_here() else {}
            return _rows(ours, shop, theirs)


def _rows(ours: Tagboat, shop: Shop, theirs: dict[str, float]) -> list[Row]:
    def compare(case: str, pushes: list[Pushed], goal: float) -> list[Row]:
        seconds = statistics.median(push.outcome.seconds for push in pushes)
        requests = statistics.median(push.counts.requests for push in pushes)
        uploaded = statistics.median(push.counts.uploaded for push in pushes)
        return [
            Row("image", case, seconds, "s", theirs.get(case), NAME, goal),
            Row("image", f"{case}: requests", requests, ""),
            Row("image", f"{case}: uploaded", uploaded / 1e6, "MB"),
        ]

    rows: list[Row] = []
    cold = []
    for number in range(3):
        ours.forget_all_but_what_was_fetched()
        cold.append(ours.push(shop, f"cold{number}"))
    rows += compare("cold, wheels cached", cold, 1.5)
    same = [ours.push(shop, "cold0") for _ in range(5)]
    rows += compare("nothing changed", same, 0.1)
    edited = [_after(shop.edit_line, lambda: ours.push(shop, "cold0")) for _ in range(5)]
    rows += compare("one source line", edited, 0.2)
    changed = []
    for dependency in _CHANGES:
        shop.change_dependency(dependency)
        changed.append(ours.push(shop, "cold0"))
        shop.restore_dependencies()
        ours.push(shop, "cold0")
    rows += compare("one dependency", changed, 0.7)
    memory = max(push.outcome.memory for push in (*cold, *same, *edited, *changed))
    return [
        *rows,
        Row("image", "peak memory", memory / 1e6, "MB", goal=_MEMORY / 1e6),
        Row("image", "whole image with byte code", ours.image_bytes("cold0") / 1e6, "MB", goal=_SIZE / 1e6),
        Row("image", "different digests", len({push.outcome.output.partition("@")[2] for push in cold}), ""),
    ]


def _buildah(peer: Buildah, shop: Shop) -> dict[str, float]:
    """Median seconds of each case."""
    peer.push(shop, "peer")
    seconds: dict[str, list[float]] = {}
    for number in range(2):
        peer.forget_images()
        seconds.setdefault("cold, wheels cached", []).append(peer.push(shop, f"peer-cold{number}").seconds)
    for _ in range(3):
        seconds.setdefault("nothing changed", []).append(peer.push(shop, "peer").seconds)
    for _ in range(3):
        shop.edit_line()
        seconds.setdefault("one source line", []).append(peer.push(shop, "peer").seconds)
    for dependency in _CHANGES[:2]:
        shop.change_dependency(dependency)
        seconds.setdefault("one dependency", []).append(peer.push(shop, "peer").seconds)
        shop.restore_dependencies()
    return {case: statistics.median(values) for case, values in seconds.items()}


def _after(change: Callable[[], None], push: Callable[[], Pushed]) -> Pushed:
    change()
    return push()
