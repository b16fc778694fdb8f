"""Who we are to a registry: as docker's configuration has it, or a provider that is installed."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Callable
from dataclasses import field
from pathlib import Path

from ocikit._document import Reader
from ocikit.errors import InvalidDocumentError, OcikitError
from ocikit.value import value

IDENTITY_TOKEN = "<token>"  # noqa: S105  the user name with which helpers give a token to fetch tokens with
ENTRY_POINTS = "ocikit.credentials"

Provider = Callable[[str], "Credentials | None"]

_HUB_KEY = "https://index.docker.io/v1/"
_TIMEOUT = 30  # seconds for a credential helper


@value
class Credentials:
    """`username` is IDENTITY_TOKEN where `password` is a token to fetch tokens with."""

    username: str
    password: str = field(repr=False)

    def basic(self) -> str:
        """The value of an Authorization header (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


def find_credentials(registry: str) -> Credentials | None:
    """What docker's configuration knows of a registry, else an installed provider, else AWS of its own (ECR).

    Docker's: `credHelpers`, `credsStore`, `auths` in `config.json`, in the folder `$DOCKER_CONFIG` or
    `~/.docker`. A provider is an entry point of the group `ocikit.credentials`: it is called with the
    registry's host and returns Credentials, or None where the host is none of its own. Raises OcikitError
    when the file, a helper or a provider is broken; messages hold no secret.
    """
    return _configured(registry) or _provided(registry) or _of_aws(registry)


def _configured(registry: str) -> Credentials | None:
    folder = os.environ.get("DOCKER_CONFIG")
    path = (Path(folder) if folder else Path.home() / ".docker") / "config.json"
    try:
        config = Reader.of(path.read_bytes(), str(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OcikitError(f"{path} cannot be used: {error}") from error
    key = _HUB_KEY if registry == "docker.io" else registry
    helper = config.strings("credHelpers").get(registry) or config.optional("credsStore", str)
    if helper:
        return _ask(helper, key, path)
    auths = Reader(config.optional("auths", dict) or {}, f"{path}: auths")
    found = auths.optional(key, dict) or auths.optional(f"https://{key}", dict) or {}
    entry = Reader(found, f"{auths.name}.{key}")
    if token := entry.optional("identitytoken", str):
        return Credentials(IDENTITY_TOKEN, token)
    auth = entry.optional("auth", str)
    if not auth:
        return None
    try:
        username, _, password = base64.b64decode(auth, validate=True).decode().partition(":")
    except ValueError:  # not base64, or not UTF-8 in it
        raise OcikitError(f"{path}: auths.{key}.auth is not base64 of user:password") from None
    return Credentials(username, password)


def _provided(registry: str) -> Credentials | None:
    from importlib.metadata import entry_points  # noqa: PLC0415  only who has no login in a file waits for it

    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        try:
            provider: Provider = entry.load()
            found = provider(registry)
        except OcikitError:
            raise
        except Exception as error:  # noqa: BLE001  somebody else's code; what it says may hold a secret
            message = f"the credentials provider {entry.name} ({entry.value}) failed: {type(error).__name__}"
            raise OcikitError(message) from None
        if found is not None and not isinstance(found, Credentials):
            raise OcikitError(f"the credentials provider {entry.name} ({entry.value}) gave no Credentials")
        if found is not None:
            return found
    return None


def _of_aws(registry: str) -> Credentials | None:
    from ocikit.ecr import credentials  # noqa: PLC0415  it needs this module

    return credentials(registry)


def _ask(helper: str, key: str, config: Path) -> Credentials | None:
    """The docker-credential-helpers protocol: `get` with the server on standard input."""
    command = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [command, "get"], input=key.encode(), capture_output=True, check=False, timeout=_TIMEOUT
        )
    except FileNotFoundError as error:
        raise OcikitError(
            f"{command}, which {config} names for {key}, is not on PATH; install it, or "
            "take it out of that file"
        ) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise OcikitError(
            f"{command}, which {config} names, cannot be asked: {type(error).__name__}"
        ) from error
    if done.returncode != 0:
        if b"credentials not found" in done.stdout:
            return None
        # What it says may hold a secret.
        raise OcikitError(f"{command}, which {config} names for {key}, ended with {done.returncode}")
    try:
        answer = Reader.of(done.stdout, command)
        return Credentials(answer.get("Username", str), answer.get("Secret", str))
    except InvalidDocumentError:
        raise OcikitError(f"{command} did not answer with Username and Secret") from None
