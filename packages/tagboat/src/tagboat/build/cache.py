"""What builds may use again: named by what it was made from, and there as a whole or not at all.

Any number of builds may share a cache, and any of them may be killed at any point: files are made under
temporary names and renamed; locks are the kernel's and go with the process that holds them.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Final

from ocikit import Compression, Descriptor, Digest, FileBlob, Layer, LayerWriter, compressor
from tagboat.errors import TagboatError

# Half the work of libdeflate's usual level, for a layer that is 6 % larger. Of libzstd the usual one: who
# chooses zstd wants small layers.
_QUICK: Final[Mapping[Compression, int | None]] = {"gzip": 1, "zstd": None}

_LONG_AGO: Final = 3600  # seconds: nobody writes a small file for as long


class CacheError(TagboatError):
    """The cache folder cannot be used."""


def key_of(*parts: str | bytes) -> str:
    """A name for what is made from `parts`, the same everywhere."""
    hasher = hashlib.sha256()
    for part in parts:
        data = part.encode(errors="surrogateescape") if isinstance(part, str) else part
        hasher.update(len(data).to_bytes(8, "big") + data)
    return hasher.hexdigest()


@dataclass(frozen=True, slots=True)
class MadeLayer:
    """A layer, whether it had to be `made`, and the `seconds` that it took to have it.

    `kind` says which layer it is from build to build, whatever is in it; `inputs` are all that decides about
    its content, by name.
    """

    name: str
    layer: Layer
    made: bool
    seconds: float
    kind: str
    inputs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Cache:
    """The cache in the folder `root`, which is made when absent; layers are made with that compression."""

    root: Path
    compression: Compression = "gzip"

    @classmethod
    def open(cls, root: Path, *, compression: Compression = "gzip") -> Cache:
        cache = cls(root.absolute(), compression)
        try:
            for name in ("blobs/sha256", "layers", "locks", "temporary"):
                (cache.root / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CacheError(f"the cache folder {root} cannot be made: {error}") from error
        return cache

    def path(self, kind: str, name: str) -> Path:
        """Where something of that kind and name is, or would be; the folder of the kind exists."""
        folder = f"{self.root}/{kind}"
        if not os.path.isdir(folder):  # noqa: PTH112  asked for every file of a project
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103
        return Path(folder, name)

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Keep others who make the same thing waiting, so that it is made once."""
        with (self.root / "locks" / name).open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def temporary(self, *, many: bool = False) -> Iterator[Path]:
        """A new folder on the cache's file system. What killed builds have left behind is removed.

        With `many` files in it, it is removed while the program goes on, at the latest before it ends.
        """
        parent = self.root / "temporary"
        self._sweep(parent)
        folder = parent / os.urandom(8).hex()
        held = folder.with_suffix(".lock").open("wb")

        def remove() -> None:
            with held:
                _remove(folder)
                Path(held.name).unlink(missing_ok=True)

        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            folder.mkdir()  # after the lock: a sweep never sees a folder that nobody holds
            yield folder
        finally:
            Thread(target=remove).start() if many else remove()

    def write(self, path: Path, content: bytes) -> None:
        """Put a file at `path`, whole or not at all."""
        partial = self.root / "temporary" / f"{os.urandom(8).hex()}.partial"
        try:
            partial.write_bytes(content)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def layer(
        self,
        key: str,
        make: Callable[[LayerWriter], None],
        *,
        lasting: bool = False,
        folder: Path | None = None,
        other: Callable[[], str] | None = None,
    ) -> tuple[Layer, bool]:
        """The layer made from what `key` stands for, and whether `make` had to run.

        Where it has to be made, the `other` key is asked for: one that stands for all of its content too.
        One that is `lasting`, made once and pulled with every image, is compressed harder. A temporary
        `folder` is for who makes many.
        """
        level = None if lasting else _QUICK[self.compression]
        key = self._packed(key, level)
        layer = self._find_layer(key)
        if layer is not None:
            return layer, False
        with self.locked(f"layer-{key}"):
            layer = self._find_layer(key)  # somebody may have made it while we waited
            if layer is not None:
                return layer, False
            also = self._packed(other(), level) if other is not None else key
            layer = self._find_layer(also)
            made = layer is None
            if layer is None:
                layer = self._make_layer(key, make, level, folder)
            for name in {key, also} if made else {key}:
                self._keep_layer(name, layer)
            return layer, made

    def has_layer(self, key: str) -> bool:
        """Whether the layer for `key` is here already."""
        return self._find_layer(self._packed(key, _QUICK[self.compression])) is not None

    def _packed(self, key: str, level: int | None) -> str:
        """The key of the layer as this version of this compressor makes it at that level."""
        return key_of(key, compressor(self.compression), str(level))

    def _find_layer(self, key: str) -> Layer | None:
        try:
            record = json.loads((self.root / "layers" / f"{key}.json").read_text())
            descriptor = Descriptor(record["mediaType"], Digest.parse(record["digest"]), record["size"])
            blob = self._blob(descriptor.digest)
            if blob.stat().st_size != descriptor.size:
                return None
            return Layer(descriptor, Digest.parse(record["diffId"]), FileBlob(blob))
        except (FileNotFoundError, ValueError, KeyError):
            return None  # not there, or cut off by a machine that lost power: made anew

    def _make_layer(
        self, key: str, make: Callable[[LayerWriter], None], level: int | None, folder: Path | None
    ) -> Layer:
        with nullcontext(folder) if folder is not None else self.temporary() as temporary:
            made = temporary / key
            with LayerWriter(made, compression=self.compression, compression_level=level) as writer:
                make(writer)
                layer = writer.finish()
            blob = self._blob(layer.descriptor.digest)
            made.replace(blob)
        return Layer(layer.descriptor, layer.diff_id, FileBlob(blob))

    def _keep_layer(self, key: str, layer: Layer) -> None:
        record = {
            "mediaType": layer.descriptor.media_type,
            "digest": str(layer.descriptor.digest),
            "size": layer.descriptor.size,
            "diffId": str(layer.diff_id),
        }
        self.write(self.root / "layers" / f"{key}.json", json.dumps(record, indent=1).encode())

    def _blob(self, digest: Digest) -> Path:
        return self.root / "blobs" / digest.path

    def _sweep(self, parent: Path) -> None:
        for lock in parent.glob("*.lock"):
            with suppress(OSError), lock.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(lock.with_suffix(""))
                lock.unlink(missing_ok=True)
        for partial in parent.glob("*.partial"):
            with suppress(OSError):
                if partial.stat().st_mtime < time.time() - _LONG_AGO:
                    partial.unlink()


def drop_damaged(root: Path, text: str) -> bool:
    """Whether a blob of the cache in `root` that `text`, an error, names is not what its name says; it is
    removed then, and made anew when it is wanted."""
    dropped = False
    for digest in set(re.findall(r"sha256:[0-9a-f]{64}", text)):
        blob = root / "blobs" / Digest.parse(digest).path
        with suppress(OSError):
            with blob.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != blob.name:
                blob.unlink()
                dropped = True
    return dropped


def _remove(folder: Path) -> None:
    try:
        folder.rmdir()  # mostly all has been moved to where it belongs
    except FileNotFoundError:
        return
    except OSError:
        _remove_all(folder)


def _remove_all(folder: Path) -> None:
    import shutil  # noqa: PLC0415  takes longer to load than most need it

    def make_removable(function: Callable[[str], object], path: str, _: object) -> None:
        # A folder from an archive may be read-only for its owner, who is not root.
        with suppress(OSError):
            os.chmod(Path(path).parent, 0o700)  # noqa: PTH101  shutil passes strings
            function(path)

    shutil.rmtree(folder, onerror=make_removable)
