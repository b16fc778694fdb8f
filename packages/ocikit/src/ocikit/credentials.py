"""Who we are to a registry: user and password, as docker's configuration keeps them."""

from __future__ import annotations

import base64
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from ocikit._document import Reader
from ocikit.errors import InvalidDocumentError, OcikitError

_HUB_KEY = "https://index.docker.io/v1/"
_TIMEOUT = 30  # seconds for a credential helper


@dataclass(frozen=True, slots=True)
class Credentials:
    username: str
    password: str = field(repr=False)

    def basic(self) -> str:
        """The value of an Authorization header (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


def find_credentials(registry: str) -> Credentials | None:
    """What docker's configuration knows of a registry: `credHelpers`, `credsStore`, `auths`, in this order.

    The folder is `$DOCKER_CONFIG` or `~/.docker`. Raises OcikitError when the file or a helper is broken;
    messages hold no secret.
    """
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
        return _ask(helper, key)
    auths = Reader(config.optional("auths", dict) or {}, f"{path}: auths")
    entry = Reader(auths.optional(key, dict) or auths.optional(f"https://{key}", dict) or {}, auths.name)
    auth = entry.optional("auth", str)
    if not auth:
        return None
    try:
        username, _, password = base64.b64decode(auth, validate=True).decode().partition(":")
    except ValueError:  # not base64, or not UTF-8 in it
        raise OcikitError(f"{path}: auths.{key}.auth is not base64 of user:password") from None
    return Credentials(username, password)


def _ask(helper: str, key: str) -> Credentials | None:
    """The docker-credential-helpers protocol: `get` with the server on standard input."""
    command = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [command, "get"], input=key.encode(), capture_output=True, check=False, timeout=_TIMEOUT
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise OcikitError(f"{command} cannot be asked: {type(error).__name__}") from error
    if done.returncode != 0:
        if b"credentials not found" in done.stdout:
            return None
        raise OcikitError(f"{command} ended with {done.returncode}")
    try:
        answer = Reader.of(done.stdout, command)
        return Credentials(answer.get("Username", str), answer.get("Secret", str))
    except InvalidDocumentError:
        raise OcikitError(f"{command} did not answer with Username and Secret") from None
