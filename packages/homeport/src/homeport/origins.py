"""Where images come from: which CI job, by the identity token that it took its role with, has pushed them.

homeport sees that itself, as it takes the push: nothing that an image says of itself, and no key that could
be lost, is part of it. A service's policy names the repository whose releases it may run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

import bucketlog
from homeport.errors import DeploymentError
from homeport.schema import attribute
from homeport.sessions import Session

_CLAIMS: Final = ("repository_id", "project_id", "repository", "project_path")
_POLICY: Final = re.compile(rf"(?P<issuer>[^\s=]+):(?P<claim>{'|'.join(_CLAIMS)})=(?P<value>[^\s=]+)")
_SCHEMA: Final = [
    attribute("origin/key", "string", identity=True),  # the image's digest and the session's key
    attribute("origin/digest", "string", indexed=True),
    attribute("origin/claims", "string"),  # JSON
]
_QUERY: Final = (
    "[:find [?claims ...] :in $ ?digest :where [?e :origin/digest ?digest] [?e :origin/claims ?claims]]"
)


@dataclass(frozen=True, slots=True)
class OriginPolicy:
    """Only images that a job of this repository has pushed, started by a tag."""

    issuer: str  # without its scheme
    claim: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """`ISSUER:CLAIM=VALUE`, a condition as IAM writes its key. Raises ValueError."""
        match = _POLICY.fullmatch(text)
        if match is None:
            raise ValueError(text)
        return cls(**match.groupdict())

    def admits(self, origin: Mapping[str, str]) -> bool:
        return (
            origin.get("iss", "").partition("://")[2] == self.issuer
            and origin.get(self.claim) == self.value
            and origin.get("ref_type") == "tag"
        )


class Origins:
    """What is known of where images come from. Its calls block."""

    def __init__(self, database: bucketlog.Connection) -> None:
        self._database = database
        database.transact(_SCHEMA)

    def note(self, digest: str, session: Session) -> None:
        """That this session has pushed the manifest with that digest."""
        facts = {
            ":origin/key": f"{digest}/{session.key}",
            ":origin/digest": digest,
            ":origin/claims": json.dumps(dict(session.origin)),
        }
        self._database.transact([facts])

    def of(self, digest: str) -> list[dict[str, str]]:
        """The claims of all who have pushed it."""
        return [json.loads(claims) for claims in self._database.db().q(_QUERY, digest)]

    def require(self, policy: str | None, digest: str) -> None:
        """Raises DeploymentError where the policy, as `OriginPolicy.parse` reads it, does not admit it."""
        if policy is None:
            return
        wanted, found = OriginPolicy.parse(policy), self.of(digest)
        if any(wanted.admits(origin) for origin in found):
            return
        known = "; ".join(map(_shown, found)) or "nobody who took a role"
        raise DeploymentError(
            f"the service runs only what a tag of {policy} has pushed, and {digest} was pushed by {known}"
        )


def _shown(origin: Mapping[str, str]) -> str:
    return f"{origin.get('repository') or origin.get('project_path')} at {origin.get('ref')}"
