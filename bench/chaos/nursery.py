"""Processes that write until they are told to end, or killed: `python -m bench.chaos.nursery` forks them.

It has imported all that they need, so that a new one is there at once. It takes orders from standard input,
one JSON object a line, answers each with a line, and ends all its children when there is no more to read.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

import bucketlog
from bench.chaos.faults import FaultyStore, Rates
from bench.chaos.journal import Journal
from bench.chaos.workload import SCHEMA, Client
from bucketlog import Connection, FormatError, StoreError, UnsafeStoreError
from bucketlog.store import open_store

__all__ = ["Nursery", "Writer", "connect"]

_ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Writer:
    """What a process is to do: write to `url` under `rates`, with its journal at `folder`/`number`."""

    url: str
    folder: str
    number: int
    seed: int
    rates: Rates


class Nursery:
    """A running nursery; a context manager at whose end all its processes have ended.

    `errors` is where tracebacks go. At the end it raises `RuntimeError` when a process failed that nobody
    killed.
    """

    def __init__(self, errors: Path) -> None:
        self._errors = errors
        with errors.open("w") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bench.chaos.nursery"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                bufsize=1,
                cwd=_ROOT,
            )

    def start(self, writer: Writer) -> int:
        """Start a process; its id."""
        return int(self._ask({"start": asdict(writer)}))

    def kill(self, pid: int) -> None:
        """Kill one of its processes without warning, and wait until it is gone."""
        self._ask({"kill": pid})

    def check(self) -> None:
        """Raise `RuntimeError` when a process has ended that nobody killed."""
        if self._ask({}).strip() != "0":
            raise RuntimeError(f"a process failed:\n{self._errors.read_text()[-4000:]}")

    def _ask(self, order: dict[str, Any]) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the nursery is gone:\n{self._errors.read_text()[-4000:]}")
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._process.communicate()
        if kind is None and self._process.returncode:
            raise RuntimeError(f"a process failed:\n{self._errors.read_text()[-4000:]}")


def connect(store: Any) -> Connection:
    """A connection that knows the schema, after as many attempts as that takes."""
    while True:
        try:
            conn = bucketlog.connect(store)
        except (FormatError, UnsafeStoreError):
            raise
        except StoreError:
            continue
        try:
            conn.transact(SCHEMA)
        except StoreError:
            conn.close()
        else:
            return conn


def _main() -> int:
    """Take orders until there are none; 1 when a child ended otherwise than it was told to."""
    children: set[int] = set()
    failed = 0
    for line in sys.stdin:
        order = json.loads(line)
        if "start" in order:
            answer = os.fork()
            if not answer:
                os._exit(_child(order["start"]))
            children.add(answer)
        elif "kill" in order:
            answer = order["kill"]
            children.remove(answer)
            os.kill(answer, signal.SIGKILL)
            os.waitpid(answer, 0)
        else:
            ended = {pid for pid in children if os.waitpid(pid, os.WNOHANG)[0]}
            children -= ended
            answer = failed = failed + len(ended)
        print(answer, flush=True)
    for pid in children:
        os.kill(pid, signal.SIGTERM)
    codes = {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children}
    # One that was only just forked does not know yet that it is asked to end.
    return 1 if failed or codes - {0, -signal.SIGTERM} else 0


def _child(writer: dict[str, Any]) -> int:
    """Write until SIGTERM comes."""
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    try:
        _write(Writer(**writer | {"rates": Rates(**writer["rates"])}), stopped)
    except BaseException:  # noqa: BLE001 -- it has nobody else to tell
        traceback.print_exc()
        sys.stderr.flush()
        return 1
    return 0


def _write(writer: Writer, stopped: threading.Event) -> None:
    faults = os.open(f"{writer.folder}/faults", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    store = FaultyStore(
        open_store(writer.url),
        writer.rates,
        writer.seed,
        lambda fault: os.write(faults, f"{fault}\n".encode()),
    )
    with connect(store) as conn, Journal(Path(writer.folder) / str(writer.number)) as journal:
        client = Client(conn, journal, f"w{writer.number}", writer.number, writer.seed)
        while not stopped.is_set():
            client.act()
    store.settle()


if __name__ == "__main__":
    sys.exit(_main())
