"""docker-archive: the tar that `docker save` writes and `docker load` reads."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from ocikit._document import MAX_DOCUMENT, Reader
from ocikit._replacing import replacing
from ocikit.blob import CHUNK, verified
from ocikit.config import ImageConfig
from ocikit.digest import Digest
from ocikit.errors import InvalidDocumentError, NotFoundError
from ocikit.image import Image
from ocikit.layer import Layer
from ocikit.manifest import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, Descriptor

_MAGIC = {b"\x1f\x8b": OCI_LAYER_GZIP, b"\x28\xb5\x2f\xfd": OCI_LAYER_ZSTD}


def write_docker_archive(image: Image, path: Path, tags: Sequence[str]) -> None:
    """The image as one file; layers stay compressed, which every reader accepts that knows the compression.

    `tags` are `name:tag`. The file appears when it is complete.
    """
    config = image.config_bytes
    config_name = f"{Digest.of(config).hex}.json"
    names = [f"{layer.descriptor.digest.hex}.tar{_ending(layer)}" for layer in image.layers]
    manifest = [{"Config": config_name, "RepoTags": list(tags), "Layers": names}]
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, layer in dict(zip(names, image.layers, strict=True)).items():
            descriptor = layer.descriptor
            with verified(layer.blob, descriptor.digest, descriptor.size, name) as source:
                _add(archive, name, descriptor.size, source)
        for name, data in ((config_name, config), ("manifest.json", json.dumps(manifest).encode())):
            _add(archive, name, len(data), io.BytesIO(data))


def read_docker_archive(path: Path) -> Image:
    """The only image in the file. Raises NotFoundError, InvalidDocumentError."""
    try:
        with tarfile.open(path, "r:") as archive:
            manifest = json.loads(_document(archive, "manifest.json", path))
            if not isinstance(manifest, list) or len(manifest) != 1:
                raise InvalidDocumentError(f"{path}: manifest.json does not describe exactly one image")
            entry = Reader.check(manifest[0], f"{path}: manifest.json[0]")
            config = _document(archive, entry.get("Config", str), path)
            parsed = ImageConfig.parse(config)
            names = entry.list_of_strings("Layers")
            layers = tuple(
                _layer(archive, path, name, diff_id)
                for name, diff_id in zip(names, parsed.diff_ids, strict=True)
            )
    except OSError as error:
        raise NotFoundError(f"{path} cannot be read: {error.strerror}") from error
    except (tarfile.TarError, KeyError, ValueError) as error:
        raise InvalidDocumentError(f"{path} is no docker-archive: {error}") from error
    return Image(parsed, layers)


@dataclass(frozen=True, slots=True)
class _Member:
    """A file inside the archive."""

    path: Path
    offset: int
    size: int

    def open(self) -> BinaryIO:
        file = self.path.open("rb")
        file.seek(self.offset)
        return cast("BinaryIO", _Window(file, self.size))


class _Window(io.RawIOBase):
    def __init__(self, file: BinaryIO, size: int) -> None:
        super().__init__()
        self._file = file
        self._left = size

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data

    def close(self) -> None:
        self._file.close()
        super().close()


def _ending(layer: Layer) -> str:
    return ".zst" if layer.descriptor.media_type == OCI_LAYER_ZSTD else ".gz"


def _layer(archive: tarfile.TarFile, path: Path, name: str, diff_id: Digest) -> Layer:
    entry = archive.getmember(name)
    if not entry.isreg() or entry.issparse():
        raise InvalidDocumentError(f"{path}: {name} is no plain file; save the image anew with a recent tool")
    member = _Member(path, entry.offset_data, entry.size)
    hashed = hashlib.sha256()
    with member.open() as source:
        magic = source.read(4)
        hashed.update(magic)
        while data := source.read(CHUNK):
            hashed.update(data)
    media_type = next((kind for start, kind in _MAGIC.items() if magic.startswith(start)), OCI_LAYER)
    return Layer(Descriptor(media_type, Digest("sha256", hashed.hexdigest()), entry.size), diff_id, member)


def _document(archive: tarfile.TarFile, name: str, path: Path) -> bytes:
    entry = archive.getmember(name)
    content = archive.extractfile(entry)
    if content is None or entry.size > MAX_DOCUMENT:
        raise InvalidDocumentError(f"{path}: {name} is no document of at most {MAX_DOCUMENT} bytes")
    return content.read()


def _add(archive: tarfile.TarFile, name: str, size: int, source: BinaryIO) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = size
    archive.addfile(entry, source)
