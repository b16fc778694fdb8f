"""An image without its app. Sources decide nothing about it, so an edited line leaves it as it is: it is kept
as text (see fingerprint.py for how long), and the next build begins there. With byte code of just what is
imported, it is good for as long as the sources import the same.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ocikit import (
    Compression,
    ContainerConfig,
    Descriptor,
    Digest,
    FileBlob,
    History,
    Image,
    Layer,
    compressor,
)
from ocikit.config import ImageConfig
from ocikit.value import value
from tagboat.build.app import app_layers
from tagboat.build.cache import Cache, MadeLayer
from tagboat.build.explanation import BYTE_CODE, explain, keep_inputs, last_inputs
from tagboat.build.ground import Ground
from tagboat.build.projects import Projects
from tagboat.errors import ConfigError
from tagboat.git import head_commit, is_clean

_SECONDS = re.compile("[0-9]{1,11}")  # to the year 5138, which RFC 3339 can write


@value
class LayerReport:
    """One layer of a built image: `size` in bytes as transferred, `seconds` that it took to have it."""

    name: str
    size: int
    cached: bool
    seconds: float


@value
class Frame:
    """All of an image but its app: the `base` called `name`, layers upon it, and how it starts.

    `config` says nothing of commits yet.
    """

    name: str
    base: Image
    layers: tuple[MadeLayer, ...]
    config: ContainerConfig
    author: str | None
    compression: Compression
    ground: Ground
    imports: str | None = None
    """Stands for what the sources import, where layers hold byte code for just that."""

    def to_text(self) -> str | None:
        """All of it but the content of layers; None where that lies in no files of its own."""
        blobs = [layer.blob for layer in (*self.base.layers, *(one.layer for one in self.layers))]
        paths = [str(blob.path) for blob in blobs if isinstance(blob, FileBlob)]
        if len(paths) != len(blobs):
            return None
        described = replace(self.base.config, config=self.config, author=self.author)
        return json.dumps(
            {
                "name": self.name,
                "manifest": self.base.manifest_bytes.decode(),
                "configuration": self.base.config_bytes.decode(),
                "layers": [_layer_to_json(one) for one in self.layers],
                "blobs": paths,
                "described": described.to_bytes().decode(),
                "compression": self.compression,
                "ground": self.ground.to_json(),
                "imports": self.imports,
            }
        )

    @classmethod
    def from_text(cls, text: str) -> Frame | None:
        """What `to_text` made; None where not all that it needs is there any more."""
        values = json.loads(text)
        blobs = (FileBlob(Path(path)) for path in values["blobs"])
        configuration = values["configuration"].encode()
        base = Image.assemble(values["manifest"].encode(), lambda _: configuration, lambda _: next(blobs))
        layers = [_layer_from_json(one, blob) for one, blob in zip(values["layers"], blobs, strict=True)]
        described = ImageConfig.parse(values["described"].encode())
        frame = cls(
            values["name"],
            base,
            tuple(layers),
            described.config,
            described.author,
            values["compression"],
            Ground.from_json(values["ground"]),
            values["imports"],
        )
        return frame if frame._is_there() else None

    def _is_there(self) -> bool:
        parts = (*self.base.layers, *(one.layer for one in self.layers))
        compiler = self.ground.compiler
        return all(map(_is_whole, parts)) and (compiler is None or compiler.root.is_dir())


@value
class Stamp:
    """When the source was made, in the words of RFC 3339, and the commit that it is as a whole."""

    created: str
    revision: str | None

    @property
    def labels(self) -> dict[str, str]:
        revision = {"org.opencontainers.image.revision": self.revision} if self.revision else {}
        return {"org.opencontainers.image.created": self.created, **revision}


def stamp_of(ground: Ground) -> Stamp:
    """As far as the source itself can say; never the time of the build. Raises ConfigError and GitError."""
    directories = tuple(project.directory for project in ground.projects)
    commit = head_commit(directories[0])
    clean = commit is not None and is_clean(directories)
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch is not None and not _SECONDS.fullmatch(epoch):
        raise ConfigError(f"SOURCE_DATE_EPOCH is {epoch!r}, not a number of seconds since 1970")
    seconds = int(epoch) if epoch is not None else commit.time if commit else 0
    created = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Stamp(created, commit.id if commit and clean else None)


@value
class Build:
    """A built image and where its layers came from."""

    image: Image
    layers: tuple[LayerReport, ...]
    explanation: tuple[str, ...]
    """Which inputs are not as they were when this folder was built the last time, by layer."""

    frame: Frame


def build_upon(
    frame: Frame, cache: Path, *, progress: Callable[[str], None], on_layer: Callable[[Layer], None]
) -> Build | None:
    """The image, which lacks nothing but its app; None where the app now imports what asks for other layers
    below it. `cache`, `progress` and `on_layer` are as of `build`.

    Raises what `app_layers` does.
    """
    store = Cache.open(cache, compression=frame.compression)
    size = sum(layer.descriptor.size for layer in frame.base.layers)
    reports = [LayerReport(frame.name, size, True, 0.0)]
    with ExitStack() as stack, ThreadPoolExecutor(1) as pool:
        stamp = pool.submit(stamp_of, frame.ground)  # git's answers are waited for
        projects = Projects(frame.ground, store, stack, progress)
        if frame.imports is not None:
            from tagboat.build.reach import imports_key  # noqa: PLC0415  most builds do not ask

            if imports_key(projects) != frame.imports:
                return None
        app = app_layers(projects, on_layer=on_layer)
        return finish(frame, stamp.result(), app, store, reports)


def finish(
    frame: Frame, stamp: Stamp, app: Iterable[MadeLayer], cache: Cache, reports: Iterable[LayerReport]
) -> Build:
    """The frame with its app. `reports` are those of what is below the layers of the frame."""
    directory, platform = frame.ground.projects[0].directory, frame.ground.platform
    image, reports = frame.base, list(reports)
    layers = [replace(one, inputs={**one.inputs, **_settings(frame, one)}) for one in (*frame.layers, *app)]
    for one in layers:
        reports.append(LayerReport(one.name, one.layer.descriptor.size, not one.made, one.seconds))
        image = image.append(one.layer, History(created=stamp.created, created_by=f"tagboat {one.name}"))
    config = replace(frame.config, labels=dict(sorted({**frame.config.labels, **stamp.labels}.items())))
    described = replace(image.config, config=config, created=stamp.created, author=frame.author)
    before = last_inputs(cache, directory, platform)
    explanation = tuple(explain(before, layers))
    keep_inputs(cache, directory, platform, layers)
    return Build(Image(described, image.layers), tuple(reports), explanation, frame)


def _settings(frame: Frame, layer: MadeLayer) -> dict[str, str]:
    """What of the configuration, beside files and packages, decides about a layer."""
    compressed = {"compression": compressor(frame.compression)}
    byte_code = str(frame.ground.compiler is not None)
    return compressed | ({} if layer.kind == "assets" else {BYTE_CODE: byte_code})


def _layer_to_json(one: MadeLayer) -> dict[str, Any]:
    return {
        "name": one.name,
        "kind": one.kind,
        "inputs": dict(one.inputs),
        "type": one.layer.descriptor.media_type,
        "digest": str(one.layer.descriptor.digest),
        "size": one.layer.descriptor.size,
        "diff": str(one.layer.diff_id),
    }


def _layer_from_json(values: dict[str, Any], blob: FileBlob) -> MadeLayer:
    descriptor = Descriptor(values["type"], Digest.parse(values["digest"]), values["size"])
    layer = Layer(descriptor, Digest.parse(values["diff"]), blob)
    return MadeLayer(values["name"], layer, False, 0.0, values["kind"], values["inputs"])


def _is_whole(layer: Layer) -> bool:
    try:
        return isinstance(layer.blob, FileBlob) and layer.blob.path.stat().st_size == layer.descriptor.size
    except OSError:
        return False
