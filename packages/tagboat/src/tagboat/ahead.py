"""Layers on their way to a registry while others are still being made."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from ocikit import Layer, OcikitError, Reference

if TYPE_CHECKING:
    from ocikit import Registry

_PARALLEL = 2  # the machine has enough to do with the rest


class Ahead:
    """Sends layers to the repository of a reference; a context manager that waits for what it has begun.

    After a failure inside of it, nobody waits. When a layer cannot be sent, no more are: the push of the
    image then says why.
    """

    def __init__(self, reference: Reference, progress: Callable[[str, int], None]) -> None:
        self._reference = reference
        self._progress = progress
        self._failed = False
        self._pool = ThreadPoolExecutor(1 + _PARALLEL, "tagboat-ahead")
        # A build mostly waits for other programs: meanwhile the client, which takes long to load, is loaded.
        self._registry: Future[Registry] = self._pool.submit(self._connect)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown(wait=kind is None, cancel_futures=kind is not None)
        if self._registry.done() and not self._registry.cancelled() and self._registry.exception() is None:
            self._registry.result().close()

    @property
    def registry(self) -> Registry:
        """The registry, to be used inside. Raises OcikitError where there are no credentials to be had."""
        return self._registry.result()

    def send(self, layer: Layer) -> None:
        """Begin to send a layer; returns at once."""
        self._pool.submit(self._send, layer)

    def wait(self) -> None:
        """Until all that was begun is there."""
        self._pool.shutdown()

    def _connect(self) -> Registry:
        from ocikit import Registry, find_credentials  # noqa: PLC0415  loads an HTTP client

        host = self._reference.registry
        return Registry(host, credentials=find_credentials(host))

    def _send(self, layer: Layer) -> None:
        if self._failed:
            return
        try:
            self.registry.push_layer(layer, self._reference.repository, progress=self._progress)
        except OcikitError:
            self._failed = True
