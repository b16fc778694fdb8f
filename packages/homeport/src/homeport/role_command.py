"""`homeport role`: who may take which role of a homeport that runs; end its sessions; take it away.

Roles are made by IAM's own calls (`tagboat trust` does); this is for the day on which one must end.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from homeport.arguments import add_data, add_json

if TYPE_CHECKING:
    from homeport.arguments import Commands

# ruff: noqa: PLC0415  `--help` answers without loading servers and databases

_REVOKED = "AWSRevokeOlderSessions"  # as AWS's console calls it


def add_parser(commands: Commands) -> None:
    """Hang the verbs into the command's parser."""
    role = commands.add_parser("role", help="roles that jobs of CI systems take with their identity tokens")
    verbs = role.add_subparsers(required=True, metavar="VERB")
    ls = verbs.add_parser(
        "ls", help="list them, with whose tokens get each", epilog="example: homeport role ls --data port"
    )
    add_json(ls, "as JSON, with their policies")
    ls.set_defaults(run=_ls)
    revoke = verbs.add_parser(
        "revoke",
        help="end all sessions that a role has, at once; who is trusted may take it again",
        epilog="example: homeport role revoke release-shop --data port",
    )
    revoke.set_defaults(run=_revoke)
    rm = verbs.add_parser(
        "rm",
        help="remove a role and end its sessions, at once",
        epilog="example: homeport role rm release-shop --data port",
    )
    rm.set_defaults(run=_rm)
    for verb in (revoke, rm):
        verb.add_argument("name", metavar="NAME", help="of the role")
    for verb in (ls, revoke, rm):
        add_data(verb)


def _ls(options: argparse.Namespace) -> int:
    iam = _iam(options.data)
    roles = [dict(role) for role in iam("list_roles")["Roles"]]
    if options.json:
        for role in roles:
            names = iam("list_role_policies", RoleName=role["RoleName"])["PolicyNames"]
            role["Policies"] = {
                name: iam("get_role_policy", RoleName=role["RoleName"], PolicyName=name)["PolicyDocument"]
                for name in names
            }
        print(json.dumps(roles, indent=2, default=str))
        return 0
    for role in roles:
        print(role["RoleName"])
        for statement in role["AssumeRolePolicyDocument"]["Statement"]:
            if "Service" in statement["Principal"]:
                print("  instances of services")
            for line in _conditions(statement.get("Condition", {})):
                print(f"  {line}")
    return 0


def _conditions(condition: dict[str, dict[str, Any]]) -> Iterator[str]:
    for operator, entries in condition.items():
        for key, value in entries.items():
            values = [value] if isinstance(value, str) else value
            yield f"{key} {'=' if operator == 'StringEquals' else 'like'} {' or '.join(values)}"


def _revoke(options: argparse.Namespace) -> int:
    statement = {
        "Effect": "Deny",
        "Action": "*",
        "Resource": "*",
        "Condition": {"DateLessThan": {"aws:TokenIssueTime": datetime.now(UTC).isoformat()}},
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam = _iam(options.data)
    iam("put_role_policy", RoleName=options.name, PolicyName=_REVOKED, PolicyDocument=document)
    print(f"no session of {options.name} that has begun may do anything any more")
    return 0


def _rm(options: argparse.Namespace) -> int:
    iam = _iam(options.data)
    for name in iam("list_role_policies", RoleName=options.name)["PolicyNames"]:
        iam("delete_role_policy", RoleName=options.name, PolicyName=name)
    iam("delete_role", RoleName=options.name)
    print(f"{options.name} is removed, and its sessions have ended")
    return 0


def _iam(data: Path) -> Callable[..., Any]:
    """IAM's calls by name, of the homeport of this directory, as its owner. Raises HomeportError."""
    import botocore.session
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    from homeport.credentials import Keyring
    from homeport.errors import HomeportError
    from homeport.place import REGION
    from homeport.serve import Addresses

    root = Keyring.load(data).root
    client = botocore.session.Session().create_client(
        "iam",
        region_name=REGION,
        endpoint_url=Addresses.read(data).endpoint,
        aws_access_key_id=root.id,
        aws_secret_access_key=root.secret,
        config=Config(retries={"total_max_attempts": 1}),
    )

    def call(operation: str, **arguments: Any) -> Any:
        try:
            return getattr(client, operation)(**arguments)
        except ClientError as error:
            raise HomeportError(error.response["Error"]["Message"]) from None
        except BotoCoreError as error:
            raise HomeportError(f"{error}: is homeport running?") from None

    return call
