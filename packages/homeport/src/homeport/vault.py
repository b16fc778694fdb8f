"""Secrets by name: what a service refers to by an ARN, and its instances get the value of.

Each is a file below `DIR/secrets` that root alone reads. A service is written down with references only; a
value is looked up as an instance starts, so a new one holds from the next start on.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from homeport.disk import fsync
from homeport.errors import HomeportError

MOST: Final = 1 << 16  # bytes of a value, as in Secrets Manager

# A file's name has 255 bytes, of which a slash takes three.
_NAME = re.compile(r"[A-Za-z0-9_+=.@-][A-Za-z0-9/_+=.@-]{0,79}")
_ARN = re.compile(r"arn:aws[a-z-]*:(secretsmanager|ssm):[a-z0-9-]*:[0-9]*:(?:secret:|parameter/)(.+)")
_SUFFIX = re.compile(r"-[A-Za-z0-9]{6}")  # that Secrets Manager puts behind a name in an ARN
_CURRENT = "AWSCURRENT"


class SecretError(HomeportError):
    """A secret that is not there, or cannot be one. The message never has a value in it."""


@dataclass(frozen=True, slots=True)
class SecretReference:
    """What a `RuntimeEnvironmentSecrets` value names: a secret, or one member of a JSON object in it."""

    name: str
    key: str | None = None

    @classmethod
    def parse(cls, text: str) -> SecretReference:
        """An ARN of Secrets Manager, perhaps with `:KEY::` behind it, one of SSM's, or a parameter's name.

        Account and region say nothing here: what names a secret of AWS names the one of that name here.
        Raises SecretError.
        """
        match = _ARN.fullmatch(text)
        if match is None:
            if text.startswith("arn:"):
                raise SecretError(f"{text} is no ARN of a Secrets Manager secret or an SSM parameter")
            return cls(checked(text))
        service, rest = match.groups()
        if service == "ssm":
            return cls(checked(rest))
        name, key, stage, version = (*rest.split(":"), "", "", "")[:4]
        if rest.count(":") > 3 or stage not in ("", _CURRENT) or version:
            raise SecretError(
                f"{text} asks for a version of a secret, but homeport keeps the current one only"
            )
        return cls(checked(name), key or None)


class Vault:
    """The secrets in a folder. All calls block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def set(self, name: str, value: str) -> None:
        """Keep a value under a name, in place of the one before. Raises SecretError."""
        file = self._file(name)
        if not value:
            raise SecretError(f"the value of {name} is empty")
        if "\0" in value or len(value.encode()) > MOST:
            raise SecretError(f"the value of {name} has more than {MOST} bytes, or a NUL among them")
        self._folder.mkdir(mode=0o700, exist_ok=True)
        # Made readable for its owner alone; a dot is at the beginning of no secret's file.
        with tempfile.NamedTemporaryFile(dir=self._folder, prefix=".", delete=False) as made:
            try:
                made.write(value.encode())
                made.flush()
                os.fsync(made.fileno())
                Path(made.name).replace(file)
            except BaseException:
                Path(made.name).unlink()
                raise
        fsync(self._folder)

    def remove(self, name: str) -> None:
        """Raises SecretError where there is none."""
        try:
            self._file(name).unlink()
        except FileNotFoundError:
            raise SecretError(f"there is no secret {name}") from None

    def names(self) -> dict[str, datetime]:
        """All there are, with the time of their last change, by name."""
        found = {}
        if self._folder.is_dir():
            for path in sorted(self._folder.iterdir()):
                if not path.name.startswith("."):
                    found[unquote(path.name)] = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        return found

    def find(self, name: str) -> tuple[str, datetime] | None:
        """The secret that a reference's name means: what it is called here, and when it was changed last."""
        there = self.names()
        return next(((one, there[one]) for one in _candidates(checked(name)) if one in there), None)

    def resolve(self, secrets: Mapping[str, str]) -> dict[str, str]:
        """The values that an instance is to get, by variable. Raises SecretError for the first that lacks."""
        values = {}
        for variable, text in secrets.items():
            try:
                values[variable] = self._value(SecretReference.parse(text))
            except SecretError as error:
                raise SecretError(f"{variable}: {error}") from None
        return values

    def _value(self, reference: SecretReference) -> str:
        value = self._read(reference.name)
        if reference.key is None:
            return value
        document = None
        with suppress(ValueError, RecursionError):
            document = json.loads(value)
        found = document.get(reference.key) if isinstance(document, dict) else None
        if found is None:
            raise SecretError(f"the secret {reference.name} is no JSON object with a {reference.key!r}")
        text = found if isinstance(found, str) else json.dumps(found)
        if "\0" in text:
            raise SecretError(f"{reference.key!r} of the secret {reference.name} has a NUL in it")
        return text

    def _read(self, name: str) -> str:
        for candidate in _candidates(name):
            with suppress(FileNotFoundError):
                return self._file(candidate).read_bytes().decode()
        raise SecretError(f"there is no secret {name}; `homeport secret set {name}` makes it")

    def _file(self, name: str) -> Path:
        quoted = quote(checked(name), safe="+=@")
        return self._folder / (f"%2E{quoted[1:]}" if quoted.startswith(".") else quoted)


def _candidates(name: str) -> tuple[str, ...]:
    """The name, and where it may end as AWS's ARNs do, the name without that."""
    return (name, name[:-7]) if _SUFFIX.fullmatch(name[-7:]) else (name,)


def checked(name: str) -> str:
    """A secret's name; `/prod/db` and `prod/db` are the same one. Raises SecretError."""
    name = name.removeprefix("/")
    if not _NAME.fullmatch(name):
        raise SecretError(
            f"{name!r} is no secret's name: 1 to 80 letters, digits and any of /_+=.@- are, no slash first"
        )
    return name
