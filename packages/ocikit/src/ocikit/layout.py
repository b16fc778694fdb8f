"""The OCI image layout: images in a folder (image specification 1.1, image-layout.md)."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from ocikit._document import MAX_DOCUMENT
from ocikit._replacing import replacing
from ocikit.blob import CHUNK, BytesBlob, FileBlob, verified
from ocikit.digest import Digest
from ocikit.errors import InvalidDocumentError, NotFoundError
from ocikit.image import Image
from ocikit.manifest import INDEXES, Descriptor, Index
from ocikit.platform import Platform
from ocikit.value import value

_NAME = "org.opencontainers.image.ref.name"
_VERSION = {"imageLayoutVersion": "1.0.0"}


@value
class Layout:
    """The layout in the folder `path`, which `write` makes when absent."""

    path: Path

    def write(self, image: Image, name: str | None = None) -> Descriptor:
        """Add the image, under `name` if given (in place of what had that name). Blobs there are kept."""
        descriptor = self._write_image(image)
        self._name(descriptor, name)
        return descriptor

    def write_index(self, index: Index, images: Sequence[Image], name: str | None = None) -> Descriptor:
        """Add an index and the images that it lists, in the same way; `image` then chooses by platform."""
        for image in images:
            self._write_image(image)
        descriptor = self._write_document(index.to_bytes(), index.media_type)
        self._name(descriptor, name)
        return descriptor

    def _write_image(self, image: Image) -> Descriptor:
        for layer in image.layers:
            digest, size = layer.descriptor.digest, layer.descriptor.size
            if not self._has_blob(digest, size):
                with verified(layer.blob, digest, size, f"layer of {image.digest}") as source:
                    self._write_blob(digest, source)
        self._write_document(image.config_bytes, image.manifest.config.media_type)
        written = self._write_document(image.manifest_bytes, image.manifest.media_type)
        return replace(written, platform=image.config.platform)

    def _write_document(self, data: bytes, media_type: str) -> Descriptor:
        descriptor = Descriptor(media_type, Digest.of(data), len(data))
        if not self._has_blob(descriptor.digest, descriptor.size):
            with BytesBlob(data).open() as source:
                self._write_blob(descriptor.digest, source)
        return descriptor

    def _name(self, descriptor: Descriptor, name: str | None) -> None:
        named = MappingProxyType({_NAME: name} if name is not None else {})
        with _locked(self.path):
            self._list(replace(descriptor, annotations=named), name)

    def names(self) -> list[str]:
        """Of its images, in the order of the index. Raises NotFoundError where there is no layout."""
        return [entry.annotations[_NAME] for entry in self._index().manifests if _NAME in entry.annotations]

    def image(self, name: str | None = None, platform: Platform | None = None) -> Image:
        """The image called `name`, or the only one; of an index of several platforms, the one for `platform`.

        Raises NotFoundError, InvalidDocumentError, DigestMismatchError.
        """
        found = [
            entry for entry in self._index().manifests if name is None or entry.annotations.get(_NAME) == name
        ]
        if name is None and len(found) > 1 and platform is not None:
            found = [entry for entry in found if entry.platform is None or entry.platform.matches(platform)]
        if len(found) != 1:
            what = f"called {name!r}" if name is not None else "to take without a name"
            raise NotFoundError(
                f"{self.path} has {len(found) or 'no'} image{'s' if len(found) != 1 else ''} {what}; "
                f"it has {', '.join(self.names()) or 'no names'}"
            )
        (descriptor,) = found
        if descriptor.media_type in INDEXES:
            descriptor = choose(Index.parse(self._document(descriptor)), platform, str(self.path))
        return Image.assemble(
            self._document(descriptor), self._document, lambda layer: FileBlob(self._blob(layer.digest))
        )

    def _index(self) -> Index:
        try:
            data = (self.path / "index.json").read_bytes()
        except FileNotFoundError:
            raise NotFoundError(f"{self.path} is no OCI image layout: it has no index.json") from None
        return Index.parse(data)

    def _document(self, descriptor: Descriptor) -> bytes:
        if descriptor.size > MAX_DOCUMENT:
            raise InvalidDocumentError(
                f"{descriptor.digest}: {descriptor.size} bytes, more than {MAX_DOCUMENT}"
            )
        path = self._blob(descriptor.digest)
        if not path.exists():
            raise NotFoundError(f"{self.path} lacks the blob {descriptor.digest}")
        with verified(FileBlob(path), descriptor.digest, descriptor.size, str(path)) as source:
            return source.read()

    def _blob(self, digest: Digest) -> Path:
        return self.path / "blobs" / digest.path

    def _has_blob(self, digest: Digest, size: int) -> bool:
        try:
            return self._blob(digest).stat().st_size == size
        except FileNotFoundError:
            return False

    def _write_blob(self, digest: Digest, source: BinaryIO) -> None:
        self._blob(digest).parent.mkdir(parents=True, exist_ok=True)
        with replacing(self._blob(digest)) as file:
            while data := source.read(CHUNK):
                file.write(data)

    def _list(self, descriptor: Descriptor, name: str | None) -> None:
        """Put the descriptor into index.json; written last, so that a reader never finds half an image."""
        with replacing(self.path / "oci-layout") as file:
            file.write(json.dumps(_VERSION).encode())
        try:
            index = self._index()
        except NotFoundError:
            index = Index(())
        kept = tuple(
            entry
            for entry in index.manifests
            if (
                entry.annotations.get(_NAME) != name
                if name is not None
                else entry.digest != descriptor.digest
            )
        )
        with replacing(self.path / "index.json") as file:
            file.write(replace(index, manifests=(*kept, descriptor)).to_bytes())


def choose(index: Index, platform: Platform | None, where: str) -> Descriptor:
    """The manifest for `platform` (default: this machine's). Raises NotFoundError that lists the others."""
    wanted = platform or Platform.host()
    for entry in index.manifests:
        if entry.platform is not None and entry.platform.matches(wanted):
            return entry
    offered = ", ".join(str(entry.platform) for entry in index.manifests if entry.platform) or "none"
    raise NotFoundError(f"{where} has no image for {wanted}; it has {offered}")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other writers of the index waiting; the lock is the kernel's and dies with who holds it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
