"""Excision: what is removed is nowhere, and all the rest is as it was."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import zstandard

from bucketlog import Connection, StoreError, TransactionError

SECRET = "Rumpelstiltskin"


def _bytes_of(folder: Path) -> bytes:
    """All that is in a bucket, unpacked."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            header, _, rest = path.read_bytes().partition(b"\n")
            if header in (b"bucketlog/1 chunk", b"bucketlog/1 snapshot"):
                rest = zstandard.ZstdDecompressor().decompress(rest)
            found.append(rest)
    return b"".join(found)


@pytest.fixture
def people(tmp_path: Path, connect: Callable[..., Connection], schema: str) -> Connection:
    """A directory with two users, one with a secret in many places of the past and present."""
    conn = connect(f"file://{tmp_path}/db")
    conn.transact(schema)
    conn.transact([{":user/name": SECRET, ":user/email": "r@x", ":user/age": 1}, {":user/name": "ann"}])
    conn.transact([{":user/name": "ann", ":user/friends": [[":user/name", SECRET]]}])
    conn.transact([{":user/name": SECRET, ":user/email": f"{SECRET}@home"}])
    conn.transact([{":post/slug": "one", ":post/author": [":user/name", SECRET]}])
    conn.snapshot()
    conn.transact([{":user/name": SECRET, ":user/email": "new@x"}])
    return conn


def test_what_is_excised_is_in_no_object_of_the_bucket(people: Connection, tmp_path: Path) -> None:
    assert SECRET.encode() in _bytes_of(tmp_path)
    people.excise([[":user/name", SECRET]])
    assert SECRET.encode() not in _bytes_of(tmp_path)
    assert b"new@x" not in _bytes_of(tmp_path)
    assert b"ann" in _bytes_of(tmp_path)


def test_excised_datoms_are_gone_from_the_past_too(
    people: Connection, tmp_path: Path, connect: Callable[..., Connection]
) -> None:
    e = people.db().entid([":user/name", SECRET])
    report = people.excise([[":user/name", SECRET]])
    again = connect(f"file://{tmp_path}/db")
    for db in (people.db(), again.db()):
        assert db.q("[:find ?n :where [_ :user/name ?n]]") == [("ann",)]
        assert db.history().q("[:find [?v ...] :in $ ?e :where [?e _ ?v]]", e) == []
        assert db.history().q("[:find [?x ...] :in $ ?e :where [?x :user/friends ?e]]", e) == []
        assert db.history().q("[:find [?x ...] :in $ ?e :where [?x :post/author ?e]]", e) == []
        assert db.q("[:find ?s . :where [_ :post/slug ?s]]") == "one"
        assert db.q("[:find ?tx . :in $ ?e :where [_ :db/excise ?e ?tx]]", e) == report.t + 2**40


def test_the_rewritten_log_gives_the_same_as_the_snapshot(
    people: Connection, tmp_path: Path, connect: Callable[..., Connection]
) -> None:
    people.excise([[":user/name", SECRET]])
    query = "[:find ?e ?a ?v ?tx ?added :where [?e ?a ?v ?tx ?added]]"
    expected = sorted(people.db().history().q(query), key=repr)
    for path in (tmp_path / "db" / "snapshot").iterdir():
        path.unlink()
    replayed = connect(f"file://{tmp_path}/db")
    assert replayed.stats().snapshot_t == -1
    assert sorted(replayed.db().history().q(query), key=repr) == expected
    assert replayed.db().state.next_entity == people.db().state.next_entity


def test_single_attributes_can_go(people: Connection, tmp_path: Path) -> None:
    people.excise([[":user/name", SECRET]], attributes=[":user/email"])
    db = people.db()
    assert db.pull("[:user/email :user/age]", [":user/name", SECRET]) == {":user/age": 1}
    assert db.history().q("[:find [?v ...] :where [_ :user/email ?v]]") == []
    assert db.q("[:find ?n . :where [?a :user/friends ?f] [?f :user/name ?n]]") == SECRET
    assert b"r@x" not in _bytes_of(tmp_path)


def test_only_the_past_before_a_transaction_can_go(people: Connection) -> None:
    before = people.db().basis_t
    people.excise([[":user/name", SECRET]], attributes=[":user/email"], before=before)
    assert people.db().history().q("[:find [?v ...] :where [_ :user/email ?v]]") == ["new@x"]


def test_components_go_with_their_entity(conn: Connection) -> None:
    conn.transact([{":post/slug": "p", ":post/comments": [{":comment/text": "hm"}]}])
    conn.transact([[":db/retract", [":post/slug", "p"], ":post/comments"]])
    conn.excise([[":post/slug", "p"]])
    assert conn.db().history().q("[:find [?t ...] :where [_ :comment/text ?t]]") == []


def test_other_connections_drop_it_when_they_follow(
    people: Connection, tmp_path: Path, connect: Callable[..., Connection]
) -> None:
    other = connect(f"file://{tmp_path}/db", cache=tmp_path / "cache")
    assert other.db().entid([":user/name", SECRET])
    people.excise([[":user/name", SECRET]])
    db = other.sync()
    assert db.entid([":user/name", SECRET]) is None
    other.snapshot()
    assert SECRET.encode() not in _bytes_of(tmp_path)
    other.transact([{":user/name": "bob"}])
    assert sorted(people.sync().q("[:find [?n ...] :where [_ :user/name ?n]]")) == ["ann", "bob"]


def test_an_excision_that_was_cut_short_is_finished_by_collect(
    people: Connection, tmp_path: Path, connect: Callable[..., Connection]
) -> None:
    e = people.db().entid([":user/name", SECRET])
    people.transact([{":db/excise": e}])  # as if the process had died after its commit
    assert people.db().entid([":user/name", SECRET]) is None
    assert SECRET.encode() in _bytes_of(tmp_path)
    other = connect(f"file://{tmp_path}/db")
    other.collect(timedelta(0))
    assert SECRET.encode() not in _bytes_of(tmp_path)
    assert len(list((tmp_path / "db" / "excised").iterdir())) == 1


def test_the_schema_cannot_be_excised(people: Connection) -> None:
    for entity in (":user/name", ":role/admin", ":db/ident"):
        with pytest.raises(TransactionError, match="cannot be excised"):
            people.excise([entity])
    with pytest.raises(TransactionError, match="names no entity"):
        people.excise([[":user/name", "nobody"]])


def test_branches_stand_in_the_way_of_an_excision(people: Connection) -> None:
    people.fork("draft")
    with pytest.raises(StoreError, match="delete draft first"):
        people.excise([[":user/name", SECRET]])
    people.delete_branch("draft")
    people.excise([[":user/name", SECRET]])


def test_ids_of_excised_entities_are_not_given_again(
    conn: Connection, location: str, connect: Callable[..., Connection]
) -> None:
    report = conn.transact([{":db/id": "x", ":user/name": "gone"}])
    conn.excise([report.tempids["x"]])
    made: dict[str, Any] = connect(location).transact([{":db/id": "y", ":user/name": "new"}]).tempids
    assert made["y"] > report.tempids["x"]
