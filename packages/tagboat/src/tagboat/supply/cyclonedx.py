"""An inventory as CycloneDX 1.6, in JSON (cyclonedx.org/docs/1.6/json)."""

from __future__ import annotations

from typing import Any
from uuid import NAMESPACE_URL, uuid5

from tagboat.supply.inventory import Inventory, Package

_HASHES = {"sha256": "SHA-256", "sha384": "SHA-384", "sha512": "SHA-512"}


def cyclonedx_document(inventory: Inventory) -> dict[str, Any]:
    """The document: the same inventory gives the same, its serial number included."""
    references = [package.purl for package in inventory.packages]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, f'cyclonedx:{inventory.purl}')}",
        "version": 1,
        "metadata": {
            "timestamp": inventory.created,
            "tools": {"components": [{"type": "application", "name": "tagboat"}]},
            "component": _image(inventory),
        },
        "components": [_component(package) for package in inventory.packages],
        "dependencies": [
            {"ref": inventory.purl, "dependsOn": references},
            *({"ref": reference} for reference in references),
        ],
    }


def _image(inventory: Inventory) -> dict[str, Any]:
    algorithm, _, value = inventory.digest.partition(":")
    return {
        "type": "container",
        "bom-ref": inventory.purl,
        "name": inventory.name,
        "version": inventory.version,
        "hashes": [{"alg": _HASHES[algorithm], "content": value}],
        "purl": inventory.purl,
    }


def _component(package: Package) -> dict[str, Any]:
    members: dict[str, Any] = {
        "type": "library",
        "bom-ref": package.purl,
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
    }
    if package.supplier:
        members["supplier"] = {"name": package.supplier}
    if package.hashes:
        members["hashes"] = [
            {"alg": _HASHES[algorithm], "content": value}
            for algorithm, _, value in (one.partition(":") for one in package.hashes)
        ]
    if package.license_expression:
        members["licenses"] = [{"expression": package.license_expression}]
    elif package.license_text:
        members["licenses"] = [{"license": {"name": package.license_text}}]
    return members
