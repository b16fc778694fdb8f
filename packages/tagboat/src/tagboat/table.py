"""A table of TOML, whose values are asked for one by one, each with what it has to be.

Strings may hold `$NAME` and `${NAME}`, taken from the environment; `$$` is a dollar sign. They are expanded
when they are used and not before, so that building an image asks for nothing that only deploying needs.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tagboat.errors import ConfigError

__all__ = ["Table", "Text"]

W = TypeVar("W", bound=str)

_VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<plain>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)\})?", re.ASCII
)
_PACKAGE = re.compile(r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?", re.ASCII)
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Text:
    """A string of the configuration as written, and where it stands."""

    raw: str
    key: str
    file: Path

    @property
    def variables(self) -> tuple[str, ...]:
        """The names of the variables that it holds."""
        matches = _VARIABLE.finditer(self.raw)
        return tuple(name for match in matches if (name := match["plain"] or match["braced"]))

    def expanded(self) -> str:
        """The string with its variables replaced from the environment; ConfigError names an unset one."""

        def value(match: re.Match[str]) -> str:
            if match["escaped"]:
                return "$"
            name = match["plain"] or match["braced"]
            if name is None:
                raise ConfigError(
                    f"{self.file}: {self.key}: a `$` that starts no variable in {self.raw!r}",
                    hint="write $NAME or ${NAME} for a variable, $$ for a dollar sign",
                )
            if name not in os.environ:
                raise ConfigError(
                    f"{self.file}: {self.key}: the environment variable {name} is not set",
                    hint=f"export {name}=… before you run this",
                )
            return os.environ[name]

        return _VARIABLE.sub(value, self.raw)


class Table:
    """It remembers which keys were asked for, so that the others can be refused.

    Each question raises ConfigError, with the file and the key, for what is not of its kind.
    """

    def __init__(self, values: Mapping[str, Any], name: str, file: Path) -> None:
        self._values = values
        self._name = name
        self._file = file
        self._known: list[str] = []

    def string(self, key: str) -> str | None:
        """Its variables expanded; None where it is left out."""
        value = self._take(key, str, "a string")
        if value is None:
            return None
        text: str = Text(value, self._dotted(key), self._file).expanded()
        if not text:
            raise self._wrong(key, "is empty")
        return text

    def string_or_choices(self, key: str, allowed: tuple[str, ...]) -> str | Mapping[str, str] | None:
        """A string, or a table of strings with no other keys than `allowed`."""
        if not isinstance(self._values.get(key), dict):
            return self.string(key)
        table = self.table(key)
        found = {name: value for name in allowed if (value := table.string(name)) is not None}
        table.refuse_unknown()
        if not found:
            raise self._wrong(key, f"is empty: {' or '.join(map(repr, allowed))}")
        return found

    def text(self, key: str, default: str) -> Text:
        """As written, to be expanded later."""
        value = self._take(key, str, "a string")
        if value == "":
            raise self._wrong(key, "is empty")
        return Text(default.replace("$", "$$") if value is None else value, self._dotted(key), self._file)

    def absolute_path(self, key: str) -> str | None:
        """A string that starts with `/`."""
        value = self.string(key)
        if value is not None and not value.startswith("/"):
            raise self._wrong(key, f"is {value!r}, which does not start with `/`")
        return value

    def user(self, key: str, default: str) -> str:
        """UID or UID:GID, in numbers."""
        value = self.string(key) or default
        if not re.fullmatch(r"\d+(:\d+)?", value, re.ASCII):
            raise self._wrong(key, f"is {value!r}, not UID or UID:GID in numbers")
        return value

    def choice(self, key: str, allowed: tuple[str, ...]) -> str:
        """One of `allowed`; the first when it is left out."""
        value = self.string(key) or allowed[0]
        if value not in allowed:
            raise self._wrong(key, f"is {value!r}, not {' or '.join(map(repr, allowed))}")
        return value

    def signal(self, key: str, default: str) -> str:
        """The name of a signal of Linux."""
        value = self.string(key) or default
        if value not in signal.Signals.__members__:
            raise self._wrong(key, f"is {value!r}, no signal of Linux such as 'SIGTERM'")
        return value

    def integer(self, key: str, default: int, allowed: range) -> int:
        """One of `allowed`."""
        value = self._take(key, int, "an integer")
        if value is None:
            return default
        if value not in allowed:
            raise self._wrong(key, f"is {value}, not between {allowed.start} and {allowed.stop - 1}")
        return int(value)

    def optional_integer(self, key: str, allowed: range) -> int | None:
        """None where it is left out. `allowed` are none below zero."""
        found = self.integer(key, -1, allowed)
        return None if found == -1 else found

    def optional_choice(self, key: str, allowed: tuple[str, ...]) -> str | None:
        """One of `allowed`; None where it is left out."""
        return self.choice(key, allowed) if self.string(key) is not None else None

    def required_choice(self, key: str, allowed: tuple[str, ...]) -> str:
        """One of `allowed`."""
        if key not in self._values:
            raise self._wrong(key, f"is missing: {' or '.join(map(repr, allowed))}")
        return self.choice(key, allowed)

    def pattern(self, key: str, pattern: str, described: str) -> str | None:
        """A string that matches whole; `described` says in a complaint what would."""
        value = self.string(key)
        if value is not None and not re.fullmatch(pattern, value, re.ASCII):
            raise self._wrong(key, f"is {value!r}, not {described}")
        return value

    def patterns(self, key: str, pattern: str, described: str) -> tuple[str, ...]:
        """A list of such strings."""
        values = tuple(Text(one, self._dotted(key), self._file).expanded() for one in self.strings(key))
        for value in values:
            if not re.fullmatch(pattern, value, re.ASCII):
                raise self._wrong(key, f"has {value!r}, not {described}")
        return values

    def tables(self, key: str) -> dict[str, Table]:
        """A table of tables, by their names."""
        found = {}
        for name, value in (self._take(key, dict, "a table of tables") or {}).items():
            if not isinstance(value, dict):
                raise self._wrong(f"{key}.{name}", f"must be a table, not {_kind(value)}")
            found[name] = Table(value, self._dotted(f"{key}.{name}"), self._file)
        return found

    def given(self) -> frozenset[str]:
        """The keys that are written."""
        return frozenset(self._values)

    def boolean_or(self, key: str, word: W, default: bool | W) -> bool | W:
        """True, false, or this word."""
        if self._values.get(key) == word:
            self._known.append(key)
            return word
        value = self._take(key, bool, f'true, false or "{word}"')
        return default if value is None else bool(value)

    def strings(self, key: str) -> tuple[str, ...]:
        """Not empty; () where it is left out."""
        value = self._take(key, list, "a list of strings")
        if value is None:
            return ()
        if not value or not all(isinstance(item, str) for item in value):
            raise self._wrong(key, "must be a list of strings with at least one")
        return tuple(value)

    def names(self, key: str) -> frozenset[str]:
        """Names of packages, normalised (PEP 503)."""
        value = self._take(key, list, "a list of names") or []
        if not all(isinstance(item, str) and _PACKAGE.fullmatch(item) for item in value):
            raise self._wrong(key, "must be a list of names of packages")
        return frozenset(re.sub(r"[-_.]+", "-", item).lower() for item in value)

    def table(self, key: str) -> Table:
        """An empty one where it is left out."""
        return Table(self._take(key, dict, "a table") or {}, self._dotted(key), self._file)

    def environment(self, key: str) -> dict[str, Text]:
        """Variables with their values."""
        found: dict[str, Text] = {}
        for name, value in (self._take(key, dict, "a table of strings") or {}).items():
            if not isinstance(value, str):
                raise self._wrong(f"{key}.{name}", f"must be a string, not {_kind(value)}")
            if not _ENVIRONMENT_NAME.fullmatch(name):
                raise self._wrong(f"{key}.{name}", "is no name of an environment variable")
            found[name] = Text(value, self._dotted(f"{key}.{name}"), self._file)
        return found

    def refuse_unknown(self) -> None:
        """Raises ConfigError for a key that nobody has asked for."""
        for key in self._values:
            if key not in self._known:
                import difflib  # noqa: PLC0415  only for a hint

                near = difflib.get_close_matches(key, self._known, n=1, cutoff=0.5)
                raise ConfigError(
                    f"{self._file}: unknown key {self._dotted(key)}",
                    hint=f"did you mean `{near[0]}`?"
                    if near
                    else f"known keys: {', '.join(sorted(self._known))}",
                )

    def _take(self, key: str, kind: type, described: str) -> Any:
        self._known.append(key)
        value = self._values.get(key)
        if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
            raise self._wrong(key, f"must be {described}, not {_kind(value)}")
        return value

    def _dotted(self, key: str) -> str:
        return f"{self._name}.{key}"

    def _wrong(self, key: str, problem: str) -> ConfigError:
        return ConfigError(f"{self._file}: {self._dotted(key)} {problem}")


def _kind(value: object) -> str:
    names = {
        str: "a string",
        bool: "a boolean",
        int: "an integer",
        float: "a float",
        list: "a list",
        dict: "a table",
    }
    return names.get(type(value), type(value).__name__)
