"""Many writers, threads and processes, some of them killed: nothing is lost, nothing doubled."""

from __future__ import annotations

import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest

from bucketlog import ConflictError, Connection, Database, UniqueError
from bucketlog.log import key_of

_SECONDS = 60.0

# Each transaction appends to a list that all writers share and counts up a register; every one that is
# acknowledged is printed, so that the test knows what must be there.
WRITER = """
import sys
import bucketlog

url, writer, count = sys.argv[1], sys.argv[2], int(sys.argv[3])

def count_up(db):
    total = db.q('[:find ?v . :where [?e :user/name "total"] [?e :user/age ?v]]')
    return [{":user/name": "total", ":user/age": total + 1}]

with bucketlog.connect(url) as conn:
    for n in range(count):
        name = f"{writer}-{n}"
        report = conn.transact([{":db/id": name, ":user/name": name}, count_up])
        print(name, report.tempids[name], report.t, flush=True)
"""

Start = Callable[..., "subprocess.Popen[str]"]


def _total(db: Database) -> Any:
    return db.q('[:find ?v . :where [?e :user/name "total"] [?e :user/age ?v]]')


def _check(db: Database, acknowledged: list[str], *, killed: int) -> None:
    """Every acknowledged transaction is there once; a killed writer may have one more, untold."""
    found = {
        name: (str(e), str(tx % 2**40))
        for name, e, tx in db.q('[:find ?n ?e ?tx :where [?e :user/name ?n ?tx] [(not= ?n "total")]]')
    }
    for line in acknowledged:
        name, e, t = line.split()
        assert found[name] == (e, t)
    assert len(acknowledged) <= len(found) <= len(acknowledged) + killed
    assert _total(db) == len(found)
    assert set(Counter(e for e, _ in found.values()).values()) == {1}
    # Serializable: the register takes every value once, in the order of the transactions.
    counts = db.history().q('[:find ?v ?tx :where [?e :user/name "total"] [?e :user/age ?v ?tx true]]')
    assert [v for v, _ in sorted(counts, key=lambda row: row[1])] == list(range(len(found) + 1))


def _race(start: Start, conn: Connection, url: str, *, writers: int, count: int, kill: bool) -> None:
    conn.transact([{":user/name": "total", ":user/age": 0}])
    processes = [start(WRITER, url, str(writer), str(count)) for writer in range(writers)]
    acknowledged: list[str] = []
    random = Random()  # noqa: S311 -- when to kill
    if kill:
        victim = processes[0]
        assert victim.stdout is not None
        acknowledged += [victim.stdout.readline() for _ in range(random.randint(1, 5))]
        time.sleep(random.uniform(0, 0.02))
        victim.kill()
        # What `readline` took off the pipe beyond its line is in this buffer, which `communicate` passes by.
        acknowledged += victim.stdout.readlines()
    for process in processes:
        output, errors = process.communicate(timeout=600)
        acknowledged += output.splitlines(keepends=True)
        assert process.returncode == 0 or (kill and process is processes[0]), errors
    # The kill may have cut the last line short: then nothing was told of that transaction.
    whole = [line for line in acknowledged if line.endswith("\n")]
    _check(conn.sync(), whole, killed=int(kill))


def test_processes_that_write_one_directory_lose_nothing(
    tmp_path: Path, connect: Callable[..., Connection], schema: str, run_python: Start
) -> None:
    url = f"file://{tmp_path}/db"
    conn = connect(url)
    conn.transact(schema)
    _race(run_python, conn, url, writers=4, count=25, kill=True)
    _check(connect(url).db(), [], killed=10**6)


def test_processes_that_write_one_bucket_on_s3_lose_nothing(
    s3_location: str, connect: Callable[..., Connection], schema: str, run_python: Start
) -> None:
    conn = connect(s3_location)
    conn.transact(schema)
    _race(run_python, conn, s3_location, writers=4, count=10, kill=True)
    _check(connect(s3_location).db(), [], killed=10**6)


def test_a_database_on_s3_is_made_once_however_many_open_it(
    s3_location: str, connect: Callable[..., Connection]
) -> None:
    with ThreadPoolExecutor(8) as pool:
        conns = list(pool.map(lambda _: connect(s3_location), range(8)))
    born = {conn.db().q("[:find ?t . :where [_ :db/txInstant ?t]]") for conn in conns}
    assert len(born) == 1


def test_connections_see_each_other_after_sync(
    connect: Callable[..., Connection], location: str, schema: str
) -> None:
    one, other = connect(location), connect(location)
    one.transact(schema)
    one.transact([{":user/name": "ann"}])
    assert other.db().basis_t == 0
    assert other.sync().q("[:find [?n ...] :where [_ :user/name ?n]]") == ["ann"]
    assert other.db().basis_t == 2


def test_a_writer_that_is_behind_decides_on_the_newest_state(
    connect: Callable[..., Connection], location: str, schema: str
) -> None:
    one, other = connect(location), connect(location)
    one.transact(schema)
    other.sync()
    one.transact([{":user/name": "ann", ":user/age": 1, ":user/email": "a@x"}])
    with pytest.raises(UniqueError):
        other.transact([{":user/name": "bob", ":user/email": "a@x"}])
    one.transact([[":db/retract", [":user/name", "ann"], ":user/email"]])
    other.transact([{":user/name": "bob", ":user/email": "a@x"}])  # taken as far as `other` knew
    one.transact([{":user/name": "ann", ":user/age": 2}])
    with pytest.raises(ConflictError, match="found 2"):
        other.transact([[":db/cas", [":user/name", "ann"], ":user/age", 1, 5]])
    one.transact([{":user/name": "ann", ":user/age": 1}])
    report = other.transact([{":user/name": "ann", ":user/age": 2}])  # no change, as far as `other` knew
    assert report.tx_data
    assert other.transact([{":user/name": "ann", ":user/age": 2}]).tx_data == ()


class _Held:
    """A transaction function that changes nothing, and that returns when it may."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, db: Database) -> list[Any]:
        self.began.set()
        assert self.go_on.wait(_SECONDS)
        return []


def test_threads_of_one_connection_share_objects(
    connect: Callable[..., Connection], tmp_path: Path, schema: str, queued: Callable[[Connection, int], None]
) -> None:
    conn = connect(f"file://{tmp_path}/db")
    conn.transact(schema)
    conn.transact([{":user/name": "total", ":user/age": 0}])
    held = _Held()

    def add(n: int) -> int:
        return conn.transact([{":user/name": f"t{n}"}, count_up]).t

    def count_up(db: Database) -> list[Any]:
        return [{":user/name": "total", ":user/age": _total(db) + 1}]

    with ThreadPoolExecutor(20) as pool:
        first = pool.submit(conn.transact, [held])
        assert held.began.wait(_SECONDS)
        later = [pool.submit(add, n) for n in range(19)]
        queued(conn, 19)
        held.go_on.set()
        assert first.result().t == 2
        assert sorted(future.result() for future in later) == list(range(3, 22))
    assert _total(conn.db()) == 19
    assert len(list((tmp_path / "db" / "log").iterdir())) == 4
    again = connect(f"file://{tmp_path}/db")
    assert (again.db().basis_t, _total(again.db()), _total(again.db().as_of(10))) == (21, 19, 8)


def test_one_bad_transaction_does_not_spoil_those_that_share_its_object(
    connect: Callable[..., Connection], location: str, schema: str, queued: Callable[[Connection, int], None]
) -> None:
    conn = connect(location)
    conn.transact(schema)
    held = _Held()

    def fail(db: Database) -> list[Any]:
        raise LookupError("mine")

    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(conn.transact, [held])
        assert held.began.wait(_SECONDS)
        good = [pool.submit(conn.transact, [{":user/name": f"u{n}"}]) for n in range(3)]
        bad = [pool.submit(conn.transact, [{":user/name": f"x{n}"}, fail]) for n in range(3)]
        queued(conn, 6)
        held.go_on.set()
        first.result()
        assert sorted(future.result().t for future in good) == [2, 3, 4]
        for future in bad:
            with pytest.raises(LookupError, match="mine"):
                future.result()
    assert sorted(conn.db().q("[:find [?n ...] :where [_ :user/name ?n]]")) == ["u0", "u1", "u2"]


def test_readers_see_whole_transactions_while_others_write(
    connect: Callable[..., Connection], location: str, schema: str
) -> None:
    conn = connect(location)
    conn.transact(schema)
    conn.transact([{":user/name": "a", ":user/age": 0}, {":user/name": "b", ":user/age": 0}])
    done = threading.Event()
    seen: list[tuple[int, set[int]]] = []

    def read() -> None:
        while not done.is_set():
            db = conn.db()
            for value in (db, db.as_of(db.basis_t)):
                ages = value.q(
                    "[:find [?a ...] :in $ [?n ...] :where [?e :user/name ?n] [?e :user/age ?a]]", ["a", "b"]
                )
                seen.append((db.basis_t, set(ages)))

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        deadline = time.monotonic() + _SECONDS
        for age in count(1):
            conn.transact([{":user/name": "a", ":user/age": age}, {":user/name": "b", ":user/age": age}])
            if (age > 60 and len({t for t, _ in seen}) > 5) or time.monotonic() > deadline:
                break
        done.set()
        for reader in readers:
            reader.result()
    assert all(ages == {t - 2} for t, ages in seen)
    assert len({t for t, _ in seen}) > 5


def test_a_history_of_many_commits_opens(
    connect: Callable[..., Connection], tmp_path: Path, schema: str
) -> None:
    conn = connect(f"file://{tmp_path}/db")
    conn.transact(schema)
    for n in range(300):
        conn.transact([{":user/name": "ann", ":user/age": n}])
    again = connect(f"file://{tmp_path}/db")
    assert again.db().basis_t == 301
    assert again.db().as_of(100).pull("[:user/age]", [":user/name", "ann"]) == {":user/age": 98}
    assert (tmp_path / "db" / key_of(301)).exists()
