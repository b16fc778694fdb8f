"""How the commands speak: results on standard output, everything else on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console as RichConsole


@dataclass(slots=True)
class Step:
    """One step of a longer job: its name, whether it held, and how long it took in seconds."""

    name: str
    ok: bool = False
    seconds: float = 0.0


@dataclass(slots=True)
class Steps:
    """A list of steps, drawn as they go: a live line on a terminal, plain lines elsewhere."""

    done: list[Step] = field(default_factory=list)
    _console: RichConsole | None = None

    def __post_init__(self) -> None:
        if sys.stderr.isatty():
            from rich.console import Console as RichConsole  # noqa: PLC0415  heavy, and only a terminal needs it

            self._console = RichConsole(stderr=True, highlight=False)

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Time what happens inside; an exception marks the step as failed and goes on its way."""
        step = Step(name)
        self.done.append(step)
        started = time.monotonic()
        try:
            if self._console is not None:
                with self._console.status(name):
                    yield step
            else:
                yield step
            step.ok = True
        finally:
            step.seconds = time.monotonic() - started
            self._show(step)

    def say(self, line: str) -> None:
        """A line of detail below the steps."""
        if self._console is not None:
            self._console.print(f"  [dim]{_escape(line)}[/dim]")
        else:
            print(f"  {line}", file=sys.stderr, flush=True)

    def _show(self, step: Step) -> None:
        mark = "ok" if step.ok else "FAILED"
        if self._console is not None:
            style = "green" if step.ok else "bold red"
            self._console.print(f"[{style}]{mark:>6}[/{style}] {step.seconds:7.2f} s  {_escape(step.name)}")
        else:
            print(f"{mark:>6} {step.seconds:7.2f} s  {step.name}", file=sys.stderr, flush=True)


def _escape(text: str) -> str:
    from rich.markup import escape  # noqa: PLC0415  only called where rich is loaded already

    return escape(text)
