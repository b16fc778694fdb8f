"""The checkers of histories find what no strictly serializable database does, and nothing else."""

from __future__ import annotations

import math
from pathlib import Path
from random import Random

import pytest
from bench.chaos.appends import check_appends
from bench.chaos.history import Append, Operation, Outcome, Read, Step, Swap, Write
from bench.chaos.journal import Journal, read_journal
from bench.chaos.registers import check_by_search
from bench.chaos.witness import check_log, check_order
from hypothesis import given, settings
from hypothesis import strategies as st


def ok(name: str, invoked: float, completed: float, *steps: Step, t: int | None = None) -> Operation:
    """An operation that was acknowledged."""
    return Operation(name, invoked, completed, "ok", steps, t)


def unknown(name: str, invoked: float, *steps: Step) -> Operation:
    """One that was never answered."""
    return Operation(name, invoked, math.inf, "unknown", steps)


def failed(name: str, invoked: float, completed: float, *steps: Step) -> Operation:
    """One that was refused."""
    return Operation(name, invoked, completed, "fail", steps)


def put(key: str, element: int) -> Append:
    """Append to a list."""
    return Append(key, element)


def saw(key: str, *elements: int) -> Read:
    """Read a list."""
    return Read(key, elements)


def _kinds(*history: Operation) -> set[str]:
    return {finding.kind for finding in check_appends(history)}


def test_a_serial_history_is_serializable() -> None:
    assert not _kinds(
        ok("a", 0, 1, saw("x"), put("x", 1)),
        ok("b", 2, 3, saw("x", 1), put("x", 2), put("y", 1)),
        ok("c", 4, 5, saw("y", 1), saw("x", 1, 2)),
    )


def test_operations_that_overlap_may_happen_in_either_order() -> None:
    for seen in ((), (1,)):
        assert not _kinds(
            ok("a", 0, 10, put("x", 1)), ok("b", 1, 2, saw("x", *seen)), ok("c", 11, 12, saw("x", 1))
        )


def test_a_lost_update_is_found() -> None:
    """Both read the same list and append to it; one of the appends is gone."""
    found = check_appends(
        [
            ok("a", 0, 10, saw("x"), put("x", 1)),
            ok("b", 0, 10, saw("x"), put("x", 2)),
            ok("c", 11, 12, saw("x", 2)),
        ]
    )
    assert "lost append: a had appended 1 to x before c read [2]" in map(str, found)


def test_a_lost_update_is_found_when_both_appends_are_there() -> None:
    assert _kinds(
        ok("a", 0, 10, saw("x"), put("x", 1)),
        ok("b", 0, 10, saw("x"), put("x", 2)),
        ok("c", 11, 12, saw("x", 1, 2)),
    ) == {"anti-dependency cycle (G2)"}


def test_a_write_skew_is_found() -> None:
    (found,) = check_appends(
        [
            ok("a", 0, 10, saw("x"), put("y", 1)),
            ok("b", 0, 10, saw("y"), put("x", 1)),
            ok("c", 11, 12, saw("x", 1), saw("y", 1)),
        ]
    )
    assert str(found) == "anti-dependency cycle (G2): a -rw-> b -rw-> a"


def test_a_dirty_write_is_found() -> None:
    assert _kinds(
        ok("a", 0, 10, put("x", 1), put("y", 1)),
        ok("b", 0, 10, put("x", 2), put("y", 2)),
        ok("c", 11, 12, saw("x", 1, 2), saw("y", 2, 1)),
    ) == {"dirty write (G0)"}


def test_transactions_that_read_each_other_are_found() -> None:
    assert _kinds(
        ok("a", 0, 10, put("x", 1), saw("y", 1)),
        ok("b", 0, 10, put("y", 1), saw("x", 1)),
    ) == {"circular information flow (G1c)"}


def test_half_a_transaction_is_found() -> None:
    assert _kinds(
        ok("a", 0, 10, put("x", 1), put("y", 1)),
        ok("b", 0, 10, saw("x", 1), saw("y")),
        ok("c", 11, 12, saw("y", 1)),
    ) == {"anti-dependency cycle (G2)"}
    assert "intermediate read" in _kinds(
        ok("a", 0, 10, put("x", 1), put("x", 2)), ok("b", 0, 10, saw("x", 1))
    )


def test_a_stale_read_is_found_with_the_order_it_breaks() -> None:
    found = check_appends([ok("a", 0, 1, put("x", 1)), ok("b", 2, 3, saw("x")), ok("c", 4, 5, saw("x", 1))])
    assert list(map(str, found)) == [
        "stale read: a had appended 1 to x before b read []",
        "real-time violation: a -rt-> b -rw-> a",
    ]


def test_a_real_time_violation_over_several_lists_is_found() -> None:
    """No read misses what was acknowledged before it, but b saw c's write, and not the earlier a's."""
    assert _kinds(
        ok("a", 0, 20, put("x", 1)),
        ok("a2", 0, 5, saw("x", 1)),
        ok("c", 6, 20, put("y", 1)),
        ok("b", 0, 20, saw("y", 1), saw("x")),
        ok("d", 21, 22, saw("x", 1), saw("y", 1)),
    ) == {"real-time violation"}


def test_a_read_that_does_not_repeat_is_found() -> None:
    assert "internal" in _kinds(
        ok("a", 0, 10, put("x", 1)), ok("b", 0, 10, saw("x"), saw("x", 1)), ok("c", 11, 12, saw("x", 1))
    )


def test_a_read_without_what_the_transaction_itself_appended_is_found() -> None:
    assert not _kinds(ok("a", 0, 1, saw("x"), put("x", 1), saw("x", 1), put("x", 2), saw("x", 1, 2)))
    assert "internal" in _kinds(ok("a", 0, 1, put("x", 1), saw("x")))
    assert "internal" in _kinds(
        ok("a", 0, 1, put("x", 2)), ok("b", 2, 3, saw("x", 2), put("x", 1), saw("x", 1))
    )


def test_an_append_that_happened_twice_is_found() -> None:
    assert _kinds(ok("a", 0, 1, put("x", 1)), ok("b", 2, 3, saw("x", 1, 1))) == {"duplicate"}


def test_an_element_from_nowhere_is_found() -> None:
    assert _kinds(ok("b", 2, 3, saw("x", 7))) == {"invented"}


def test_an_append_that_was_refused_must_not_be_seen() -> None:
    assert _kinds(failed("a", 0, 1, put("x", 1)), ok("b", 2, 3, saw("x", 1))) == {"aborted read"}
    assert not _kinds(failed("a", 0, 1, put("x", 1)), ok("b", 2, 3, saw("x")))


def test_reads_that_agree_on_no_order_are_found() -> None:
    assert _kinds(
        ok("a", 0, 10, put("x", 1)),
        ok("b", 0, 10, put("x", 2)),
        ok("c", 0, 10, saw("x", 1, 2)),
        ok("d", 0, 10, saw("x", 2, 1)),
    ) == {"incompatible order"}


def test_an_acknowledged_append_that_is_gone_is_found() -> None:
    assert _kinds(ok("a", 0, 1, put("x", 1)), ok("b", 2, 3, saw("x"))) == {
        "lost append",
        "real-time violation",
    }


def test_what_is_unknown_may_have_happened_late_or_never() -> None:
    append = unknown("a", 0, put("x", 1), put("y", 1))
    assert not _kinds(append, ok("b", 5, 6, saw("x"), saw("y")))
    assert not _kinds(append, ok("b", 5, 6, saw("x", 1), saw("y", 1)))
    assert not _kinds(append, ok("b", 5, 6, saw("x")), ok("c", 50, 51, saw("x", 1)))


def test_what_is_unknown_happened_whole_once_and_not_before_it_was_asked_for() -> None:
    append = unknown("a", 4, put("x", 1), put("y", 1))
    assert _kinds(append, ok("b", 5, 6, saw("x", 1), saw("y")), ok("c", 7, 8, saw("y", 1)))
    assert _kinds(append, ok("b", 5, 6, saw("x", 1)), ok("c", 7, 8, saw("x")))
    assert _kinds(append, ok("b", 5, 6, saw("x", 1, 1)))
    assert _kinds(append, ok("b", 1, 2, saw("x", 1))) == {"real-time violation"}


def test_an_element_that_is_appended_twice_is_no_history_to_judge() -> None:
    with pytest.raises(ValueError, match="1 is appended to x twice"):
        check_appends([ok("a", 0, 1, put("x", 1)), ok("b", 0, 1, put("x", 1))])


def test_an_unknown_outcome_has_no_end_and_no_operation_ends_before_it_begins() -> None:
    with pytest.raises(ValueError, match="no completion"):
        Operation("a", 0, 1, "unknown", ())
    with pytest.raises(ValueError, match="ends before it begins"):
        ok("a", 1, 1)


def _executed(seed: int, moments: int = 60) -> list[Operation]:
    """A history of operations that overlap, each of which happened at one moment between its times."""
    random = Random(seed)  # noqa: S311 -- a workload
    lists: dict[str, list[int]] = {}
    history = []
    for moment in range(moments):
        name, outcome = str(moment), random.choices(("ok", "unknown", "fail"), (8, 1, 1))[0]
        happens = outcome == "ok" or (outcome == "unknown" and random.random() < 0.5)
        steps: list[Step] = []
        own: dict[str, list[int]] = {}
        for number in range(random.randint(1, 4)):
            key = random.choice("xyz")
            if random.random() < 0.5:
                steps.append(put(key, moment * 10 + number))
                own.setdefault(key, []).append(moment * 10 + number)
            else:
                steps.append(saw(key, *lists.get(key, []), *own.get(key, [])))
        if happens:
            for key, elements in own.items():
                lists.setdefault(key, []).extend(elements)
        invoked, completed = moment - random.random() * 8, moment + 0.1 + random.random() * 8
        history.append(_operation(name, invoked, completed, outcome, steps))
    return history


def _operation(name: str, invoked: float, completed: float, outcome: Outcome, steps: list[Step]) -> Operation:
    return Operation(name, invoked, math.inf if outcome == "unknown" else completed, outcome, tuple(steps))


# Registers: any order that explains the history will do


def _is_explained(*history: Operation) -> bool:
    return not check_by_search(history)


def test_a_register_that_is_read_as_it_was_written_is_explained() -> None:
    assert _is_explained(
        ok("a", 0, 1, Write("x", 1)),
        ok("b", 2, 9, Write("x", 2)),
        ok("c", 3, 4, Read("x", 1)),
        ok("d", 5, 6, Read("x", 2)),
        ok("e", 10, 11, Swap("x", 2, 3)),
        ok("f", 10, 12, Swap("x", 7, 8, swapped=False)),
        ok("g", 13, 14, Read("x", 3)),
    )


@pytest.mark.parametrize(
    "last",
    [
        ok("stale", 4, 5, Read("x", 1)),
        ok("absent", 4, 5, Read("x", None)),
        ok("invented", 4, 5, Read("x", 3)),
        ok("refused", 4, 5, Swap("x", 2, 3, swapped=False)),
        ok("swapped", 4, 5, Swap("x", 1, 3)),
        ok("unrepeatable", 2, 5, Read("x", 1), Read("x", 2)),
    ],
    ids=lambda operation: operation.name,
)
def test_a_register_that_is_not_what_was_written_last_has_no_order(last: Operation) -> None:
    (found,) = check_by_search([ok("a", 0, 1, Write("x", 1)), ok("b", 2, 3, Write("x", 2)), last])
    assert str(found) == f"no order: none explains more than 2: ['{last.name}'] are left"


def test_a_value_that_comes_back_has_no_order() -> None:
    assert not _is_explained(
        ok("a", 0, 1, Write("x", 1)),
        ok("b", 2, 9, Write("x", 2)),
        ok("c", 3, 4, Read("x", 2)),
        ok("d", 5, 6, Read("x", 1)),
    )


def test_two_swaps_of_one_value_have_no_order() -> None:
    swaps = [ok(name, 2, 3, Swap("x", 1, new)) for name, new in (("b", 2), ("c", 3))]
    assert not _is_explained(ok("a", 0, 1, Write("x", 1)), *swaps)


def test_a_write_skew_of_registers_has_no_order() -> None:
    assert not _is_explained(
        ok("a", 0, 9, Read("x", None), Write("y", 1)), ok("b", 0, 9, Read("y", None), Write("x", 1))
    )


def test_an_unknown_write_may_happen_late_once_or_never() -> None:
    first, write = ok("a", 0, 1, Write("x", 1)), unknown("b", 2, Write("x", 2))
    assert _is_explained(first, write, ok("c", 3, 4, Read("x", 1)))
    assert _is_explained(first, write, ok("c", 3, 4, Read("x", 1)), ok("d", 5, 6, Read("x", 2)))
    assert not _is_explained(
        first, write, ok("c", 3, 4, Read("x", 2)), ok("d", 5, 6, Write("x", 3)), ok("e", 7, 8, Read("x", 2))
    )
    assert not _is_explained(first, ok("c", 1.2, 1.5, Read("x", 2)), write)


def test_what_failed_never_happened() -> None:
    assert not _is_explained(failed("a", 0, 1, Write("x", 1)), ok("b", 2, 3, Read("x", 1)))
    assert _is_explained(failed("a", 0, 1, Write("x", 1)))


@settings(deadline=None)
@given(st.integers(0, 10**6))
def test_lists_that_the_search_explains_have_no_findings_and_the_other_way_round(seed: int) -> None:
    """Two checkers that have nothing in common agree, on histories of which one read was falsified."""
    history = _executed(seed, moments=10)
    random = Random(seed)  # noqa: S311 -- which one
    reads = [n for n, operation in enumerate(history) if operation.outcome == "ok" and operation.reads_only]
    if reads:
        victim = history[random.choice(reads)]
        steps = [
            Read(step.key, step.value[:-1])
            if isinstance(step, Read) and isinstance(step.value, tuple)
            else step
            for step in victim.steps
        ]
        history[history.index(victim)] = _operation(
            victim.name, victim.invoked, victim.completed, victim.outcome, steps
        )
    history.append(ok("final", 1000, 1001, *(saw(key, *_last(history, key)) for key in "xyz")))
    assert bool(check_appends(history)) == bool(check_by_search(history))


# The log as the witness of the order


def test_the_order_of_the_log_explains_a_history_or_does_not() -> None:
    history = [
        ok("a", 0, 9, Write("x", 1), t=2),
        ok("b", 0, 9, Write("x", 2), t=1),
        ok("c", 10, 11, Read("x", 1), t=2),
        ok("d", 1, 5, Read("x", 2), t=1),
        unknown("e", 3, Write("x", 3)),
        ok("f", 12, 13, Read("x", 3), t=3),
    ]
    assert check_order(history, {"e": 3}) == []
    assert [finding.kind for finding in check_order(history, {})] == ["wrong read"]


def test_a_log_whose_order_is_not_that_of_time_is_found() -> None:
    history = [ok("a", 0, 1, Write("x", 1), t=2), ok("b", 2, 3, Write("x", 2), t=1)]
    (found,) = check_order(history, {})
    assert str(found) == "real-time violation: a was over before b began, and comes after it"
    stale = [ok("a", 0, 1, put("x", 1), t=1), ok("b", 2, 3, saw("x"), t=0)]
    assert [finding.kind for finding in check_order(stale, {})] == ["real-time violation"]


def test_a_log_that_lost_doubled_moved_or_invented_a_transaction_is_found() -> None:
    history = [
        ok("lost", 0, 1, put("x", 1), t=1),
        ok("doubled", 0, 1, put("x", 2), t=2),
        ok("moved", 0, 1, put("x", 3), t=4),
        failed("failed", 0, 1, put("x", 4)),
        unknown("twice", 0, put("x", 5)),
        unknown("once", 0, put("x", 6)),
        unknown("never", 0, put("x", 7)),
        ok("read", 0, 1, saw("x"), t=0),
    ]
    log = [
        (2, "doubled"),
        (3, "doubled"),
        (5, "moved"),
        (6, "failed"),
        (7, "twice"),
        (8, "twice"),
        (9, "once"),
    ]
    assert sorted(map(str, check_log(history, [*log, (10, "nobody")]))) == [
        "doubled: doubled is in the log at [2, 3]",
        "doubled: twice is in the log at [7, 8]",
        "failed, yet there: failed is in the log at [6]",
        "invented: nobody is in the log at [10], and nobody did that",
        "lost: lost was acknowledged, and is not in the log",
        "moved: moved was said to be at 4, and is at [5]",
    ]


# Journals, from which histories come


def test_a_journal_tells_what_was_asked_for_and_what_came_of_it(tmp_path: Path) -> None:
    asked = [Read("x", None), Append("x", 1), Read("register", None), Swap("register", None, 7)]
    done = [Read("x", (3, 4)), Append("x", 1), Read("register", 5), Swap("register", 5, 7, swapped=False)]
    with Journal(tmp_path / "0") as journal:
        journal.invoke("a", asked)
        journal.complete("a", "ok", done, 12)
        journal.invoke("b", asked)
        journal.complete("b", "unknown", asked)
        journal.invoke("c", [Write("x", 1)])
        journal.complete("c", "fail", [Write("x", 1)])
    one, two, three = read_journal(tmp_path / "0")
    assert (one.name, one.outcome, one.steps, one.t) == ("a", "ok", tuple(done), 12)
    assert one.invoked < one.completed < two.invoked < three.invoked < three.completed
    assert (two.outcome, two.completed, two.steps, two.t) == ("unknown", math.inf, tuple(asked), None)
    assert (three.outcome, three.steps) == ("fail", (Write("x", 1),))


def test_a_journal_that_breaks_off_anywhere_leaves_its_last_operation_unknown(tmp_path: Path) -> None:
    with Journal(tmp_path / "whole") as journal:
        for name in ("a", "b"):
            journal.invoke(name, [Append("x", 1)])
            journal.complete(name, "ok", [Append("x", 1)], 1)
    whole = (tmp_path / "whole").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "part").write_bytes(whole[:length])
        complete = whole[:length].count(b"\n")
        outcomes = [operation.outcome for operation in read_journal(tmp_path / "part")]
        assert outcomes == ["ok"] * (complete // 2) + ["unknown"] * (complete % 2)


# Histories drawn at random


@settings(deadline=None)
@given(st.integers(0, 10**6))
def test_whatever_was_executed_one_after_the_other_is_serializable(seed: int) -> None:
    assert check_appends(_executed(seed)) == []


@settings(deadline=None)
@given(st.integers(0, 10**6), st.data())
def test_an_acknowledged_append_taken_out_of_a_history_is_missed(seed: int, data: st.DataObject) -> None:
    history = _executed(seed)
    appended = [
        step
        for operation in history
        if operation.outcome == "ok"
        for step in operation.steps
        if isinstance(step, Append)
    ]
    victim = data.draw(st.sampled_from(appended))
    final = ok("final", 1000, 1001, *(saw(key, *_last(history, key)) for key in "xyz"))
    assert check_appends([*history, final]) == []

    def without(operation: Operation) -> Operation:
        steps = [
            Read(step.key, tuple(e for e in step.value if e != victim.element))
            if isinstance(step, Read) and step.key == victim.key and isinstance(step.value, tuple)
            else step
            for step in operation.steps
        ]
        return Operation(
            operation.name, operation.invoked, operation.completed, operation.outcome, tuple(steps)
        )

    assert "lost append" in _kinds(*map(without, [*history, final]))


def _last(history: list[Operation], key: str) -> list[int]:
    """A list at the end: what was acknowledged, and of what is unknown that of which something was read."""
    acknowledged = [operation for operation in history if operation.outcome == "ok"]
    reads = [step for operation in acknowledged for step in operation.steps if isinstance(step, Read)]
    read = {element for step in reads if isinstance(step.value, tuple) for element in step.value}
    elements = []
    for operation in history:
        appends = [step for step in operation.steps if isinstance(step, Append)]
        if operation.outcome == "ok" or any(step.element in read for step in appends):
            elements += [step.element for step in appends if step.key == key]
    return elements
