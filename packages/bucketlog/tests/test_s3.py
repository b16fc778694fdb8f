"""The database on a real S3 server, with settings from the environment."""

from __future__ import annotations

from collections.abc import Callable

from bucketlog import Connection


def test_a_database_on_s3_is_there_for_the_next_connection(
    s3_location: str, connect: Callable[..., Connection], schema: str
) -> None:
    first = connect(s3_location)
    first.transact(schema)
    first.transact([{":user/name": "ann", ":user/age": 40}])
    assert (
        connect(s3_location)
        .db()
        .q("[:find ?a . :where [?e :user/name 'ann'] [?e :user/age ?a]]".replace("'", '"'))
        == 40
    )
