"""Inputs: what a variable is used as says how a value given for it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from bucketlog.edn import Keyword
from bucketlog.errors import QueryError
from bucketlog.query.binding import binding_text, rows_of
from bucketlog.query.codec import Codec
from bucketlog.query.expand import Alternatives, Conjunction, Expander, NotExists, Recursion
from bucketlog.query.syntax import DEFAULT_SOURCE, Argument, Binding, Expression, Pattern, Variable
from bucketlog.schema import Attribute
from bucketlog.value import Stored, ValueType, encode

if TYPE_CHECKING:
    from bucketlog.database import Database

__all__ = [
    "InputEncoder",
    "Parameter",
    "Role",
    "Roles",
    "Run",
    "ScalarInput",
    "Table",
    "encode_any",
    "encode_value",
    "input_rows",
]
Role = ValueType | None
"""A value of that type (entities are references), or `None` for an attribute."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a compiled query is run on."""

    databases: Mapping[str, Database]
    inputs: Sequence[Any]
    collections: Mapping[str, Any] = field(default_factory=dict)
    """The sources that are no databases."""
    codec: Codec = field(default_factory=Codec)


Parameter = Callable[[Run], Any]
"""Gives the value of a parameter of the statement when the query is run."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows that are put beside the datoms, as a temporary table, before the statement is run."""

    name: str
    width: int
    rows: Callable[[Run], Sequence[Sequence[Stored | None]]]


@dataclass(frozen=True, slots=True)
class ScalarInput:
    """A parameter that is one value of an input: the whole, or what stands at `path` in nested tuples."""

    position: int
    path: tuple[int, ...]
    encoder: Callable[[Run, Any], Stored | None]

    def __call__(self, run: Run) -> Stored | None:
        value = run.inputs[self.position]
        for place in self.path:
            value = value[place]
        return self.encoder(run, value)


def input_rows(
    position: int, binding: Binding, encoders: Sequence[Callable[[Run, Any], Stored | None]]
) -> Callable[[Run], list[list[Stored | None]]]:
    """Gives the rows of an input; it raises `QueryError` for a value that the binding does not fit."""

    def rows(run: Run) -> list[list[Stored | None]]:
        try:
            return [
                [encoder(run, cell) for encoder, cell in zip(encoders, row, strict=True)]
                for row in rows_of(binding, run.inputs[position])
            ]
        except ValueError as error:
            raise QueryError(f"input {binding_text(binding)}: {error}") from None

    return rows


def encode_value(value: Any, where: str) -> Stored:
    """The stored form of a value; raises `QueryError`, which says where it stands."""
    try:
        return encode(value)
    except ValueError as error:
        raise QueryError(f"{value!r}: {error}, in: {where}") from None


def encode_any(run: Run, value: Any, where: object) -> Stored | None:
    """The stored form of a value, or a handle of another object; raises `QueryError`, like `encode_value`."""
    try:
        return run.codec.encode(value)
    except ValueError as error:
        raise QueryError(f"{value!r}: {error}, in: {where}") from None


_EXACT: Final = frozenset({ValueType.BIGDEC, ValueType.TUPLE, ValueType.URI})
"""Types whose values may be given as others: decimals as integers, URIs as text, tuples as of these."""


class Roles:
    """What the variables of some conjunctions are used as."""

    def __init__(
        self,
        expander: Expander,
        attribute_of: Callable[[Pattern], Attribute | None],
        collections: frozenset[str],
    ) -> None:
        self._expander = expander
        self._collections = collections
        self._attribute_of = attribute_of
        self._roles: dict[str, set[Role]] = {}
        self._sources: dict[str, str] = {}
        self._exact: dict[str, Attribute] = {}

    def of(self, name: str) -> frozenset[Role]:
        """The roles of a variable."""
        return frozenset(self._roles.get(name, ()))

    def source_of(self, name: str) -> str:
        """The database in which a variable is an entity or an attribute."""
        return self._sources.get(name, DEFAULT_SOURCE)

    def exact(self, name: str) -> Attribute | None:
        """An attribute whose values a variable stands for, if it says more of them than what they are."""
        return self._exact.get(name)

    def learn(self, atoms: Conjunction, seen: frozenset[str] = frozenset()) -> None:
        """Take in one conjunction, and the rules that it calls except those already `seen`."""
        for atom in atoms:
            match atom:
                case NotExists() | Alternatives():
                    for branch in atom.branches:
                        self.learn(branch, seen)
                case Pattern() if atom.source not in self._collections:
                    self._pattern(atom)
                case Expression(name="get-else" | "get-some" | "missing?", function=None):
                    self._note(atom.arguments[:1], ValueType.REF, atom.source)
                    self._note(atom.arguments[1:2], None, atom.source)
                case Recursion() if atom.name not in seen:
                    for _, definition in self._expander.definitions(atom.name, atom.arguments, atom.source):
                        self.learn(definition, seen | {atom.name})

    def _pattern(self, atom: Pattern) -> None:
        e, a, v, tx = atom.places[:4]
        attribute = self._attribute_of(atom)
        self._note((e, tx), ValueType.REF, atom.source)
        self._note((a,), None, atom.source)
        if attribute is not None:
            self._note((v,), attribute.type, atom.source)
            if isinstance(v, Variable) and attribute.type in _EXACT:
                self._exact.setdefault(v.name, attribute)

    def _note(self, terms: Iterable[Argument], role: Role, source: str) -> None:
        for term in terms:
            if isinstance(term, Variable):
                self._roles.setdefault(term.name, set()).add(role)
                self._sources.setdefault(term.name, source)


@dataclass(frozen=True, slots=True)
class InputEncoder:
    """Reads one value of an input; where its variable is an entity or attribute, its name becomes its id."""

    name: str
    roles: frozenset[Role]
    source: str
    exact: Attribute | None = None

    def __call__(self, run: Run, value: Any) -> Stored | None:  # noqa: PLR0911 -- one return a role
        if not self.roles or value is None:
            return encode_any(run, value, f"input {self.name}")
        if self.exact is not None:
            return self._exactly(run, self.exact, value)
        if isinstance(value, str) and value.startswith(":"):
            if None in self.roles:
                attribute = run.databases[self.source].schema.attribute(value)
                if attribute is None:
                    raise QueryError(f"input {self.name}: {value!r} is not an attribute of the database")
                return attribute.id
            if ValueType.REF in self.roles:
                return run.databases[self.source].entid(value)
            if ValueType.KEYWORD in self.roles:
                return encode_value(Keyword(value), f"input {self.name}")
        if isinstance(value, list | tuple) and ValueType.REF in self.roles:
            return run.databases[self.source].entid(value)
        return encode_value(value, f"input {self.name}")

    def _exactly(self, run: Run, attribute: Attribute, value: Any) -> Stored | None:
        """A value as one of the attribute's, or as what it is, which is found nowhere then."""
        try:
            return run.databases[self.source].stored(attribute, value)
        except (ValueError, QueryError):
            return encode_any(run, value, f"input {self.name}")
