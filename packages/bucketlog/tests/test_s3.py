"""The database on a real S3 server, with settings from the environment."""

from __future__ import annotations

from collections.abc import Callable

import obstore.store
import pytest

import bucketlog
from bucketlog import Connection, StoreError
from bucketlog.log import key_of


def test_a_database_on_s3_is_there_for_the_next_connection(
    s3_location: str, connect: Callable[..., Connection], schema: str
) -> None:
    first = connect(s3_location)
    first.transact(schema)
    for age in range(20):
        first.transact([{":user/name": "ann", ":user/age": age}])
    again = connect(s3_location)
    assert again.db().pull("[:user/age]", [":user/name", "ann"]) == {":user/age": 19}
    assert again.db().as_of(5).pull("[:user/age]", [":user/name", "ann"]) == {":user/age": 3}


def test_databases_under_different_prefixes_are_apart(
    s3_location: str, connect: Callable[..., Connection], schema: str
) -> None:
    connect(f"{s3_location}/a").transact(schema)
    connect(f"{s3_location}/a/b").transact("[{:db/ident :only/here}]")
    assert connect(f"{s3_location}/a").db().entid(":only/here") is None
    store = obstore.store.from_url(s3_location)
    assert bytes(obstore.get(store, f"a/{key_of(1)}").bytes()).startswith(b"bucketlog/1 sha256=")


def test_wrong_credentials_are_a_clear_error(s3_location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-and-private")
    with pytest.raises(StoreError, match="cannot read log/0000000000000000: PermissionDenied") as caught:
        bucketlog.connect(s3_location)
    assert "wrong-and-private" not in str(caught.value)
