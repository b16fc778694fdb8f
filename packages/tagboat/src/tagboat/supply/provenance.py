"""How an image was made: an in-toto statement (v1) with SLSA provenance (slsa.dev/provenance/v1).

It is a function of the component and its image, as the image is one of its input: the time of the build, the
machine and the user are not in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from packaging.utils import canonicalize_name

from ocikit import Digest, Image, InvalidDocumentError, Reference, compressor
from tagboat.build.lock import Pin
from tagboat.build.lockfile import read_lock
from tagboat.component import Component
from tagboat.supply.inventory import Package, take_inventory
from tagboat.supply.statement import statement

PREDICATE = "https://slsa.dev/provenance/v1"
_BUILD_TYPE = "urn:tagboat:build:1"
_PUSH_TYPE = "urn:homeport:push:1"
_BUILDER = "urn:tagboat:builder"  # who it was is said by the key
_LABEL = "org.opencontainers.image."
_HASH = re.compile(r"--hash=(?P<algorithm>\w+):(?P<value>[0-9a-f]+)")


def provenance(component: Component, image: Image, reference: Reference) -> bytes:
    """The statement about `image`, which was built from `component` and is at `reference`.

    Raises ConfigError when the lock cannot be read, and OcikitError when the image cannot.
    """
    lock = component.lock
    said = {
        "buildDefinition": {
            "buildType": _BUILD_TYPE,
            "externalParameters": {
                "component": {"name": component.name, "version": component.version},
                "configuration": _configuration(component),
                "lock": {
                    "name": os.path.relpath(lock, component.directory),
                    "digest": {"sha256": hashlib.sha256(lock.read_bytes()).hexdigest()},
                },
            },
            "internalParameters": {"platform": str(image.config.platform)},
            "resolvedDependencies": [*_origins(image), *_distributions(image, read_lock(lock).pins)],
        },
        "runDetails": {
            "builder": {
                "id": _BUILDER,
                "version": {name: version(name) for name in ("tagboat", "uv")}
                | dict([compressor(component.config.compression).split()]),
            }
        },
    }
    return statement(f"{reference.registry}/{reference.repository}", image.digest, PREDICATE, said)


def check_release(data: bytes, repository: str) -> None:
    """Raise InvalidDocumentError unless the statement is a homeport's, and says that a job of `repository`,
    started by a tag, has pushed the image.
    """
    try:
        definition = json.loads(data)["predicate"]["buildDefinition"]
        kind, said = definition["buildType"], dict(definition["externalParameters"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidDocumentError("not SLSA provenance") from error
    if kind != _PUSH_TYPE:
        raise InvalidDocumentError("it does not say who has pushed the image")
    if repository not in (said.get("repository"), said.get("project_path")):
        pusher = said.get("repository") or said.get("project_path")
        raise InvalidDocumentError(f"pushed by {str(pusher)[:200]}")
    if said.get("ref_type") != "tag":
        raise InvalidDocumentError(f"pushed for {str(said.get('ref'))[:200]}, which is no tag")


def _configuration(component: Component) -> dict[str, Any]:
    """What the configuration says of the image, variables as written: their values may be secret."""
    config = component.config
    return {
        "base": config.base_text.raw,
        "build-from-source": sorted(config.build_from_source),
        "byte-code": config.byte_code,
        "compression": config.compression,
        "entrypoint": list(config.entrypoint),
        "environment": {name: text.raw for name, text in config.environment.items()},
        "interpreter": config.interpreter,
        "port": config.service.port,
        "python": config.python,
        "stop-signal": config.stop_signal,
        "user": config.user,
    }


def _origins(image: Image) -> Iterator[dict[str, Any]]:
    """The base and, if nothing in the tree differed from it, the commit; as the image's labels have them."""
    labels = image.config.config.labels
    base = Digest.parse(labels[f"{_LABEL}base.digest"])
    yield {"name": labels[f"{_LABEL}base.name"], "digest": {base.algorithm: base.hex}}
    if revision := labels.get(f"{_LABEL}revision"):
        source = labels.get(f"{_LABEL}source")
        origin = {"uri": f"git+{source}"} if source else {"name": "source"}
        yield {**origin, "digest": {"gitCommit": revision}}


def _distributions(image: Image, pins: tuple[Pin, ...]) -> Iterator[dict[str, Any]]:
    """What is both locked and in the image. Where a lock has several hashes, the installed file has one of
    them, and which one is not known here."""
    installed: dict[str, Package] = {
        canonicalize_name(package.name): package
        for package in take_inventory(image).packages
        if package.purl.startswith("pkg:pypi/")
    }
    for pin in sorted(pins, key=lambda pin: (pin.name, pin.text)):
        package = installed.get(pin.name)
        if package is None or not pin.requirement.specifier.contains(package.version, prereleases=True):
            continue
        hashes = _HASH.findall(pin.text)
        described: dict[str, Any] = {"uri": package.purl}
        if len(hashes) == 1:
            described["digest"] = dict(hashes)
        else:
            described["annotations"] = {"hashes": [":".join(one) for one in sorted(hashes)]}
        yield described
