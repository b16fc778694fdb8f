"""One cheap look at a registry, with nothing loaded but the standard library.

To load the client proper takes several times as long as the request that a push of an unchanged image makes.
"""

from __future__ import annotations

import os
import ssl
from http.client import HTTPConnection, HTTPException, HTTPSConnection

from ocikit.client.address import is_loopback, is_plain
from ocikit.reference import Reference

_TIMEOUT = 10  # seconds
_HUB = "docker.io"  # has its registry elsewhere, and answers nobody without a token


def stands_for(reference: Reference, digest: str, media_type: str) -> bool:
    """Whether the registry says that the reference is the manifest with that digest, of that type.

    False says nothing: it may want a login, be behind a proxy, or out of reach; `Registry` finds out.
    """
    host = reference.registry
    plain = is_plain(host)
    proxied = any(name.lower().endswith("_proxy") and value for name, value in os.environ.items())
    if host == _HUB or (proxied and not is_loopback(host)):
        return False
    try:
        if plain:
            connection = HTTPConnection(host, timeout=_TIMEOUT)
        else:
            connection = HTTPSConnection(host, timeout=_TIMEOUT, context=ssl.create_default_context())
        path = f"/v2/{reference.repository}/manifests/{reference.identifier}"
        try:
            connection.request("HEAD", path, headers={"Accept": media_type})
            answer = connection.getresponse()
            return answer.status == 200 and answer.headers.get("Docker-Content-Digest") == digest
        finally:
            connection.close()
    except (OSError, HTTPException):
        return False
