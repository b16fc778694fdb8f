"""The typed records that a query is parsed into."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bucketlog.pull_parser import PullPattern

__all__ = [
    "BLANK",
    "DEFAULT_SOURCE",
    "Aggregate",
    "Argument",
    "Binding",
    "Blank",
    "Clause",
    "Constant",
    "Disjunction",
    "Expression",
    "Find",
    "FindElement",
    "Input",
    "Negation",
    "Pattern",
    "PullElement",
    "Query",
    "Quote",
    "Rule",
    "RuleCall",
    "RuleSet",
    "Shape",
    "Source",
    "Term",
    "Variable",
]


@dataclass(frozen=True, slots=True)
class Quote:
    """Part of a query as it is written and, for text, where: as `str`, for messages."""

    text: str
    place: str = ""

    def __str__(self) -> str:
        return f"{self.text} ({self.place})" if self.place else self.text


@dataclass(frozen=True, slots=True)
class Variable:
    """`?name`."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """A value written in the query; lookup refs and collections are tuples. True is not equal to 1."""

    value: Any

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Constant) or type(self.value) is not type(other.value):
            return False
        return bool(self.value == other.value)

    def __hash__(self) -> int:
        try:
            return hash(self.value)
        except TypeError:  # a map, or a vector with one in it
            return hash(type(self.value))


@dataclass(frozen=True, slots=True)
class Blank:
    """`_`: anything."""


BLANK: Final = Blank()

DEFAULT_SOURCE: Final = "$"
"""The database of clauses that name none."""

Term = Variable | Constant | Blank


@dataclass(frozen=True, slots=True)
class Source:
    """`$` or `$name` as an argument: the database, or the collection."""

    name: str


Argument = Term | Source


class Shape(enum.Enum):
    """How values are laid out, in results, inputs and bindings."""

    SCALAR = "?x"
    COLLECTION = "[?x ...]"
    TUPLE = "[?x ?y]"
    RELATION = "[[?x ?y]]"


@dataclass(frozen=True, slots=True)
class Binding:
    """Where values go: terms, or bindings again, laid out as `shape` says."""

    shape: Shape
    terms: tuple[Term | Binding, ...]

    def leaves(self) -> Iterator[Term]:
        """The terms, also of the bindings inside, from left to right."""
        for term in self.terms:
            if isinstance(term, Binding):
                yield from term.leaves()
            else:
                yield term


@dataclass(frozen=True, slots=True)
class Aggregate:
    """`(name arguments… ?variable)` in `:find`."""

    name: str
    arguments: tuple[Term, ...]
    """What stands before the variable, such as the number in `(min 3 ?x)`."""
    variable: Variable
    function: Variable | Callable[..., Any] | None
    """A custom aggregate: an input, or a callable in a query that is data."""
    text: Quote


@dataclass(frozen=True, slots=True)
class PullElement:
    """`(pull $source ?variable pattern)` in `:find`."""

    source: str
    variable: Variable
    pattern: PullPattern | str
    """The pattern, or the name of the input that is one."""
    text: Quote


FindElement = Variable | Aggregate | PullElement


@dataclass(frozen=True, slots=True)
class Find:
    """What a query returns, and how it is laid out."""

    shape: Shape
    elements: tuple[FindElement, ...]
    keys: tuple[str, ...] | None = None
    """`:keys`, `:strs` or `:syms`: rows become dictionaries with these keys."""


@dataclass(frozen=True, slots=True)
class Input:
    """One element of `:in`: a source, rules, a binding, or the name of a pull pattern."""

    source: str | None = None
    is_rules: bool = False
    binding: Binding | None = None
    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class Pattern:
    """`[e a v tx added]` of a database, or as many places as wanted of a collection.

    There are at least five; those that are not written are blank.
    """

    source: str
    places: tuple[Term, ...]
    text: Quote


@dataclass(frozen=True, slots=True)
class Expression:
    """`[(name arguments…) binding]`: a predicate without binding, a function with one."""

    name: str
    source: str
    """The source of what looks something up, such as `get-else`."""
    arguments: tuple[Argument, ...]
    binding: Binding | None
    text: Quote
    function: Variable | Callable[..., Any] | None = None
    """A custom function: a variable that is bound to it, or a callable in a query that is data."""


@dataclass(frozen=True, slots=True)
class Negation:
    """`not` (with `join` None: all its variables that occur outside too) or `not-join`."""

    join: tuple[Variable, ...] | None
    clauses: tuple[Clause, ...]
    text: Quote


@dataclass(frozen=True, slots=True)
class Disjunction:
    """`or` (with `join` None) or `or-join`; each branch is a conjunction. `and` is one with one branch."""

    join: tuple[Variable, ...] | None
    branches: tuple[tuple[Clause, ...], ...]
    text: Quote


@dataclass(frozen=True, slots=True)
class RuleCall:
    """`(name arguments…)`; in the rule, `$` is the call's source."""

    name: str
    source: str
    arguments: tuple[Term, ...]
    text: Quote


Clause = Pattern | Expression | Negation | Disjunction | RuleCall


@dataclass(frozen=True, slots=True)
class Rule:
    """One definition of a rule: `[(name parameters…) clauses…]`."""

    name: str
    parameters: tuple[Variable, ...]
    clauses: tuple[Clause, ...]
    text: Quote


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """A whole query; equal only to itself, so that plans can be cached by it."""

    find: Find
    extra: tuple[Variable, ...]
    """`:with`: variables that keep rows apart for aggregates."""
    inputs: tuple[Input, ...]
    clauses: tuple[Clause, ...]


@dataclass(frozen=True, slots=True, eq=False)
class RuleSet:
    """The definitions of every rule by its name; equal only to itself, like `Query`."""

    definitions: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)
