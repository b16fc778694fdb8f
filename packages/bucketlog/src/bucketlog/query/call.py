"""Calls of Python functions when a statement runs: what SQL gives becomes Python values, and the results what
SQL takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bucketlog.errors import QueryError
from bucketlog.forms import name_of, show
from bucketlog.query.binding import binding_text, rows_of
from bucketlog.query.callables import as_parameter
from bucketlog.query.inputs import Run
from bucketlog.query.library import truth
from bucketlog.query.syntax import Argument, Binding, Constant, Expression, Source, Variable
from bucketlog.value import Stored

__all__ = ["CallPlan", "Convert", "spread", "tested", "tested_by_python", "valued"]

Convert = Callable[[Callable[..., Any], Run, Expression], Callable[..., Any]]
"""Makes of a function of Python values, which raises `QueryError`, what SQL calls with them."""


class CallPlan:
    """A parameter: the callable for one expression, made for each run of the statement."""

    def __init__(
        self,
        atom: Expression,
        function: Callable[..., Any] | None,
        arguments: tuple[Argument, ...],
        convert: Convert,
    ) -> None:
        self._atom = atom
        self._function = function
        self._arguments = arguments
        self._convert = convert

    def __call__(self, run: Run) -> Any:
        decode = run.codec.decode
        complete = self._completed(run)
        known, atom = self._function, self._atom

        def call(*stored: Stored | None) -> Any:
            values = [decode(item) if type(item) is bytes else item for item in stored]
            function: Any = values.pop(0) if known is None else known
            arguments = values if complete is None else complete(values)
            try:
                return function(*arguments)
            except QueryError:
                raise
            except Exception as error:
                raise QueryError(_failure(function, arguments, error, atom)) from error

        return as_parameter(self._convert(call, run, atom))

    def _completed(self, run: Run) -> Callable[[list[Any]], list[Any]] | None:
        """Makes of the arguments that vary all of them; `None` when all vary."""
        if all(isinstance(item, Variable) for item in self._arguments):
            return None
        fixed: list[Any] = []
        for argument in self._arguments:
            if isinstance(argument, Source):
                name = argument.name
                fixed.append(run.databases[name] if name in run.databases else run.collections[name])
            else:
                fixed.append(argument.value if isinstance(argument, Constant) else None)
        places = [n for n, argument in enumerate(self._arguments) if isinstance(argument, Variable)]

        def complete(values: list[Any]) -> list[Any]:
            arguments = list(fixed)
            for place, value in zip(places, values, strict=True):
                arguments[place] = value
            return arguments

        return complete


def _failure(function: Any, arguments: Sequence[Any], error: Exception, atom: Expression) -> str:
    if not callable(function):
        return f"{atom.name} is {function!r}, which is no function, in: {atom.text}"
    name = name_of(function) if atom.function is not None else atom.name
    shown = ", ".join(map(repr, arguments))
    return f"{name} fails for {shown}: {type(error).__name__}: {error}, in: {atom.text}"


def tested(call: Callable[..., Any], _run: Run, _atom: Expression) -> Callable[..., int]:
    """A condition: as in Clojure, all but nil and false is true."""
    return lambda *stored: int(truth(call(*stored)))


def tested_by_python(call: Callable[..., Any], _run: Run, _atom: Expression) -> Callable[..., int]:
    """A condition: of a function of the caller's, by what Python takes for true."""
    return lambda *stored: int(bool(call(*stored)))


def valued(call: Callable[..., Any], run: Run, atom: Expression) -> Callable[..., Stored | None]:
    """One value."""
    encode = run.codec.encode

    def value(*stored: Stored | None) -> Stored | None:
        result = call(*stored)
        kind = type(result)
        if kind is str or result is None:
            return result  # type: ignore[no-any-return]
        try:
            return encode(result)
        except ValueError as error:
            raise QueryError(f"{atom.name} gives {show(result)}: {error}, in: {atom.text}") from None

    return value


def spread(binding: Binding) -> Convert:
    """Rows of what a function gives, laid out as the binding says."""

    def convert(call: Callable[..., Any], run: Run, atom: Expression) -> Callable[..., Any]:
        encode = run.codec.encode

        def rows(*stored: Stored | None) -> Iterator[tuple[Stored | None, ...]]:
            result = call(*stored)
            if result is None:
                return
            try:
                for row in rows_of(binding, result):
                    yield tuple(map(encode, row))
            except ValueError as error:
                raise QueryError(
                    f"{atom.name} gives what {binding_text(binding)} does not fit: {error}, in: {atom.text}"
                ) from None

        return rows

    return convert
