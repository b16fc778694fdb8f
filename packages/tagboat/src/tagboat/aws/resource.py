"""A resource that should be there, as a value, and one that is there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

COMPONENT_TAG = "tagboat:component"
TARGET_TAG = "tagboat:target"


@dataclass(frozen=True, slots=True)
class Ref:
    """What another resource turns out to be called: one of its attributes, known once it is there."""

    resource: str  # its key
    attribute: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """The value of a Ref to something that is not there yet."""

    ref: Ref

    def __str__(self) -> str:
        return f"(known when {self.ref.resource} is there)"


@dataclass(frozen=True, slots=True)
class Port:
    """A homeport on a machine of the account's: its URL, the parameter that holds its root key, and the
    resource's key of the machine, without which it is not there.
    """

    url: str
    parameter: str
    machine: str


@dataclass(frozen=True, slots=True)
class Resource:
    """One thing that should be there. `settings` are JSON, with Refs in it, in the kind's own words.

    `after` are keys of resources that it needs beside those that it refers to. Of a `shared` one there is one
    in an account for all who need it. `released` ones need an image, so that they wait for the first release.
    `data` says that it holds what cannot be made again; what is `part_of` another stays as long as that.
    `asked` ones are made by somebody else, who is told. `visited` ones are names by which visitors come: one
    that leads elsewhere is not changed by the way, but by `tagboat cutover`.
    What is `given` is made by its owner alone: it has to be there.
    One that is on a `port` is made and read there, and not in the account.
    """

    kind: str
    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    shared: bool = False
    released: bool = False
    data: bool = False
    part_of: str | None = None
    asked: bool = False
    visited: bool = False
    given: bool = False
    port: Port | None = None

    @property
    def key(self) -> str:
        return f"{self.kind}/{self.name}"

    @property
    def logical_name(self) -> str:
        """What CloudFormation calls it."""
        return logical_name(self.kind, self.name)

    @property
    def needs(self) -> tuple[str, ...]:
        """The keys of what has to be there first."""
        machine = [self.port.machine] if self.port is not None else []
        return tuple(dict.fromkeys([*machine, *self.after, *(ref.resource for ref in refs(self.settings))]))


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that is there: its settings in the same words, and what others may refer to.

    `tags` is None for what can have none: such a thing is owned by its name. `notes` are differences that
    nobody but its owner can mend, with what to do.
    """

    settings: Mapping[str, Any]
    attributes: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] | None = None
    holds: str | None = None  # what would be lost with it, e.g. "12 images"
    notes: tuple[str, ...] = ()


def logical_name(kind: str, name: str) -> str:
    """What CloudFormation calls a resource: letters and digits alone."""
    return "".join(word[:1].upper() + word[1:] for word in re.findall(r"[A-Za-z0-9]+", f"{kind} {name}"))


def refs(value: Any) -> Iterator[Ref]:
    """The Refs in a value, in order."""
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from refs(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from refs(one)


def replaced(value: Any, substitute: Callable[[Ref], Any]) -> Any:
    """The value with each Ref replaced."""
    if isinstance(value, Ref):
        return substitute(value)
    if isinstance(value, Mapping):
        return {key: replaced(one, substitute) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [replaced(one, substitute) for one in value]
    return value


def resolved(value: Any, found: Mapping[str, Found | None]) -> Any:
    """The value with each Ref replaced by what it is, or by Unknown."""

    def one(ref: Ref) -> Any:
        there = found.get(ref.resource)
        return Unknown(ref) if there is None else there.attributes.get(ref.attribute, Unknown(ref))

    return replaced(value, one)
