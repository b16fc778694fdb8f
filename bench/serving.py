"""A server of the standard library in a thread of its own, over TLS or not."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import HTTPServer
from typing import Any

__all__ = ["in_thread", "over_tls"]


@contextmanager
def in_thread(server: HTTPServer) -> Iterator[None]:
    """The server answers as long as the context lasts; then it is closed."""
    server.socket.listen(128)  # of many that come at once those that are not let in wait for a second
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Closing(ssl.SSLSocket):
    """Is closed when nobody has it: `wrap_socket` loses an open one whose peer has cut it by then."""

    def __del__(self) -> None:
        self.close()


def over_tls(server: HTTPServer, context: ssl.SSLContext) -> None:
    """Have a server speak TLS; the handshake is up to the thread that answers."""

    def get_request() -> tuple[socket.socket, Any]:
        plain, address = server.socket.accept()
        return context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False), address

    context.sslsocket_class = _Closing
    server.get_request = get_request  # type: ignore[method-assign]
