"""The typed records that a query is parsed into."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bucketlog.pull_parser import PullPattern

__all__ = [
    "BLANK",
    "DEFAULT_SOURCE",
    "Aggregate",
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
    "Rule",
    "RuleCall",
    "RuleSet",
    "Shape",
    "Term",
    "Variable",
]


@dataclass(frozen=True, slots=True)
class Variable:
    """`?name`."""

    name: str


@dataclass(frozen=True, slots=True)
class Constant:
    """A value written in the query; lookup refs and collections are tuples."""

    value: Any


@dataclass(frozen=True, slots=True)
class Blank:
    """`_`: anything."""


BLANK: Final = Blank()

DEFAULT_SOURCE: Final = "$"
"""The database of clauses that name none."""

Term = Variable | Constant | Blank


class Shape(enum.Enum):
    """How values are laid out, in results, inputs and bindings."""

    SCALAR = "?x"
    COLLECTION = "[?x ...]"
    TUPLE = "[?x ?y]"
    RELATION = "[[?x ?y]]"


@dataclass(frozen=True, slots=True)
class Binding:
    """Where values go: terms, laid out as `shape` says."""

    shape: Shape
    terms: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """`(name ?variable)` in `:find`."""

    name: str
    variable: Variable


@dataclass(frozen=True, slots=True)
class PullElement:
    """`(pull $source ?variable pattern)` in `:find`."""

    source: str
    variable: Variable
    pattern: PullPattern


FindElement = Variable | Aggregate | PullElement


@dataclass(frozen=True, slots=True)
class Find:
    """What a query returns, and how it is laid out."""

    shape: Shape
    elements: tuple[FindElement, ...]


@dataclass(frozen=True, slots=True)
class Input:
    """One element of `:in`: a database (`source`), rules, or a binding."""

    source: str | None = None
    is_rules: bool = False
    binding: Binding | None = None


@dataclass(frozen=True, slots=True)
class Pattern:
    """`[e a v tx added]` of one database; missing places are blank."""

    source: str
    places: tuple[Term, Term, Term, Term, Term]
    text: str


@dataclass(frozen=True, slots=True)
class Expression:
    """`[(name arguments…) binding]`: a predicate without binding, a function with one."""

    name: str
    source: str
    arguments: tuple[Term, ...]
    binding: Binding | None
    text: str


@dataclass(frozen=True, slots=True)
class Negation:
    """`not` (with `join` None: all its variables that occur outside too) or `not-join`."""

    join: tuple[Variable, ...] | None
    clauses: tuple[Clause, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Disjunction:
    """`or` (with `join` None) or `or-join`; each branch is a conjunction. `and` is one with one branch."""

    join: tuple[Variable, ...] | None
    branches: tuple[tuple[Clause, ...], ...]
    text: str


@dataclass(frozen=True, slots=True)
class RuleCall:
    """`(name arguments…)`."""

    name: str
    arguments: tuple[Term, ...]
    text: str


Clause = Pattern | Expression | Negation | Disjunction | RuleCall


@dataclass(frozen=True, slots=True)
class Rule:
    """One definition of a rule: `[(name parameters…) clauses…]`."""

    name: str
    parameters: tuple[Variable, ...]
    clauses: tuple[Clause, ...]
    text: str


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
