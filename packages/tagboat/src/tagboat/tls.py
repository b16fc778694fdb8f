"""Whom this machine trusts when it connects."""

from __future__ import annotations

import os
import socket
import ssl
from contextlib import suppress
from pathlib import Path


def trusting() -> ssl.SSLContext:
    """What the machine trusts, and homeport's authority."""
    context = ssl.create_default_context()
    authority = os.environ.get("HOMEPORT_CA")
    if authority and Path(authority).is_file():
        with suppress(ssl.SSLError):  # `tagboat doctor` tells of it
            context.load_verify_locations(authority)
    return context


def connected(
    context: ssl.SSLContext, address: str, port: int, host: str, timeout: float | None
) -> ssl.SSLSocket:
    """A connection to an address of IPv4 or IPv6, over TLS with the name `host`, to be closed by whoever gets
    it. `timeout` is in seconds, None for no bound. Raises OSError.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # Wrapped before it is connected: `wrap_socket` leaves a connection open that has been cut already.
    connection = context.wrap_socket(socket.socket(family), server_hostname=host)
    try:
        connection.settimeout(timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.connect((address, port))
    except BaseException:
        connection.close()
        raise
    return connection
