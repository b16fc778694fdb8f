"""`tagboat cost` knows what bucketlog asks of a bucket, and may not import it: here requests are counted."""

import itertools

import pytest
from obstore.store import MemoryStore

import bucketlog
from tagboat.cost.bucket import requests
from tagboat.cost.usage import Usage

STARTS, WRITES, VIEWS = 30, 300, 12_000
SCHEMA = [
    {":db/ident": ":id", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one",
     ":db/unique": ":db.unique/identity"},
    {":db/ident": ":text", ":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/one"},
]  # fmt: skip


def test_the_requests_of_a_month_are_those_that_are_counted():
    store = MemoryStore()
    with bucketlog.connect(store) as connection:
        connection.transact(SCHEMA)
        connection.transact([{":id": number, ":text": f"post {number}"} for number in range(500)])
    counted = dict.fromkeys(("put", "get", "list"), 0)
    texts = itertools.count()
    for _ in range(STARTS):
        with bucketlog.connect(store) as connection:
            for turn in range(VIEWS // STARTS):
                connection.sync()
                if turn % (VIEWS // WRITES) == 0:
                    number = next(texts)
                    connection.transact([{":id": number % 500, ":text": f"edit {number}"}])
            for kind in counted:
                counted[kind] += connection.stats().requests.counts[kind]
    said = requests(Usage(256, 512, views=VIEWS, writes=WRITES), STARTS)

    def dollars(puts: float, lists: float, gets: float) -> float:
        return (puts + lists) * 0.005 + gets * 0.0004

    real = dollars(counted["put"], counted["list"], counted["get"])
    assert dollars(said.puts, said.lists, said.gets) == pytest.approx(real, rel=0.05), counted
    assert said.puts == pytest.approx(counted["put"], rel=0.05)
