"""The command line: what it prints where, its exit codes, and every command that the README shows."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from bench.serving import in_thread

import bucketlog
from bucketlog import URI, edn
from bucketlog.cli import main
from bucketlog.replica import _GUESSES

COMMANDS = (
    *("stat", "q", "pull", "log", "diff"),
    *("export", "import", "backup", "restore"),
    *("gc", "excise", "branch"),
)
README = Path(__file__).parents[1] / "README.md"
NAMES = "[:find ?name ?age :where [?e :user/name ?name] [?e :user/age ?age]]"
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


@dataclass
class Done:
    """What a command line has left behind."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


Run = Callable[..., Done]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line in this process."""

    def run(*arguments: str) -> Done:
        capsys.readouterr()
        try:
            code = main(arguments)
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        out, err = capsys.readouterr()
        return Done(code, out, err)

    return run


@pytest.fixture
def directory(tmp_path: Path, schema: str) -> Path:
    """A database of four transactions after the genesis, a minute apart, the first at NOON.

    1: schema; 2: Ann, by a script; 3: Bob; 4: Ann is a year older.
    """
    ticks: Iterator[datetime] = (NOON + timedelta(minutes=n) for n in range(1000))
    with bucketlog.connect(f"file://{tmp_path}/site", now=lambda: next(ticks)) as conn:
        conn.transact(schema)
        conn.transact(
            [
                {":user/name": "Ann", ":user/age": 30, ":user/tags": [":early", ":staff"]},
                {":db/id": "datomic.tx", ":tx/by": "script"},
            ]
        )
        conn.transact([{":user/name": "Bob", ":user/age": 5, ":user/parent": [":user/name", "Ann"]}])
        conn.transact([{":user/name": "Ann", ":user/age": 31}])
    return tmp_path / "site"


@pytest.fixture
def ann(run: Run, directory: Path) -> int:
    return int(
        run("q", str(directory), "[:find ?e . :where [?e :user/name 'Ann']]".replace("'", '"'), "--json").out
    )


def test_stat_counts_transactions_datoms_and_objects(run: Run, directory: Path) -> None:
    found = json.loads(run("stat", str(directory), "--json").out)
    assert found["database"] == directory.as_uri()
    assert (found["t"], found["transactions"]) == (4, 5)
    assert found["retracted"] == 1
    assert found["datoms"] == sum(row["datoms"] for row in found["attributes"])
    assert {"attribute": ":user/age", "type": "long", "datoms": 3, "retracted": 1, "bytes": 24} in found[
        "attributes"
    ]
    assert {"attribute": ":user/name", "type": "string", "datoms": 2, "retracted": 0, "bytes": 6} in found[
        "attributes"
    ]
    log = list((directory / "log").iterdir())
    assert found["objects"]["log"] == {"objects": len(log), "bytes": sum(path.stat().st_size for path in log)}


def test_stat_says_what_it_has_cost(run: Run, directory: Path) -> None:
    requests = json.loads(run("stat", str(directory), "--json").out)["requests"]
    assert requests["get"] >= 1
    assert requests["bytes_read"] > 0
    assert 0 < requests["dollars"] < 0.001


def test_stat_as_text_has_a_table_of_attributes(run: Run, directory: Path) -> None:
    lines = run("stat", str(directory)).lines
    assert f"database      {directory.as_uri()}" in lines
    assert any(re.fullmatch(r"attribute +type +datoms +retracted +bytes", line) for line in lines)
    assert any(re.fullmatch(r":user/age +long +3 +1 +24", line) for line in lines)


def test_a_query_prints_a_table_with_numbers_to_the_right(run: Run, directory: Path) -> None:
    done = run("q", str(directory), NAMES)
    assert done.code == 0
    assert done.lines[0] == "?name  ?age"
    assert sorted(done.lines[1:]) == ["Ann      31", "Bob       5"]


def test_a_query_takes_a_url(run: Run, directory: Path) -> None:
    assert run("q", directory.as_uri(), NAMES).out == run("q", str(directory), NAMES).out


@pytest.mark.parametrize(
    ("query", "text", "data"),
    [
        (
            "[:find ?n ?a :where [?e :user/name ?n] [?e :user/age ?a] [(> ?a 20)]]",
            "?n   ?a\nAnn  31\n",
            [["Ann", 31]],
        ),
        ("[:find [?a ...] :where [_ :user/age ?a] [(> ?a 20)]]", "?a\n31\n", [31]),
        (
            "[:find [?n ?a] :where [?e :user/name ?n] [?e :user/age ?a] [(> ?a 20)]]",
            "?n   ?a\nAnn  31\n",
            ["Ann", 31],
        ),
        ("[:find (count ?e) . :where [?e :user/name]]", "(count ?e)\n         2\n", 2),
        ("[:find ?n . :where [?e :user/name ?n] [?e :user/age 99]]", "?n\n", None),
        ("[:find ?n ?a :where [?e :user/name ?n] [?e :user/age ?a] [(> ?a 99)]]", "?n  ?a\n", []),
        ("{:find [[?a ...]], :where [[_ :user/age ?a] [(> ?a 20)]]}", "?a\n31\n", [31]),
    ],
)
def test_results_of_every_shape_are_printed(
    run: Run, directory: Path, query: str, text: str, data: object
) -> None:
    assert run("q", str(directory), query).out == text
    assert json.loads(run("q", str(directory), query, "--json").out) == data


def test_inputs_are_edn(run: Run, directory: Path) -> None:
    query = (
        "[:find [?a ...] :in $ [?n ...] ?least :where [?e :user/name ?n] [?e :user/age ?a] [(>= ?a ?least)]]"
    )
    assert json.loads(run("q", str(directory), query, '["Ann" "Bob"]', "10", "--json").out) == [31]


def test_an_unquoted_word_is_no_input(run: Run, directory: Path) -> None:
    done = run("q", str(directory), "[:find ?e :in $ ?n :where [?e :user/name ?n]]", "Ann")
    assert done.code == 2
    assert "text needs its quotes: '\"Ann\"'" in done.err
    assert done.out == ""


def test_the_past_can_be_asked_by_transaction_and_by_instant(run: Run, directory: Path) -> None:
    ages = "[:find (max ?a) . :where [_ :user/age ?a]]"

    def answer(*options: str) -> object:
        return json.loads(run("q", str(directory), ages, "--json", *options).out)

    assert answer() == 31
    assert answer("--as-of", "3") == 30
    assert answer("--as-of", (NOON + timedelta(minutes=3, seconds=30)).isoformat()) == 30
    assert answer("--as-of", "2026-05-01T11:00") is None
    assert answer("--since", "2", "--as-of", "3") == 5


def test_history_shows_retractions(run: Run, directory: Path, ann: int) -> None:
    query = "[:find ?a ?added :in $ ?e :where [?e :user/age ?a _ ?added]]"
    rows = json.loads(run("q", str(directory), query, str(ann), "--history", "--json").out)
    assert sorted(rows) == [[30, False], [30, True], [31, True]]


@pytest.mark.parametrize("when", ["yesterday", "-1", "2026-13-01"])
def test_a_time_that_cannot_be_read_is_wrong_use(run: Run, directory: Path, when: str) -> None:
    done = run("q", str(directory), NAMES, f"--as-of={when}")
    assert done.code == 2
    assert "neither a transaction's number nor an instant" in done.err


def test_json_has_a_form_for_every_type(run: Run, directory: Path) -> None:
    with bucketlog.connect(directory.as_uri()) as conn:
        conn.transact(
            """[{:user/name "All", :user/tags :one, :user/active true, :user/score ##Inf,
                 :user/joined #inst "2026-05-01T12:00:00.5Z",
                 :user/key #uuid "00000000-0000-0000-0000-00000000000a", :user/photo #bytes "AAEC"}]"""
        )
    pattern = "[:user/tags :user/joined :user/active :user/score :user/key :user/photo]"
    assert json.loads(run("pull", str(directory), pattern, '[:user/name "All"]', "--json").out) == {
        ":user/tags": [":one"],
        ":user/joined": "2026-05-01T12:00:00.500000Z",
        ":user/active": True,
        ":user/score": "inf",
        ":user/key": "00000000-0000-0000-0000-00000000000a",
        ":user/photo": "AAEC",
    }


def test_decimals_uris_and_tuples_are_printed_and_read_again(run: Run, directory: Path) -> None:
    with bucketlog.connect(directory.as_uri()) as conn:
        conn.transact(
            """[{:db/ident :x/price :db/valueType :db.type/bigdec :db/cardinality :db.cardinality/one}
                {:db/ident :x/page :db/valueType :db.type/uri :db/cardinality :db.cardinality/one}
                {:db/ident :x/pair :db/valueType :db.type/tuple :db/cardinality :db.cardinality/one
                 :db/tupleTypes [:db.type/bigdec :db.type/keyword]}]"""
        )
        conn.transact('[{:user/name "X" :x/price 1.50M :x/page #uri "urn:a" :x/pair [0.1M :k]}]')
    tree = ("pull", str(directory), "[:x/price :x/page :x/pair]", '[:user/name "X"]')
    assert edn.loads(run(*tree).out) == {
        ":x/price": Decimal("1.5"),
        ":x/page": URI("urn:a"),
        ":x/pair": (Decimal("0.1"), ":k"),
    }
    assert json.loads(run(*tree, "--json").out) == {
        ":x/price": "1.5",
        ":x/page": "urn:a",
        ":x/pair": ["0.1", ":k"],
    }
    query = "[:find ?p ?u ?t :in $ ?t :where [?e :x/pair ?t] [?e :x/price ?p] [?e :x/page ?u]]"
    lines = run("q", str(directory), query, "[0.10M :k]").lines
    assert lines == [" ?p  ?u     ?t", "1.5  urn:a  [0.1M :k]"]


def test_pull_prints_a_tree_that_can_be_read_again(run: Run, directory: Path) -> None:
    done = run(
        "pull", str(directory), "[:user/name {:user/_parent [:user/name :user/age]}]", '[:user/name "Ann"]'
    )
    assert done.out == (
        '{:user/name "Ann"\n :user/_parent [{:user/name "Bob"\n                 :user/age 5}]}\n'
    )
    assert bucketlog.edn.loads(done.out)


def test_pull_prints_a_line_for_each_entity(run: Run, directory: Path) -> None:
    done = run("pull", str(directory), "[:user/age]", '[:user/name "Ann"]', '[:user/name "Bob"]', "--json")
    assert [json.loads(line) for line in done.lines] == [{":user/age": 31}, {":user/age": 5}]
    assert run("pull", str(directory), "[:user/age]", '[:user/name "Nobody"]').out == "{}\n"


def test_pull_of_the_past(run: Run, directory: Path) -> None:
    done = run("pull", str(directory), "[:user/age]", '[:user/name "Ann"]', "--as-of", "2", "--json")
    assert json.loads(done.out) == {":user/age": 30}


def test_log_prints_what_happened_newest_last(run: Run, directory: Path, ann: int) -> None:
    assert run("log", str(directory), "--from", "2").lines == [
        't 2  2026-05-01T12:02:00Z  :tx/by "script"',
        f"  {ann}",
        "    + :user/age 30",
        '    + :user/name "Ann"',
        "    + :user/tags :early",
        "    + :user/tags :staff",
        "t 3  2026-05-01T12:03:00Z",
        f"  {ann + 1}",
        "    + :user/age 5",
        '    + :user/name "Bob"',
        f"    + :user/parent {ann}",
        "t 4  2026-05-01T12:04:00Z",
        f"  {ann}",
        "    - :user/age 30",
        "    + :user/age 31",
    ]


def test_log_as_json_has_a_line_for_each_transaction(run: Run, directory: Path, ann: int) -> None:
    lines = [json.loads(line) for line in run("log", str(directory), "--json").lines]
    assert [line["t"] for line in lines] == [0, 1, 2, 3, 4]
    assert lines[2]["metadata"] == {":tx/by": "script"}
    assert lines[4] == {
        "t": 4,
        "instant": "2026-05-01T12:04:00Z",
        "metadata": {},
        "datoms": [[ann, ":user/age", 30, False], [ann, ":user/age", 31, True]],
    }


def test_log_prints_a_range(run: Run, directory: Path) -> None:
    lines = run("log", str(directory), "--from", "2", "--to", "3", "--json").lines
    assert [json.loads(line)["t"] for line in lines] == [2, 3]
    assert run("log", str(directory), "--from", "99").out == ""


def test_diff_prints_what_changed_in_sum(run: Run, directory: Path, ann: int) -> None:
    with bucketlog.connect(directory.as_uri()) as conn:
        conn.transact([[":db/add", ann, ":user/email", "a@example"]])
        conn.transact([[":db/retract", ann, ":user/email", "a@example"]])
        conn.transact([[":db/retract", ann, ":user/tags", ":early"]])
        conn.transact([[":db/add", ann, ":user/tags", ":early"]])
    done = run("diff", str(directory), "3", "8")
    assert done.lines[:3] == [f"  {ann}", "    - :user/age 30", "    + :user/age 31"]
    assert all(":user" not in line for line in done.lines[3:])
    assert run("diff", str(directory), "4", "4").out == ""


def test_diff_backwards_swaps_the_signs(run: Run, directory: Path) -> None:
    forward = json.loads(run("diff", str(directory), "2", "4", "--json").out)
    backward = json.loads(run("diff", str(directory), "4", "2", "--json").out)
    assert sorted(map(str, forward)) == sorted(str([e, a, v, not added]) for e, a, v, added in backward)


def test_diff_takes_instants(run: Run, directory: Path) -> None:
    by_number = run("diff", str(directory), "3", "4").out
    assert run("diff", str(directory), "2026-05-01T12:03Z", "2026-05-01T14:04:00+02:00").out == by_number


def test_diff_with_a_transaction_that_is_not_there_is_wrong_use(run: Run, directory: Path) -> None:
    done = run("diff", str(directory), "1", "99")
    assert (done.code, done.out) == (2, "")
    assert "there is no transaction 99: the last one is 4" in done.err


def test_an_export_is_imported_with_its_history(run: Run, directory: Path, tmp_path: Path) -> None:
    file, copy = tmp_path / "site.jsonl", tmp_path / "copy"
    assert run("export", str(directory), str(file)).err == "bucketlog: transactions 0 to 4 are exported\n"
    done = run("import", str(copy), str(file))
    assert (done.code, done.out) == (0, "")
    assert done.err == f"bucketlog: transactions 0 to 4 are in {copy}\n"
    assert run("log", str(copy)).out == run("log", str(directory)).out


def test_an_export_goes_through_pipes(directory: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bucketlog"]
    with subprocess.Popen(
        [*command, "export", str(directory), "--to", "2"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as exporting:
        subprocess.run(
            [*command, "import", str(tmp_path / "copy")],
            stdin=exporting.stdout,
            check=True,
            capture_output=True,
        )
    assert exporting.returncode == 0
    with bucketlog.connect((tmp_path / "copy").as_uri()) as conn:
        assert conn.db().basis_t == 2


def test_an_import_into_a_database_or_of_nonsense_fails(run: Run, directory: Path, tmp_path: Path) -> None:
    file = tmp_path / "site.jsonl"
    run("export", str(directory), str(file), "--to", "3")
    assert run("import", str(directory), str(file)).code == 1
    file.write_text("nonsense\n")
    done = run("import", str(tmp_path / "other"), str(file))
    assert (done.code, done.err) == (
        1,
        "bucketlog: line 1 is not JSON: Expecting value: line 1 column 1 (char 0)\n",
    )
    assert run("export", str(tmp_path / "absent"), str(tmp_path / "x.jsonl")).code == 1
    assert not (tmp_path / "x.jsonl").exists()
    assert run("import", str(tmp_path / "other"), str(tmp_path / "absent.jsonl")).code == 1


def test_a_backup_is_restored_to_any_transaction(run: Run, directory: Path, tmp_path: Path) -> None:
    copy, again = str(tmp_path / "copy"), str(tmp_path / "again")
    assert (
        run("backup", str(directory), copy, "--to", "3").err
        == f"bucketlog: transactions 0 to 3 are in {copy}\n"
    )
    assert run("backup", str(directory), copy, "--verify").err == (
        f"bucketlog: transactions 0 to 4 are in {copy}\n"
        "bucketlog: 5 entries of its log are the original's, 0 chunks of its snapshot are whole\n"
    )
    assert run("restore", again, copy, "--to", "2").err == f"bucketlog: transactions 0 to 2 are in {again}\n"
    assert run("log", copy).out == run("log", str(directory)).out
    assert run("log", again).out == run("log", str(directory), "--to", "2").out
    assert run("restore", again, str(tmp_path / "absent")).code == 1
    assert run("restore", again, copy, "--to", "99").code == 1


def test_branches_are_begun_listed_used_and_deleted(run: Run, directory: Path, tmp_path: Path) -> None:
    ages = "[:find [?a ...] :where [_ :user/age ?a]]"
    assert run("branch", str(directory)).out == "branch\n"
    assert run("branch", str(directory), "early", "--at", "2").lines == ["branch", "early"]
    assert json.loads(run("branch", str(directory), "--json").out) == ["early"]
    assert json.loads(run("q", str(directory), ages, "--branch", "early", "--json").out) == [30]
    assert json.loads(run("stat", str(directory), "--branch", "early", "--json").out)["t"] == 2
    assert "branches      early" in run("stat", str(directory)).lines
    assert run("log", str(directory), "--branch", "early").out == run("log", str(directory), "--to", "2").out
    file, copy = str(tmp_path / "early.jsonl"), str(tmp_path / "copy")
    run("export", str(directory), file, "--branch", "early")
    assert run("import", copy, file).err == f"bucketlog: transactions 0 to 2 are in {copy}\n"
    assert run("branch", str(directory), "early", "--delete").lines == ["branch"]
    assert run("q", str(directory), ages, "--branch", "early").code == 1


@pytest.mark.parametrize("arguments", [("--at", "2"), ("--delete",), ("x", "--at", "2", "--delete")])
def test_what_no_branch_can_mean_is_wrong_use(run: Run, directory: Path, arguments: tuple[str, ...]) -> None:
    assert run("branch", str(directory), *arguments).code == 2


def test_a_branch_that_is_there_or_after_the_end_fails(run: Run, directory: Path) -> None:
    run("branch", str(directory), "early")
    assert "a branch 'early' already" in run("branch", str(directory), "early").err
    assert run("branch", str(directory), "late", "--at", "99").code == 1


def test_excision_wants_to_be_confirmed_and_leaves_no_byte(run: Run, directory: Path, ann: int) -> None:
    refused = run("excise", str(directory), '[:user/name "Ann"]')
    assert (refused.code, refused.out) == (2, "")
    assert f"entities [{ann}] would go for good, from the past too: repeat it with --yes" in refused.err
    done = run("excise", str(directory), '[:user/name "Ann"]', "--yes", "--json")
    assert json.loads(done.out) == {"t": 5, "excised": [ann]}
    assert b"Ann" not in b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


def test_excision_may_be_of_an_attribute_and_of_the_past_only(run: Run, directory: Path, ann: int) -> None:
    done = run("excise", str(directory), str(ann), "--attribute", ":user/age", "--before", "3", "--yes")
    assert done.lines == ["excised", str(ann).rjust(7)]
    events = "[:find ?a ?added :in $ ?e :where [?e :user/age ?a _ ?added]]"
    assert json.loads(run("q", str(directory), events, str(ann), "--history", "--json").out) == [[31, True]]


def test_what_is_excised_is_in_no_export(run: Run, directory: Path, ann: int, tmp_path: Path) -> None:
    with bucketlog.connect(directory.as_uri()) as conn:
        conn.transact([{":db/excise": [ann]}])
    done = run("export", str(directory), str(tmp_path / "x.jsonl"))
    assert done.code == 1
    assert "what transaction 5 excises is not gone yet" in done.err
    assert run("gc", str(directory)).code == 0
    assert run("export", str(directory), str(tmp_path / "x.jsonl")).code == 0
    assert "Ann" not in (tmp_path / "x.jsonl").read_text()
    assert run("import", str(tmp_path / "copy"), str(tmp_path / "x.jsonl")).code == 0
    assert run("log", str(tmp_path / "copy")).out == run("log", str(directory)).out


def test_garbage_is_collected_and_counted(run: Run, directory: Path) -> None:
    for name in ("Cid", "Dan"):
        with bucketlog.connect(directory.as_uri()) as conn:
            conn.transact([{":user/name": name}])
            conn.snapshot()
    kept = json.loads(run("gc", str(directory), "--json").out)
    assert kept == {"snapshots": 0, "chunks": 0, "bytes": 0}
    gone = json.loads(run("gc", str(directory), "--grace", "0", "--json").out)
    assert gone["snapshots"] == 1
    assert gone["bytes"] > 0
    assert run("gc", str(directory)).lines[0].split() == ["deleted", "count"]
    assert run("gc", str(directory), "--grace", "-1").code == 2


def test_a_database_in_s3_is_named_by_its_url(
    run: Run, directory: Path, s3_location: str, tmp_path: Path
) -> None:
    file = str(tmp_path / "site.jsonl")
    run("export", str(directory), file)
    assert run("stat", s3_location).code == 1
    assert run("import", s3_location, file).code == 0
    assert run("log", s3_location).out == run("log", str(directory)).out
    found = json.loads(run("stat", s3_location, "--json").out)
    assert found["t"] == 4
    assert found["objects"]["log"]["objects"] == 2
    assert found["requests"]["get"] <= 5 + _GUESSES


@pytest.fixture
def served(directory: Path) -> Iterator[str]:
    """The URL of the directory on a server that only gives files."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(directory)))
    with in_thread(server):
        yield f"http://127.0.0.1:{server.server_address[1]}/"


def test_a_database_is_read_over_plain_http(run: Run, directory: Path, served: str, tmp_path: Path) -> None:
    assert run("log", served, "--from", "3").out == run("log", str(directory), "--from", "3").out
    assert run("q", served, NAMES).out == run("q", str(directory), NAMES).out
    assert json.loads(run("stat", served, "--json").out)["objects"] == {}
    assert run("export", served, str(tmp_path / "x")).code == 0
    run("export", str(directory), str(tmp_path / "y"))
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


def test_what_a_terminal_would_act_on_is_escaped(run: Run, directory: Path) -> None:
    with bucketlog.connect(directory.as_uri()) as conn:
        conn.transact([{":post/slug": "x", ":post/title": "red \x1b[31m\nline"}])
    title = "[:find ?t . :where [_ :post/title ?t]]"
    for arguments in (
        ("q", str(directory), title),
        ("log", str(directory)),
        ("pull", str(directory), "[*]", '[:post/slug "x"]'),
    ):
        out = run(*arguments).out
        assert "\\u001b[31m" in out
        assert "\x1b" not in out


def test_looking_at_a_place_without_a_database_makes_none(run: Run, tmp_path: Path) -> None:
    for location in (
        str(tmp_path),
        tmp_path.as_uri(),
        str(tmp_path / "absent"),
        (tmp_path / "absent").as_uri(),
    ):
        done = run("stat", location)
        assert (done.code, done.out) == (1, "")
        assert location in done.err
    assert list(tmp_path.rglob("*")) == []


def test_a_query_that_cannot_be_read_is_wrong_use(run: Run, directory: Path) -> None:
    for query in ("[:find ?e", "[:find ?e :where [?e :user/nmae]]", "[]", "7"):
        done = run("q", str(directory), query)
        assert (done.code, done.out) == (2, ""), query
        assert done.err.startswith("bucketlog: ")


def test_a_corrupt_database_is_a_failure_that_is_named(run: Run, directory: Path) -> None:
    path = directory / "log" / f"{2:016d}"
    path.write_bytes(path.read_bytes().replace(b"Ann", b"Eve"))
    done = run("stat", str(directory))
    assert (done.code, done.out) == (1, "")
    assert f"log/{2:016d} is corrupt" in done.err


@pytest.mark.parametrize("arguments", [(), ("sail",), ("q",), ("log", "x", "--from", "soon")])
def test_wrong_use_ends_with_two(run: Run, arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "usage: bucketlog" in done.err


def test_help_names_every_command_with_an_example(run: Run) -> None:
    done = run("--help")
    assert done.code == 0
    for command in COMMANDS:
        assert re.search(rf"^ +{command} ", done.out, re.MULTILINE)
        assert f"example: bucketlog {command} " in " ".join(run(command, "--help").out.split())


def test_every_command_of_the_readme_works(directory: Path) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    script = "\n".join(["set -e", f'bucketlog() {{ "{sys.executable}" -m bucketlog "$@"; }}', *blocks])
    done = subprocess.run(
        ["bash", "-c", script], cwd=directory.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert {f"bucketlog {name} site" in script for name in COMMANDS if name not in ("import", "restore")} == {
        True
    }


def test_it_runs_as_a_module_and_ends_quietly_when_its_reader_has_seen_enough(directory: Path) -> None:
    command = [sys.executable, "-m", "bucketlog", "log", str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


def test_who_closes_its_output_gets_none(directory: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -m bucketlog log "$1" >&-', sys.executable, directory],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_store_that_cannot_be_asked_is_a_failure_in_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.delenv("AWS_ALLOW_HTTP", raising=False)
    done = run("stat", "s3://bucket/site")
    assert (done.code, done.out) == (1, "")
    assert (
        done.err == "bucketlog: the endpoint http://127.0.0.1:1 has no TLS; AWS_ALLOW_HTTP=true allows that\n"
    )
    done = run("stat", "http://127.0.0.1:1/site")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("bucketlog: cannot read http://127.0.0.1:1/site: ")
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize(("no_color", "styled"), [("", True), ("1", False)])
def test_a_terminal_gets_colours_unless_told_otherwise(directory: Path, no_color: str, styled: bool) -> None:
    reader, writer = os.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "bucketlog", "diff", str(directory), "3", "4"],
        stdout=writer,
        env=os.environ | {"NO_COLOR": no_color},
        check=True,
    )
    os.close(writer)
    assert done.returncode == 0
    out = os.read(reader, 1 << 16)
    os.close(reader)
    assert (b"\x1b[31m- :user/age 30" in out) is styled
