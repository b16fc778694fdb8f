"""What a kind of resource has to be able to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from tagboat.aws.account import Account
from tagboat.aws.resource import Found, Resource


class Kind(Protocol):
    """Reads and changes things of one kind. Each method may be called again after it was cut short.

    Each Ref in the resource's settings is resolved. `create` may leave settings to `update`, which
    is called after it with what still differs; but what it makes has its tags from the first moment on, so
    that nothing is ever there without an owner.
    """

    name: ClassVar[str]
    # Of each attribute that others may refer to: what CloudFormation calls it; "" is Ref, the rest GetAtt.
    attributes: ClassVar[Mapping[str, str]]
    identified_by: ClassVar[frozenset[str]]  # settings without which `read` cannot look

    def read(self, account: Account, resource: Resource) -> Found | None:
        """What is there, None where there is nothing."""

    def create(self, account: Account, resource: Resource) -> None:
        """Make it, with its tags."""

    def update(self, account: Account, resource: Resource, found: Found, changed: frozenset[str]) -> None:
        """Bring the `changed` resource.settings (and `tags`) to what they should be, in place."""

    def delete(self, account: Account, resource: Resource, found: Found) -> None:
        """Take it away."""

    def template(self, resource: Resource) -> tuple[str, dict[str, Any]] | None:
        """CloudFormation's type and properties; None where it has no such thing of its own."""
