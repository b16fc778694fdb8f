"""`homeport init`: a data directory whose root key is known elsewhere, so that nobody has to fetch it."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from homeport.arguments import add_data

if TYPE_CHECKING:
    from homeport.arguments import Commands
    from homeport.credentials import AccessKey

# ruff: noqa: PLC0415  as in cli.py


def add_parser(commands: Commands) -> None:
    """Hang the command into the command's parser."""
    init = commands.add_parser(
        "init",
        help="make a data directory with the root key that is in a parameter of AWS's Systems Manager",
        epilog="example: homeport init --data /var/lib/homeport --key /homeport/shop --region eu-central-1",
    )
    add_data(init)
    init.add_argument(
        "--key",
        required=True,
        metavar="NAME",
        help="the parameter: JSON with access_key_id and secret_access_key",
    )
    init.add_argument("--region", required=True, metavar="REGION", help="where the parameter is")
    init.set_defaults(run=_init)


def _init(options: argparse.Namespace) -> int:
    from homeport.credentials import Keyring

    options.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    Keyring.create(options.data, _key(options.key, options.region))
    print(f"homeport: {options.data} has the root key of {options.key}", file=sys.stderr)
    return 0


def _key(name: str, region: str) -> AccessKey:
    """What the parameter holds, read with the credentials that the machine has. Raises HomeportError."""
    import botocore.session
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    from homeport.credentials import AccessKey
    from homeport.errors import HomeportError

    config = Config(retries={"mode": "standard", "max_attempts": 8})
    try:
        client = botocore.session.get_session().create_client("ssm", region, config=config)
        value = client.get_parameter(  # type: ignore[attr-defined]
            Name=name, WithDecryption=True
        )["Parameter"]["Value"]
    except (BotoCoreError, ClientError) as error:
        raise HomeportError(f"the parameter {name} in {region} cannot be read: {error}") from error
    try:
        document = json.loads(value)
        key_id, secret = document["access_key_id"], document["secret_access_key"]
    except (ValueError, KeyError, TypeError):
        key_id = secret = None
    if not (isinstance(key_id, str) and isinstance(secret, str) and key_id and secret):
        raise HomeportError(
            f"the parameter {name} is no root key: JSON with access_key_id, secret_access_key"
        )
    return AccessKey(key_id, secret)
