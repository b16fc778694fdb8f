"""Whether the rows of a conjunction can repeat when only some of its variables are kept.

They cannot when these determine every row of every table that is joined: a database shows a datom once, an
attribute of cardinality one has one value an entity, a unique one has one entity a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bucketlog.query.binding import single_row
from bucketlog.query.expand import (
    Alternatives,
    Atom,
    Conjunction,
    Derived,
    NotExists,
    Recursion,
    Relation,
    expression_inputs,
)
from bucketlog.query.syntax import Argument, Constant, Expression, Pattern, Source, Variable
from bucketlog.schema import Attribute

__all__ = ["Shown", "can_repeat"]

Shown = Callable[[Pattern], tuple[Attribute | None, bool] | None]
"""Says of a pattern over datoms its attribute, if it names one, and whether it shows a history."""


def can_repeat(atoms: Conjunction, kept: Iterable[str], shown: Shown) -> bool:
    """Whether two rows of `atoms` may be alike in the variables `kept`, as far as can be told."""
    known = set(kept)
    pending = list(atoms)
    while pending:
        left = [atom for atom in pending if not _determined(atom, known, shown)]
        if len(left) == len(pending):
            return True
        pending = left
    return False


def _determined(atom: Atom, known: set[str], shown: Shown) -> bool:
    """Whether what is known tells the row of one atom; adds what that row tells."""
    match atom:
        case Pattern():
            return _datom_determined(atom, known, shown)
        case Expression():
            return _value_determined(atom, known)
        case Recursion():
            return _all(atom.arguments, known)
        case Relation() | Derived():
            return _all(atom.terms, known)
        case Alternatives():
            return False
        case NotExists():
            return True


def _value_determined(atom: Expression, known: set[str]) -> bool:
    if atom.binding is None:
        return True
    if not single_row(atom.binding) or not _all(expression_inputs(atom), known):
        return False
    known.update(term.name for term in atom.binding.leaves() if isinstance(term, Variable))
    return True


def _all(terms: Iterable[Argument], known: set[str]) -> bool:
    return all(
        isinstance(term, Constant | Source) or (isinstance(term, Variable) and term.name in known)
        for term in terms
    )


def _datom_determined(pattern: Pattern, known: set[str], shown: Shown) -> bool:
    kind = shown(pattern)
    if kind is None:
        return _all(pattern.places, known)
    attribute, is_history = kind
    e, a, v = ([term] for term in pattern.places[:3])
    if is_history:
        determined = _all(pattern.places, known)
    elif attribute is None:
        determined = _all((*e, *a, *v), known)
    else:
        by_entity = _all(e, known) and (not attribute.many or _all(v, known))
        determined = by_entity or (_all(v, known) and attribute.unique)
    if determined:
        known.update(term.name for term in pattern.places if isinstance(term, Variable))
    return determined
