"""`tagboat secret`: the value of a secret, from its owner to where a target's service gets it."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from tagboat.arguments import add_component, add_target
from tagboat.errors import ConfigError

if TYPE_CHECKING:
    from tagboat.aws.account import Account
    from tagboat.aws.resource import Resource
    from tagboat.targets.target import Stack

# As in cli.py, what a command needs is imported when it runs.
# ruff: noqa: PLC0415

_MOST = 1 << 16  # bytes of a value, as in Secrets Manager


def add_secret_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `secret` to the commands."""
    secret = commands.add_parser(
        "secret",
        help="keep the value of a secret where a target's service gets it",
        epilog="example: tagboat secret shop/stripe --target production < FILE",
    )
    secret.add_argument(
        "name", metavar="NAME", help="of the secret, as `secrets` of the configuration has it"
    )
    add_component(secret)
    add_target(secret)
    secret.set_defaults(run=_secret)


def _secret(options: argparse.Namespace) -> int:
    from tagboat.aws.kinds.secrets import keep
    from tagboat.component import Component
    from tagboat.targets.target import Stack

    stack = Stack.of(Component.load(options.component), options.target)
    known = {one.name: one for one in stack.wanted if one.given}
    if options.name not in known:
        raise ConfigError(
            f"target {stack.place.target.key} has no secret {options.name}",
            hint=f"`secrets` of the configuration names {', '.join(known) or 'none'}",
        )
    resource = known[options.name]
    account = _where(stack, resource)
    keep(account, resource, _checked(_value(options.name), resource))
    print(f"{options.name} is kept; instances get it as they start")
    return 0


def _where(stack: Stack, resource: Resource) -> Account:
    from tagboat.cloud import NoServiceError

    account = stack.account if resource.port is None else stack.account.on(resource.port)
    if account is None:
        raise NoServiceError(
            f"there is no machine {stack.place.name} yet",
            hint=f"`tagboat apply --target {stack.place.target.key}` makes it",
        )
    return account


def _value(name: str) -> str:
    """From standard input, without a line break at its end. Never an argument of the command, for those
    everybody on the machine sees. Raises ConfigError.
    """
    if sys.stdin.isatty():
        return getpass.getpass(f"value of {name}: ")
    data = sys.stdin.buffer.read(_MOST + 2)
    try:
        return data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ConfigError(f"the value of {name} is no text in UTF-8") from None


def _checked(value: str, resource: Resource) -> str:
    """The value, if the service can have it. Raises ConfigError, which has nothing of it."""
    if not value or len(value.encode()) > _MOST or "\0" in value:
        raise ConfigError(
            f"the value of {resource.name} is empty, has more than {_MOST} bytes, or a NUL among them"
        )
    document = None
    if resource.settings["keys"]:
        with suppress(ValueError, RecursionError):
            document = json.loads(value)
    lacking = [
        key for key in resource.settings["keys"] if not isinstance(document, dict) or key not in document
    ]
    if lacking:
        raise ConfigError(
            f"the value of {resource.name} is no JSON object with {', '.join(lacking)}",
            hint="the configuration names members of it",
        )
    return value
