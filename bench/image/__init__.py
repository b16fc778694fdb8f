"""The image builder on the reference app: what each kind of change costs, from command line to registry.

The peers are Debian's buildah and Docker's daemon, where they are installed, each with uv and a cache mount,
on the same base image, app, lock and registry. All have fetched their wheels before; nothing is measured over
the network. (PyPI's `pyoci` is none: it speaks to no registry on plain HTTP, and what it builds does not
start.)
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Final

from bench.image.buildah import Buildah
from bench.image.circumstance import circumstances
from bench.image.debian import composition
from bench.image.docker import Docker
from bench.image.ours import Pushed, Tagboat
from bench.image.registry import RegistryServer, serve_registry
from bench.image.shop import Shop
from bench.row import Row

__all__ = ["run"]

_DEBIAN: Final = "debian:bookworm"
_PLATFORMS: Final = ("linux/amd64", "linux/arm64")
_BUILDS: Final = 20
_CHANGES: Final = ("certifi", "click", "idna")  # dependencies that another version is locked of

Peers = dict[str, dict[str, float]]  # seconds by case, by the peer's name

_COLD: Final = "cold, wheels cached"
_PLAIN: Final = f"{_COLD}, no byte code"
_IMPORTED: Final = f"{_COLD}, byte code of what is imported"
_SAME: Final = "nothing changed"
_LINE: Final = "one source line"
_DEPENDENCY: Final = "one dependency"


def run() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="bench-image-") as name:
        folder = Path(name)
        with serve_registry(folder / "registry") as server:
            ours = Tagboat(folder / "cache", server)
            composed = Shop(folder / "composed", _DEBIAN)
            # What this fetches is there for all that follows.
            ours.push(composed, "fetched")
            ours.push(composed, "fetched-index", *_PLATFORMS)
            base = ours.push_base("fetched", "base")
            shop = Shop(folder / "shop", base)
            theirs = _peers(folder, server, shop)
            return [
                *_changes(ours, shop, theirs),
                *_same(ours, shop, folder / "elsewhere"),
                *_smaller(ours, Shop(folder / "plain", base, byte_code=False), _PLAIN, theirs, 67),
                *_smaller(ours, Shop(folder / "less", base, byte_code="imported"), _IMPORTED, theirs, 77),
                *_index(ours, composed),
                *composition(ours.cache),
            ]


def _changes(ours: Tagboat, shop: Shop, theirs: Peers) -> list[Row]:
    """What the developer waits for, from the first build on."""
    cold = [_cold(ours, shop, f"cold{number}") for number in range(3)]
    same = [ours.push(shop, "cold0") for _ in range(5)]
    edited = []
    for _ in range(5):
        shop.edit_line()
        edited.append(ours.push(shop, "cold0"))
    changed, new = [], []
    for dependency in _CHANGES:
        before = ours.layers("cold0")
        shop.change_dependency(dependency)
        changed.append(ours.push(shop, "cold0"))
        new.append(sum(size for digest, size in ours.layers("cold0").items() if digest not in before))
        shop.restore_dependencies()
        ours.push(shop, "cold0")
    pushes = (*cold, *same, *edited, *changed)
    sent = sum(push.counts.uploaded for push in changed)
    return [
        *_compare(_COLD, cold, theirs, 1.5),
        *_compare(_SAME, same, theirs, 0.1),
        *_compare(_LINE, edited, theirs, 0.2),
        *_compare(_DEPENDENCY, changed, theirs, 0.7),
        Row("image", f"{_DEPENDENCY}: uploaded / its layer", sent / sum(new), "", goal=1.1),
        Row("image", "peak memory", max(push.outcome.memory for push in pushes) / 1e6, "MB", goal=120),
        Row("image", "whole image, byte code", sum(ours.layers("cold0").values()) / 1e6, "MB", goal=80),
    ]


def _same(ours: Tagboat, shop: Shop, folder: Path) -> list[Row]:
    """The same source in many circumstances: as another user, in other places, from an empty or a full cache,
    under other masks, zones, languages, seeds, with one processor or all of them."""
    digests = set()
    for number, circumstance in enumerate(circumstances(folder, _BUILDS)):
        if number % 5 == 0:
            ours.forget_all_but_what_was_fetched()
        digests.add(ours.build(circumstance.moved(shop), circumstance))
    return [Row("image", f"different digests of {_BUILDS} builds", len(digests), "", goal=1)]


def _smaller(ours: Tagboat, shop: Shop, case: str, theirs: Peers, goal: float) -> list[Row]:
    """An image with less byte code, and at most `goal` MB."""
    repository = shop.directory.name
    pushes = [_cold(ours, shop, f"{repository}{number}") for number in range(3)]
    size = sum(ours.layers(f"{repository}0").values())
    return [
        *_compare(case, pushes, theirs, 1.5),
        Row("image", f"whole image{case.removeprefix(_COLD)}", size / 1e6, "MB", goal=goal),
    ]


def _index(ours: Tagboat, shop: Shop) -> list[Row]:
    """Two architectures in one command, their bases composed with the rest, beside one."""
    one = [_cold(ours, shop, f"one{number}").outcome.seconds for number in range(2)]
    two = [_cold(ours, shop, f"two{number}", *_PLATFORMS).outcome.seconds for number in range(2)]
    return [
        Row("image", "cold, base composed too", min(one), "s"),
        Row("image", "cold, amd64 + arm64", min(two), "s"),
        Row("image", "amd64 + arm64 / amd64", min(two) / min(one), "", goal=1.6),
    ]


def _cold(ours: Tagboat, shop: Shop, repository: str, *platforms: str) -> Pushed:
    ours.forget_all_but_what_was_fetched()
    return ours.push(shop, repository, *platforms)


def _compare(case: str, pushes: list[Pushed], theirs: Peers, goal: float) -> list[Row]:
    seconds = statistics.median(push.outcome.seconds for push in pushes)
    requests = statistics.median(push.counts.requests for push in pushes)
    uploaded = statistics.median(push.counts.uploaded for push in pushes)
    beside = [Row("image", case, seconds, "s", cases[case], name, goal) for name, cases in theirs.items()]
    return [
        *(beside or [Row("image", case, seconds, "s", goal=goal)]),
        Row("image", f"{case}: requests", requests, "", goal=1 if case == _SAME else None),
        Row("image", f"{case}: uploaded", uploaded / 1e6, "MB"),
    ]


def _peers(folder: Path, server: RegistryServer, shop: Shop) -> Peers:
    found: Peers = {}
    if Buildah.is_here():
        found[Buildah.name] = _seconds(Buildah(folder / "buildah", server), shop)
    if Docker.is_here():
        with Docker.start(folder / "docker", server) as docker:
            found[Docker.name] = _seconds(docker, shop)
    return found


def _seconds(peer: Buildah | Docker, shop: Shop) -> dict[str, float]:
    """Median seconds of each case."""
    peer.push(shop, "peer")
    seconds: dict[str, list[float]] = {}
    for number in range(2):
        peer.forget_images()
        seconds.setdefault(_COLD, []).append(peer.push(shop, f"peer-cold{number}").seconds)
    for _ in range(3):
        seconds.setdefault(_SAME, []).append(peer.push(shop, "peer-cold1").seconds)
    for _ in range(3):
        shop.edit_line()
        seconds.setdefault(_LINE, []).append(peer.push(shop, "peer-cold1").seconds)
    for dependency in _CHANGES[:2]:
        shop.change_dependency(dependency)
        seconds.setdefault(_DEPENDENCY, []).append(peer.push(shop, "peer-cold1").seconds)
        shop.restore_dependencies()
    # The peers compile all byte code in any case, as most do: an app starts the sooner for it.
    known = {**seconds, _PLAIN: seconds[_COLD], _IMPORTED: seconds[_COLD]}
    return {case: statistics.median(values) for case, values in known.items()}
