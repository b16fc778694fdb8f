"""`tagboat key`, `sign` and `verify`: who made an image, and whether it is still that one."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tagboat.arguments import add_json, add_location
from tagboat.terminal import complain, printable, say

if TYPE_CHECKING:
    from tagboat.arguments import Commands
    from tagboat.supply.documents import Documents
    from tagboat.supply.key import PrivateKey
    from tagboat.supply.keyless import KeylessSigner, KeylessVerifier

# As in cli.py, what a command needs is imported when it runs.
# ruff: noqa: PLC0415

_TRUST = "sigstore's client trust configuration, of private services (default: the public ones)"


def add_supply_commands(commands: Commands) -> None:
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
    add_signer(sign, required=True)
    sign.set_defaults(run=_sign)

    add_verify_command(commands)


def add_signer(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    """Who signs, of whom `signer_of` then tells."""
    by = parser.add_mutually_exclusive_group(required=required)
    by.add_argument(
        "--key",
        type=Path,
        metavar="FILE",
        help="sign with this private key (PEM); TAGBOAT_KEY_PASSWORD has its password, if it has one",
    )
    by.add_argument(
        "--keyless",
        action="store_true",
        help="sign as this CI job, or as SIGSTORE_ID_TOKEN says, by sigstore; its log is public",
    )
    parser.add_argument("--trust-config", type=Path, metavar="FILE", help=_TRUST)


def signer_of(options: argparse.Namespace) -> PrivateKey | KeylessSigner | None:
    """Who signs, if anybody. Raises KeyFileError, KeylessError and ConfigError."""
    from tagboat.errors import ConfigError

    if options.trust_config and not options.keyless:
        raise ConfigError("--trust-config is about signatures without a key", hint="add --keyless")
    if options.keyless:
        from tagboat.supply.keyless import KeylessSigner

        return KeylessSigner(options.trust_config)
    if options.key is None:
        return None
    from tagboat.supply.key import PASSWORD, PrivateKey

    return PrivateKey.read(options.key, os.environ.get(PASSWORD))


def add_documents(parser: argparse.ArgumentParser) -> None:
    """Which documents go with an image, of which `documents_of` then tells."""
    parser.add_argument(
        "--sbom",
        action="append",
        default=[],
        choices=("spdx", "cyclonedx"),
        help="attach the image's software bill of materials; may be given for both formats",
    )
    parser.add_argument(
        "--provenance", action="store_true", help="attach how it was built (SLSA), signed if there is a key"
    )


def documents_of(options: argparse.Namespace, signer: PrivateKey | KeylessSigner | None) -> Documents | None:
    """The documents that go with an image, if any, signed where there is a signer."""
    if not options.sbom and not options.provenance:
        return None
    from tagboat.supply.documents import Documents

    return Documents(tuple(options.sbom), options.provenance, signer)


def add_verify_command(commands: Commands) -> None:
    """Add `verify`, which is a command of its own and one of `tagboat image`."""
    verify = commands.add_parser(
        "verify",
        help="read all of an image and compare it with its digests; exit code 1 when anything differs",
        epilog="example: tagboat verify --key release.pub registry.example/team/shop:1.4.0",
    )
    add_location(verify)
    verify.add_argument("--key", type=Path, metavar="PUB", help="public key that must have signed it")
    verify.add_argument(
        "--identity",
        metavar="NAME",
        help="who must have signed it without a key: the workflow's address, a mail address; * is anything",
    )
    verify.add_argument("--issuer", metavar="URL", help="who must vouch for that identity")
    verify.add_argument("--trust-config", type=Path, metavar="FILE", help=_TRUST)
    verify.add_argument(
        "--provenance", action="store_true", help="it must have provenance too that these have signed"
    )
    verify.add_argument(
        "--released-by",
        metavar="OWNER/REPO",
        help="a tag of this repository must have pushed it, as the homeport says whose origin.pub is the key",
    )
    add_json(verify, "print each check, and its problem, as JSON")
    verify.set_defaults(run=_verify)


def _key(options: argparse.Namespace) -> int:
    from tagboat.supply.key import PASSWORD, PrivateKey

    for file in PrivateKey.make().write(options.name, os.environ.get(PASSWORD)):
        print(file)
    return 0


def _sign(options: argparse.Namespace) -> int:
    from ocikit import Reference, Registry, find_credentials
    from tagboat.supply.signing import sign_image

    signer = signer_of(options)
    assert signer is not None  # noqa: S101  one of them is required
    reference = Reference.parse(options.reference)
    with Registry(reference.registry, credentials=find_credentials(reference.registry)) as registry:
        signing = sign_image(registry, reference, signer)
    say(signing.said)
    print(reference.with_digest(signing.digest))
    return 0


def _verify(options: argparse.Namespace) -> int:
    from dataclasses import asdict  # a push, which signs by this module too, has no use for it

    from ocikit import Platform
    from tagboat.location import Location
    from tagboat.supply.key import PublicKey
    from tagboat.supply.verification import verify

    if options.released_by and not options.key:
        complain("--released-by needs the --key that has signed it")
        return 2
    if options.provenance and not (options.key or options.identity):
        complain("--provenance needs the --key or the --identity that has signed it")
        return 2
    verifier = _keyless_verifier(options)
    key = PublicKey.read(options.key) if options.key else None
    platform = Platform.parse(options.platform) if options.platform else None
    checks = verify(
        Location.parse(options.location),
        platform,
        key,
        verifier,
        attested=options.provenance,
        released_by=options.released_by,
    )
    if options.json:
        print(json.dumps([asdict(check) for check in checks], indent=2))
    for check in [] if options.json else checks:
        print(printable(str(check)))
    failed = sum(check.problem is not None for check in checks)
    if failed:
        complain(f"{options.location}: {failed} of {len(checks)} checks failed")
    return 1 if failed else 0


def _keyless_verifier(options: argparse.Namespace) -> KeylessVerifier | None:
    """Raises ConfigError and KeylessError."""
    from tagboat.errors import ConfigError

    if bool(options.identity) != bool(options.issuer):
        raise ConfigError(
            "--identity and --issuer go together: many issuers have the same names",
            hint="GitHub's is https://token.actions.githubusercontent.com, GitLab's https://gitlab.com",
        )
    if not options.identity:
        if options.trust_config:
            raise ConfigError("--trust-config is about signatures without a key", hint="add --identity")
        return None
    from tagboat.supply.keyless import Identity, KeylessVerifier

    return KeylessVerifier.of(options.trust_config, Identity(options.identity, options.issuer))
