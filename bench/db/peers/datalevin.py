"""Datalevin: within its JVM, where its results are Clojure's values, and from Python over its bridge.

The JVM runs in this process, as Datalevin's Python package has it. A message with `"bridge": true` is
answered by that package's own calls, any other by `datalevin.clj`.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.db.cases import Case
from bench.db.program import Run, measure

_PROGRAM = Path(__file__).with_suffix(".clj")


def main() -> None:
    """Answer the messages on standard input until it ends."""
    importlib.import_module("datalevin._jvm").start_jvm()
    jpype = importlib.import_module("jpype")
    clojure = jpype.JClass("clojure.java.api.Clojure")
    clojure.var("clojure.core", "load-string").invoke(_PROGRAM.read_text())
    functions = {name: clojure.var("bench", name) for name in ("load-data", "run", "connection")}
    with tempfile.TemporaryDirectory(prefix="bench-datalevin-") as folder:
        for line in sys.stdin:
            try:
                answer = _answer(functions, json.loads(line), line, folder)
            except Exception as error:  # noqa: BLE001 -- told to the other side
                answer = json.dumps({"error": f"{type(error).__name__}: {error}"})
            print(answer, flush=True)
    os._exit(0)  # the JVM's threads would go on


def _answer(functions: dict[str, Any], message: dict[str, Any], line: str, folder: str) -> str:
    if "load" in message:
        return str(functions["load-data"].invoke(message["load"], folder))
    if not message.get("bridge"):
        return str(functions["run"].invoke(line))
    connection = functions["connection"].invoke(message["on"])
    return json.dumps(measure(_bridged(Case(**message["run"]), connection), message))


def _bridged(case: Case, handle: Any) -> Run:
    connection = importlib.import_module("datalevin").Connection(handle, owned=False)
    return lambda: len(connection.query(case.datalog, *case.inputs))


if __name__ == "__main__":
    main()
