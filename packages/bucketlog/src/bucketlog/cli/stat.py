"""`bucketlog stat`: how much there is, of what, where, and what looking at it cost."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from bucketlog import Database
from bucketlog.bucket import Bucket
from bucketlog.cli.command import Command, add_branch, add_json, opened, url_of
from bucketlog.cli.output import cell, print_json, print_table
from bucketlog.schema import TX_INSTANT, transaction_entity
from bucketlog.store import open_store
from bucketlog.value import decode

__all__ = ["COMMANDS"]

# Longs, references and doubles take eight bytes; everything else is as long as its stored form.
_SIZES: Final = """
SELECT a, count(*), sum(retracted <> 0 AND retracted <= :t),
       sum(CASE WHEN typeof(v) IN ('integer', 'real') THEN 8 ELSE length(CAST(v AS BLOB)) END)
FROM datom WHERE added <= :t GROUP BY a
"""


def _stat(options: argparse.Namespace) -> None:
    with opened(options) as conn:
        db = conn.db()
        found: dict[str, Any] = {
            "database": url_of(options.database),
            "t": db.basis_t,
            "instant": decode(db.values(transaction_entity(db.basis_t), TX_INSTANT)[0]),
            "transactions": db.basis_t + 1,
            "attributes": _attributes(db),
        }
        found["objects"] = _objects(found["database"])
        found["branches"] = conn.branches() if found["objects"] else []
        requests = conn.stats().requests
    found["datoms"] = sum(row["datoms"] for row in found["attributes"])
    found["retracted"] = sum(row["retracted"] for row in found["attributes"])
    found["requests"] = {
        **requests.counts,
        "bytes_read": requests.bytes_read,
        "bytes_written": requests.bytes_written,
        "dollars": round(requests.dollars, 9),
    }
    if options.json:
        print_json(found)
    else:
        _print(found)


def _attributes(db: Database) -> list[dict[str, Any]]:
    """Datoms, retracted ones among them, and bytes of values of every attribute that has any."""
    attributes = db.schema.attributes
    rows = [
        {
            "attribute": attributes[a].ident if a in attributes else str(a),
            "type": attributes[a].type.value.rpartition("/")[2] if a in attributes else "",
            "datoms": count,
            "retracted": retracted,
            "bytes": size,
        }
        for a, count, retracted, size in db.image.rows(_SIZES, {"t": db.basis_t})
    ]
    return sorted(rows, key=lambda row: (-int(row["datoms"]), str(row["attribute"])))


def _objects(url: str) -> dict[str, dict[str, int]]:
    """Objects and their bytes by the first part of their keys (log, snapshot, chunk, …), of all branches.

    Nothing when the store, such as plain HTTP, cannot list them.
    """
    bucket = Bucket(open_store(url), None)
    objects: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for item in bucket.listed("") if bucket.store.can_list else ():
        kind = item.key.partition("/")[0]
        objects[kind] += 1
        sizes[kind] += item.size
    return {kind: {"objects": objects[kind], "bytes": sizes[kind]} for kind in sorted(objects)}


def _print(found: Mapping[str, Any]) -> None:
    for name in ("database", "t", "instant", "transactions", "datoms", "retracted"):
        print(f"{name:14}{cell(found[name])}")
    if found["branches"]:
        print(f"{'branches':14}{' '.join(found['branches'])}")
    print()
    rows = found["attributes"]
    print_table(list(rows[0]), [tuple(row.values()) for row in rows])
    if found["objects"]:
        print()
        print_table(
            ["objects", "count", "bytes"],
            [(kind, *numbers.values()) for kind, numbers in found["objects"].items()],
        )
    print()
    requests = dict(found["requests"])
    dollars = requests.pop("dollars")
    print_table(["requests of this command", "count"], list(requests.items()))
    print(f"{'dollars':24}  {dollars:.9f}")


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_branch(parser)
    add_json(parser)


COMMANDS: Final = (
    Command(
        "stat",
        "print transactions, datoms by attribute, objects and bytes, and the requests that this took",
        "bucketlog stat s3://bucket/site",
        _arguments,
        _stat,
    ),
)
