"""Who somebody is and what they may do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """Somebody with none of these, signed in or not, is a guest, who may read."""

    MEMBER = "member"  # writes posts, changes and deletes their own, uploads images
    ADMIN = "admin"  # changes and deletes everybody's, chooses what is featured
    OWNER = "owner"  # gives and takes roles


@dataclass(frozen=True, slots=True)
class User:
    """`email` is what the issuer vouched for at the last login; the people of the demo have none."""

    id: str
    name: str
    roles: frozenset[Role] = frozenset()
    email: str | None = None

    @property
    def is_member(self) -> bool:
        return Role.MEMBER in self.roles

    @property
    def is_admin(self) -> bool:
        return Role.ADMIN in self.roles

    @property
    def is_owner(self) -> bool:
        return Role.OWNER in self.roles


# The people of the demo. They exist in every database, for the first posts need authors, but only the demo
# gives them roles, and only the demo lets anybody sign in as them.
DEMO_USERS = (
    User("author", "Mira Okafor", frozenset({Role.MEMBER})),
    User("editor", "Tomás Lind", frozenset({Role.MEMBER, Role.ADMIN})),
    User("owner", "Ines Halvorsen", frozenset(Role)),
    User("reader", "Sam Whitlock"),
)

_LOCAL = r"[a-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}"
_HOST = r"[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})+"
# ASCII alone: lower case makes ASCII of some other letters, and what looks alike is not the same address.
_EMAIL = re.compile(rf"{_LOCAL}@{_HOST}", re.ASCII)
_PATTERN = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[a-z0-9*-]{1,63}(?:\.[a-z0-9*-]{1,63})*", re.ASCII)


def parse_email(text: str) -> str | None:
    """The address in lower case; None for what is not one of ASCII characters.

    >>> parse_email("Mira@Northpier.example")
    'mira@northpier.example'
    """
    lower = text.lower()
    return lower if text.isascii() and len(lower) <= 254 and _EMAIL.fullmatch(lower) else None


@dataclass(frozen=True, slots=True)
class EmailPattern:
    """An e-mail address in which `*` stands for any characters but `@`; a domain alone is all in it.

    >>> EmailPattern.parse("example.com").matches("a@example.com")
    True
    >>> EmailPattern.parse("*@*.example.com").matches("a@example.com")
    False
    """

    text: str

    @classmethod
    def parse(cls, text: str) -> EmailPattern:
        """Raises ValueError, whose text goes on from the pattern's."""
        lower = text.lower().removeprefix("@")
        pattern = lower if "@" in lower else f"*@{lower}"
        if not text.isascii() or not _PATTERN.fullmatch(pattern):
            raise ValueError("is no domain, address or pattern of one")
        if not re.search(r"[@.][a-z0-9-]+\.[a-z0-9-]+$", pattern):
            raise ValueError("does not end in a whole domain, so it would let strangers in")
        return cls(pattern)

    def matches(self, email: str) -> bool:
        regex = "[^@]*".join(re.escape(part) for part in self.text.split("*"))
        return re.fullmatch(regex, email) is not None


@dataclass(frozen=True, slots=True)
class Gate:
    """Whom the configuration lets sign in. Addresses are in lower case and are verified by the issuer."""

    allowed: tuple[EmailPattern, ...]
    owners: frozenset[str]
    hosted_domain: str | None = None  # Google's `hd`: the Workspace that the account must belong to

    def lets_in(self, email: str) -> bool:
        """Whether the list has the address; owners need not be on it."""
        return email in self.owners or any(pattern.matches(email) for pattern in self.allowed)
