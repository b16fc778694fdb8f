"""What every error of tagboat has: a message that says what and where, a hint that says what to do."""

from __future__ import annotations

import re
from typing import ClassVar

_LOGIN = re.compile(r"://[^/@\s'\"]+@")


class TagboatError(Exception):
    """Something failed. `hint`, where there is one, is the next thing for the user to try.

    Who may log in by the addresses in a message, as a lock or another program has them, is not repeated.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(_LOGIN.sub("://", message))
        self.hint = hint


class ConfigError(TagboatError):
    """The component's configuration or its lock file cannot be used as it stands."""

    exit_code: ClassVar[int] = 2
