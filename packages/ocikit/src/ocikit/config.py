"""The configuration of an image: how it runs and what it is made of (image specification, config.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from types import MappingProxyType
from typing import Any

from ocikit._document import Reader, canonical
from ocikit.digest import Digest
from ocikit.errors import InvalidDocumentError
from ocikit.platform import Platform, read_platform
from ocikit.value import value


@value
class ContainerConfig:
    """How a container of the image is started."""

    user: str = ""
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    working_dir: str = ""
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    exposed_ports: tuple[str, ...] = ()
    stop_signal: str = ""
    volumes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As the specification names the members; those that say nothing are left out."""
        members = {
            "User": self.user,
            "ExposedPorts": {port: {} for port in self.exposed_ports},
            "Env": list(self.env),
            "Entrypoint": list(self.entrypoint),
            "Cmd": list(self.cmd),
            "Volumes": {volume: {} for volume in self.volumes},
            "WorkingDir": self.working_dir,
            "Labels": dict(self.labels),
            "StopSignal": self.stop_signal,
        }
        return {name: value for name, value in members.items() if value}


@value
class History:
    """How one layer, or one change without a layer, came to be."""

    created: str | None = None  # RFC 3339
    created_by: str | None = None
    comment: str | None = None
    empty_layer: bool = False

    def to_json(self) -> dict[str, Any]:
        """As the specification names the members; those that say nothing are left out."""
        members = {
            "created": self.created,
            "created_by": self.created_by,
            "comment": self.comment,
            "empty_layer": self.empty_layer or None,
        }
        return {name: value for name, value in members.items() if value is not None}


@value
class ImageConfig:
    """`diff_ids` are the digests of the uncompressed layers, lowest first."""

    platform: Platform
    config: ContainerConfig = field(default_factory=ContainerConfig)
    diff_ids: tuple[Digest, ...] = ()
    history: tuple[History, ...] = ()
    created: str | None = None  # RFC 3339
    author: str | None = None

    def to_bytes(self) -> bytes:
        """The document, always the same for the same values."""
        document: dict[str, Any] = {}
        if self.created is not None:
            document["created"] = self.created
        if self.author is not None:
            document["author"] = self.author
        document |= self.platform.to_json()
        document["config"] = self.config.to_json()
        document["rootfs"] = {"type": "layers", "diff_ids": [str(diff_id) for diff_id in self.diff_ids]}
        if self.history:
            document["history"] = [entry.to_json() for entry in self.history]
        return canonical(document)

    @classmethod
    def parse(cls, data: bytes) -> ImageConfig:
        """Read a document. Raises InvalidDocumentError, which names the member that is wrong."""
        reader = Reader.of(data, "image configuration")
        rootfs = Reader(reader.get("rootfs", dict), "image configuration.rootfs")
        if rootfs.get("type", str) != "layers":
            raise InvalidDocumentError("image configuration.rootfs.type is not `layers`")
        return cls(
            platform=read_platform(reader),
            config=_container(Reader(reader.optional("config", dict) or {}, "image configuration.config")),
            diff_ids=rootfs.digests("diff_ids"),
            history=tuple(
                _history(Reader.check(entry, f"image configuration.history[{index}]"))
                for index, entry in enumerate(reader.optional("history", list) or [])
            ),
            created=reader.optional("created", str),
            author=reader.optional("author", str),
        )


def _container(reader: Reader) -> ContainerConfig:
    return ContainerConfig(
        user=reader.optional("User", str) or "",
        env=reader.list_of_strings("Env"),
        entrypoint=reader.list_of_strings("Entrypoint"),
        cmd=reader.list_of_strings("Cmd"),
        working_dir=reader.optional("WorkingDir", str) or "",
        labels=reader.strings("Labels"),
        exposed_ports=tuple(reader.optional("ExposedPorts", dict) or {}),
        stop_signal=reader.optional("StopSignal", str) or "",
        volumes=tuple(reader.optional("Volumes", dict) or {}),
    )


def _history(reader: Reader) -> History:
    return History(
        created=reader.optional("created", str),
        created_by=reader.optional("created_by", str),
        comment=reader.optional("comment", str),
        empty_layer=reader.optional("empty_layer", bool) or False,
    )
