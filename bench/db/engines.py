"""Us and the peers: how each is started, and how much of its time ours may take."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.db.install import PeerError, install_node, install_python, java_home
from bench.db.process import Process

__all__ = ["Engine", "Engines", "start_engines"]

PLAIN: Final = "SQLite, SQL by hand (apsw)"
_PROGRAMS: Final = Path(__file__).parent / "peers"
_Start = tuple[list[str | Path], dict[str, str]]


@dataclass(frozen=True, slots=True)
class Engine:
    """One of those that are compared.

    `goals` has, by the kind of work, what part of this engine's time ours may take; `warm_up` is how many
    seconds a case runs before it is measured.
    """

    name: str
    process: Process
    warm_up: float
    goals: Mapping[str, float] = field(default_factory=dict)
    bridge: bool = False
    """Asked over Datalevin's bridge from Python, which is done for queries alone."""


@dataclass(frozen=True, slots=True)
class Engines:
    """Those that run, and why others do not."""

    ours: Engine
    peers: list[Engine]
    absent: dict[str, str]
    plain: str = PLAIN
    """The peer that is no Datalog database."""

    @property
    def all(self) -> list[Engine]:
        return [self.ours, *self.peers]


def _python(module: str) -> _Start:
    return [sys.executable, "-m", f"bench.db.peers.{module}"], {}


def _installed_python(module: str) -> _Start:
    return [sys.executable, "-m", f"bench.db.peers.{module}"], {"PYTHONPATH": str(install_python())}


def _datalevin() -> _Start:
    home = java_home()
    command, environment = _installed_python("datalevin")
    return command, environment | {"JAVA_HOME": str(home)}


def _datascript() -> _Start:
    folder = install_node() / "node_modules"
    return ["node", "--max-old-space-size=8192", _PROGRAMS / "datascript.js"], {"NODE_PATH": str(folder)}


@contextmanager
def start_engines() -> Iterator[Engines]:
    """Every engine that can be had, each in its own process, until the end of the block."""
    with ExitStack() as stack, tempfile.TemporaryFile("w+") as log:
        absent: dict[str, str] = {}
        peers: list[Engine] = []

        def add(
            name: str,
            start: Callable[[], _Start],
            warm_up: float,
            goals: Mapping[str, float],
        ) -> None:
            try:
                command, environment = start()
            except PeerError as error:
                absent[name] = str(error)
                return
            process = stack.enter_context(Process(command, environment, log))
            peers.append(Engine(name, process, warm_up, goals))

        ours = stack.enter_context(Process(*_python("ours"), sys.stderr.fileno()))
        add(PLAIN, lambda: _python("sqlite"), 0.05, {"query": 1.3})
        add("Datalevin, JVM", _datalevin, 1.5, {"query": 1.0, "rules": 1.0})
        peers += [
            Engine("Datalevin, from Python", peer.process, 0.3, bridge=True)
            for peer in peers
            if peer.name == "Datalevin, JVM"
        ]
        add("DataScript, Node", _datascript, 0.5, {"query": 1 / 8, "rules": 1 / 5})
        add("Cozo (mnestic), from Python", lambda: _installed_python("cozo"), 0.05, {"query": 1.0})
        yield Engines(Engine("bucketlog", ours, 0.05), peers, absent)
