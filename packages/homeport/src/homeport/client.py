"""The command's way to a homeport that runs: its own calls, signed with the owner's key."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from homeport.admin import SERVICE
from homeport.credentials import Keyring
from homeport.errors import HomeportError
from homeport.place import REGION
from homeport.serve import Addresses

_PATIENCE = 60.0  # seconds


def call(data: Path, method: str, target: str, document: Mapping[str, Any] | None = None) -> Any:
    """What the homeport of this directory answers. Raises HomeportError with what it says against it."""
    addresses = Addresses.read(data)
    root = Keyring.load(data).root
    body = b"" if document is None else json.dumps(document).encode()
    request = AWSRequest(method, f"{addresses.endpoint}{target}", data=body)
    SigV4Auth(Credentials(root.id, root.secret), SERVICE, REGION).add_auth(request)
    connection = http.client.HTTPConnection(urlsplit(addresses.endpoint).netloc, timeout=_PATIENCE)
    try:
        connection.request(method, target, body, dict(request.headers))
        answer = connection.getresponse()
        text = answer.read()
    except OSError as error:
        raise HomeportError(f"{addresses.endpoint} does not answer ({error}): is homeport running?") from None
    finally:
        connection.close()
    try:
        said = json.loads(text)
    except ValueError:
        raise HomeportError(f"{addresses.endpoint} answered {answer.status} without JSON") from None
    if answer.status >= 400:
        raise HomeportError(said["message"])
    return said
