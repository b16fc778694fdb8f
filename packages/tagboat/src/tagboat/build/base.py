"""The image that ours is built upon: composed of Debian packages, or from a layout, a tar or a registry."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from ocikit import (
    CopiedBlob,
    Digest,
    FileBlob,
    Image,
    Layout,
    OcikitError,
    Platform,
    Reference,
    UnsafeArchiveError,
    find_credentials,
)
from tagboat.build.age import tell_age
from tagboat.build.bytecode import Compiler
from tagboat.build.cache import Cache, key_of
from tagboat.build.debian.release import DISTRIBUTIONS, Release
from tagboat.build.ground import read_interpreter
from tagboat.build.interpreter import (
    Interpreter,
    InterpreterError,
    find_foreign_interpreter,
    find_interpreter,
    fingerprint,
)
from tagboat.build.roots import WANTED, Extent, keep_root, unpacked
from tagboat.build.target import Target
from tagboat.component import Component
from tagboat.config import Config
from tagboat.errors import ConfigError

SCRATCH = "scratch"

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Base:
    """A base image and the Python in it; `name` is how the configuration calls it."""

    name: str
    image: Image
    interpreter: Interpreter
    program: str
    """Stands for the Python that compiles for it, as far as byte code depends on that."""

    here: Base | None = None
    """The same for this machine, where this one is for another architecture, and its Python does not run."""

    whole: bool = False
    """Whether its Python runs only in the whole of it."""

    @property
    def digest(self) -> Digest:
        return self.image.digest

    @property
    def platform(self) -> Platform:
        return self.image.config.platform

    @property
    def target(self) -> Target:
        """What packages are installed for."""
        return Target(self.interpreter, self.platform.architecture)

    @property
    def identity(self) -> str:
        """Stands for everything about the base that what is built on it depends on."""
        return f"{self.digest} {self.interpreter}"

    @property
    def search_path(self) -> str:
        return search_path(self.image)

    def compiler(self, cache: Cache) -> Compiler:
        """The Python that compiles for this base: its own, or the same one for this machine."""
        if self.here is not None:
            return self.here.compiler(cache)
        root = unpacked(self.image, cache, "whole" if self.whole else "compiler")
        return Compiler(self.interpreter, root, self.program)


def resolve_base(
    component: Component, platform: Platform, cache: Cache, *, progress: Callable[[str], None]
) -> tuple[Base, bool]:
    """The base that the configuration names, for that platform, and whether it had to be made.

    Raises ConfigError, AptError, DebError, InterpreterError, and ocikit's errors for what cannot be read.
    """
    name, archive = component.config.base, _archive(component.config, platform)
    here = None
    if not Platform.host().matches(platform):
        here, _ = resolve_base(component, Platform.host(), cache, progress=progress)
    image, made, known = _find(component, platform, cache, here, progress)
    if not image.config.platform.matches(platform):
        raise ConfigError(f"the base {name} is for {image.config.platform}, not for {platform}")
    if archive is not None:
        from tagboat.build.bundle import with_interpreter  # noqa: PLC0415  most bases have their own

        image, fresh = with_interpreter(image, component.directory / archive, cache)
        made, known = made or fresh, None
    elif name == SCRATCH:
        raise ConfigError(
            "the base scratch has no Python", hint='say where one is: interpreter = "python.tar.gz"'
        )
    path = component.config.python
    interpreter, program, whole = _interpreter(
        image, path, cache, here, _extent(component), known=known if path is None else None
    )
    return Base(name, image, interpreter, program, here, whole), made


def _archive(config: Config, platform: Platform) -> str | None:
    """The archive with the Python for that platform, if the configuration names any."""
    archive = config.interpreter
    if archive is None or isinstance(archive, str):
        if archive is not None and not Platform.host().matches(platform):
            raise ConfigError(
                f"tool.tagboat.interpreter is for {Platform.host()}, not for {platform}",
                hint='name one for each architecture: interpreter = { amd64 = "…", arm64 = "…" }',
            )
        return archive
    if platform.architecture not in archive:
        raise ConfigError(
            f"tool.tagboat.interpreter has none for {platform}",
            hint="that for the machine that builds is needed too: it compiles byte code for all",
        )
    return archive[platform.architecture]


def _find(
    component: Component, platform: Platform, cache: Cache, here: Base | None, progress: Callable[[str], None]
) -> tuple[Image, bool, Interpreter | None]:
    """The image that the configuration names, whether it had to be made or fetched, and its Python where
    that is known then."""
    name = component.config.base
    kind, _, rest = name.partition(":")
    if name == SCRATCH:
        return Image.empty(platform), False, None
    if kind in DISTRIBUTIONS:
        # Loading these takes a good part of the time that an edited line does, and other bases need none.
        from tagboat.build.debian.compose import compose  # noqa: PLC0415
        from tagboat.build.debian.lock import FILE_NAME  # noqa: PLC0415

        lock = component.directory / FILE_NAME
        compiler = here.compiler(cache) if here else None
        base = compose(Release(kind, rest), platform, cache, lock=lock, compiler=compiler, progress=progress)
        return base.image, base.interpreter is not None, base.interpreter
    if kind == "oci":
        path, _, tag = rest.partition(":")
        return Layout(component.directory / path).image(tag or None, platform), False, None
    if kind == "tar":
        from ocikit import read_docker_archive  # noqa: PLC0415

        return read_docker_archive(component.directory / rest), False, None
    image, made = _pull(name, platform, cache, _extent(component), progress)
    tell_age(_created(image), f"the base {name} is", progress)
    return image, made, None


def _created(image: Image) -> datetime | None:
    """When the image was made, if it says so; reproducible ones often name the beginning of time."""
    try:
        created = datetime.fromisoformat(image.config.created or "")
    except ValueError:
        return None
    return created.astimezone(UTC) if created.year > 1980 else None


def search_path(image: Image) -> str:
    """Where the image looks for programs."""
    variables = dict(variable.partition("=")[::2] for variable in image.config.config.env)
    return variables.get("PATH", _DEFAULT_PATH)


def _extent(component: Component) -> Extent:
    """How much of the base the component's build needs, in all likelihood."""
    return "compiler" if component.config.byte_code else "interpreter"


def _pull(
    name: str, platform: Platform, cache: Cache, extent: Extent, progress: Callable[[str], None]
) -> tuple[Image, bool]:
    """A registry image, kept as an OCI layout so that the next build needs no network.

    So much of it is unpacked on its way: what remains to be done is over soon after it has come.
    """
    reference = Reference.parse(name)
    folder = cache.path("bases", key_of(str(reference), str(platform)))
    if reference.digest is not None and folder.is_dir():
        return _kept(folder, reference), False
    from ocikit import Registry  # noqa: PLC0415  loads an HTTP client

    with Registry(reference.registry, credentials=find_credentials) as registry:
        if reference.digest is None:
            found = registry.digest(reference)
            raise ConfigError(
                f"the base {name} is not pinned by its digest, so it may be another image tomorrow",
                hint=f'base = "{reference}@{found}"' if found else None,
            )
        with cache.locked(f"base-{folder.name}"):
            missing = not folder.is_dir()
            if missing:
                progress(f"pulling {name}")
                with cache.temporary() as temporary:
                    image = registry.image(reference, platform)
                    _unpack_coming(image, temporary / "layout", cache, extent)
                    Layout(temporary / "layout").write(image, None)
                    (temporary / "layout").rename(folder)
    return _kept(folder, reference), missing


def _kept(folder: Path, reference: Reference) -> Image:
    """A registry image that is kept in `folder`; its layers know where they came from."""
    image = Layout(folder).image()
    origin = reference.registry, reference.repository
    layers = tuple(
        replace(layer, blob=replace(layer.blob, origin=origin)) if isinstance(layer.blob, FileBlob) else layer
        for layer in image.layers
    )
    return replace(image, layers=layers)


def _unpack_coming(image: Image, layout: Path, cache: Cache, extent: Extent) -> None:
    """Unpack an image while its layers come, and keep these as the blobs of a layout that is to be written.

    What is no use for that is unpacked, and told, where it is needed. Raises RegistryError and
    DigestMismatchError.
    """
    from ocikit import unpack  # noqa: PLC0415

    layers = []
    for layer in image.layers:
        kept = layout / "blobs" / layer.descriptor.digest.path
        kept.parent.mkdir(parents=True, exist_ok=True)
        layers.append(replace(layer, blob=CopiedBlob(layer.blob, kept)))
    made = layout.with_name("root")
    try:
        unpack(replace(image, layers=tuple(layers)), made, ownership=False, only=WANTED[extent])
    except UnsafeArchiveError:
        for layer in layers:
            (layout / "blobs" / layer.descriptor.digest.path).unlink(missing_ok=True)
        return
    keep_root(made, image, cache, extent)


def _interpreter(
    image: Image,
    path: str | None,
    cache: Cache,
    here: Base | None,
    extent: Extent,
    *,
    known: Interpreter | None,
) -> tuple[Interpreter, str, bool]:
    """The Python of the image, looked for in as much of it unless it is `known`; what stands for the one that
    compiles; and whether it runs only in the whole. This is found out once."""
    record = cache.path("interpreters", key_of(str(image.digest), path or "", here.identity if here else ""))
    try:
        kept = json.loads(record.read_text())
        return read_interpreter(kept), kept["program"], kept["whole"]
    except (FileNotFoundError, ValueError, KeyError):
        whole = False
        try:
            interpreter = known or _found(image, path, cache, here, extent)
        except (InterpreterError, OcikitError):
            whole, extent = True, "whole"
            interpreter = _found(image, path, cache, here, extent)
        program = here.program if here else fingerprint(unpacked(image, cache, extent), interpreter)
        found = {**asdict(interpreter), "program": program, "whole": whole}
        cache.write(record, json.dumps(found).encode())
        return interpreter, program, whole


def _found(image: Image, path: str | None, cache: Cache, here: Base | None, extent: Extent) -> Interpreter:
    root, search = unpacked(image, cache, extent), search_path(image)
    if here is None:
        return find_interpreter(root, path=path, search=search)
    return find_foreign_interpreter(root, here.interpreter, path=path, search=search)
