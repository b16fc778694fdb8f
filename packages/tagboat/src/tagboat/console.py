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
        self._print(f"{len(self.done)}. {name}", "bold")
        started = time.monotonic()
        try:
            if self._console is not None:
                with self._console.status("[dim]working[/dim]"):
                    yield step
            else:
                yield step
            step.ok = True
        finally:
            step.seconds = time.monotonic() - started
            mark, style = ("ok", "green") if step.ok else ("FAILED", "bold red")
            self._print(f"   {mark} in {step.seconds:.2f} s", style)

    def say(self, line: str) -> None:
        """A line of detail below the step."""
        self._print(f"   {line}", "dim")

    def _print(self, line: str, style: str) -> None:
        if self._console is not None:
            self._console.print(line, style=style, markup=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)
