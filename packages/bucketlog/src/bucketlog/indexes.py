"""Datoms in the order of an index: whole indexes, parts of them, and ranges of values.

They are read a page at a time from where the last one ended, so that nobody is kept from anything while
somebody goes through them, and what is committed meanwhile does not show. Only AEVT, which no index of the
image is in the order of, is read and sorted an attribute at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from bucketlog.datom import Datom
from bucketlog.errors import QueryError
from bucketlog.image import LIVE, OPEN, Row
from bucketlog.schema import Attribute, transaction_entity
from bucketlog.value import Stored, decode

if TYPE_CHECKING:
    from bucketlog.database import Database

__all__ = ["datoms", "index_range"]

_PAGE: Final = 1000  # rows
_ORDERS: Final = {"eavt": "eav", "aevt": "aev", "avet": "ave", "vaet": "vae"}
_TABLES: Final = {
    "eavt": "datom INDEXED BY sqlite_autoindex_datom_1 WHERE",
    "aevt": "datom INDEXED BY avet WHERE",
    "avet": "datom INDEXED BY avet WHERE",
    "vaet": "datom INDEXED BY vaet WHERE ref = 1 AND",
}
_EVER: Final = "added <= :t"


def datoms(db: Database, index: str, components: Sequence[Any], *, seek: bool) -> Iterator[Datom]:
    """The datoms whose first places in the order of `index` are `components`; with `seek` all from there on.

    Raises `QueryError` for what is no index, no attribute or no value of it.
    """
    name = index.removeprefix(":")
    if name not in _ORDERS:
        raise QueryError(f"{index!r} is no index: there are :eavt, :aevt, :avet and :vaet")
    order = _ORDERS[name]
    if len(components) > len(order):
        raise QueryError(f"{index}: {len(components)} components, and a datom has {len(order)} to find it by")
    places: dict[str, Stored] = {}
    for column, component in zip(order, components, strict=False):
        stored = _stored(db, name, column, component, places)
        if stored is None:
            if seek:
                raise QueryError(f"{index}: {component!r} is not there, so nothing can start at it")
            return iter(())
        places[column] = stored
    if name == "aevt":
        return _by_attribute(db, places, seek=seek)
    return _shown(db, _pages(db, name, {} if seek else places, places if seek else {}))


def index_range(db: Database, name: Any, start: Any, end: Any) -> Iterator[Datom]:
    """The datoms of an attribute with values from `start` on, before `end`; `None` for no bound."""
    attribute = _attribute(db, "avet", name)
    low = {} if start is None else {"v": _value(db, "avet", attribute, start)}
    high = None if end is None else _value(db, "avet", attribute, end)
    return _shown(db, _pages(db, "avet", {"a": attribute.id}, low, before=high))


def _stored(
    db: Database, index: str, column: str, component: Any, places: Mapping[str, Stored]
) -> Stored | None:
    """A component in stored form; `None` for an entity that is not there."""
    if column == "a":
        return _attribute(db, index, component).id
    if column == "e" or index == "vaet":
        return db.entid(component)
    return _value(db, index, db.schema.attributes[int(places["a"])], component)


def _attribute(db: Database, index: str, name: Any) -> Attribute:
    found = db.schema.attribute(name) if isinstance(name, str | int) else None
    if found is None:
        raise QueryError(f":{index}: {name!r} is not an attribute of the database")
    return found


def _value(db: Database, index: str, attribute: Attribute, value: Any) -> Stored:
    try:
        found = db.stored(attribute, value)
    except ValueError as error:
        raise QueryError(f":{index}: {value!r} is no value of {attribute.ident}: {error}") from None
    if found is None:
        raise QueryError(f":{index}: {value!r} names no entity")
    return found


def _pages(
    db: Database,
    index: str,
    equal: Mapping[str, Stored],
    start: Mapping[str, Stored],
    *,
    before: Stored | None = None,
) -> Iterator[Row]:
    """Rows in the order of an index: those with the places `equal`, from `start` on, with values `before`."""
    rest = [column for column in _ORDERS[index] if column not in equal]
    order = [*rest, "added"]
    parameters: dict[str, Stored] = dict(equal)
    conditions = [f"{column} = :{column}" for column in equal]
    if before is not None:
        conditions.append("v < :before")
        parameters["before"] = before
    key, comparison = [column for column in rest if column in start], ">="
    last = {column: start[column] for column in key}
    while True:
        where = list(conditions)
        if key:
            names = ", ".join(f":last_{column}" for column in key)
            where.append(f"({', '.join(key)}) {comparison} ({names})")
        rows = _rows(db, index, where, order, parameters | {f"last_{c}": v for c, v in last.items()})
        yield from rows
        if len(rows) < _PAGE:
            return
        e, a, v, added, _ = rows[-1]
        known = {"e": e, "a": a, "v": v, "added": added}
        key, comparison, last = order, ">", {column: known[column] for column in order}


def _by_attribute(db: Database, places: Mapping[str, Stored], *, seek: bool) -> Iterator[Datom]:
    """AEVT: of one attribute, or of all, or of all from one on."""
    if not seek and len(places) > 1:
        yield from _shown(db, _pages(db, "eavt", places, {}))
        return
    attributes = sorted(db.schema.attributes)
    if places:
        attributes = [a for a in attributes if a == places["a"] or (seek and a > int(places["a"]))]
    for a in attributes:
        start = [column for column in "ev" if a == places.get("a") and column in places]
        where = ["a = :a"]
        if start:
            where.append(f"({', '.join(start)}) >= ({', '.join(f':{column}' for column in start)})")
        parameters = {"a": a} | {column: places[column] for column in start}
        yield from _shown(db, _rows(db, "aevt", where, ["e", "v", "added"], parameters, limit=-1))


def _rows(
    db: Database,
    index: str,
    where: Sequence[str],
    order: Sequence[str],
    parameters: Mapping[str, Stored],
    *,
    limit: int = _PAGE,
) -> list[Row]:
    shown = _EVER if db.is_history else LIVE
    sql = (
        f"SELECT e, a, v, added, retracted FROM {_TABLES[index]} {' AND '.join([*where, shown])} "  # noqa: S608
        f"ORDER BY {', '.join(order)} LIMIT {limit}"
    )
    return db.image.rows(sql, {**parameters, "t": db.basis_t, "since": db.since_t})


def _shown(db: Database, rows: Iterable[Row]) -> Iterator[Datom]:
    """What rows are as datoms: two of a row in a history, if what they say was said in its time."""
    attributes, since, basis, is_history = db.schema.attributes, db.since_t, db.basis_t, db.is_history
    for e, a, v, added, retracted in rows:
        ident, value = attributes[a].ident, decode(v)
        if added > since:
            yield Datom(e, ident, value, transaction_entity(added), True)
        if is_history and retracted != OPEN and since < retracted <= basis:
            yield Datom(e, ident, value, transaction_entity(retracted), False)
