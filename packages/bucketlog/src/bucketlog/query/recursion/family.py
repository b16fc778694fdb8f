"""Families: rules that call each other in a circle, and the shape that makes such a circle a walk in a graph.

A family is *regular* when its parameters fall into two parts: what a definition hands on unchanged to the one
rule of the family that it calls, and the rest. The rest are then the nodes of a graph, whose edges are the
definitions that call, and what is handed on are the items of the nodes from which definitions that call
nothing lead away: a rule holds for a node and the items of all that it reaches. Transitive closure is so,
written from the left, from the right or as a rule that calls itself twice, and mutual recursion of that kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from bucketlog.errors import QueryError
from bucketlog.query.expand import Atom, Conjunction, Expander, NotExists, Recursion, variables
from bucketlog.query.syntax import Pattern, Quote, Term, Variable

__all__ = ["Definition", "Edge", "Regular", "definitions", "regular"]


@dataclass(frozen=True, slots=True)
class Definition:
    """One way in which a rule of a family can hold."""

    rule: str
    parameters: tuple[Variable, ...]
    calls: tuple[Recursion, ...]
    """The calls of rules of the family."""
    atoms: Conjunction
    """All else."""
    text: Quote


def definitions(expander: Expander, family: Sequence[str], source: str) -> tuple[Definition, ...]:
    """The definitions of the rules of a family, with `source` for `$`.

    Raises `QueryError` when a rule depends on its own negation, which means nothing.
    """
    found = []
    for name in family:
        parameters = tuple(expander.fresh(f"?{n}") for n in range(expander.arity(name)))
        for rule, conjunction in expander.definitions(name, parameters, source):
            if any(_negates(atom, family, source) for atom in conjunction):
                raise QueryError(
                    f"{name} holds only if it does not hold: a rule cannot negate itself or what "
                    f"calls it, in: {rule.text}"
                )
            calls = tuple(
                atom for atom in conjunction if isinstance(atom, Recursion) and _is_call(atom, family, source)
            )
            others = tuple(atom for atom in conjunction if not _is_call(atom, family, source))
            found.append(Definition(name, parameters, calls, others, rule.text))
    return tuple(found)


def _is_call(atom: Atom, family: Sequence[str], source: str) -> bool:
    return isinstance(atom, Recursion) and atom.name in family and atom.source == source


def _negates(atom: Atom, family: Sequence[str], source: str) -> bool:
    return isinstance(atom, NotExists) and any(
        _is_call(inner, family, source) or _negates(inner, family, source)
        for branch in atom.branches
        for inner in branch
    )


@dataclass(frozen=True, slots=True)
class Edge:
    """A definition as a part of a graph: `atoms` lead from a node of `rule` to an end.

    That is a node of the rule `to`, or an item when that is `None`.
    """

    rule: str
    to: str | None
    node: Variable
    end: Variable
    atoms: Conjunction
    text: Quote


@dataclass(frozen=True, slots=True)
class Regular:
    """A family of rules with two parameters as a graph."""

    node: int
    """The position of the parameter that is a node; the other is an item."""
    own: tuple[Edge, ...]
    """From nodes to items."""
    steps: tuple[Edge, ...]
    """From nodes to nodes."""
    closed: bool
    """Whether `own` and `steps` mean the same: plain transitive closure."""


def regular(family: Sequence[Definition]) -> Regular | None:
    """The graph of a family, `None` when it is not regular."""
    if any(len(definition.parameters) != 2 or len(definition.calls) > 2 for definition in family):
        return None
    items = frozenset({0, 1})
    single = len({definition.rule for definition in family}) == 1
    for definition in family:
        if len(definition.calls) == 2:
            items &= _doubled(definition)
        elif definition.calls:
            items &= _handed_on(definition)
    doubled = any(len(definition.calls) == 2 for definition in family)
    if doubled:
        items &= {max(items)} if items and single else frozenset()
    return _graph(family, 1 - min(items)) if len(items) == 1 else None


def _handed_on(definition: Definition) -> frozenset[int]:
    """The positions of the parameters that the one call gets unchanged, and that nothing else mentions."""
    (call,) = definition.calls
    uses = Counter(call.arguments)
    uses.update(set(variables(definition.atoms, negated=True)))
    return frozenset(
        position
        for position, parameter in enumerate(definition.parameters)
        if call.arguments[position] == parameter and uses[parameter] == 1
    )


def _doubled(definition: Definition) -> frozenset[int]:
    """Either position, for a rule of two parameters that only calls itself, twice in a row."""
    if definition.atoms or len(definition.parameters) != 2:
        return frozenset()
    start, end = definition.parameters
    for first, second in (definition.calls, definition.calls[::-1]):
        middle = first.arguments[1]
        if (
            {first.name, second.name} == {definition.rule}
            and middle not in definition.parameters
            and first.arguments == (start, middle)
            and second.arguments == (middle, end)
        ):
            return frozenset({0, 1})
    return frozenset()


def _graph(family: Sequence[Definition], node: int) -> Regular:
    own, steps = [], []
    for definition in family:
        start = definition.parameters[node]
        if not definition.calls:
            item = definition.parameters[1 - node]
            own.append(Edge(definition.rule, None, start, item, definition.atoms, definition.text))
        elif len(definition.calls) == 1:
            (call,) = definition.calls
            to = call.arguments[node]
            assert isinstance(to, Variable)  # noqa: S101 -- constants and blanks become variables before
            steps.append(Edge(definition.rule, call.name, start, to, definition.atoms, definition.text))
    if any(len(definition.calls) == 2 for definition in family):
        # What holds at once may then come before what holds, any number of times.
        steps += [replace(edge, to=edge.rule) for edge in own]
    return Regular(node, tuple(own), tuple(steps), _is_closed(own, steps))


def _is_closed(own: Sequence[Edge], steps: Sequence[Edge]) -> bool:
    if len({edge.rule for edge in (*own, *steps)}) > 1:
        return False
    return {_meaning(edge) for edge in own} == {_meaning(edge) for edge in steps}


def _meaning(edge: Edge) -> tuple[Any, ...]:
    """The same for edges that differ in the names of variables only, as far as that is easy to tell."""
    names: dict[Term, Variable] = {}
    for end in (edge.node, edge.end):
        names.setdefault(end, Variable(f"?{len(names)}"))
    patterns = []
    for atom in edge.atoms:
        if not isinstance(atom, Pattern):
            return (edge.node, edge.end, edge.atoms)
        for term in atom.places:
            if isinstance(term, Variable):
                names.setdefault(term, Variable(f"?{len(names)}"))
        patterns.append((atom.source, tuple(names.get(term, term) for term in atom.places)))
    return (names[edge.node], names[edge.end], *patterns)
