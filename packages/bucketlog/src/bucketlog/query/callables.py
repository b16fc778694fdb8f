"""Python functions inside of SQL statements.

A statement gets a callable as a parameter and hands it to one of three SQL functions: `bucketlog_call(f, …)`
gives its value, `bucketlog_each(f, …)` is the table of its rows, with columns `c0` and so on, and
`bucketlog_aggregate(f, x)` gives its value for all of a group. Arguments and results are in stored form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import apsw

from bucketlog.value import Stored

__all__ = ["MAX_ARGUMENTS", "MAX_COLUMNS", "as_parameter", "install"]

MAX_ARGUMENTS: Final = 16
"""Of a function that gives rows: how many arguments can come from the statement."""

MAX_COLUMNS: Final = 32
"""Of a function that gives rows: how many columns these can have."""


def as_parameter(function: Callable[..., Any]) -> Any:
    """The callable as a parameter of a statement."""
    return apsw.pyobject(function)


def install(connection: apsw.Connection) -> None:
    """Define the three functions."""
    module: Any = _Module()
    connection.create_scalar_function("bucketlog_call", _call)
    connection.create_aggregate_function("bucketlog_aggregate", _group)
    connection.create_module(
        "bucketlog_each", module, use_bestindex_object=True, eponymous=True, eponymous_only=True
    )


def _call(*arguments: Any) -> Any:
    function, *values = arguments
    return function(*values)


def _group() -> Any:
    return _Group()


class _Group:
    """One group of an aggregate; the callable takes the list of its values."""

    def __init__(self) -> None:
        self._function: Callable[[list[Stored]], Stored | None] | None = None
        self._values: list[Stored] = []

    def step(self, function: Callable[[list[Stored]], Stored | None], value: Stored) -> None:
        self._function = function
        self._values.append(value)

    def final(self) -> Stored | None:
        return self._function(self._values) if self._function else None


_COLUMNS: Final = ", ".join(
    [
        *(f"c{n}" for n in range(MAX_COLUMNS)),
        "function HIDDEN",
        *(f"a{n} HIDDEN" for n in range(MAX_ARGUMENTS)),
    ]
)


class _Module:
    """The virtual table module (sqlite.org/vtab.html) of `bucketlog_each`."""

    def Connect(self, *_: Any) -> tuple[str, Any]:  # noqa: N802 -- SQLite's names, here and below
        return f"CREATE TABLE each ({_COLUMNS})", _Table()

    Create = Connect


class _Table:
    def BestIndexObject(self, index: Any) -> bool:  # noqa: N802
        """Take the function and its arguments, in their order; without all of them there are no rows."""
        places = {}
        for n in range(index.nConstraint):
            column = index.get_aConstraint_iColumn(n)
            if column < MAX_COLUMNS or index.get_aConstraint_op(n) != apsw.SQLITE_INDEX_CONSTRAINT_EQ:
                continue
            if not index.get_aConstraint_usable(n):
                return False
            places[column] = n
        for position, column in enumerate(sorted(places), 1):
            index.set_aConstraintUsage_argvIndex(places[column], position)
            index.set_aConstraintUsage_omit(places[column], True)
        index.estimatedRows = 10
        index.estimatedCost = 10.0
        return bool(places)

    def Open(self) -> _Cursor:  # noqa: N802
        return _Cursor()

    def Disconnect(self) -> None:  # noqa: N802
        """Nothing to let go of."""

    Destroy = Disconnect


class _Cursor:
    def __init__(self) -> None:
        self._rows: Iterator[tuple[Stored | None, ...]] = iter(())
        self._row: tuple[Stored | None, ...] | None = None

    def Filter(self, _number: int, _name: str | None, arguments: tuple[Any, ...]) -> None:  # noqa: N802
        function, *values = arguments
        self._rows = iter(function(*values))
        self.Next()

    def Next(self) -> None:  # noqa: N802
        self._row = next(self._rows, None)

    def Eof(self) -> bool:  # noqa: N802
        return self._row is None

    def Column(self, number: int) -> Stored | None:  # noqa: N802
        return self._row[number] if self._row is not None and 0 <= number < len(self._row) else None

    def Rowid(self) -> int:  # noqa: N802
        return 0

    def Close(self) -> None:  # noqa: N802
        self._rows = iter(())
