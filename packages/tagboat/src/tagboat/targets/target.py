"""The kinds of targets, behind one interface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from tagboat.aws.account import GLOBAL_REGION, Account, SilentError
from tagboat.aws.graph import ordered
from tagboat.aws.kinds.ecr import latest_digest
from tagboat.aws.resource import Port, Resource
from tagboat.aws.template import ACCOUNT, REGION, template
from tagboat.component import Component
from tagboat.config import Target
from tagboat.errors import ConfigError
from tagboat.identity import Login
from tagboat.targets import apprunner, ecs_express, homeport, lambda_, vm
from tagboat.targets.elsewhere import placed
from tagboat.targets.place import Place, UnsupportedError


class Kind(Protocol):
    """A kind of target, as a module has it. Pure: it looks at the configuration and at nothing else."""

    def problems(self, place: Place) -> list[str]:
        """What of the configuration it cannot honour, and what to change."""

    def resources(self, place: Place) -> list[Resource]:
        """Everything that should be there for it."""


_KINDS: dict[str, Kind] = {
    "apprunner": apprunner,
    "ecs-express": ecs_express,
    "homeport": homeport,
    "lambda": lambda_,
    "vm": vm,
}


@dataclass(frozen=True)
class Stack:
    """Everything that a target should have, in the order in which it can be made, and where."""

    account: Account
    place: Place
    wanted: Sequence[Resource]

    @cached_property
    def resources(self) -> Sequence[Resource]:
        """These, with their records where the zones are: looked up when it is needed, for few may ask."""
        return placed(self.account, self.wanted)

    @classmethod
    def of(cls, component: Component, name: str | None, login: Login | None = None) -> Stack:
        """That of the target called `name`, or of the only one, in the account of `login`, or else of the AWS
        settings. Raises ConfigError and UnsupportedError.
        """
        target = named_target(component, name)
        account = Account(
            target.region,
            endpoint=login.endpoint if login else None,
            session_of_another=login.session if login else None,
        )
        place = Place(component, target, account.id, account.region)
        return cls(account, place, desired(place))

    @property
    def port(self) -> Port | None:
        """The homeport that the service is on, where the stack makes one."""
        return next((one.port for one in self.resources if one.port is not None), None)

    def released(self) -> bool:
        """Whether there is a release that could run. On a homeport that does not answer there is none."""
        where: Account | None = self.account
        if self.port is not None:
            where = self.account.on(self.port)
        try:
            return where is not None and latest_digest(where, self.place.repository) is not None
        except SilentError:
            if self.port is None:
                raise
            return False


def default_target(component: Component, name: str | None) -> Target:
    """As `named_target`; a component without any goes to the homeport that the AWS settings mean."""
    if name is None and not component.config.targets:
        return Target("default", "homeport")
    return named_target(component, name)


def require_possible(place: Place) -> None:
    """Raises UnsupportedError that names each setting which the target cannot honour, and what to change."""
    target = place.target
    found = _KINDS[target.kind].problems(place)
    if found:
        named = target.key in place.component.config.targets
        raise UnsupportedError(
            (f"target {target.key} ({target.kind})" if named else "a homeport")
            + " cannot do all that is asked:\n"
            + "\n".join(f"  - {problem}" for problem in found)
        )


def desired(place: Place) -> list[Resource]:
    """What should be there, in order. Raises UnsupportedError as `require_possible` does."""
    require_possible(place)
    return ordered(_KINDS[place.target.kind].resources(place))


def exported(component: Component, name: str | None) -> dict[str, Any]:
    """What the target called `name` (or the only one) should have, as a template of CloudFormation.

    Asks nobody. Raises ConfigError and UnsupportedError.
    """
    target = named_target(component, name)
    place = Place(component, target, ACCOUNT, REGION)
    return template(
        desired(place), f"{place.name}, as tagboat describes it", region=target.region or GLOBAL_REGION
    )


def named_target(component: Component, name: str | None) -> Target:
    """The target called `name`, or the only one. Raises ConfigError."""
    targets = component.config.targets
    if name is not None and name in targets:
        return targets[name]
    known = ", ".join(sorted(targets)) or "none"
    if name is not None:
        raise ConfigError(f"there is no target {name}", hint=f"[tool.tagboat.targets.{name}]; known: {known}")
    if len(targets) == 1:
        return next(iter(targets.values()))
    if not targets:
        raise ConfigError(
            f"{component.name} has no target",
            hint='[tool.tagboat.targets.production] with kind = "lambda" and region = "eu-central-1"',
        )
    raise ConfigError(
        f"{component.name} has {len(targets)} targets: {known}", hint="--target NAME says which"
    )
