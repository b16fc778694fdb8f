"""Who somebody is and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """Somebody with none of these, signed in or not, is a guest, who may read."""

    MEMBER = "member"  # writes posts, changes and deletes their own, uploads images
    ADMIN = "admin"  # changes and deletes everybody's, chooses what is featured
    OWNER = "owner"  # gives and takes roles


@dataclass(frozen=True, slots=True)
class User:
    id: str
    name: str
    roles: frozenset[Role] = frozenset()

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
