"""What an image is made of, and how two of them differ, as lines for people and as JSON for programs."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ocikit import Image, LayerEntry, layer_entries

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_TYPES = {"directory": stat.S_IFDIR, "symlink": stat.S_IFLNK, "fifo": stat.S_IFIFO, "device": stat.S_IFCHR}


def describe(image: Image) -> dict[str, Any]:
    """The image's documents, with its digest and the size of its layers in bytes."""
    return {
        "digest": str(image.digest),
        "size": sum(layer.descriptor.size for layer in image.layers),
        "manifest": json.loads(image.manifest_bytes),
        "config": json.loads(image.config_bytes),
    }


def summary(image: Image) -> Iterator[str]:
    """Who it is, how it starts, and its layers, lowest first."""
    config = image.config.config
    yield f"digest      {image.digest}"
    for name, value in (
        ("platform", str(image.config.platform)),
        ("created", image.config.created),
        ("user", config.user),
        ("directory", config.working_dir),
        ("entrypoint", json.dumps(config.entrypoint) if config.entrypoint else ""),
        ("command", json.dumps(config.cmd) if config.cmd else ""),
        ("ports", " ".join(config.exposed_ports)),
        ("stop signal", config.stop_signal),
    ):
        if value:
            yield f"{name:<11} {value}"
    for variable in config.env:
        yield f"variable    {variable}"
    for name, value in config.labels.items():
        yield f"label       {name}={value}"
    yield from layers(image)


def layers(image: Image) -> Iterator[str]:
    """A line for each layer, lowest first, and one for all of them."""
    made = [entry.created_by or "" for entry in image.config.history if not entry.empty_layer]
    made += [""] * (len(image.layers) - len(made))
    for layer, created_by in zip(image.layers, made, strict=False):
        size = _megabytes(layer.descriptor.size)
        yield f"layer       {layer.descriptor.digest} {size} {created_by}".rstrip()
    total = sum(layer.descriptor.size for layer in image.layers)
    yield f"{'total':<11} {_megabytes(total)} in {len(image.layers)} layers"


def files(image: Image) -> Iterator[str]:
    """The files of each layer as `ls -l` would show them, below a line that names the layer."""
    for layer in image.layers:
        yield f"{layer.descriptor.digest}:"
        for entry in layer_entries(layer):
            mode = stat.filemode(entry.mode | _TYPES.get(entry.kind, stat.S_IFREG))
            arrow = f" -> {entry.target}" if entry.target else ""
            yield f"{mode} {entry.uid}:{entry.gid} {entry.size:>10} /{entry.path}{arrow}"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which the second image differs from the first: `+` added, `-` gone, `~` changed."""

    sign: str
    what: str
    before: str | None = None
    after: str | None = None

    def __str__(self) -> str:
        detail = {"+": self.after, "-": self.before}.get(self.sign, f"{self.before} -> {self.after}")
        return f"{self.sign} {self.what}" + (f" {detail}" if detail else "")


def differences(first: Image, second: Image) -> list[Difference]:
    """What is different in the configurations, then in the files; layers that both begin with are not read.

    Raises DigestMismatchError and UnsafeArchiveError when a layer is not what it should be.
    """
    found = list(_compared(_settings(first), _settings(second)))
    shared = 0
    for one, other in zip(first.layers, second.layers, strict=False):
        if one.diff_id != other.diff_id:
            break
        shared += 1
    return [*found, *_compared(_tree(first, shared), _tree(second, shared))]


def _compared(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Difference]:
    for name in sorted(before.keys() | after.keys()):
        if name not in before:
            yield Difference("+", name, after=after[name])
        elif name not in after:
            yield Difference("-", name, before=before[name])
        elif before[name] != after[name]:
            yield Difference("~", name, before[name], after[name])


def _settings(image: Image) -> dict[str, str]:
    """The configuration, one line a setting."""
    document = json.loads(image.config_bytes)
    config = document.get("config") or {}
    settings = {name: str(document[name]) for name in ("architecture", "os", "created") if name in document}
    for name, value in config.items():
        if name == "Env":
            settings |= {f"variable {key}": text for key, _, text in (line.partition("=") for line in value)}
        elif name == "Labels":
            settings |= {f"label {key}": text for key, text in value.items()}
        else:
            settings[name] = json.dumps(value)
    return settings


def _tree(image: Image, skip: int) -> dict[str, str]:
    """What each path is, above the first `skip` layers; what is removed from below shows as its whiteout."""
    tree: dict[str, str] = {}
    for layer in image.layers[skip:]:
        entries = list(layer_entries(layer))
        for entry in entries:  # whiteouts are about lower layers, wherever they stand
            folder, _, name = entry.path.rpartition("/")
            if name.startswith(_WHITEOUT):
                hidden = folder if name == _OPAQUE else f"{folder}/{name.removeprefix(_WHITEOUT)}".lstrip("/")
                inside = [path for path in tree if path == f"/{hidden}" or path.startswith(f"/{hidden}/")]
                for path in inside:
                    del tree[path]
        tree |= {f"/{entry.path}": _shown(entry) for entry in entries if entry.path}
    return tree


def _shown(entry: LayerEntry) -> str:
    owner = f"{stat.filemode(entry.mode | _TYPES.get(entry.kind, stat.S_IFREG))} {entry.uid}:{entry.gid}"
    if entry.kind == "file":
        return f"{owner} {entry.size} bytes sha256:{(entry.sha256 or '')[:12]}"
    return f"{owner} {entry.target}".rstrip()


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.2f} MB"
