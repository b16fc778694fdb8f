"""What is installed in an image: its Python and Debian packages, read from their own records."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.message import Message
from email.parser import HeaderParser
from urllib.parse import quote

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.utils import canonicalize_name

from ocikit import Image
from ocikit.files import ImageFile, read_files
from tagboat.build.lock import Lock
from tagboat.supply.copyright import read_licences

_PYTHON = re.compile(r"(?:^|/)[^/]+\.dist-info/METADATA$")
_WHEEL = re.compile(r"(?:^|/)[^/]+\.dist-info/WHEEL$")
_HASH = re.compile(r"--hash=(\w+:[0-9a-f]+)")
_DEBIAN = re.compile(r"^var/lib/dpkg/(?:status|status\.d/[^/]+)$")
_COPYRIGHT = re.compile(r"^usr/share/doc/([^/]+)/copyright$")
_RELEASES = ("usr/lib/os-release", "etc/os-release")  # os-release(5): the later one is preferred
_APP_LAYER = "tagboat app"  # the history of the layer that holds what was built from local sources
# Trove classifiers that say one licence and no other; "BSD License" and the like do not.
_CLASSIFIERS = {
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: ISC License (ISCL)": "ISC",
    "License :: OSI Approved :: MIT License": "MIT",
    "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "License :: OSI Approved :: The Unlicense (Unlicense)": "Unlicense",
}


@dataclass(frozen=True, slots=True)
class Package:
    """An installed package. `purl` is its package URL, which also is its identity within an inventory."""

    name: str
    version: str
    purl: str
    license_expression: str | None = None  # SPDX's, canonical
    license_text: str | None = None  # what the package says where that is no SPDX expression
    supplier: str | None = None
    tags: frozenset[str] = frozenset()
    """Of the wheel that a Python package was installed from, as `py3-none-any`."""

    hashes: tuple[str, ...] = ()
    """Of the file that it was installed from, as `sha256:…`, where a lock says which that was."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """An image and its packages, each once, by their URL. `created` is RFC 3339 in UTC, whole seconds."""

    name: str
    version: str
    digest: str
    created: str
    packages: tuple[Package, ...]

    @property
    def purl(self) -> str:
        return f"pkg:oci/{quote(self.name.lower(), safe='')}@{quote(self.digest, safe=':')}"


def take_inventory(image: Image) -> Inventory:
    """Read what is in `image`: a function of its bytes alone, whoever built it.

    Raises DigestMismatchError and UnsafeArchiveError when a layer is not what it should be.
    """
    files = read_files(image, _is_record)
    labels = image.config.config.labels
    packages = {
        package.purl: package
        for package in (*_python(files, _app_layers(image)), *_debian(files, _distribution(files)))
    }
    return Inventory(
        name=labels.get("org.opencontainers.image.title", "image"),
        version=labels.get("org.opencontainers.image.version", str(image.digest)),
        digest=str(image.digest),
        created=_whole_seconds(image.config.created),
        packages=tuple(packages[purl] for purl in sorted(packages)),
    )


def with_hashes(inventory: Inventory, lock: Lock) -> Inventory:
    """The same with the hashes of the wheels that were installed.

    An image does not say which file a package came from, but of what kind that was; so it is known where the
    lock has one such file of that version, or one hash alone.
    """
    locked = _locked(lock)

    def found(package: Package) -> Package:
        known = locked.get((canonicalize_name(package.name), package.version), {})
        return replace(package, hashes=known.get(package.tags) or known.get(None) or ())

    packages = (found(one) if one.purl.startswith("pkg:pypi/") else one for one in inventory.packages)
    return replace(inventory, packages=tuple(packages))


def _locked(lock: Lock) -> dict[tuple[str, str], dict[frozenset[str] | None, tuple[str, ...]]]:
    """By name and version: the hashes of the wheel with these tags, or of whatever file there is."""
    locked: dict[tuple[str, str], dict[frozenset[str] | None, tuple[str, ...]]] = {}
    for release in lock.releases:
        known = locked.setdefault((release.name, release.version), {})
        for wheel in release.wheels:
            tags = wheel.tags
            known[tags] = () if tags in known else wheel.hashes
    for pin in lock.pins:
        hashes = tuple(_HASH.findall(pin.text))
        versions = [one.version for one in pin.requirement.specifier if one.operator in ("==", "===")]
        if len(hashes) == 1 and versions:
            locked.setdefault((pin.name, versions[0]), {})[None] = hashes
    return locked


def _is_record(path: str) -> bool:
    kinds = (_PYTHON.search, _WHEEL.search, _DEBIAN.match, _COPYRIGHT.match)
    return any(kind(path) for kind in kinds) or path in _RELEASES


def _app_layers(image: Image) -> frozenset[int]:
    made = [entry.created_by for entry in image.config.history if not entry.empty_layer]
    return frozenset(number for number, created_by in enumerate(made) if created_by == _APP_LAYER)


def _python(files: Mapping[str, ImageFile], local: frozenset[int]) -> Iterator[Package]:
    """Packages by their METADATA. What was built here is no package of the public index by that name."""
    for path, file in files.items():
        if not _PYTHON.search(path):
            continue
        metadata = HeaderParser().parsestr(file.data.decode(errors="replace"))
        if not metadata["Name"] or not metadata["Version"]:
            continue
        name, version = str(metadata["Name"]), str(metadata["Version"])
        kind = "generic" if file.layer in local else "pypi"
        expression, text = _license(metadata)
        yield Package(
            name,
            version,
            f"pkg:{kind}/{canonicalize_name(name)}@{quote(version, safe=':')}",
            expression,
            text,
            tags=_tags(files.get(path.removesuffix("METADATA") + "WHEEL")),
        )


def _tags(file: ImageFile | None) -> frozenset[str]:
    if file is None:
        return frozenset()
    return frozenset(HeaderParser().parsestr(file.data.decode(errors="replace")).get_all("Tag", []))


def _license(metadata: Message) -> tuple[str | None, str | None]:
    """As an SPDX expression, or else in the package's own words (core metadata 2.4, then older fields)."""
    fields = (str(metadata[name] or "").strip() for name in ("License-Expression", "License"))
    said = [value for value in fields if value not in ("", "UNKNOWN")]
    classifiers = [str(value) for value in metadata.get_all("Classifier", [])]
    named = [value for value in classifiers if value.startswith("License :: ")]
    known = [_CLASSIFIERS[value] for value in named] if all(value in _CLASSIFIERS for value in named) else []
    for candidate in (*said, " OR ".join(known)):
        try:
            return canonicalize_license_expression(candidate), None
        except InvalidLicenseExpression:
            continue
    words = said or [value.rpartition(" :: ")[2] for value in named]
    return None, words[0].splitlines()[0] if words else None


def _distribution(files: Mapping[str, ImageFile]) -> dict[str, str]:
    """The variables of os-release(5)."""
    pairs = (
        line.partition("=")[::2]
        for path in _RELEASES
        if path in files
        for line in files[path].data.decode(errors="replace").splitlines()
    )
    return {name.strip(): value.strip().strip("\"'") for name, value in pairs if value}


def _debian(files: Mapping[str, ImageFile], release: Mapping[str, str]) -> Iterator[Package]:
    """Packages by dpkg's status, in one file or in one a package."""
    vendor = release.get("ID", "debian")
    suite = release.get("VERSION_CODENAME") or release.get("VERSION_ID")
    stanzas = list(_stanzas(file.data for path, file in files.items() if _DEBIAN.match(path)))
    licences = _licences(files, stanzas)
    for fields in stanzas:
        name, version, architecture = (fields[key] for key in ("Package", "Version", "Architecture"))
        if not name or not version or "installed" not in str(fields.get("Status", "installed")).split():
            continue
        qualifiers = [f"arch={architecture}"] if architecture else []
        qualifiers += [f"distro={quote(suite, safe='')}"] if suite else []
        purl = f"pkg:deb/{quote(vendor, safe='')}/{quote(name, safe='')}@{quote(version, safe=':')}"
        expression, text = licences.get(name) or licences.get(_source(fields)) or (None, None)
        yield Package(
            name,
            version,
            f"{purl}?{'&'.join(qualifiers)}" if qualifiers else purl,
            expression,
            text,
            supplier=fields["Maintainer"],
        )


def _licences(
    files: Mapping[str, ImageFile], stanzas: Iterable[Message]
) -> dict[str, tuple[str | None, str | None]]:
    """By package, and by source package: one whose documentation is a link has that of another of these."""
    found = {
        match[1]: read_licences(match[1], file.data.decode(errors="replace"))
        for path, file in files.items()
        if (match := _COPYRIGHT.match(path))
    }
    sources = {_source(one): found[str(one["Package"])] for one in stanzas if str(one["Package"]) in found}
    return sources | found


def _source(fields: Message) -> str:
    """The name of the source package, which is the package's own where the record does not say."""
    return (str(fields["Source"] or fields["Package"]).split() or [""])[0]


def _stanzas(records: Iterable[bytes]) -> Iterator[Message]:
    for record in records:
        for stanza in re.split(r"\n[ \t]*\n", record.decode(errors="replace")):
            if stanza.strip():
                yield HeaderParser().parsestr(stanza.strip() + "\n")


def _whole_seconds(created: str | None) -> str:
    """RFC 3339 as both formats want it; 1970 where the image does not say, or says what is no time."""
    try:
        moment = datetime.fromisoformat(created or "")
    except ValueError:
        moment = datetime.fromtimestamp(0, UTC)
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
