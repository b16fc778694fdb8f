"""Pull: trees of entities, level by level, one statement a level for all entities of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from bucketlog.errors import QueryError
from bucketlog.image import LIVE
from bucketlog.pull_parser import UNLIMITED, AttributePull, PullPattern, parse_pull
from bucketlog.schema import Attribute
from bucketlog.value import Stored, decode

if TYPE_CHECKING:
    from bucketlog.database import Database

__all__ = ["pull"]

_AMONG: Final = "(SELECT value FROM json_each(:entities))"
_COMPONENTS: Final = PullPattern((), wildcard=True)

Tree = dict[str, Any]


class _Found(NamedTuple):
    """What one attribute of a pattern has: values by entity."""

    spec: AttributePull
    attribute: Attribute
    column: dict[int, list[Stored]]


def pull(
    db: Database, pattern: str | Sequence[Any] | PullPattern, entities: Sequence[int | None]
) -> list[Tree]:
    """One tree an entity; `{}` for `None` and for what has nothing of the pattern."""
    if db.is_history:
        raise QueryError("a history has no single value to pull: use as_of")
    parsed = pattern if isinstance(pattern, PullPattern) else parse_pull(pattern)
    try:
        level = _Puller(db).level({e for e in entities if e is not None}, parsed, ())
    except RecursionError:
        raise QueryError("pull: the entities are nested too deep: bound the recursion by a number") from None
    return [dict(level[e]) if e is not None else {} for e in entities]


class _Puller:
    def __init__(self, db: Database) -> None:
        self._db = db

    def level(self, entities: set[int], pattern: PullPattern, path: tuple[int, ...]) -> dict[int, Tree]:
        """The tree of every entity; `path` are the entities above, where a recursion stops."""
        trees: dict[int, Tree] = {e: {} for e in entities}
        for e, tree in trees.items():
            if pattern.wildcard or pattern.id:
                tree[":db/id"] = e
            for spec in pattern.ids:
                tree[spec.key] = _transformed(spec, e)
        named = [(spec, self._attribute(spec)) for spec in pattern.attributes]
        forward = self._values(
            entities, None if pattern.wildcard else [a.id for s, a in named if not s.reverse]
        )
        if pattern.wildcard:
            mentioned = {attribute.id for spec, attribute in named if not spec.reverse}
            found = sorted({a for values in forward.values() for a in values} - mentioned)
            for attribute in (self._db.schema.attributes[a] for a in found):
                spec = AttributePull(str(attribute.ident), reverse=False, key=str(attribute.ident))
                self._fill(trees, _Found(spec, attribute, self._column(forward, attribute)), pattern, path)
        for spec, attribute in named:
            column = (
                self._referrers(entities, attribute) if spec.reverse else self._column(forward, attribute)
            )
            self._fill(trees, _Found(spec, attribute, column), pattern, path)
        return trees

    def _attribute(self, spec: AttributePull) -> Attribute:
        attribute = self._db.schema.attribute(spec.name)
        if attribute is None:
            nearest = self._db.schema.nearest(spec.name)
            raise QueryError(f"pull: {spec.name} is not an attribute of the database{nearest}")
        nested = spec.reverse or spec.pattern is not None or spec.depth is not None
        if nested and not attribute.is_ref:
            raise QueryError(
                f"pull: {spec.name} is of type {attribute.type.value}, so nothing lies behind it"
            )
        return attribute

    def _values(self, entities: set[int], attributes: list[int] | None) -> dict[int, dict[int, list[Stored]]]:
        """Values by entity and attribute; of all attributes for `None`."""
        found: dict[int, dict[int, list[Stored]]] = defaultdict(lambda: defaultdict(list))
        if not entities or attributes == []:
            return found
        which = "" if attributes is None else f"AND a IN ({', '.join(map(str, attributes))})"
        sql = f"SELECT e, a, v FROM datom WHERE e IN {_AMONG} {which} AND {LIVE}"  # noqa: S608 -- integers
        for e, a, v in self._rows(sql, entities):
            found[e][a].append(v)
        return found

    @staticmethod
    def _column(found: dict[int, dict[int, list[Stored]]], attribute: Attribute) -> dict[int, list[Stored]]:
        return {e: values[attribute.id] for e, values in found.items() if attribute.id in values}

    def _referrers(self, entities: set[int], attribute: Attribute) -> dict[int, list[Stored]]:
        found: dict[int, list[Stored]] = defaultdict(list)
        sql = f"SELECT v, e FROM datom WHERE a = {attribute.id} AND v IN {_AMONG} AND {LIVE}"  # noqa: S608
        for v, e in self._rows(sql, entities):
            found[v].append(e)
        return found

    def _rows(self, sql: str, entities: Iterable[int]) -> list[tuple[Any, ...]]:
        parameters: dict[str, Stored | None] = {
            "entities": str(list(entities)),  # integers: that is JSON, and faster
            "t": self._db.basis_t,
            "since": self._db.since_t,
        }
        return self._db.image.rows(sql, parameters)

    def _fill(
        self,
        trees: dict[int, Tree],
        found: _Found,
        pattern: PullPattern,
        path: tuple[int, ...],
    ) -> None:
        """Put what one attribute of the pattern has into the trees of its entities."""
        spec, attribute, column = found.spec, found.attribute, found.column
        if spec.limit is not None:
            column = {e: values[: spec.limit] for e, values in column.items()}
        if spec.depth is not None:
            filled = {e: self._recurse(e, values, spec, pattern, path) for e, values in column.items()}
        else:
            below = spec.pattern
            if below is None and attribute.component and not spec.reverse:
                below = _COMPONENTS
            filled = self._shown(column, attribute, below, path)
        many = not attribute.component if spec.reverse else attribute.many
        for e, tree in trees.items():
            values = filled.get(e)
            if values:
                tree[spec.key] = _transformed(spec, values if many else values[0])
            elif spec.default is not None:
                tree[spec.key] = spec.default

    def _shown(
        self,
        column: dict[int, list[Stored]],
        attribute: Attribute,
        nested: PullPattern | None,
        path: tuple[int, ...],
    ) -> dict[int, list[Any]]:
        if not attribute.is_ref:
            return {e: [decode(value) for value in values] for e, values in column.items()}
        if nested is None:
            return {e: [{":db/id": value} for value in values] for e, values in column.items()}
        if nested is _COMPONENTS:
            return {e: self._components(e, values, path) for e, values in column.items()}
        below = self.level({int(value) for values in column.values() for value in values}, nested, ())
        return {e: [tree for v in values if (tree := below[int(v)])] for e, values in column.items()}

    def _components(self, e: int, values: list[Stored], path: tuple[int, ...]) -> list[Any]:
        path = (*path, e)
        return [
            {":db/id": v} if v in path else self.level({int(v)}, _COMPONENTS, path)[int(v)] for v in values
        ]

    def _recurse(
        self, e: int, values: list[Stored], spec: AttributePull, pattern: PullPattern, path: tuple[int, ...]
    ) -> list[Any]:
        """The same pattern again for what an attribute refers to; where it comes round, the id only."""
        path = (*path, e)
        if spec.depth == 0:
            return []
        less = UNLIMITED if spec.depth == UNLIMITED else (spec.depth or 0) - 1
        again = PullPattern(
            tuple(replace(item, depth=less) if item is spec else item for item in pattern.attributes),
            pattern.wildcard,
            pattern.id,
            pattern.ids,
        )
        return [
            {":db/id": v} if v in path else tree
            for v in values
            if (tree := {} if v in path else self.level({int(v)}, again, path)[int(v)]) or v in path
        ]


def _transformed(spec: AttributePull, value: Any) -> Any:
    """What stands in the tree for a value."""
    if spec.xform is None:
        return value
    try:
        return spec.xform(value)
    except Exception as error:
        raise QueryError(
            f"pull: :xform of {spec.name} fails for {value!r}: {type(error).__name__}: {error}"
        ) from error
