"""Cozo, in memory, by its maintained fork: a relation an attribute, with an index by value."""

from __future__ import annotations

import importlib
import itertools
from typing import Any

from bench.db.cases import ATTRIBUTES, PER_RUN, Case
from bench.db.data import FAMILIES, Dataset
from bench.db.program import Run, serve


class Cozo:
    """Databases in memory."""

    def __init__(self) -> None:
        self._open = importlib.import_module("mnestic").CozoDbPy
        self._databases: dict[str, Any] = {}

    def load(self, dataset: Dataset) -> Run:
        columns: dict[str, list[list[Any]]] = {
            name.replace("-", "_"): [[person[0], person[place]] for person in dataset.people]
            for place, name in enumerate(ATTRIBUTES[:-1])
        }
        follows = [list(edge) for edge in dataset.follows]

        def load() -> int:
            database = self._open("mem", "", "{}")
            self._databases[dataset.name] = database
            for name, rows in columns.items():
                database.run_script(f":create {name} {{e => v}}", {}, False)
                database.run_script(f"::index create {name}:by_value {{v, e}}", {}, False)
                database.run_script(f"?[e, v] <- $rows :put {name} {{e => v}}", {"rows": rows}, False)
            database.run_script(":create follows {e, v}", {}, False)
            database.run_script("?[e, v] <- $rows :put follows {e, v}", {"rows": follows}, False)
            return dataset.datoms

        return load

    def prepare(self, case: Case, dataset: str) -> Run:
        run = self._databases[dataset].run_script
        script, inputs = case.cozo, case.sql_inputs
        if case.kind == "query":
            return lambda: len(run(script, inputs, True)["rows"])
        ids = [{"id": n} for n in itertools.islice(itertools.cycle(range(1, FAMILIES + 1)), PER_RUN)]
        return lambda: len([run(script, one, True)["rows"] for one in ids])


if __name__ == "__main__":
    serve(Cozo())
