"""What is said of attributes and entities by functions of the caller's: predicates, and what must be there.

Their names are in the database (`:db.attr/preds`; `:db.entity/attrs` and `:db.entity/preds` of what
`:db/ensure` names); the functions come from `connect(…, functions=…)`, as transaction functions do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from bucketlog.errors import TransactionError
from bucketlog.schema import ENTITY_ATTRIBUTES, ENTITY_PREDICATES, Change
from bucketlog.value import decode

if TYPE_CHECKING:
    from bucketlog.database import Database

__all__ = ["NO_FUNCTIONS", "Functions", "check_entities", "check_values", "find_function"]

Functions = Mapping[str, Callable[..., Any]]
"""By name, a keyword such as `:account/transfer`."""

NO_FUNCTIONS: Final[Functions] = MappingProxyType({})


def find_function(functions: Functions, name: str, what: str) -> Callable[..., Any]:
    """The function of that name; raises `TransactionError` when this process does not have it."""
    if name not in functions:
        raise TransactionError(
            f"{what} is the function {name}, which this connection was not given: "
            f"connect(…, functions={{{name!r}: …}})"
        )
    return functions[name]


def check_values(db: Database, changes: Iterable[Change]) -> None:
    """Raise `TransactionError` when a value that is added does not satisfy its attribute's predicates."""
    guarded = db.schema.guarded
    if not guarded:
        return
    for e, a, v, added in changes:
        if not added or a not in guarded:
            continue
        attribute, value = guarded[a], decode(v)
        for name in attribute.predicates:
            predicate = find_function(db.functions, name, f"a predicate of {attribute.ident}")
            _judge(predicate(value), f"{attribute.ident} {value!r} of entity {e}", name)


def check_entities(db: Database, ensured: Iterable[tuple[int, int]]) -> None:
    """Raise `TransactionError` unless every entity is, after the transaction, what its specification says."""
    for e, specification in ensured:
        named = db.ident(specification) or specification
        names = _names(db, specification, ENTITY_ATTRIBUTES)
        predicates = _names(db, specification, ENTITY_PREDICATES)
        if not names and not predicates:
            raise TransactionError(f":db/ensure: {named} has neither :db.entity/attrs nor :db.entity/preds")
        for name in names:
            attribute = db.attribute(name)
            if attribute is None or not db.values(e, attribute.id):
                raise TransactionError(f"entity {e} has no {name}, which {named} requires")
        for name in predicates:
            predicate = find_function(db.functions, name, f"a predicate of {named}")
            _judge(predicate(db, e), f"entity {e}, of which {named} is to be ensured,", name)


def _names(db: Database, specification: int, attribute: int) -> list[str]:
    return sorted(str(decode(name)) for name in db.values(specification, attribute))


def _judge(verdict: Any, what: str, name: str) -> None:
    """Anything but true is a no; a text says why."""
    if verdict is not True:
        why = f": {verdict}" if isinstance(verdict, str) else ""
        raise TransactionError(f"{what} does not satisfy {name}{why}")
