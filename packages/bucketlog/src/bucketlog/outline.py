"""The outline of an image: its inner nodes, and which pages transactions change as far as these tell.

Of an image that was just opened the inner nodes are here and nothing else. Where a datom belongs follows from
them, so that who reads elsewhere need not wait for the pages that newer transactions change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from bucketlog.pages import INNER_NODES, PAGE_SIZE, Base, MissingPagesError, Pages, children
from bucketlog.schema import Change, Schema
from bucketlog.vfs import open_pages

__all__ = ["Step", "changed_pages", "places"]

# Where a datom is in the table and in its indexes. SQLite by itself would look into avet each time.
_BY_ENTITY: Final = "SELECT 1 FROM datom INDEXED BY sqlite_autoindex_datom_1 WHERE e = ? AND a = ? AND v = ?"
_BY_VALUE: Final = "SELECT 1 FROM datom INDEXED BY avet WHERE e = ? AND a = ? AND v = ?"
_BY_TARGET: Final = "SELECT 1 FROM datom INDEXED BY vaet WHERE ref = 1 AND e = ? AND a = ? AND v = ?"
_TREES: Final = (_BY_ENTITY, _BY_VALUE, _BY_TARGET)

_ROOTS: Final = "SELECT rootpage - 1 FROM sqlite_master WHERE tbl_name = 'datom'"
_TEXT_ROOTS: Final = """
    SELECT rootpage - 1 FROM sqlite_master
    WHERE rootpage > 0 AND (tbl_name = 'text' OR tbl_name GLOB 'text_index*')
"""

_CACHE: Final = 32 << 20

# A leaf of an index with one row, of one null: https://www.sqlite.org/fileformat2.html#b_tree_pages. A leaf
# without rows would be corrupt, and a null sorts before all values.
_LEAF: Final = bytes((10, 0, 0, 0, 1, (PAGE_SIZE - 4) >> 8, (PAGE_SIZE - 4) & 255, 0)) + (
    (PAGE_SIZE - 4).to_bytes(2, "big") + bytes(PAGE_SIZE - 14) + bytes((2, 2, 0, 0))
)


class Step(NamedTuple):
    """Transaction `t`, and the schema after it."""

    t: int
    changes: Sequence[Change]
    schema: Schema


def places(*, is_ref: bool) -> Sequence[str]:
    """The SELECTs, with e, a and v as parameters, that look for a datom in each tree that may have it."""
    return _TREES if is_ref else _TREES[:2]


def changed_pages(base: Base, steps: Sequence[Step]) -> frozenset[int] | None:
    """Pages of `base`: whoever must see what `steps` change reads one of them. `None` if they cannot be told.

    Who reads none of them may read the other pages as they are in `base`: rows that move, as when SQLite
    divides a page, stay the same rows. The row of a datom that is retracted may be in an inner node: a SELECT
    gets to it from the leaf before or after it, or from the row of that datom in another tree, and all of
    these are among the pages.
    """
    outline = _Outline(base)
    connection = open_pages(outline, cache_bytes=_CACHE)
    try:
        outline.roots.update(page for (page,) in connection.execute(_ROOTS))
        for step in steps:
            references = {attribute.id for attribute in step.schema.references}
            for e, a, v, _ in step.changes:
                for sql in places(is_ref=a in references):
                    connection.execute(sql, (e, a, v)).fetchall()
        if any(step.schema.fulltext for step in steps):
            outline.leaves.update(page for (page,) in connection.execute(_TEXT_ROOTS))
        return frozenset(outline.leaves)
    except MissingPagesError:
        return None
    finally:
        connection.close()


class _Outline(Pages):
    """Pages whose leaves hold nothing, that is one row which sorts before all others."""

    def __init__(self, base: Base) -> None:
        super().__init__(base, lambda _: [])
        self.leaves: set[int] = set()
        """Those that were read."""
        self.roots: set[int] = set()
        """Of the trees, which may be leaves too."""
        self._below = {child for named in children(base) for child in named}

    def read(self, page: int) -> bytes:
        """An inner node, the first page, or an empty leaf; raises `MissingPagesError` for what is neither.

        That is where a value goes on that has no place in its row, without which rows cannot be compared.
        """
        data = self._base.inline.get(page)
        if data is not None and (page == 0 or data[0] in INNER_NODES):
            return data
        if page not in self._below and page not in self.roots:
            raise MissingPagesError
        self.leaves.add(page)
        return _LEAF
