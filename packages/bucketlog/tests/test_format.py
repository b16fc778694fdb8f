"""The storage format is what `docs/bucketlog-format.md` says: a decoder made from that page reads databases.

Nothing here that decodes uses bucketlog.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sqlite3
import struct
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import zstandard

from bucketlog import URI, Connection, Keyword
from bucketlog.log import decode_entry, genesis, key_of
from bucketlog.value import ValueType, decode

DOCUMENT = Path(__file__).parents[3] / "docs" / "bucketlog-format.md"

_TX = 1 << 40
_IDENT, _VALUE_TYPE, _TX_INSTANT = 1, 2, 8
_DEFINING = (*range(1, 6), 9, 10, 11)
_REF = 27
_EXCISE, _EXCISE_ATTRIBUTES, _EXCISE_BEFORE = 60, 61, 62

Stored = str | int | float | bytes


# The decoder


def _value(json_value: Any) -> Stored:  # noqa: PLR0911 -- one return a type
    """What the column `v` holds for a value of the log."""
    if isinstance(json_value, bool):
        return b"\x01\x01" if json_value else b"\x01\x00"
    if isinstance(json_value, str | int):
        return json_value
    ((kind, content),) = json_value.items()
    if kind == "double":
        return float(content)
    if kind == "instant":
        return b"\x02" + struct.pack(">Q", content + (1 << 63))
    if kind == "keyword":
        return b"\x03" + content.encode()
    if kind == "uuid":
        return b"\x04" + bytes.fromhex(content)
    if kind == "bigdec":
        return b"\x06" + _decimal(content)
    if kind == "uri":
        return b"\x07" + content.encode()
    if kind == "tuple":
        return b"\x08" + b"".join(b"\0" if item is None else _element(_value(item)) for item in content)
    assert kind == "bytes"
    return b"\x05" + base64.b64decode(content, validate=True)


def _element(v: Stored) -> bytes:
    """An element of a tuple that has a value."""
    if isinstance(v, int):
        return b"\x10" + struct.pack(">Q", v + (1 << 63))
    if isinstance(v, float):
        bits = struct.pack(">d", v)
        return b"\x11" + (bytes(255 - byte for byte in bits) if v < 0 else bytes([bits[0] + 128]) + bits[1:])
    if isinstance(v, str):
        return b"\x20" + v.encode().replace(b"\0", b"\0\xff") + b"\0\0"
    if v[0] in {3, 7}:
        return bytes([0x30 + v[0]]) + v[1:].replace(b"\0", b"\0\xff") + b"\0\0"
    return bytes([0x30 + v[0]]) + v[1:]


def _decimal(text: str) -> bytes:
    number, _, exponent = text.lstrip("-").partition("E")
    whole, _, fraction = number.partition(".")
    digits = (whole + fraction).lstrip("0")
    if not digits:
        return b"\x01"
    point = len(digits) - len(fraction) + int(exponent or 0)
    digits = digits.rstrip("0")
    digits += "0" * (len(digits) % 2)
    pairs = (digits[place : place + 2] for place in range(0, len(digits), 2))
    rest = struct.pack(">H", point + 32768) + bytes(int(pair) + 1 for pair in pairs) + b"\0"
    return bytes(255 - byte for byte in b"\xff" + rest) if text.startswith("-") else b"\x02" + rest


def _entry(path: Path) -> Any:
    header, _, payload = path.read_bytes().partition(b"\n")
    assert header == b"bucketlog/1 sha256=" + hashlib.sha256(payload).hexdigest().encode()
    entry = json.loads(payload)
    assert path.name == f"{entry['t']:016}"
    assert re.fullmatch("[0-9a-f]{32}", entry["id"])
    return entry


@dataclass
class _Table:
    """The table, from transactions."""

    rows: dict[tuple[int, int, Stored, int], list[int]] = field(default_factory=dict)
    """`retracted` and `ref` of (e, a, v, added)."""
    id: str = ""
    next_t: int = 0

    def read(self, folder: Path, end: int | None = None) -> None:
        """Take in the entries in a folder, before transaction `end`."""
        while (path := folder / f"{self.next_t:016}").exists():
            entry = _entry(path)
            self.id = self.id or entry["id"]
            for transaction in entry["transactions"]:
                if end is not None and self.next_t >= end:
                    return
                self._take_in(self.next_t, transaction)
                self.next_t += 1

    def holds(self, a: int) -> dict[int, Stored]:
        return {row[0]: row[2] for row, (retracted, _) in self.rows.items() if row[1] == a and not retracted}

    def _take_in(self, t: int, transaction: list[Any]) -> None:
        changes = [(e, a, _value(v), added) for e, a, v, added in transaction]
        for e, a, v, added in changes:
            if not added:
                (key,) = [
                    key for key, (retracted, _) in self.rows.items() if key[:3] == (e, a, v) and not retracted
                ]
                self.rows[key][0] = t
        types = self.holds(_VALUE_TYPE) | {e: v for e, a, v, added in changes if added and a == _VALUE_TYPE}
        for e, a, v, added in changes:
            if added:
                self.rows[e, a, v, t] = [0, int(types[a] == _REF)]
        self._excise(t, changes)

    def _excise(self, t: int, changes: list[tuple[int, int, Stored, bool]]) -> None:
        for x in {e for e, a, _, added in changes if added and a == _EXCISE}:
            terms = {a: [v for e, b, v, _ in changes if (e, b) == (x, a)] for a in (60, 61, 62)}
            bound = min([t, *terms[_EXCISE_BEFORE]])  # type: ignore[type-var]
            defining = {e for a in _DEFINING for e in self.holds(a)}
            for entity in terms[_EXCISE]:
                if entity in defining or int(entity) < 1024:
                    continue
                for key, (_, ref) in list(self.rows.items()):
                    e, a, v, added = key
                    of_it = e == entity and (not terms[_EXCISE_ATTRIBUTES] or a in terms[_EXCISE_ATTRIBUTES])
                    to_it = ref and v == entity and not terms[_EXCISE_ATTRIBUTES]
                    if (of_it or to_it) and added < bound and a != _TX_INSTANT:
                        del self.rows[key]


def _named(path: Path, header: bytes) -> bytes:
    data = path.read_bytes()
    assert hashlib.sha256(data).hexdigest() == path.name[-64:]
    assert data.startswith(header + b"\n")
    return zstandard.ZstdDecompressor().decompress(data[len(header) + 1 :])


def _snapshot(bucket: Path, prefix: str = "") -> tuple[Any, bytes]:
    """The document and the SQLite file of the newest snapshot."""
    path = min((bucket / prefix / "snapshot").iterdir())
    content = _named(path, b"bucketlog/1 snapshot")
    (length,) = struct.unpack(">I", content[:4])
    document = json.loads(content[4 : 4 + length])
    assert path.name[:17] == f"{9999999999999999 - document['t']:016}-"
    assert (document["page_size"], document["chunk_pages"]) == (16384, 8)
    assert document["inline"] == sorted(document["inline"])
    names = content[4 + length :][: 32 * document["chunks"]]
    pages = content[4 + length + len(names) :]
    assert len(pages) == 16384 * len(document["inline"])
    chunks = [names[start : start + 32].hex() for start in range(0, len(names), 32)]
    file = bytearray().join(_named(bucket / "chunk" / name, b"bucketlog/1 chunk") for name in chunks)
    assert len(file) == (16384 * document["pages"] if chunks else 0)
    file = file or bytearray(16384 * document["pages"])
    for place, number in enumerate(document["inline"]):
        assert not any(file[16384 * number : 16384 * (number + 1)])
        file[16384 * number : 16384 * (number + 1)] = pages[16384 * place : 16384 * (place + 1)]
    return document, bytes(file)


def _rows(file: bytes) -> dict[tuple[int, int, Stored, int], list[int]]:
    with closing(sqlite3.connect(":memory:")) as database:
        database.deserialize(file)
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = database.execute("SELECT e, a, v, added, retracted, ref FROM datom").fetchall()
        return {(e, a, v, added): [retracted, ref] for e, a, v, added, retracted, ref in rows}


# Real databases

_MORE_TYPES = """
[{:db/ident :user/money, :db/valueType :db.type/bigdec, :db/cardinality :db.cardinality/many}
 {:db/ident :user/page, :db/valueType :db.type/uri, :db/cardinality :db.cardinality/one}
 {:db/ident :user/mixed, :db/valueType :db.type/tuple, :db/cardinality :db.cardinality/one,
  :db/tupleTypes [:db.type/string :db.type/double :db.type/uuid :db.type/bigdec :db.type/uri :db.type/keyword
                  :db.type/boolean :db.type/instant]}
 {:db/ident :user/path, :db/valueType :db.type/tuple, :db/cardinality :db.cardinality/many,
  :db/tupleType :db.type/long}
 {:db/ident :user/name+role, :db/valueType :db.type/tuple, :db/cardinality :db.cardinality/one,
  :db/tupleAttrs [:user/name :user/role]}]
"""


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    """A directory for a database."""
    return tmp_path / "db"


@pytest.fixture
def conn(bucket: Path, connect: Callable[..., Connection], schema: str) -> Connection:
    """A database with values of every type, some of the past, in entries of one and of many transactions."""
    conn = connect(f"file://{bucket}")
    conn.transact(schema)
    conn.transact(_MORE_TYPES)
    conn.transact(
        [
            {
                ":user/name": "Ann \N{SNOWMAN}",
                ":user/age": -(2**63),
                ":user/score": -0.0,
                ":user/active": False,
                ":user/joined": datetime(1969, 7, 20, 20, 17, 40, 1, tzinfo=UTC),
                ":user/key": UUID(int=7),
                ":user/tags": [":a", ":b/c"],
                ":user/photo": bytes(range(256)),
                ":user/role": ":role/admin",
                ":user/money": [
                    Decimal(n).scaleb(e) for n in (0, 1, -12, 123, -(10**64) + 1) for e in (-70, 0, 5)
                ],
                ":user/page": URI("https://example.org/\N{SNOWMAN}"),
                ":user/mixed": [
                    "a\0b",
                    -1.5,
                    UUID(int=2**100),
                    Decimal("-7.25"),
                    URI("urn:a"),
                    ":a/b",
                    True,
                    datetime(1969, 7, 20, tzinfo=UTC),
                ],
                ":user/path": [[1, -2, None], [2**63 - 1, -(2**63)]],
                ":user/friends": [{":user/name": "Bob", ":user/score": float("inf")}],
            },
            {":user/name": "Cid", ":user/score": 1e300, ":user/active": True, ":user/photo": b""},
        ]
    )
    futures = [
        conn.transact_async([{":user/name": f"user {n}", ":user/age": n, ":user/score": n / 8}])
        for n in range(100)
    ]
    assert [future.result(30).t for future in futures] == list(range(4, 104))
    conn.transact([{":user/name": "Cid", ":user/active": False}, [":db/retract", ":role/guest", ":db/ident"]])
    conn.transact([[":db/retractEntity", [":user/name", "Bob"]]])
    conn.transact([{":user/name": "Bob", ":user/role": ":role/admin"}])
    conn.transact([{":db/id": "datomic.tx", ":tx/by": "me"}])
    return conn


def _history(rows: dict[tuple[int, int, Stored, int], list[int]]) -> set[tuple[Any, ...]]:
    added = {(e, a, v, _TX + t, True) for (e, a, v, t) in rows}
    return added | {(e, a, v, _TX + t, False) for (e, a, v, _), (t, _) in rows.items() if t}


def _told(conn: Connection) -> set[tuple[Any, ...]]:
    """The same, as bucketlog tells it."""
    schema = conn.db().schema
    history = conn.db().history().q("[:find ?e ?a ?v ?tx ?added :where [?e ?a ?v ?tx ?added]]")
    idents = {str(attribute.ident): attribute.id for attribute in schema.attributes.values()}
    return {(e, idents.get(a, a), v, tx, added) for e, a, v, tx, added in history}


def _check(conn: Connection, bucket: Path) -> None:
    """The log, the snapshot and the connection tell the same."""
    table = _Table()
    table.read(bucket / "log")
    document, file = _snapshot(bucket)
    assert _rows(file) == table.rows
    assert {(e, a, decode(v), tx, added) for e, a, v, tx, added in _history(table.rows)} == _told(conn)
    assert (document["id"], document["t"]) == (table.id, table.next_t - 1)
    instant = table.holds(_TX_INSTANT)[_TX + document["t"]]
    assert b"\x02" + struct.pack(">Q", document["instant"] + (1 << 63)) == instant
    assert document["sizes"] == sorted(document["sizes"])
    assert {a: rows for a, rows in document["sizes"] if rows} == Counter(key[1] for key in table.rows)
    schema = {(e, a): _value(v) for e, a, v in document["schema"]}
    assert schema == {(e, a): v for a in _DEFINING for e, v in table.holds(a).items()}
    assert document["next_entity"] > max(e for e, *_ in table.rows if e < _TX)


def test_the_log_and_a_small_snapshot_are_as_documented(conn: Connection, bucket: Path) -> None:
    conn.snapshot()
    assert not (bucket / "chunk").exists()
    assert len(list((bucket / "log").iterdir())) < 60  # some hold many transactions
    _check(conn, bucket)


def test_chunks_are_as_documented(conn: Connection, bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bucketlog.snapshot._SMALL", 0)
    for part in range(4):
        conn.transact([{":user/name": f"user {part} {n}", ":user/photo": bytes(900)} for n in range(500)])
        conn.snapshot()
    document, _ = _snapshot(bucket)
    assert document["chunks"] > 4
    assert 0 < len(document["inline"]) < document["pages"]
    _check(conn, bucket)


def test_tails_are_as_documented(conn: Connection, bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bucketlog.replica._is_due", lambda *_, **__: False)
    conn.snapshot()
    for n in range(40):
        conn.transact([{":user/name": f"later {n}", ":user/age": n}])
    conn.close()
    path = min((bucket / "tail").iterdir())
    content = _named(path, b"bucketlog/1 tail")
    (length,) = struct.unpack(">I", content[:4])
    document = json.loads(content[4 : 4 + length])
    place = 4 + length
    table = _Table()
    table.read(bucket / "log")
    assert document["id"] == table.id
    for t, size in document["entries"]:
        entry = bucket / "log" / f"{t:016}"
        assert content[place : place + size] == entry.read_bytes()
        place += size
    assert place == len(content)
    last = t + len(_entry(entry)["transactions"]) - 1
    assert path.name[:17] == f"{9999999999999999 - last:016}-"


def test_an_excision_is_as_documented(conn: Connection, bucket: Path) -> None:
    conn.excise([[":user/name", "Ann \N{SNOWMAN}"]])
    conn.excise([[":user/name", "user 7"]], attributes=[":user/age"])
    conn.transact([{":user/name": "user 8", ":user/age": 800}])
    conn.excise([[":user/name", "user 8"]], before=conn.db().basis_t)
    conn.transact([{":user/name": "Eve"}])
    conn.snapshot()
    assert len(list((bucket / "excised").iterdir())) == 3
    for path in (bucket / "excised").iterdir():
        assert path.read_bytes() == b"bucketlog/1 note\n{}"
        assert int(path.name) < conn.db().basis_t
    table = _Table()
    table.read(bucket / "log")
    assert "Ann \N{SNOWMAN}" not in table.holds(1024).values()
    _check(conn, bucket)


def test_branches_and_marks_are_as_documented(
    conn: Connection, bucket: Path, connect: Callable[..., Connection]
) -> None:
    conn.fork("draft", 50)
    draft = connect(f"file://{bucket}", branch="draft")
    draft.transact([{":user/name": "draft"}])
    draft.snapshot()
    header, _, fork = (bucket / "branch" / "draft" / "fork").read_bytes().partition(b"\n")
    assert (header, json.loads(fork)) == (b"bucketlog/1 note", {"t": 50, "parent": None})
    table = _Table()
    table.read(bucket / "log", end=51)
    table.read(bucket / "branch" / "draft" / "log")
    assert table.next_t == 52
    document, file = _snapshot(bucket, "branch/draft")
    assert _rows(file) == table.rows
    assert document["id"] == table.id
    (mark,) = (bucket / "branch" / "draft" / "mark").iterdir()
    assert mark.name == f"{1:016}"
    header, _, note = mark.read_bytes().partition(b"\n")
    (snapshot,) = (bucket / "branch" / "draft" / "snapshot").iterdir()
    assert json.loads(note) == {"snapshot": f"branch/draft/snapshot/{snapshot.name}"}


# The page itself


def test_the_example_is_an_entry() -> None:
    (example,) = re.findall(r"```\n(bucketlog/1 .*?)\n```", DOCUMENT.read_text(), re.DOTALL)
    entry = decode_entry(key_of(2), example.encode())
    assert entry.transactions[0][0] == (1024, 1025, "Ann", True)
    assert decode(entry.transactions[0][1].v) == datetime(2026, 11, 2, 9, 30, tzinfo=UTC)


def test_the_entities_that_are_always_there_are_in_the_page() -> None:
    rows = re.findall(r"^\| ([0-9]+) \| `(:db[^`]*)` \| (\w*) *\| (\w*)", DOCUMENT.read_text(), re.MULTILINE)
    documented = {int(e): (ident, value_type, cardinality) for e, ident, value_type, cardinality in rows}
    found: dict[int, dict[int, Any]] = {}
    for e, a, v, _ in genesis(datetime.now(UTC)).transactions[0]:
        found.setdefault(e, {})[a] = decode(v)
    found.pop(_TX)
    names = {e: str(values[_IDENT]) for e, values in found.items()}
    assert documented == {
        e: (
            names[e],
            names[values[_VALUE_TYPE]].partition("/")[2] if _VALUE_TYPE in values else "",
            names[values[3]].partition("/")[2] if 3 in values else "",
        )
        for e, values in found.items()
    }


def test_every_type_of_value_has_its_bytes_in_the_page() -> None:
    _, _, tables = DOCUMENT.read_text().partition("says its own type")
    for table in re.findall(r"\| type \|.*?\n\n", tables, re.DOTALL):
        for value_type in ValueType:
            word = {"ref": "reference"}.get(value_type.value[9:], value_type.value[9:])
            assert word in table or value_type.value[9:] in table, f"{value_type} is not in\n{table}"
    assert Keyword(":a").encode() == b":a"


def test_the_tables_of_the_image_are_those_in_the_page(conn: Connection, bucket: Path) -> None:
    conn.snapshot()
    with closing(sqlite3.connect(":memory:")) as database:
        database.deserialize(_snapshot(bucket)[1])
        found = [sql for (sql,) in database.execute("SELECT sql FROM sqlite_master WHERE sql NOT NULL")]
    (documented,) = re.findall(r"```sql\n(.*?);\n```", DOCUMENT.read_text(), re.DOTALL)
    assert sorted(documented.split(";\n")) == sorted(found)
