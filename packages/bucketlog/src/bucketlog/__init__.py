"""A Datalog database whose whole state is a bucket, safe with any number of writers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bucketlog.backup import Copied, Verified
from bucketlog.connection import Connection, Stats, Transaction, connect
from bucketlog.database import Database
from bucketlog.datom import Datom
from bucketlog.edn import URI, Keyword, Symbol
from bucketlog.entity import Entity
from bucketlog.errors import (
    BucketlogError,
    ConflictError,
    EdnError,
    FormatError,
    QueryError,
    StoreError,
    TransactionError,
    UncertainError,
    UniqueError,
    UnsafeStoreError,
)
from bucketlog.garbage import Garbage
from bucketlog.query.engine import run as _run
from bucketlog.query.explain import Plan, PlanStep
from bucketlog.report import TransactionReport
from bucketlog.requests import Requests
from bucketlog.store import ObjectStore

__all__ = [
    "URI",
    "BucketlogError",
    "ConflictError",
    "Connection",
    "Copied",
    "Database",
    "Datom",
    "EdnError",
    "Entity",
    "FormatError",
    "Garbage",
    "Keyword",
    "ObjectStore",
    "Plan",
    "PlanStep",
    "QueryError",
    "Requests",
    "Stats",
    "StoreError",
    "Symbol",
    "Transaction",
    "TransactionError",
    "TransactionReport",
    "UncertainError",
    "UniqueError",
    "UnsafeStoreError",
    "Verified",
    "connect",
    "q",
]


def q(query: str | Sequence[Any] | Mapping[Any, Any], *inputs: Any) -> Any:
    """The result of a Datalog query, given as EDN text, or as the same in Python lists and strings.

    `inputs` are what `:in` names, in its order: databases, rules, and values; without `:in`, one database.
    What comes back follows `:find`: a list of distinct tuples for `?a ?b`, a list for `[?a ...]`, a tuple or
    `None` for `[?a ?b]`, a value or `None` for `?a .`. Raises `QueryError`, which quotes the part of the
    query that is wrong.
    """
    return _run(query, inputs)
