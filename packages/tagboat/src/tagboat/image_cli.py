"""`tagboat image …`: looking into images, wherever they are."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING

from tagboat.arguments import LOCATION, add_json, add_location, add_platform
from tagboat.supply_cli import add_verify_command
from tagboat.terminal import printable

if TYPE_CHECKING:
    from ocikit import Image
    from tagboat.arguments import Commands

# As in cli.py, what a command needs is imported when it runs.
# ruff: noqa: PLC0415


def add_image_commands(commands: Commands) -> None:
    """Add the subcommands of `tagboat image`."""
    listing = commands.add_parser(
        "ls",
        help="the images of a repository or of a layout, by their names",
        epilog="example: tagboat image ls registry.example/team/shop",
    )
    listing.add_argument("location", metavar="LOCATION", help="HOST/REPOSITORY or oci:DIR")
    listing.set_defaults(run=_ls)

    inspect = commands.add_parser(
        "inspect",
        help="how an image starts and what it is made of",
        epilog="example: tagboat image inspect oci:image",
    )
    add_location(inspect)
    add_json(inspect, "manifest and configuration as they are")
    inspect.set_defaults(run=_inspect)

    layers = commands.add_parser(
        "layers",
        help="the layers of an image with their sizes",
        epilog="example: tagboat image layers --files oci:image",
    )
    add_location(layers)
    layers.add_argument("--files", action="store_true", help="list what is in each of them")
    layers.set_defaults(run=_layers)

    sbom = commands.add_parser(
        "sbom",
        help="the packages in an image, as a software bill of materials",
        epilog="example: tagboat image sbom --format cyclonedx oci:image",
    )
    add_location(sbom)
    sbom.add_argument(
        "--format",
        choices=("spdx", "cyclonedx"),
        default="spdx",
        help="SPDX 2.3 or CycloneDX 1.6, both as JSON (default: %(default)s)",
    )
    sbom.set_defaults(run=_sbom)

    diff = commands.add_parser(
        "diff",
        help="how one image differs from another; exit code 1 when it does",
        epilog="example: tagboat image diff registry.example/team/shop:1.4.0 oci:image",
    )
    diff.add_argument("first", metavar="A", help=LOCATION)
    diff.add_argument("second", metavar="B", help=LOCATION)
    add_platform(diff)
    add_json(diff, "a list of what differs")
    diff.set_defaults(run=_diff)

    add_verify_command(commands)


def _ls(options: argparse.Namespace) -> int:
    from tagboat.location import Location

    for name in Location.parse(options.location).names():
        print(name)
    return 0


def _inspect(options: argparse.Namespace) -> int:
    from tagboat.inspection import describe, summary

    image = _image(options.location, options.platform)
    if options.json:
        print(json.dumps(describe(image), indent=2))
    else:
        _print(summary(image))
    return 0


def _layers(options: argparse.Namespace) -> int:
    from tagboat.inspection import files, layers

    image = _image(options.location, options.platform)
    _print(files(image) if options.files else layers(image))
    return 0


def _sbom(options: argparse.Namespace) -> int:
    from tagboat.supply.cyclonedx import cyclonedx_document
    from tagboat.supply.inventory import take_inventory
    from tagboat.supply.spdx import spdx_document

    inventory = take_inventory(_image(options.location, options.platform))
    document = cyclonedx_document if options.format == "cyclonedx" else spdx_document
    print(json.dumps(document(inventory), indent=2))
    return 0


def _diff(options: argparse.Namespace) -> int:
    from tagboat.inspection import differences

    found = differences(_image(options.first, options.platform), _image(options.second, options.platform))
    if options.json:
        print(json.dumps([asdict(difference) for difference in found], indent=2))
    else:
        _print(found)
    return 1 if found else 0


def _image(location: str, platform: str | None) -> Image:
    from ocikit import Platform
    from tagboat.location import Location

    return Location.parse(location).image(Platform.parse(platform) if platform else None)


def _print(lines: Iterable[object]) -> None:
    for line in lines:
        print(printable(str(line)))
