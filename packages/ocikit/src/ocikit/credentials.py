"""Who we are to a registry: user and password, as docker's configuration keeps them."""

from __future__ import annotations

import base64
import binascii
import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from ocikit.errors import OcikitError

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
        config = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise OcikitError(f"{path} cannot be used: {error}") from error
    key = _HUB_KEY if registry == "docker.io" else registry
    helper = config.get("credHelpers", {}).get(registry) or config.get("credsStore")
    if helper:
        return _ask(helper, key)
    auths = config.get("auths", {})
    entry = auths.get(key) or auths.get(f"https://{key}")
    if not entry or not entry.get("auth"):
        return None
    try:
        username, _, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise OcikitError(f"{path}: auths.{key}.auth is not base64 of user:password") from None
    return Credentials(username, password)


def _ask(helper: str, key: str) -> Credentials | None:
    """The docker-credential-helpers protocol: `get` with the server on standard input."""
    command = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [command, "get"], input=key, capture_output=True, text=True, check=False, timeout=_TIMEOUT
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise OcikitError(f"{command} cannot be asked: {type(error).__name__}") from error
    if done.returncode != 0:
        if "credentials not found" in done.stdout:
            return None
        raise OcikitError(f"{command} ended with {done.returncode}")
    try:
        answer = json.loads(done.stdout)
        return Credentials(answer["Username"], answer["Secret"])
    except (ValueError, KeyError, TypeError):
        raise OcikitError(f"{command} did not answer with Username and Secret") from None
