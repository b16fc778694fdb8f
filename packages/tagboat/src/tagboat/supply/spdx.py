"""An inventory as SPDX 2.3, in JSON (spdx.github.io/spdx-spec/v2.3)."""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from tagboat.supply.inventory import Inventory, Package

_UNKNOWN = "NOASSERTION"
_IMAGE = "SPDXRef-Image"


def spdx_document(inventory: Inventory) -> dict[str, Any]:
    """The document: the same inventory gives the same, identifiers included."""
    identity = uuid5(NAMESPACE_URL, f"spdx:{inventory.purl}")
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": inventory.name,
        "documentNamespace": f"https://spdx.org/spdxdocs/{identity}",
        "creationInfo": {"created": inventory.created, "creators": ["Tool: tagboat"]},
        "packages": [_image(inventory), *map(_package, inventory.packages)],
        "relationships": [
            _relationship("SPDXRef-DOCUMENT", "DESCRIBES", _IMAGE),
            *(_relationship(_IMAGE, "CONTAINS", _identifier(package)) for package in inventory.packages),
        ],
    }


def _image(inventory: Inventory) -> dict[str, Any]:
    algorithm, _, value = inventory.digest.partition(":")
    return {
        **_described(_IMAGE, inventory.name, inventory.version, inventory.purl),
        "primaryPackagePurpose": "CONTAINER",
        "checksums": [{"algorithm": algorithm.upper(), "checksumValue": value}],
        "licenseDeclared": _UNKNOWN,
    }


def _package(package: Package) -> dict[str, Any]:
    members = _described(_identifier(package), package.name, package.version, package.purl)
    members["licenseDeclared"] = package.license_expression or _UNKNOWN
    if package.license_text:
        members["licenseComments"] = package.license_text
    if package.supplier:
        members["supplier"] = f"Organization: {package.supplier}"
    if package.hashes:
        members["checksums"] = [
            {"algorithm": algorithm.upper(), "checksumValue": value}
            for algorithm, _, value in (one.partition(":") for one in package.hashes)
        ]
    return members


def _described(identifier: str, name: str, version: str, purl: str) -> dict[str, Any]:
    return {
        "SPDXID": identifier,
        "name": name,
        "versionInfo": version,
        "downloadLocation": _UNKNOWN,
        "filesAnalyzed": False,
        "licenseConcluded": _UNKNOWN,
        "copyrightText": _UNKNOWN,
        "externalRefs": [
            {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}
        ],
    }


def _identifier(package: Package) -> str:
    return f"SPDXRef-Package-{hashlib.sha256(package.purl.encode()).hexdigest()[:16]}"


def _relationship(element: str, kind: str, related: str) -> dict[str, str]:
    return {"spdxElementId": element, "relationshipType": kind, "relatedSpdxElement": related}
