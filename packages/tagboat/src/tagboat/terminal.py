"""What commands say beside their results: those go to standard output, this to standard error."""

from __future__ import annotations

import sys

__all__ = ["complain", "printable", "say"]


def say(line: str) -> None:
    """A line of what is being done, or of what has been."""
    print(f"tagboat: {line}", file=sys.stderr, flush=True)


def complain(message: str, hint: str | None = None) -> None:
    """What is wrong, and what to do about it where that is known."""
    say(message)
    if hint:
        print(f"  {hint}", file=sys.stderr)


def printable(text: str) -> str:
    """Without control characters: what images and registries say was written by others."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
