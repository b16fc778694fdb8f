"""`tagboat trust`: which CI jobs may release a component, without any stored key."""

from __future__ import annotations

import argparse
import json
import re
import sys

from tagboat.arguments import add_component

# As in cli.py, what a command needs is imported when it runs.
# ruff: noqa: PLC0415


def add_trust_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `trust` to the commands."""
    trust = commands.add_parser(
        "trust",
        help="let the CI of a repository release a component, without a stored key",
        epilog="example: tagboat trust github octo/shop examples/site",
    )
    trust.add_argument("system", choices=("github", "gitlab"), help="where the repository is")
    trust.add_argument(
        "repository", metavar="OWNER/REPO", type=_repository, help="as its address there has it"
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
        "--aws",
        metavar="ACCOUNT/REGION",
        type=_account,
        help="change nothing; print what IAM would need to hold in that account of AWS, as JSON",
    )
    trust.add_argument("--json", action="store_true", help="print the variables as JSON")
    trust.set_defaults(run=_trust)


def _repository(text: str) -> str:
    if re.fullmatch(r"[\w.-]+(/[\w.-]+)+", text, re.ASCII) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not like octo/shop")
    return text


def _account(text: str) -> tuple[str, str]:
    match = re.fullmatch(r"([0-9]{12})/([a-z0-9-]+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 123456789012/eu-central-1")
    return match[1], match[2]


def _trust(options: argparse.Namespace) -> int:
    from tagboat import forge
    from tagboat.component import Component
    from tagboat.trust import account_and_region, trust, write_trust

    component = Component.load(options.component)
    if options.repository_id and options.owner_id:
        project = forge.Project(options.repository, options.repository_id, options.owner_id)
    else:
        project = getattr(forge, options.system)(options.repository)
    account, region = options.aws or account_and_region()
    wanted = trust(
        component,
        options.system,
        project,
        account=account,
        region=region,
        issuer=options.issuer,
        audience=options.audience,
    )
    if options.aws:
        documents = {
            "provider": {"url": wanted.issuer, "audience": wanted.audience, "arn": wanted.provider_arn},
            "role": wanted.role_arn,
            "trust": wanted.policy,
            "permissions": wanted.permissions,
        }
        print(json.dumps(documents, indent=2))
        return 0
    write_trust(wanted, _say)
    variables = wanted.variables()
    if options.json:
        print(json.dumps(variables))
    else:
        for name, value in variables.items():
            print(f"{name}={value}")
    environment = component.config.ci.environment
    _say(f"set these variables in the environment {environment} of {project.path}")
    return 0


def _say(line: str) -> None:
    print(f"tagboat: {line}", file=sys.stderr, flush=True)
