"""The verdict on a history of `bench.chaos.workload`, by every checker that there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from bench.chaos.appends import check_appends
from bench.chaos.history import Finding, Operation
from bench.chaos.registers import check_by_search
from bench.chaos.witness import check_log, check_order

__all__ = ["judge", "keys_of", "relaxed"]


def judge(history: Sequence[Operation], log: Sequence[tuple[int, str]]) -> list[Finding]:
    """What is wrong with a history, and with the log that it left.

    The lists are judged without a look at the log, each register by itself; then everything by the log.
    """
    findings = check_log(history, log)
    findings += check_order(history, {name: t for t, name in log})
    findings += check_appends(_about(history, lambda key: not _is_register(key)))
    for register in filter(_is_register, keys_of(history)):
        findings += check_by_search(_about(history, register.__eq__))
    return findings


def keys_of(history: Sequence[Operation]) -> list[str]:
    """All that anybody did something with."""
    return sorted({step.key for operation in history for step in operation.steps})


def relaxed(history: Sequence[Operation], staleness: float) -> list[Operation]:
    """The history as if what only reads had been asked for so many seconds earlier.

    That is what a store whose reads may be that old can promise; what writes is as strict as ever.
    """
    return [
        replace(operation, invoked=operation.invoked - staleness) if operation.reads_only else operation
        for operation in history
    ]


def _is_register(key: str) -> bool:
    return key.startswith("register")


def _about(history: Sequence[Operation], matches: Callable[[str], bool]) -> list[Operation]:
    parts = [
        replace(operation, steps=tuple(step for step in operation.steps if matches(step.key)))
        for operation in history
    ]
    return [part for part in parts if part.steps]
