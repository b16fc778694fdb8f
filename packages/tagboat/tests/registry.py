"""A registry on loopback that takes everything."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from obstore.store import MemoryStore

from ocikit.registry import create_app


@contextmanager
def serving() -> Iterator[str]:
    """Its address, as long as the context lasts."""
    app = create_app(MemoryStore(), authorize=lambda *_: None)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
