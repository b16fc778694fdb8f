"""One thing that was looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from tagboat.errors import TagboatError

State = Literal["ok", "warning", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """How `name` is: what was found, and, where something is wrong with it, what to do."""

    name: str
    state: State
    found: str
    advice: str | None = None

    @classmethod
    def of(cls, name: str, error: TagboatError, advice: str | None = None) -> Finding:
        """A failure that says of itself what to do, or else `advice`."""
        return cls(name, "failed", str(error), error.hint or advice)


def found(name: str, look: Callable[[], str], advice: str | None = None) -> Iterator[Finding]:
    """What `look` says is well; what it raises is a failure."""
    try:
        yield Finding(name, "ok", look())
    except TagboatError as error:
        yield Finding.of(name, error, advice)
