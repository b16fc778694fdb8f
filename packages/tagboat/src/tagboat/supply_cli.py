"""`tagboat key`, `sign` and `verify`: who made an image, and whether it is still that one."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tagboat.supply.key import PrivateKey

# As in cli.py, what a command needs is imported when it runs.
# ruff: noqa: PLC0415

KEY_HELP = "private key in PEM form; TAGBOAT_KEY_PASSWORD has its password, if it has one"


def add_supply_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `key`, `sign` and `verify` to the commands."""
    key = commands.add_parser(
        "key",
        help="make a pair of keys: NAME.key signs, NAME.pub checks",
        epilog="example: TAGBOAT_KEY_PASSWORD=… tagboat key release",
    )
    key.add_argument("name", type=Path, metavar="NAME", help="where to; TAGBOAT_KEY_PASSWORD encrypts it")
    key.set_defaults(run=_key)

    sign = commands.add_parser(
        "sign",
        help="sign an image in a registry, as cosign does",
        epilog="example: tagboat sign --key release.key registry.example/team/shop:1.4.0",
    )
    sign.add_argument("reference", metavar="REF", help="HOST/REPOSITORY[:TAG][@DIGEST]")
    sign.add_argument("--key", type=Path, required=True, metavar="FILE", help=KEY_HELP)
    sign.set_defaults(run=_sign)

    add_verify_command(commands)


def add_verify_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `verify`, which is a command of its own and one of `tagboat image`."""
    verify = commands.add_parser(
        "verify",
        help="read all of an image and compare it with its digests; exit code 1 when anything differs",
        epilog="example: tagboat verify --key release.pub registry.example/team/shop:1.4.0",
    )
    verify.add_argument(
        "location", metavar="LOCATION", help="HOST/REPOSITORY[:TAG][@DIGEST], oci:DIR[:NAME] or tar:FILE"
    )
    verify.add_argument(
        "--platform", metavar="OS/ARCH", help="which image of an index (default: this machine's)"
    )
    verify.add_argument("--key", type=Path, metavar="PUB", help="public key that must have signed it")
    verify.add_argument(
        "--provenance", action="store_true", help="it must have provenance too that the key has signed"
    )
    verify.add_argument(
        "--released-by",
        metavar="OWNER/REPO",
        help="a tag of this repository must have pushed it, as the homeport says whose origin.pub is the key",
    )
    verify.add_argument("--json", action="store_true", help="print each check, and its problem, as JSON")
    verify.set_defaults(run=_verify)


def _key(options: argparse.Namespace) -> int:
    from tagboat.supply.key import PASSWORD, PrivateKey

    for file in PrivateKey.make().write(options.name, os.environ.get(PASSWORD)):
        print(file)
    return 0


def _sign(options: argparse.Namespace) -> int:
    from ocikit import Reference, Registry, find_credentials
    from tagboat.supply.signature import sign

    key = signing_key(options.key)
    reference = Reference.parse(options.reference)
    with Registry(reference.registry, credentials=find_credentials(reference.registry)) as registry:
        digest, fresh = sign(registry, reference, key)
    if not fresh:
        print("tagboat: it was signed by this key already", file=sys.stderr)
    print(reference.with_digest(digest))
    return 0


def signing_key(file: Path) -> PrivateKey:
    """The private key in `file`, its password from the environment. Raises KeyFileError."""
    from tagboat.supply.key import PASSWORD, PrivateKey

    return PrivateKey.read(file, os.environ.get(PASSWORD))


def _verify(options: argparse.Namespace) -> int:
    from ocikit import Platform
    from tagboat.location import Location
    from tagboat.supply.key import PublicKey
    from tagboat.supply.verification import verify

    needy = "--provenance" if options.provenance else "--released-by" if options.released_by else None
    if needy and not options.key:
        print(f"tagboat: {needy} needs the --key that has signed it", file=sys.stderr)
        return 2
    key = PublicKey.read(options.key) if options.key else None
    platform = Platform.parse(options.platform) if options.platform else None
    checks = verify(
        Location.parse(options.location),
        platform,
        key,
        attested=options.provenance,
        released_by=options.released_by,
    )
    if options.json:
        print(json.dumps([asdict(check) for check in checks], indent=2))
    for check in [] if options.json else checks:
        # Registries answer what they like: a terminal gets no control characters.
        print("".join(c if c.isprintable() else repr(c)[1:-1] for c in str(check)))
    failed = sum(check.problem is not None for check in checks)
    if failed:
        print(f"tagboat: {options.location}: {failed} of {len(checks)} checks failed", file=sys.stderr)
    return 1 if failed else 0
