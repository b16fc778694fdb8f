"""What every error of tagboat has: a message that says what and where, a hint that says what to do."""

from __future__ import annotations

from typing import ClassVar


class TagboatError(Exception):
    """Something failed. `hint`, where there is one, is the next thing for the user to try."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(TagboatError):
    """The component's configuration or its lock file cannot be used as it stands."""

    exit_code: ClassVar[int] = 2
