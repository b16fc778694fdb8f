"""Layers on their way to a registry while others are still being made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from ocikit import Image, Layer, OcikitError, Reference
from tagboat.cache_folder import uploads_folder

if TYPE_CHECKING:
    from ocikit import Registry

_SMALL = 128 << 10  # bytes that take as long to send as to ask for
_PARALLEL = 2  # the machine has enough to do with the rest


class Ahead:
    """Sends to the repository of a reference; a context manager that waits for what it has begun.

    After a failure inside of it, nobody waits. When something cannot be sent, no more is: the push of the
    image then says why. `places` says which other repository of the registry may have a layer already.
    """

    def __init__(
        self,
        reference: Reference,
        progress: Callable[[str, int], None],
        places: Mapping[str, str] | None = None,
    ) -> None:
        self._reference = reference
        self._places = places
        self._progress = progress
        self._failed = False
        self._pool = ThreadPoolExecutor(1 + _PARALLEL, "tagboat-ahead")
        # A build mostly waits for other programs: meanwhile the client, which takes long to load, is loaded.
        self._registry: Future[Registry] = self._pool.submit(self._connect)
        self._pool.submit(self._try, lambda registry: registry.look(reference))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown(wait=kind is None, cancel_futures=kind is not None)
        if self._registry.done() and not self._registry.cancelled() and self._registry.exception() is None:
            self._registry.result().close()

    @property
    def registry(self) -> Registry:
        """The registry, to be used inside."""
        return self._registry.result()

    def send(self, layer: Layer, *, is_new: bool = False) -> None:
        """Begin to send a layer; returns at once. With `is_new` nobody else will have it."""
        repository, is_new = self._reference.repository, is_new and layer.descriptor.size <= _SMALL
        self._pool.submit(
            self._try,
            lambda registry: registry.push_layer(layer, repository, is_new=is_new, progress=self._progress),
        )

    def send_config(self, image: Image) -> None:
        """Begin to send the configuration of an image; returns at once."""
        repository = self._reference.repository
        self._pool.submit(
            self._try, lambda registry: registry.push_config(image, repository, progress=self._progress)
        )

    def wait(self) -> None:
        """Until all that was begun is there."""
        self._pool.shutdown()

    def _connect(self) -> Registry:
        from ocikit import Registry, find_credentials  # noqa: PLC0415  loads an HTTP client

        return Registry(
            self._reference.registry,
            credentials=find_credentials,
            places=self._places,
            uploads=uploads_folder(),
        )

    def _try(self, what: Callable[[Registry], None]) -> None:
        if self._failed:
            return
        try:
            what(self.registry)
        except OcikitError:
            self._failed = True
