"""Bills of materials: what is found in an image, and how SPDX and CycloneDX say it."""

import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from ocikit import ContainerConfig, History, Image, Layer, LayerWriter, Platform, Reference, Registry
from ocikit.files import read_files
from tagboat.build.lockfile import read_lock
from tagboat.supply.attachment import attach_sboms
from tagboat.supply.cyclonedx import cyclonedx_document
from tagboat.supply.inventory import Package, take_inventory, with_hashes
from tagboat.supply.spdx import spdx_document

SITE = "opt/venv/lib/python3.11/site-packages"
OS_RELEASE = b'ID=debian\nVERSION_CODENAME=bookworm\nVERSION_ID="12"\n'
STATUS = (
    b"Package: libstdc++6\nMaintainer: Team <a@debian.example>\nArchitecture: amd64\nVersion: 1:12.2-14+b1\n"
)


def metadata(name: str, version: str, *fields: str) -> bytes:
    return "\n".join(
        ("Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *fields, "", "Text.")
    ).encode()


@pytest.fixture
def make(tmp_path):
    """Makes an image of layers, each what made it and a mapping of paths to content."""
    count = iter(range(100))

    def layer(content: dict[str, bytes]) -> Layer:
        with LayerWriter(tmp_path / f"{next(count)}.tar.gz") as writer:
            for path, data in content.items():
                writer.file(path, data)
            return writer.finish()

    def image(*layers: tuple[str, dict[str, bytes]]) -> Image:
        made = Image.empty(Platform("linux", "amd64"))
        for created_by, content in layers:
            made = made.append(layer(content), History(created_by=created_by))
        labels = {"org.opencontainers.image.title": "hail", "org.opencontainers.image.version": "1.2.3"}
        made = made.with_config(ContainerConfig(labels=labels))
        return Image(replace(made.config, created="2026-01-02T03:04:05.678Z"), made.layers)

    return image


@pytest.fixture
def image(make):
    return make(
        ("base", {"usr/lib/os-release": OS_RELEASE, "var/lib/dpkg/status.d/libstdc++6": STATUS}),
        (
            "tagboat dependencies",
            {
                f"{SITE}/H_11-0.16.0.dist-info/METADATA": metadata("H_11", "0.16.0", "License: MIT"),
                f"{SITE}/odd-1.0.dist-info/METADATA": metadata("odd", "1.0", "License: As you wish"),
            },
        ),
        ("tagboat app", {f"{SITE}/hail-1.2.3.dist-info/METADATA": metadata("hail", "1.2.3")}),
    )


def found(image: Image) -> dict[str, Package]:
    return {package.name: package for package in take_inventory(image).packages}


def test_packages_of_debian_and_python_have_their_urls_and_local_ones_are_not_of_the_index(image):
    assert {name: package.purl for name, package in found(image).items()} == {
        "libstdc++6": "pkg:deb/debian/libstdc%2B%2B6@1:12.2-14%2Bb1?arch=amd64&distro=bookworm",
        "hail": "pkg:generic/hail@1.2.3",
        "H_11": "pkg:pypi/h-11@0.16.0",
        "odd": "pkg:pypi/odd@1.0",
    }


@pytest.mark.parametrize(
    ("fields", "expression", "text"),
    [
        (["License-Expression: mit or apache-2.0"], "MIT OR Apache-2.0", None),
        (["License: BSD-3-Clause"], "BSD-3-Clause", None),
        (["License: UNKNOWN", "Classifier: License :: OSI Approved :: MIT License"], "MIT", None),
        (["Classifier: License :: OSI Approved :: BSD License"], None, "BSD License"),
        (["License: All rights reserved,", "        by me"], None, "All rights reserved,"),
        (["License:  "], None, None),
        ([], None, None),
    ],
)
def test_a_licence_is_an_expression_or_the_packages_own_words(make, fields, expression, text):
    image = make(("layer", {"a-1.dist-info/METADATA": metadata("a", "1", *fields)}))
    package = found(image)["a"]
    assert (package.license_expression, package.license_text) == (expression, text)


@pytest.mark.parametrize(
    ("copyright_", "expression", "text"),
    [
        ("Format: x\n\nFiles: *\nLicense: Expat\n words\n", "MIT", None),
        (
            "Format: x\n\nFiles: *\nLicense: GPL-2+ or Expat\n\nLicense: expat\n\nLicense: LGPL-2.1\n",
            "(GPL-2.0-or-later OR MIT) AND MIT AND LGPL-2.1-only",
            None,
        ),
        ("Format: x\n\nLicense: GPL-2\n\nLicense: public-domain\n", None, "GPL-2, public-domain"),
        (
            "Prose, and see /usr/share/common-licenses/GPL-2.\n",
            None,
            "see /usr/share/doc/a/copyright, which names GPL-2",
        ),
    ],
)
def test_a_licence_of_debian_is_what_the_copyright_file_names(make, copyright_, expression, text):
    status = "".join(
        f"Package: {name}\nSource: {source}\nVersion: 1\nArchitecture: all\n\n"
        for name, source in (("a", "src (0.9)"), ("lib-a", "src"), ("b", "b"))
    )
    files = {"var/lib/dpkg/status": status.encode(), "usr/share/doc/a/copyright": copyright_.encode()}
    packages = found(make(("base", files)))
    for name in ("a", "lib-a"):  # whose documentation is a link to that of `a`
        assert (packages[name].license_expression, packages[name].license_text) == (expression, text)
    assert packages["b"].license_text is None


def test_a_package_that_a_higher_layer_removes_is_not_in_the_image(make):
    below = {"x/a-1.dist-info/METADATA": metadata("a", "1"), "y/b-1.dist-info/METADATA": metadata("b", "1")}
    above = {
        "x/a-2.dist-info/METADATA": metadata("a", "2"),
        "x/.wh.a-1.dist-info": b"",
        "y/.wh..wh..opq": b"",
    }
    packages = take_inventory(make(("low", below), ("high", above))).packages
    assert [package.purl for package in packages] == ["pkg:pypi/a@2"]


def test_a_whole_dpkg_status_lists_what_is_installed(make):
    status = (
        b"Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n\n"
        b"Package: b\nStatus: deinstall ok config-files\nVersion: 1\nArchitecture: all\n"
    )
    packages = take_inventory(make(("base", {"var/lib/dpkg/status": status}))).packages
    assert [package.purl for package in packages] == ["pkg:deb/debian/a@1?arch=all"]


def test_a_file_replaces_the_folder_below_it(make):
    image = make(("low", {"a/b": b"1", "ab": b"1"}), ("high", {"a": b"2"}))
    files = read_files(image, lambda _: True)
    assert {path: (file.data, file.layer) for path, file in files.items()} == {
        "a": (b"2", 1),
        "ab": (b"1", 0),
    }


def test_spdx_says_of_each_package_what_the_format_demands(image):
    document = spdx_document(take_inventory(image))
    identifiers = [package["SPDXID"] for package in document["packages"]]
    assert len(set(identifiers)) == 5
    assert all(re.fullmatch(r"SPDXRef-[a-zA-Z0-9.-]+", identifier) for identifier in identifiers)
    assert document["creationInfo"]["created"] == "2026-01-02T03:04:05Z"
    relations = [(line["relationshipType"], line["relatedSpdxElement"]) for line in document["relationships"]]
    assert relations == [("DESCRIBES", identifiers[0]), *(("CONTAINS", one) for one in identifiers[1:])]
    packages = {package["name"]: package for package in document["packages"][1:]}
    assert packages["H_11"]["licenseDeclared"] == "MIT"
    assert packages["odd"]["licenseDeclared"] == "NOASSERTION"
    assert packages["odd"]["licenseComments"] == "As you wish"
    assert document["packages"][0]["checksums"] == [
        {"algorithm": "SHA256", "checksumValue": image.digest.hex}
    ]


def test_cyclonedx_says_of_each_package_what_the_format_demands(image):
    document = cyclonedx_document(take_inventory(image))
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", document["serialNumber"])
    references = [component["bom-ref"] for component in document["components"]]
    assert document["dependencies"][0]["dependsOn"] == references
    components = {component["name"]: component for component in document["components"]}
    assert components["H_11"]["licenses"] == [{"expression": "MIT"}]
    assert components["odd"]["licenses"] == [{"license": {"name": "As you wish"}}]
    assert document["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": image.digest.hex}]


@pytest.mark.parametrize("kind", ["spdx", "cyclonedx"])
def test_the_command_prints_the_same_for_the_same_image(built, kind):
    command = [sys.executable, "-m", "tagboat", "image", "sbom", "--format", kind, f"oci:{built.layout}"]
    first, second = (
        subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)
    )
    assert first == second
    names = {one["name"] for one in json.loads(first)["packages" if kind == "spdx" else "components"]}
    assert {"h11", "jmespath", "hail", "goods", "libc6", "python3.11-minimal"} <= names


def test_a_bill_has_the_hash_of_the_wheel_that_a_lock_says_it_was(make, tmp_path):
    tags = (
        "Wheel-Version: 1.0\nTag: cp311-cp311-manylinux_2_17_x86_64\nTag: cp311-cp311-manylinux2014_x86_64\n"
    )
    packages = {
        f"{SITE}/native-1.0.dist-info/METADATA": metadata("native", "1.0"),
        f"{SITE}/native-1.0.dist-info/WHEEL": tags.encode(),
        f"{SITE}/only-1.0.dist-info/METADATA": metadata("only", "1.0"),
        f"{SITE}/other-2.0.dist-info/METADATA": metadata("other", "2.0"),
    }
    image = make(("tagboat dependencies", packages))
    names = {
        "native-1.0-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl": "a",
        "native-1.0-cp311-cp311-manylinux_2_28_aarch64.whl": "b",
    }
    wheels = "".join(
        f'{{ url = "https://h.example/{name}", hashes = {{ sha256 = "{digit * 64}" }} }},'
        for name, digit in names.items()
    )
    file = tmp_path / "pylock.toml"
    file.write_text(
        'lock-version = "1.0"\ncreated-by = "test"\n[[packages]]\nname = "native"\nversion = "1.0"\n'
        f'wheels = [{wheels}]\n[[packages]]\nname = "other"\nversion = "1.0"\n'
        f'archive = {{ url = "https://h.example/o-1.whl", hashes = {{ sha256 = "{"c" * 64}" }} }}\n'
    )
    hashes = {one.name: one.hashes for one in with_hashes(take_inventory(image), read_lock(file)).packages}
    assert hashes == {"native": (f"sha256:{'a' * 64}",), "only": (), "other": ()}
    (tmp_path / "requirements.lock").write_text(
        f"only==1.0 --hash=sha256:{'d' * 64}\nnative==1.0 --hash=sha256:{'a' * 64} --hash=sha256:{'b' * 64}\n"
    )
    inventory = with_hashes(take_inventory(image), read_lock(tmp_path / "requirements.lock"))
    hashes = {one.name: one.hashes for one in inventory.packages}
    assert hashes == {"native": (), "only": (f"sha256:{'d' * 64}",), "other": ()}
    (only,) = (one for one in spdx_document(inventory)["packages"] if one["name"] == "only")
    assert only["checksums"] == [{"algorithm": "SHA256", "checksumValue": "d" * 64}]
    (only,) = (one for one in cyclonedx_document(inventory)["components"] if one["name"] == "only")
    assert only["hashes"] == [{"alg": "SHA-256", "content": "d" * 64}]


def test_an_image_without_a_time_is_of_1970(make):
    image = Image(replace(make().config, created=None), ())
    assert take_inventory(image).created == "1970-01-01T00:00:00Z"


def test_bills_are_attached_once_and_found_by_their_type(image, registry):
    reference = Reference(registry, "team/hail", "1.2.3")
    with Registry(registry) as client:
        client.push(image, reference)
        inventory = take_inventory(image)
        first = attach_sboms(client, reference, inventory, image, ["spdx", "cyclonedx"])
        assert attach_sboms(client, reference, inventory, image, ["spdx", "cyclonedx"]) == first
        assert {found.digest for found in client.referrers(reference)} == set(first)
        (found,) = client.referrers(reference, "application/spdx+json")
        manifest = client.manifest(Reference(registry, "team/hail", digest=found.digest))
        with client.open_blob("team/hail", manifest.layers[0]) as blob:
            assert json.loads(blob.read()) == spdx_document(take_inventory(image))
    assert manifest.subject.digest == image.digest
