"""The grammar of pull patterns: every form and option, and how they go together."""

from __future__ import annotations

from typing import Any

import pytest

from bucketlog import Connection, Database, QueryError

SCHEMA = """
[{:db/ident :name, :db/valueType :db.type/string, :db/cardinality :db.cardinality/one,
  :db/unique :db.unique/identity}
 {:db/ident :aka, :db/valueType :db.type/string, :db/cardinality :db.cardinality/many}
 {:db/ident :child, :db/valueType :db.type/ref, :db/cardinality :db.cardinality/many}
 {:db/ident :friend, :db/valueType :db.type/ref, :db/cardinality :db.cardinality/many}
 {:db/ident :enemy, :db/valueType :db.type/ref, :db/cardinality :db.cardinality/many}
 {:db/ident :father, :db/valueType :db.type/ref, :db/cardinality :db.cardinality/one}
 {:db/ident :part, :db/valueType :db.type/ref, :db/cardinality :db.cardinality/many, :db/isComponent true}
 {:db/ident :spec, :db/valueType :db.type/ref, :db/cardinality :db.cardinality/one, :db/isComponent true}
 {:db/ident :happy, :db/valueType :db.type/boolean, :db/cardinality :db.cardinality/one}]
"""


@pytest.fixture
def db(conn: Connection) -> Database:
    """Petr's family, Lucy's friends and enemies, and a machine of parts."""
    conn.transact(SCHEMA)
    conn.transact(
        [
            {":db/id": "petr", ":name": "Petr", ":aka": ["Devil", "Tupen"], ":child": ["david", "thomas"]},
            {":db/id": "david", ":name": "David", ":father": "petr"},
            {":db/id": "thomas", ":name": "Thomas", ":father": "petr"},
            {":db/id": "lucy", ":name": "Lucy", ":friend": ["eliza"], ":enemy": ["matthew"]},
            {":db/id": "eliza", ":name": "Eliza", ":friend": ["matthew"]},
            {":db/id": "matthew", ":name": "Matthew", ":father": "thomas", ":friend": ["eunan"]},
            {":db/id": "eunan", ":name": "Eunan", ":happy": False},
            {
                ":name": "machine",
                ":part": [
                    {":name": "A", ":part": [{":name": "A.A", ":spec": {":name": "A.A spec"}}]},
                    {":name": "B"},
                ],
            },
        ]
    )
    return conn.db()


def name(value: str) -> list[str]:
    return [":name", value]


def upper(value: str) -> str:
    return value.upper()


@pytest.mark.parametrize(
    ("entity", "pattern", "tree"),
    [
        ("Petr", "[:name :aka]", {":name": "Petr", ":aka": ["Devil", "Tupen"]}),
        # reverse
        ("David", "[{:_child [:name]}]", {":_child": [{":name": "Petr"}]}),
        ("Petr", "[{:_father [:name]}]", {":_father": [{":name": "David"}, {":name": "Thomas"}]}),
        ("Petr", "[{(:_father :as :sons :limit 1) [:name]}]", {":sons": [{":name": "David"}]}),
        ("A", "[{:_part [:name]}]", {":_part": {":name": "machine"}}),
        ("Petr", "[{:_father [:name {:_father [:name]}]}]",
         {":_father": [{":name": "David"}, {":name": "Thomas", ":_father": [{":name": "Matthew"}]}]}),
        # nested maps
        ("Petr", "[:name {:child [:name], :_child [:name]}]",
         {":name": "Petr", ":child": [{":name": "David"}, {":name": "Thomas"}]}),
        ("Matthew", "[:name {:father [:name {:father [:name]}]}]",
         {":name": "Matthew", ":father": {":name": "Thomas", ":father": {":name": "Petr"}}}),
        ("Petr", "[{:child [:aka]}]", {}),
        ("Petr", "[{:child [:aka :happy]} :name]", {":name": "Petr"}),
        # :as
        ("Petr", '[(:name :as "Name") [:aka :as :alias]]', {"Name": "Petr", ":alias": ["Devil", "Tupen"]}),
        ("Petr", "[[:name :as 5]]", {"5": "Petr"}),
        # :limit
        ("Petr", "[(:aka :limit 1)]", {":aka": ["Devil"]}),
        ("Petr", "[[:aka :limit 1]]", {":aka": ["Devil"]}),
        ("Petr", "[(limit :aka 1)]", {":aka": ["Devil"]}),
        ("Petr", '[("limit" :aka 1)]', {":aka": ["Devil"]}),
        ("Petr", "[(limit :aka nil)]", {":aka": ["Devil", "Tupen"]}),
        ("Petr", "[(:aka :limit 9)]", {":aka": ["Devil", "Tupen"]}),
        ("Petr", "[{(limit :child 1) [:name]}]", {":child": [{":name": "David"}]}),
        ("Petr", "[{[:child :limit 1] [:name]}]", {":child": [{":name": "David"}]}),
        # :default
        ("Petr", '[(default :happy "unknown")]', {":happy": "unknown"}),
        ("Petr", "[[:happy :default false]]", {":happy": False}),
        ("Petr", "[(:happy :default 0 :as :h)]", {":h": 0}),
        ("Petr", '[(:happy :default {:a [1 2]})]', {":happy": {":a": (1, 2)}}),
        ("Eunan", "[(:happy :default true)]", {":happy": False}),
        ("David", "[(:child :default [])]", {":child": ()}),
        ("David", "[{(:child :default 1) [:name]}]", {":child": 1}),
        ("Lucy", "[(:_child :default 2)]", {":_child": 2}),
        ("Petr", "[(limit (default :aka 1) 1)]", {":aka": ["Devil"]}),
        ("David", "[(default (limit :aka 1) :none)]", {":aka": ":none"}),
        # :xform
        ("Petr", "[(:name :xform upper-case)]", {":name": "PETR"}),
        ("Petr", "[[:name :xform clojure.string/lower-case :as :low]]", {":low": "petr"}),
        ("Petr", "[(:aka :xform count)]", {":aka": 2}),
        ("Petr", "[(:aka :xform count :limit 1)]", {":aka": 1}),
        ("David", "[(:aka :xform count)]", {}),
        ("David", "[(:aka :xform count :default 0)]", {":aka": 0}),
        ("Petr", [[":name", ":xform", upper]], {":name": "PETR"}),
        ("Petr", [(":name", ":as", ":n", ":xform", lambda n: n[::-1])], {":n": "rteP"}),
        ("David", [{(":father", ":xform", lambda tree: tree[":name"]): [":name"]}], {":father": "Petr"}),
        ("Petr", [{(":_father", ":xform", lambda trees: [t[":name"] for t in trees]): [":name"]}],
         {":_father": ["David", "Thomas"]}),
        ("A", [{(":_part", ":xform", lambda tree: tree[":name"]): [":name"]}], {":_part": "machine"}),
        ("Eunan", [[":happy", ":xform", str]], {":happy": "False"}),
        # components
        ("A", "[{:part [:name]}]", {":part": [{":name": "A.A"}]}),
        ("A.A", "[{:spec [:name]}]", {":spec": {":name": "A.A spec"}}),
        ("A.A spec", "[{:_spec [:name]}]", {":_spec": {":name": "A.A"}}),
        ("machine", "[:name {:part 1}]",
         {":name": "machine", ":part": [{":name": "A"}, {":name": "B"}]}),
        # recursion
        ("Lucy", "[:name {:friend ...}]",
         {":name": "Lucy", ":friend": [{":name": "Eliza", ":friend": [
             {":name": "Matthew", ":friend": [{":name": "Eunan"}]}]}]}),
        ("Lucy", '[:name {:friend "..."}]',
         {":name": "Lucy", ":friend": [{":name": "Eliza", ":friend": [
             {":name": "Matthew", ":friend": [{":name": "Eunan"}]}]}]}),
        ("Lucy", "[:name {:friend 1}]", {":name": "Lucy", ":friend": [{":name": "Eliza"}]}),
        ("Lucy", "[:name {:friend 1, :enemy 1}]",
         {":name": "Lucy", ":friend": [{":name": "Eliza"}],
          ":enemy": [{":name": "Matthew", ":friend": [{":name": "Eunan"}]}]}),
        ("Lucy", "[:name {(:friend :as :f) 2}]",
         {":name": "Lucy", ":f": [{":name": "Eliza", ":f": [{":name": "Matthew"}]}]}),
        ("Matthew", "[:name {:father ...}]",
         {":name": "Matthew", ":father": {":name": "Thomas", ":father": {":name": "Petr"}}}),
        ("Petr", "[:name {:_father ...}]",
         {":name": "Petr", ":_father": [
             {":name": "David"}, {":name": "Thomas", ":_father": [{":name": "Matthew"}]}]}),
    ],
)  # fmt: skip
def test_forms(db: Database, entity: str, pattern: Any, tree: dict[str, Any]) -> None:
    assert db.pull(pattern, name(entity)) == tree


def test_a_reference_without_a_pattern_is_an_id(db: Database) -> None:
    petr, david, thomas = (db.entid(name(n)) for n in ("Petr", "David", "Thomas"))
    assert db.pull("[:child]", petr) == {":child": [{":db/id": david}, {":db/id": thomas}]}
    assert db.pull("[:_child :db/id]", david) == {":_child": [{":db/id": petr}], ":db/id": david}
    machine, a = (db.entid(name(n)) for n in ("machine", "A"))
    assert db.pull("[:_part]", a) == {":_part": {":db/id": machine}}


def test_the_id_takes_options(db: Database) -> None:
    petr = db.entid(name("Petr"))
    assert db.pull("[(:db/id :as :id) :name]", petr) == {":id": petr, ":name": "Petr"}
    assert db.pull([[":db/id", ":xform", str]], petr) == {":db/id": str(petr)}
    tree = db.pull("[(:db/id :as :id) {:child [(:db/id :as :id)]}]", petr)
    assert tree[":child"][0] == {":id": db.entid(name("David"))}


def test_a_wildcard_mixes_with_attributes(db: Database) -> None:
    petr, david = db.entid(name("Petr")), db.entid(name("David"))
    everything = {":db/id": david, ":name": "David", ":father": {":db/id": petr}}
    assert db.pull("[*]", david) == everything
    assert db.pull('["*"]', david) == everything
    assert db.pull("[:name *]", david) == everything
    assert db.pull("[* :_child]", david) == everything | {":_child": [{":db/id": petr}]}
    assert db.pull("[* {:father [:name]}]", david) == everything | {":father": {":name": "Petr"}}
    assert db.pull("[(:name :as :n) *]", david) == {
        ":db/id": david,
        ":n": "David",
        ":father": {":db/id": petr},
    }
    assert db.pull("[* (:aka :default :none)]", david) == everything | {":aka": ":none"}


def test_components_come_in_full(db: Database) -> None:
    tree = db.pull("[:part]", name("machine"))
    a, b = tree[":part"]
    assert (a[":name"], b[":name"]) == ("A", "B")
    assert a[":part"][0][":spec"][":name"] == "A.A spec"
    assert ":db/id" in a[":part"][0][":spec"]
    assert db.pull("[{:part [:name]}]", name("machine")) == {":part": [{":name": "A"}, {":name": "B"}]}


def test_two_recursions_in_one_pattern_cross(db: Database, conn: Connection) -> None:
    conn.transact([{":name": "Eunan", ":enemy": [name("Lucy")]}])
    tree = conn.db().pull("[:name {:friend ...} {:enemy ...}]", name("Lucy"))
    lucy = conn.db().entid(name("Lucy"))
    eunan = tree[":friend"][0][":friend"][0][":friend"][0]
    assert eunan[":enemy"] == [{":db/id": lucy}]
    assert tree[":enemy"][0][":friend"][0][":name"] == "Eunan"


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (
            "[:name\n  (:aka :limit 0)]",
            r"a limit is a number from 1, or nil for none, in: .* \(line 2, column 3\)",
        ),
        ("[(:aka :limit true)]", "a limit is a number"),
        ("[(:aka :frob 1)]", "the options of an attribute are :as, :limit, :default and :xform"),
        ("[(:aka :limit)]", "is no attribute"),
        ("[(:name :xform frob)]", "not frob"),
        ("[(:name :xform subs)]", "the name of a function of one argument, not subs"),
        ("[(:name :xform 5)]", ":xform takes a callable"),
        ("[(:name :xform count) {:name [:aka]}]", "nothing lies behind it"),
        ("[{:child 0}]", "at least 1"),
        ("[{:child -1}]", "at least 1"),
        ("[{:child []}]", "at least one attribute"),
        ("[{:child :name}]", "a pull pattern is a vector"),
        ("[{5 [:name]}]", "5 is no attribute"),
        ("[name]", "name is no attribute"),
        ("[[:name]]", "is no attribute"),
        ("{:child [:name]}", "a pull pattern is a vector"),
        ("[:_name]", "nothing lies behind it"),
        ("[:_]", ":_ is not an attribute"),
        ("[(:aka :xform upper-case)]", r":xform of :aka fails for \['Devil', 'Tupen'\]: TypeError"),
    ],
)
def test_a_wrong_pattern_says_what_and_where(db: Database, pattern: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        db.pull(pattern, name("Petr"))


def test_what_a_transformation_raises_is_the_cause(db: Database) -> None:
    with pytest.raises(QueryError, match=":xform of :name fails for 'Petr': ValueError") as caught:
        db.pull([[":name", ":xform", int]], name("Petr"))
    assert isinstance(caught.value.__cause__, ValueError)
