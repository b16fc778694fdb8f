"""Why layers were made anew: their inputs beside those of the build before, of the same folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from ocikit import Platform
from tagboat.build.cache import Cache, MadeLayer, key_of

BYTE_CODE: Final = "byte code"  # an input: whether there is any
MODULES: Final = "modules with byte code"  # an input that is a set, one a line
_MOST: Final = 8  # changes of one layer that are named

Inputs = Mapping[str, Mapping[str, str]]
"""By layer: what goes into it, by name, and what stands for its content; under no name what came of it."""


def last_inputs(cache: Cache, directory: Path, platform: Platform) -> Inputs | None:
    """Of the last build of the component in that folder for the platform; None when none is known."""
    try:
        found: Inputs = json.loads(_record(cache, directory, platform).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return found


def keep_inputs(cache: Cache, directory: Path, platform: Platform, layers: Iterable[MadeLayer]) -> None:
    """Remember the inputs of a build for the next one's explanation."""
    inputs = {layer.kind: {**layer.inputs, "": str(layer.layer.descriptor.digest)} for layer in layers}
    text = json.dumps(inputs, sort_keys=True)
    record = _record(cache, directory, platform)
    if not record.exists() or record.read_text() != text:
        cache.write(record, text.encode())


def explain(before: Inputs | None, layers: Iterable[MadeLayer]) -> Iterator[str]:
    """A line for each layer, and below it a line for each input that is not as it was.

    An input may be another and the layer the same: what a project's configuration says of the service is in
    no file of the image.
    """
    for layer in layers:
        size = f"{layer.layer.descriptor.size / 1e6:.2f} MB"
        if before is None or layer.kind not in before:
            yield f"{layer.name}: new, {size}"
            continue
        known = dict(before[layer.kind])
        same = known.pop("", None) == str(layer.layer.descriptor.digest)
        changes = list(_changes(known, layer.inputs))
        state = "as before" if same else "changed"
        yield f"{layer.name}: {'made anew, ' if same and changes else ''}{state}, {size}"
        yield from (f"  {change}" for change in changes[:_MOST])
        if len(changes) > _MOST:
            yield f"  and {len(changes) - _MOST} more"
    gone = set(before or ()) - {layer.kind for layer in layers}
    yield from (f"{kind}: gone" for kind in sorted(gone))


def _changes(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(before.keys() | now.keys()):
        if name == MODULES:
            yield from _counted(before, now)
        elif name not in now:
            yield f"- {name}"
        elif name not in before:
            yield f"+ {name}"
        elif before[name] != now[name]:
            yield f"~ {name}"


def _counted(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    if MODULES not in before or MODULES not in now:  # it was, or is, all that there is
        yield from () if before.get(BYTE_CODE) != now.get(BYTE_CODE) else (f"~ {BYTE_CODE}",)
        return
    old, new = set(before[MODULES].splitlines()), set(now[MODULES].splitlines())
    counts = [f"{sign}{len(some)}" for sign, some in (("+", new - old), ("-", old - new)) if some]
    if counts:
        yield f"{BYTE_CODE}: {' '.join(counts)} modules"


def _record(cache: Cache, directory: Path, platform: Platform) -> Path:
    return cache.path("inputs", f"{key_of(str(directory), str(platform))}.json")
