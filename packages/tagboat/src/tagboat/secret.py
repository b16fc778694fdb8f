"""Where the value of a variable is kept: in Secrets Manager, or in a parameter of SSM. Never the value."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from tagboat.errors import ConfigError
from tagboat.table import Text

Store = Literal["secretsmanager", "ssm"]
_NAME = r"[\w/+=.@-]+"
_SECRET = re.compile(
    rf"(?P<id>arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{{12}}:secret:{_NAME})(:(?P<key>[^:]+)::)?", re.ASCII
)
_NAMED_SECRET = re.compile(rf"secretsmanager:(?P<id>{_NAME})(:(?P<key>[^:]+))?", re.ASCII)
_ARN = re.compile(r"arn:[^/]*:(?:secret:|parameter/)")
_PARAMETER = re.compile(
    rf"(?P<id>arn:aws[a-z-]*:ssm:[a-z0-9-]+:\d{{12}}:parameter/{_NAME})|ssm:(?P<name>{_NAME})", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Secret:
    """`id` is a name or an ARN; `key` the member of a JSON object that is meant, None for the whole value."""

    store: Store
    id: str
    key: str | None = None

    @classmethod
    def of(cls, text: Text) -> Secret:
        """As the configuration has it. Raises ConfigError."""
        written = text.expanded()
        found = _SECRET.fullmatch(written) or _NAMED_SECRET.fullmatch(written)
        if found:
            return cls("secretsmanager", found["id"], found["key"])
        parameter = _PARAMETER.fullmatch(written)
        if parameter:
            return cls("ssm", parameter["id"] or parameter["name"])
        raise ConfigError(
            f"{text.file}: {text.key} does not say where the value is kept",  # it may be the value itself
            hint="secretsmanager:NAME, secretsmanager:NAME:KEY for a member of JSON, ssm:NAME, or an ARN",
        )

    @property
    def for_homeport(self) -> str:
        """As a homeport takes it, whose secrets are in no account and no region."""
        if self.id.startswith("arn:"):
            return f"{self.id}:{self.key}::" if self.key else self.id
        return f"arn:aws:secretsmanager:::secret:{self.id}:{self.key}::" if self.key else self.id

    @property
    def homeport_name(self) -> str:
        """What a homeport calls it, in policies too."""
        return _ARN.sub("", self.id, count=1).removeprefix("/")
