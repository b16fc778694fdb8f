"""An image as a value: configuration plus layers, whatever medium they come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field, replace
from types import MappingProxyType

from ocikit.blob import Blob
from ocikit.config import ContainerConfig, History, ImageConfig
from ocikit.digest import Digest
from ocikit.errors import InvalidDocumentError
from ocikit.layer import Layer
from ocikit.manifest import CONFIGS, OCI_CONFIG, OCI_LAYERS, Descriptor, Manifest
from ocikit.platform import Platform
from ocikit.value import value


@value
class _Raw:
    """The very bytes that an image came as: a copy must keep them, or its digest would change."""

    config: bytes
    manifest: bytes


@value
class Image:
    """Immutable; `append` and `with_config` answer a new image. Layers are lowest first, and read lazily."""

    config: ImageConfig
    layers: tuple[Layer, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    _raw: _Raw | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self._raw is not None and (
            self.config != ImageConfig.parse(self._raw.config)
            or self.annotations != Manifest.parse(self._raw.manifest).annotations
            or tuple(layer.descriptor for layer in self.layers) != Manifest.parse(self._raw.manifest).layers
        ):
            # `dataclasses.replace` has changed what the bytes say: from here on the values are the truth.
            object.__setattr__(self, "_raw", None)
        if self._raw is None:
            # A manifest of ours is OCI's, and so are the types in it, whatever the image began as.
            object.__setattr__(self, "layers", tuple(map(_oci, self.layers)))

    @classmethod
    def empty(cls, platform: Platform) -> Image:
        """Without layers."""
        return cls(ImageConfig(platform))

    @classmethod
    def assemble(
        cls, manifest: bytes, document: Callable[[Descriptor], bytes], blob: Callable[[Descriptor], Blob]
    ) -> Image:
        """An image that came from elsewhere: `document` reads its configuration, `blob` finds its layers.

        Raises InvalidDocumentError for an artifact that is no image.
        """
        described = Manifest.parse(manifest)
        if described.config.media_type not in CONFIGS:
            kind = described.artifact_type or described.config.media_type
            raise InvalidDocumentError(f"{Digest.of(manifest)} is an artifact of type {kind}, not an image")
        config = document(described.config)
        diff_ids = ImageConfig.parse(config).diff_ids
        layers = tuple(
            Layer(layer, diff_id, blob(layer))
            for layer, diff_id in zip(described.layers, diff_ids, strict=False)
        )
        return cls.from_bytes(manifest, config, layers)

    @classmethod
    def from_bytes(cls, manifest: bytes, config: bytes, layers: tuple[Layer, ...]) -> Image:
        """An image that came from elsewhere; its manifest and configuration keep their bytes."""
        parsed = ImageConfig.parse(config)
        described = Manifest.parse(manifest)
        if not len(parsed.diff_ids) == len(described.layers) == len(layers):
            raise InvalidDocumentError(
                f"manifest {Digest.of(manifest)} has {len(described.layers)} layers, "
                f"its configuration {len(parsed.diff_ids)}"
            )
        return cls(parsed, layers, described.annotations, _Raw(config, manifest))

    @property
    def config_bytes(self) -> bytes:
        """The document, as it came or as it is written."""
        return self._raw.config if self._raw else self.config.to_bytes()

    @property
    def manifest(self) -> Manifest:
        """As parsed from `manifest_bytes`."""
        return Manifest.parse(self.manifest_bytes)

    @property
    def manifest_bytes(self) -> bytes:
        """The document, as it came or as it is written."""
        if self._raw:
            return self._raw.manifest
        config = self.config_bytes
        return Manifest(
            config=Descriptor(OCI_CONFIG, Digest.of(config), len(config)),
            layers=tuple(layer.descriptor for layer in self.layers),
            annotations=self.annotations,
        ).to_bytes()

    @property
    def digest(self) -> Digest:
        """The digest of the manifest: the image's identity."""
        return Digest.of(self.manifest_bytes)

    def append(self, layer: Layer, history: History) -> Image:
        """The image with one more layer on top."""
        config = replace(
            self.config,
            diff_ids=(*self.config.diff_ids, layer.diff_id),
            history=(*self.config.history, history),
        )
        return Image(config, (*self.layers, layer), self.annotations)

    def with_config(self, config: ContainerConfig) -> Image:
        """The image started in another way."""
        return Image(replace(self.config, config=config), self.layers, self.annotations)


def _oci(layer: Layer) -> Layer:
    kind = OCI_LAYERS.get(layer.descriptor.media_type)
    return replace(layer, descriptor=replace(layer.descriptor, media_type=kind)) if kind else layer
