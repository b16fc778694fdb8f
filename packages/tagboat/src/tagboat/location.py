"""Where an image is: in a registry, in an OCI layout, or in the file that `docker save` writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ocikit import (
    Image,
    Layout,
    Platform,
    Reference,
    Registry,
    find_credentials,
    read_docker_archive,
)
from tagboat.errors import TagboatError


class LocationError(TagboatError):
    """A location says no image, or not which."""


@dataclass(frozen=True, slots=True)
class Location:
    """`oci:DIR[:NAME]`, `tar:FILE`, or what a registry calls it: `HOST/REPOSITORY[:TAG][@DIGEST]`."""

    kind: Literal["oci", "tar", "registry"]
    rest: str

    @classmethod
    def parse(cls, text: str) -> Location:
        kind, colon, rest = text.partition(":")
        if colon and kind in ("oci", "tar"):
            if not rest:
                raise LocationError(f"{text!r} names no path", hint="oci:DIR[:NAME] or tar:FILE")
            return cls("oci" if kind == "oci" else "tar", rest)
        return cls("registry", text)

    def image(self, platform: Platform | None = None) -> Image:
        """The image, of an index the one for `platform` (this machine's by default). Raises OcikitError.

        Layers are read when they are needed.
        """
        if self.kind == "tar":
            return read_docker_archive(Path(self.rest))
        if self.kind == "oci":
            path, name = self._layout()
            return Layout(path).image(name, platform)
        reference = Reference.parse(self.rest)
        # Not closed: the layers are read through it. It goes with the process, as its connections do.
        registry = Registry(reference.registry, credentials=find_credentials(reference.registry))
        return registry.image(reference, platform)

    def names(self) -> list[str]:
        """The names of all images there: tags of a repository, or names in a layout. Raises OcikitError."""
        if self.kind == "tar":
            raise LocationError(f"tar:{self.rest} holds one image", hint="`tagboat image inspect` shows it")
        if self.kind == "oci":
            return sorted(Layout(Path(self.rest)).names())
        reference = Reference.parse(self.rest)
        with Registry(reference.registry, credentials=find_credentials(reference.registry)) as registry:
            return registry.tags(reference.repository)

    def named(self, name: str) -> Location:
        """The image of that name here."""
        if self.kind == "registry":
            return Location("registry", str(Reference.parse(self.rest).with_tag(name)))
        return Location(self.kind, f"{self.rest}:{name}")

    def _layout(self) -> tuple[Path, str | None]:
        """The folder and the name; a folder whose own name has a colon in it is still one."""
        folder, colon, name = self.rest.rpartition(":")
        if not colon or Path(self.rest).is_dir():
            return Path(self.rest), None
        return Path(folder), name
