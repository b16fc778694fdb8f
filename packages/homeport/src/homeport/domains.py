"""Which names of the owner's lead to which service, in bucketlog."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import bucketlog
from homeport.model import DomainExistsError, NoSuchDomainError
from homeport.schema import attribute

_SCHEMA = [
    attribute("domain/name", "string", identity=True),
    attribute("domain/service", "string"),
    attribute("domain/www", "boolean"),
    attribute("domain/created", "instant"),
]


@dataclass(frozen=True, slots=True)
class Domain:
    """An association: `name`, and with `www` the same name with `www.` before it, lead to the service."""

    name: str
    service_arn: str
    www: bool
    created_at: datetime

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, f"www.{self.name}") if self.www else (self.name,)


class Domains:
    """All associations of one homeport. Changes block."""

    def __init__(self, database: bucketlog.Connection) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._all: dict[str, Domain] = {}  # by name, oldest first

    def load(self) -> None:
        """Install the schema and read everything."""
        self._database.transact(_SCHEMA)
        db = self._database.db()
        found = [_domain(db.pull("[*]", one)) for one in db.q("[:find [?e ...] :where [?e :domain/name _]]")]
        self._all = {one.name: one for one in sorted(found, key=lambda one: one.created_at)}

    def all(self) -> list[Domain]:
        return list(self._all.values())

    def of(self, service_arn: str) -> list[Domain]:
        """Oldest first."""
        return [domain for domain in self._all.values() if domain.service_arn == service_arn]

    def add(self, domain: Domain) -> None:
        """Raises DomainExistsError where one of its names leads somewhere already."""
        with self._lock:
            taken = {name: other for other in self._all.values() for name in other.names}
            for name in domain.names:
                if name in taken:
                    raise DomainExistsError(f"{name} is associated with {taken[name].service_arn} already")
            self._database.transact([
                {
                    ":domain/name": domain.name,
                    ":domain/service": domain.service_arn,
                    ":domain/www": domain.www,
                    ":domain/created": domain.created_at,
                }
            ])  # fmt: skip
            self._all = {**self._all, domain.name: domain}

    def remove(self, service_arn: str, name: str) -> Domain:
        """Raises NoSuchDomainError."""
        with self._lock:
            domain = self._all.get(name)
            if domain is None or domain.service_arn != service_arn:
                raise NoSuchDomainError(f"the service has no custom domain {name}")
            self._database.transact([[":db/retractEntity", [":domain/name", name]]])
            self._all = {other: one for other, one in self._all.items() if other != name}
            return domain


def _domain(facts: Mapping[str, Any]) -> Domain:
    return Domain(
        name=facts[":domain/name"],
        service_arn=facts[":domain/service"],
        www=facts[":domain/www"],
        created_at=facts[":domain/created"],
    )
