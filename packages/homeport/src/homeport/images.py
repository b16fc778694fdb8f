"""Images on this machine: each layer unpacked once, shared by all instances that stand on it.

A deployment does not wait until all of a layer is on the disk. So a layer is marked until that is known, and
one that is still marked when the machine has been started anew is unpacked again: it may be there by half.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
from collections.abc import Collection
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from homeport.disk import write
from homeport.errors import ImageError
from homeport.layout import Layout
from homeport.tracking import Track
from ocikit import (
    Digest,
    Image,
    ImageConfig,
    InvalidDocumentError,
    Layer,
    OcikitError,
    Platform,
    Reference,
    Registry,
    RegistryNotFoundError,
    find_credentials,
    unpack_layer,
)
from ocikit.registry import Storage

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_HALF = ".new-"  # begins the name of a layer that is being unpacked
# Ends the name of a file beside a layer that may not be on the disk: it has the boot's id.
_MARK = ".unsettled"
_BOOT = Path("/proc/sys/kernel/random/boot_id")

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class LocalImage:
    """An image whose layers lie unpacked here, the lowest first, each a lower directory for overlayfs."""

    digest: str
    config: ImageConfig
    layers: tuple[Path, ...]


class Images:
    """Pulls images from homeport's own registry (straight from its storage) or another. All calls block."""

    def __init__(self, layout: Layout, storage: Storage, registry_hosts: Collection[str]) -> None:
        """`registry_hosts`: what homeport's own registry is called, `host:port`."""
        self._layout = layout
        self._storage = storage
        self._registry_hosts = registry_hosts
        self._lock = Lock()  # one image at a time: two that share a layer unpack it once

    def own(self, image: str) -> Reference | None:
        """The reference, when it names homeport's own registry; raises ImageError when it is none at all."""
        reference = _parse(image)
        host, _, port = reference.registry.rpartition(":")
        for own in self._registry_hosts:
            own_host, _, own_port = own.rpartition(":")
            if reference.registry == own or (
                port == own_port and host in _LOOPBACK and own_host in _LOOPBACK
            ):
                return reference
        return None

    def resolve(self, image: str, track: str | None = None) -> str:
        """The manifest digest that the reference names now; with `track`, the newest release beside it.

        The manifest is there, in just that repository: what is on this machine already is taken by its digest
        alone, and another repository's image is not for who merely knows that. Raises ImageError when there
        is none.
        """
        reference = _parse(image)
        if track is not None and reference.digest is None:
            reference = reference.with_tag(self.followed(image, track))
            image = str(reference)
        try:
            digest = self._resolve(image, reference)
        except OcikitError as error:
            raise ImageError(f"the image {image} cannot be looked up: {error}") from error
        if digest is None:
            raise ImageError(f"there is no image {image}")
        return str(digest)

    def followed(self, image: str, track: str) -> str:
        """The tag of the image's repository that `track` (`tracking.Track`) leads to. Raises ImageError."""
        reference = _parse(image)
        try:
            newest = Track.parse(track).newest(self._tags(image, reference))
        except OcikitError as error:
            raise ImageError(f"the tags of {reference.repository} cannot be looked up: {error}") from error
        if newest is None:
            raise ImageError(f"no tag of {reference.repository} is a release that {track} follows")
        return newest

    def pull(self, image: str, digest: str) -> LocalImage:
        """The image of `digest` from where `image` points, its layers unpacked. Raises ImageError."""
        with self._lock:
            local = self.local(digest)
            if local is not None:
                return local
            reference = _parse(image).with_digest(Digest.parse(digest))
            try:
                with ExitStack() as stack:
                    pulled = self._image(image, reference, stack)
                    self._check_platform(image, pulled)
                    for layer in pulled.layers:
                        self._unpack(layer)
            except OcikitError as error:
                raise ImageError(f"the image {image} ({digest}) cannot be pulled: {error}") from error
            # Written last: an image is here when all of its layers are.
            write(self._config(digest), pulled.config_bytes, mode=0o600)
            return self._local(digest, pulled.config)

    def local(self, digest: str) -> LocalImage | None:
        """The image, if it has been pulled already; needs no registry."""
        try:
            local = self._local(digest, ImageConfig.parse(self._config(digest).read_bytes()))
        except (FileNotFoundError, InvalidDocumentError):
            return None
        return local if all(map(_is_whole, local.layers)) else None

    def keep(self, digests: Collection[str]) -> None:
        """Remove all other images, the layers that only they need, and what a crash left half unpacked."""
        with self._lock:
            keep = [self._config(digest) for digest in digests]
            for path in self._layout.images.iterdir():
                if path not in keep:
                    path.unlink()
            kept = [local for digest in digests if (local := self.local(digest)) is not None]
            layers = {layer for local in kept for layer in local.layers}
            for path in self._layout.layers.iterdir():
                if path.suffix != _MARK and path not in layers:
                    _mark(path).unlink(missing_ok=True)
                    shutil.rmtree(path)

    def settle(self) -> None:
        """Have all layers on the disk that there are now. Raises OSError."""
        marks = list(self._layout.layers.glob(f"*{_MARK}"))
        if not marks:
            return
        handle = os.open(self._layout.layers, os.O_RDONLY)
        try:
            if _libc.syncfs(handle) != 0:
                raise OSError(ctypes.get_errno(), "syncfs")
        finally:
            os.close(handle)
        for mark in marks:
            mark.unlink(missing_ok=True)

    def _resolve(self, image: str, reference: Reference) -> Digest | None:
        if self.own(image) is not None:
            name = reference.digest or reference.tag or "latest"
            return self._storage.resolve(reference.repository, str(name))
        with Registry(reference.registry, credentials=find_credentials(reference.registry)) as registry:
            try:
                found = registry.descriptor(reference)  # it is read, for a registry can say what it has not
            except RegistryNotFoundError:
                return None
            return reference.digest or found.digest

    def _tags(self, image: str, reference: Reference) -> list[str]:
        if self.own(image) is not None:
            return self._storage.tags(reference.repository)
        with Registry(reference.registry, credentials=find_credentials(reference.registry)) as registry:
            return registry.tags(reference.repository)

    def _image(self, image: str, reference: Reference, stack: ExitStack) -> Image:
        if self.own(image) is not None:
            return self._storage.image(reference.repository, str(reference.digest))
        registry = stack.enter_context(
            Registry(reference.registry, credentials=find_credentials(reference.registry))
        )
        return registry.image(reference, Platform.host())

    def _unpack(self, layer: Layer) -> None:
        target = self._layer(layer.diff_id)
        if _is_whole(target):
            return
        if target.exists():
            shutil.rmtree(target)
        half = target.with_name(f"{_HALF}{secrets.token_hex(4)}")
        half.mkdir(mode=0o755)
        try:
            unpack_layer(layer, half, whiteouts="overlay")
        except BaseException:
            shutil.rmtree(half, ignore_errors=True)
            raise
        _mark(target).write_text(_BOOT.read_text())
        half.rename(target)

    def _check_platform(self, image: str, pulled: Image) -> None:
        host = Platform.host()
        theirs = pulled.config.platform
        if (theirs.os, theirs.architecture) != (host.os, host.architecture):
            raise ImageError(
                f"the image {image} is for {theirs.os}/{theirs.architecture}, "
                f"this machine runs {host.os}/{host.architecture}"
            )

    def _local(self, digest: str, config: ImageConfig) -> LocalImage:
        return LocalImage(digest, config, tuple(self._layer(diff_id) for diff_id in config.diff_ids))

    def _config(self, digest: str) -> Path:
        return self._layout.images / Digest.parse(digest).hex

    def _layer(self, diff_id: Digest) -> Path:
        return self._layout.layers / diff_id.hex


def _mark(layer: Path) -> Path:
    return layer.with_name(f"{layer.name}{_MARK}")


def _is_whole(layer: Path) -> bool:
    with suppress(FileNotFoundError):
        if _mark(layer).read_text() != _BOOT.read_text():
            return False
    return layer.is_dir()


def _parse(image: str) -> Reference:
    try:
        return Reference.parse(image)
    except OcikitError as error:
        raise ImageError(str(error)) from error
