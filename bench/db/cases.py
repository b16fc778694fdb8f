"""The work: each case in the language of every engine.

Datalog is EDN for bucketlog, DataScript and Datalevin, which read the same text; SQL is over the table
`datom(e, a, v)` with attributes as numbers (`@name`); Cozo has a relation an attribute, indexed by value too.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from bench.db.data import CHILDREN

__all__ = ["ATTRIBUTES", "GRAPH_QUERIES", "LOOKUPS", "PEOPLE_QUERIES", "PER_RUN", "Case"]

ATTRIBUTES: Final = ("id", "name", "last-name", "sex", "age", "salary", "follows")
"""An attribute's number in SQL is its place here."""

PER_RUN: Final = 1000
"""A run of a lookup reads this many entities, one after the other."""


@dataclass(frozen=True, slots=True)
class Case:
    """A query (`kind` is `query`), or reads of many entities in turn: `entid`, `pull`.

    `datalog` is the query, or the pattern of a pull; `rules` and `inputs` follow the database in `:in`, in
    this order.
    """

    name: str
    kind: str
    datalog: str
    sql: str
    cozo: str
    rules: str | None = None
    inputs: tuple[Any, ...] = ()
    sql_inputs: dict[str, Any] = field(default_factory=dict)
    unfinished: tuple[str, ...] = ()
    """Engines that would not be done with it in minutes, and are not asked."""

    @property
    def statement(self) -> str:
        """`sql` with every `@attribute` as its number."""
        return re.sub(r"@([a-z-]+)", lambda match: str(ATTRIBUTES.index(match[1])), self.sql)

    @property
    def per_run(self) -> int:
        """How many reads one run makes."""
        return 1 if self.kind == "query" else PER_RUN

    def message(self) -> dict[str, Any]:
        """The case as JSON for an engine's process."""
        return asdict(self)


def _query(name: str, datalog: str, sql: str, cozo: str, **more: Any) -> Case:
    return Case(name, "query", datalog, sql, cozo, **more)


PEOPLE_QUERIES: Final = (
    _query(
        "q1: who is called Ivan",
        '[:find ?e :where [?e :name "Ivan"]]',
        "SELECT e FROM datom WHERE a = @name AND v = 'Ivan'",
        "?[e] := *name:by_value{v: 'Ivan', e}",
    ),
    _query(
        "q2: q1 and their age",
        '[:find ?e ?a :where [?e :name "Ivan"] [?e :age ?a]]',
        """SELECT n.e, a.v FROM datom n JOIN datom a ON a.e = n.e AND a.a = @age
            WHERE n.a = @name AND n.v = 'Ivan'""",
        "?[e, a] := *name:by_value{v: 'Ivan', e}, *age{e, v: a}",
    ),
    _query(
        "q3: q2 if male",
        '[:find ?e ?a :where [?e :name "Ivan"] [?e :age ?a] [?e :sex :male]]',
        """SELECT n.e, a.v FROM datom n JOIN datom s ON s.e = n.e AND s.a = @sex AND s.v = 'male'
            JOIN datom a ON a.e = n.e AND a.a = @age WHERE n.a = @name AND n.v = 'Ivan'""",
        "?[e, a] := *name:by_value{v: 'Ivan', e}, *sex{e, v: 'male'}, *age{e, v: a}",
    ),
    _query(
        "q4: q3 and their last name",
        '[:find ?e ?l ?a :where [?e :name "Ivan"] [?e :last-name ?l] [?e :age ?a] [?e :sex :male]]',
        """SELECT n.e, l.v, a.v FROM datom n JOIN datom s ON s.e = n.e AND s.a = @sex AND s.v = 'male'
            JOIN datom l ON l.e = n.e AND l.a = @last-name JOIN datom a ON a.e = n.e AND a.a = @age
            WHERE n.a = @name AND n.v = 'Ivan'""",
        "?[e, l, a] := *name:by_value{v: 'Ivan', e}, *sex{e, v: 'male'}, *last_name{e, v: l}, *age{e, v: a}",
    ),
    _query(
        "qpred1: salary above a constant",
        "[:find ?e ?s :where [?e :salary ?s] [(> ?s 50000)]]",
        "SELECT e, v FROM datom WHERE a = @salary AND v > 50000",
        "?[e, s] := *salary{e, v: s}, s > 50000",
    ),
    _query(
        "qpred2: salary above an input",
        "[:find ?e ?s :in $ ?min :where [?e :salary ?s] [(> ?s ?min)]]",
        "SELECT e, v FROM datom WHERE a = @salary AND v > :min",
        "?[e, s] := *salary{e, v: s}, s > $min",
        inputs=(50_000,),
        sql_inputs={"min": 50_000},
    ),
    _query(
        "join of 5 attributes",
        """[:find ?e ?n ?s ?a ?m :where [?e :last-name "Ivanov"] [?e :name ?n] [?e :sex ?s] [?e :age ?a]
            [?e :salary ?m]]""",
        """SELECT l.e, n.v, s.v, a.v, m.v FROM datom l JOIN datom n ON n.e = l.e AND n.a = @name
            JOIN datom s ON s.e = l.e AND s.a = @sex JOIN datom a ON a.e = l.e AND a.a = @age
            JOIN datom m ON m.e = l.e AND m.a = @salary WHERE l.a = @last-name AND l.v = 'Ivanov'""",
        """?[e, n, s, a, m] := *last_name:by_value{v: 'Ivanov', e}, *name{e, v: n}, *sex{e, v: s},
           *age{e, v: a}, *salary{e, v: m}""",
    ),
    _query(
        "join by value: who earns as much as an Ivan",
        '[:find ?e ?f :where [?e :name "Ivan"] [?e :salary ?m] [?f :salary ?m] [?f :name "Petr"]]',
        """SELECT DISTINCT n.e, f.e FROM datom n JOIN datom m ON m.e = n.e AND m.a = @salary
            JOIN datom f ON f.a = @salary AND f.v = m.v
            JOIN datom p ON p.e = f.e AND p.a = @name AND p.v = 'Petr'
            WHERE n.a = @name AND n.v = 'Ivan'""",
        """?[e, f] := *name:by_value{v: 'Ivan', e}, *salary{e, v: m}, *salary:by_value{v: m, e: f},
           *name{e: f, v: 'Petr'}""",
    ),
    _query(
        "not: Ivans who are not male",
        '[:find ?e :where [?e :name "Ivan"] (not [?e :sex :male])]',
        """SELECT n.e FROM datom n WHERE n.a = @name AND n.v = 'Ivan' AND NOT EXISTS
            (SELECT 1 FROM datom s WHERE s.e = n.e AND s.a = @sex AND s.v = 'male')""",
        "?[e] := *name:by_value{v: 'Ivan', e}, not *sex{e, v: 'male'}",
    ),
    _query(
        "aggregate: salaries by name",
        """[:find ?n (avg ?s) (min ?s) (max ?s) (count ?s) :with ?e
            :where [?e :name ?n] [?e :salary ?s]]""",
        """SELECT n.v, avg(s.v), min(s.v), max(s.v), count(s.v) FROM datom n
            JOIN datom s ON s.e = n.e AND s.a = @salary WHERE n.a = @name GROUP BY n.v""",
        "?[n, mean(s), min(s), max(s), count(s)] := *name{e, v: n}, *salary{e, v: s}",
    ),
    _query(
        "aggregate: people by age",
        "[:find ?a (count ?e) :where [?e :age ?a]]",
        "SELECT v, count(e) FROM datom WHERE a = @age GROUP BY v",
        "?[a, count(e)] := *age{e, v: a}",
    ),
)

_DESCENDANTS: Final = _query(
    "all descendants",
    "[:find ?e ?e2 :in $ % :where (follows ?e ?e2)]",
    """WITH RECURSIVE below(x, y) AS (SELECT e, v FROM datom WHERE a = @follows
        UNION SELECT below.x, d.v FROM below JOIN datom d ON d.e = below.y AND d.a = @follows)
        SELECT x, y FROM below""",
    """below[x, y] := *follows{e: x, v: y}
       below[x, y] := *follows{e: x, v: t}, below[t, y]
       ?[x, y] := below[x, y]""",
    rules="""[[(follows ?x ?y) [?x :follows ?y]]
              [(follows ?x ?y) [?x :follows ?t] (follows ?t ?y)]]""",
)

_MUTUAL: Final = _query(
    "mutual recursion: an even number of steps away",
    "[:find ?e ?e2 :in $ % :where (even ?e ?e2)]",
    """WITH RECURSIVE below(x, y, odd) AS (SELECT e, v, 1 FROM datom WHERE a = @follows
        UNION SELECT below.x, d.v, 1 - odd FROM below JOIN datom d ON d.e = below.y AND d.a = @follows)
        SELECT x, y FROM below WHERE odd = 0""",
    """odd[x, y] := *follows{e: x, v: y}
       odd[x, y] := *follows{e: x, v: t}, even[t, y]
       even[x, y] := *follows{e: x, v: t}, odd[t, y]
       ?[x, y] := even[x, y]""",
    rules="""[[(odd ?x ?y) [?x :follows ?y]]
              [(odd ?x ?y) [?x :follows ?t] (even ?t ?y)]
              [(even ?x ?y) [?x :follows ?t] (odd ?t ?y)]]""",
)

_OF_ONE: Final = _query(
    "descendants of one",
    "[:find ?e2 :in $ % ?id :where [?e :id ?id] (follows ?e ?e2)]",
    """WITH RECURSIVE below(y) AS (
        SELECT d.v FROM datom i JOIN datom d ON d.e = i.e AND d.a = @follows WHERE i.a = @id AND i.v = :id
        UNION SELECT d.v FROM below JOIN datom d ON d.e = below.y AND d.a = @follows)
        SELECT y FROM below""",
    """below[y] := *id:by_value{v: $id, e: x}, *follows{e: x, v: y}
       below[y] := below[t], *follows{e: t, v: y}
       ?[y] := below[y]""",
    rules=_DESCENDANTS.rules,
    inputs=(2,),
    sql_inputs={"id": 2},
)

GRAPH_QUERIES: Final = {
    "wide 7x3": (_DESCENDANTS, _OF_ONE),
    "wide 4x6": (_DESCENDANTS,),
    "long 30x5": (_DESCENDANTS, _MUTUAL),
    # DataScript follows every path through a cycle: twelve nodes are already too many for it.
    "cyclic 100x2": tuple(
        replace(case, unfinished=("DataScript, Node",)) for case in (_DESCENDANTS, _MUTUAL)
    ),
}
"""Cases by the name of the graph that they are about."""

LOOKUPS: Final = (
    Case(
        "read by unique value",
        "entid",
        "[:id]",
        "SELECT e FROM datom WHERE a = @id AND v = :id",
        "?[e] := *id:by_value{v: $id, e}",
    ),
    Case(
        "pull of 6 attributes",
        "pull",
        "[:id :name :last-name :sex :age :salary]",
        "SELECT a, v FROM datom WHERE e = :id AND a < @follows",
        """?[i, n, l, s, a, m] := *id{e: $id, v: i}, *name{e: $id, v: n}, *last_name{e: $id, v: l},
           *sex{e: $id, v: s}, *age{e: $id, v: a}, *salary{e: $id, v: m}""",
    ),
    Case(
        f"pull with {CHILDREN} children",
        "pull",
        "[:name {:follows [:id :name :age]}]",
        """SELECT NULL, a, v FROM datom WHERE e = :id AND a = @name
            UNION ALL SELECT d.v, c.a, c.v FROM datom d JOIN datom c
            ON c.e = d.v AND c.a IN (@id, @name, @age) WHERE d.e = :id AND d.a = @follows""",
        """?[n, c, i, cn, a] := *name{e: $id, v: n}, *follows{e: $id, v: c}, *id{e: c, v: i},
           *name{e: c, v: cn}, *age{e: c, v: a}""",
    ),
)
"""Reads of the families' parents, ids 1 … `FAMILIES`, round and round: a run makes `PER_RUN` of them."""
