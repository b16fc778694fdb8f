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
    config = uvicorn.Config(app, port=0, log_level="critical", lifespan="off")
    config.timeout_keep_alive = 600  # a client that was kept waiting finds its connection as it left it
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
