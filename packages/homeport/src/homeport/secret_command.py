"""`homeport secret`: the secrets of a data directory, whether or not a homeport runs on it."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from homeport.arguments import add_data, add_json

if TYPE_CHECKING:
    from homeport.arguments import Commands
    from homeport.vault import Vault

# ruff: noqa: PLC0415  `--help` answers without loading what the verbs need


def add_parser(commands: Commands) -> None:
    """Hang the verbs into the command's parser."""
    secret = commands.add_parser("secret", help="values that services get by RuntimeEnvironmentSecrets")
    verbs = secret.add_subparsers(required=True, metavar="VERB")
    put = verbs.add_parser(
        "set",
        help="keep a value, in place of the one before; instances get it as they start",
        epilog="example: homeport secret set prod/db-password --data port < password.txt",
    )
    put.add_argument(
        "--file",
        type=Path,
        metavar="FILE",
        help="where the value is, else standard input; one line break at its end is left out",
    )
    put.set_defaults(run=_set)
    ls = verbs.add_parser(
        "ls", help="list their names, never a value", epilog="example: homeport secret ls --data port"
    )
    add_json(ls)
    ls.set_defaults(run=_ls)
    rm = verbs.add_parser(
        "rm",
        help="remove one; instances that have it keep it, none that needs it starts any more",
        epilog="example: homeport secret rm prod/db-password --data port",
    )
    rm.set_defaults(run=_rm)
    for verb in (put, rm):
        verb.add_argument("name", metavar="NAME", help="of the secret, as its ARN has it")
    for verb in (put, ls, rm):
        add_data(verb)


def _set(options: argparse.Namespace) -> int:
    from homeport.vault import SecretError

    vault = _vault(options.data)
    try:
        value = _value(options.name, options.file)
    except UnicodeDecodeError:
        raise SecretError(f"the value of {options.name} is no text in UTF-8") from None
    vault.set(options.name, value)
    print(f"{options.name} is kept; instances get it as they start")
    return 0


def _value(name: str, file: Path | None) -> str:
    """Never an argument of the command, for those everybody on the machine sees."""
    if file is not None:
        data = file.read_bytes()
    elif sys.stdin.isatty():
        return getpass.getpass(f"value of {name}: ")
    else:
        data = sys.stdin.buffer.read()
    return data.decode().removesuffix("\n").removesuffix("\r")


def _ls(options: argparse.Namespace) -> int:
    names = _vault(options.data).names()
    if options.json:
        print(json.dumps([{"name": name, "changed_at": at.isoformat()} for name, at in names.items()]))
        return 0
    for name, at in names.items():
        print(name, f"{at:%Y-%m-%dT%H:%M:%S}Z", sep="  ")
    return 0


def _rm(options: argparse.Namespace) -> int:
    _vault(options.data).remove(options.name)
    print(f"{options.name} is removed")
    return 0


def _vault(data: Path) -> Vault:
    from homeport.errors import HomeportError
    from homeport.layout import Layout
    from homeport.vault import Vault

    if not data.is_dir():
        raise HomeportError(f"{data} is not there")
    return Vault(Layout(data).secrets)
