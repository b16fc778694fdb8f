"""`tagboat trust`: which CI jobs may release a component, without any stored key."""

from __future__ import annotations

import argparse
import json
import re
from typing import TYPE_CHECKING

from tagboat.arguments import add_component, add_json
from tagboat.terminal import say

if TYPE_CHECKING:
    from tagboat.arguments import Commands
    from tagboat.component import Component
    from tagboat.trust import Trust

# As in cli.py, what a command needs is imported when it runs.
# ruff: noqa: PLC0415


def add_trust_command(commands: Commands) -> None:
    """Add `trust` to the commands."""
    trust = commands.add_parser(
        "trust",
        help="let the CI of a repository release a component, without a stored key",
        epilog="example: tagboat trust github octo/shop examples/site",
    )
    trust.add_argument(
        "system", choices=("github", "gitlab", "oidc"), help="where the repository is; oidc: any other issuer"
    )
    trust.add_argument(
        "repository",
        metavar="OWNER/REPO",
        help="as its address there has it; of oidc, the subject of its tokens, with * for whatever there is",
    )
    add_component(trust)
    trust.add_argument("--repository-id", metavar="N", help="its number (default: its host is asked)")
    trust.add_argument("--owner-id", metavar="N", help="its owner's number (default: its host is asked)")
    trust.add_argument(
        "--issuer", metavar="URL", help="of its tokens (default: GitHub's or gitlab.com's own)"
    )
    trust.add_argument(
        "--audience", metavar="TEXT", help="of its tokens (default: homeport's address, or AWS's own)"
    )
    trust.add_argument(
        "--claim",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        type=_claim,
        help="of oidc: another claim that its tokens have to have, with * for whatever there is",
    )
    trust.add_argument(
        "--aws",
        metavar="ACCOUNT/REGION",
        type=_account,
        help="change nothing; print what IAM would need to hold in that account of AWS, as JSON",
    )
    add_json(trust, "print the variables as JSON")
    trust.set_defaults(run=_trust)


def _claim(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _account(text: str) -> tuple[str, str]:
    match = re.fullmatch(r"([0-9]{12})/([a-z0-9-]+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 123456789012/eu-central-1")
    return match[1], match[2]


def _trust(options: argparse.Namespace) -> int:
    from tagboat.component import Component
    from tagboat.trust import account_and_region, write_trust

    component = Component.load(options.component)
    _check(options)
    find = _of_any_issuer if options.system == "oidc" else _of_forge
    account, region = options.aws or account_and_region()
    wanted = find(component, options, account, region)
    if options.aws:
        documents = {
            "provider": {"url": wanted.issuer, "audience": wanted.audience, "arn": wanted.provider_arn},
            "role": wanted.role_arn,
            "trust": wanted.policy,
            "permissions": wanted.permissions,
        }
        print(json.dumps(documents, indent=2))
        return 0
    write_trust(wanted, say)
    variables = wanted.variables()
    if options.json:
        print(json.dumps(variables))
    else:
        for name, value in variables.items():
            print(f"{name}={value}")
    environment = component.config.ci.environment
    whose = "its CI" if options.system == "oidc" else options.repository
    say(f"set these variables in the environment {environment} of {whose}")
    return 0


def _check(options: argparse.Namespace) -> None:
    """What argparse cannot say of options that go together."""
    from tagboat.errors import ConfigError

    if options.system == "oidc":
        if not options.issuer:
            raise ConfigError("whose tokens are they?", hint="--issuer URL, as the CI system documents it")
        return
    if re.fullmatch(r"[\w.-]+(/[\w.-]+)+", options.repository, re.ASCII) is None:
        raise ConfigError(f"{options.repository!r} is not like octo/shop")
    if options.claim:
        raise ConfigError("--claim is of oidc", hint=f"{options.system}'s claims are known")


def _of_forge(component: Component, options: argparse.Namespace, account: str, region: str) -> Trust:
    from tagboat import forge
    from tagboat.trust import trust

    if options.repository_id and options.owner_id:
        project = forge.Project(options.repository, options.repository_id, options.owner_id)
    else:
        project = getattr(forge, options.system)(options.repository)
    return trust(
        component,
        options.system,
        project,
        account=account,
        region=region,
        issuer=options.issuer,
        audience=options.audience,
    )


def _of_any_issuer(component: Component, options: argparse.Namespace, account: str, region: str) -> Trust:
    from tagboat.trust import trust_subject

    return trust_subject(
        component,
        options.repository,
        dict(options.claim),
        account=account,
        region=region,
        issuer=options.issuer,
        audience=options.audience,
    )
