"""`tagboat build`, `run`, `push` and `base`: an image, from a component's source."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tagboat.arguments import add_component
from tagboat.cache_folder import cache_folder
from tagboat.supply_cli import add_documents, add_signer, documents_of, signer_of
from tagboat.terminal import complain, say

if TYPE_CHECKING:
    from ocikit import Image, Reference
    from tagboat.arguments import Commands
    from tagboat.fingerprint import Known

# As in cli.py, what a command needs is imported when it runs.
# ruff: noqa: PLC0415


def add_build_command(commands: Commands) -> None:
    """Add `build` to the commands."""
    build = commands.add_parser(
        "build",
        help="build the image and print its digest",
        epilog="example: tagboat build --output oci:image",
    )
    add_component(build)
    _add_platforms(build)
    build.add_argument(
        "--output",
        metavar="KIND:PATH",
        help="also write it: oci:DIR (image layout), tar:FILE (docker load) or dir:DIR (its files)",
    )
    build.add_argument(
        "--explain", action="store_true", help="say which inputs changed each layer since the last build"
    )
    build.set_defaults(run=_build)


def add_run_command(commands: Commands) -> None:
    """Add `run` to the commands."""
    run = commands.add_parser(
        "run",
        help="build the image and run it here, under runc",
        epilog="example: tagboat run --port 9000:8080 . -- --verbose",
    )
    add_component(run)
    run.add_argument("arguments", nargs="*", metavar="ARGUMENT", help="given to the entry point (after `--`)")
    run.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set a variable, beside those that tool.tagboat.service sets; NAME alone takes it from here",
    )
    run.add_argument(
        "--port",
        action="append",
        default=[],
        metavar="HERE:THERE",
        help="also serve the app's port THERE on HERE of this machine's loopback",
    )
    run.set_defaults(run=_run)


def add_push_command(commands: Commands) -> None:
    """Add `push` to the commands."""
    push = commands.add_parser(
        "push",
        help="build the image and push it to any registry",
        epilog="example: tagboat push registry.example/team/site:1.2.0",
    )
    push.add_argument(
        "reference", help="where to: HOST/REPOSITORY:TAG; credentials are those of docker's config"
    )
    add_component(push)
    _add_platforms(push)
    push.add_argument(
        "--tag", action="append", default=[], metavar="TAG", help="another tag in the same repository"
    )
    add_documents(push)
    add_signer(push)
    push.set_defaults(run=_push)


def add_base_command(commands: Commands) -> None:
    """Add `base` to the commands."""
    base = commands.add_parser("base", help="what the image is built upon").add_subparsers(
        required=True, metavar="COMMAND"
    )
    update = base.add_parser(
        "update",
        help="pin the base as it is today: base.lock of a distribution, the digest of a registry's image",
        epilog="example: tagboat base update && git commit -m 'Security updates' base.lock",
    )
    add_component(update)
    update.add_argument(
        "--check", action="store_true", help="write nothing; exit code 1 when the pin is not current"
    )
    update.set_defaults(run=_base_update)


def _add_platforms(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--platform",
        action="append",
        default=[],
        metavar="OS/ARCH",
        help="what it is for, e.g. linux/arm64; several make an index (default: this machine's)",
    )


def _build(options: argparse.Namespace) -> int:
    from ocikit import Digest, write_docker_archive
    from tagboat.build import build_with_report
    from tagboat.component import Component
    from tagboat.index import index_of, write_layout
    from tagboat.push import platforms_of

    component = Component.load(options.component)
    kind, _, path = (options.output or "").partition(":")
    if options.output and (kind not in ("oci", "tar", "dir") or not path):
        complain(f"--output {options.output}: not oci:DIR, tar:FILE or dir:DIR")
        return 2
    if kind == "dir" and os.path.lexists(path):
        complain(f"--output {options.output}: it exists", "name a folder that is to be made")
        return 2
    platforms = platforms_of(options.platform)
    if kind in ("tar", "dir") and len(platforms) > 1:
        complain(f"--output {options.output}: it holds one image", "oci:DIR holds several platforms")
        return 2
    images = []
    for platform in platforms:
        done = build_with_report(component, cache_folder(), platform=platform, progress=say)
        images.append(done.image)
        if options.explain:
            for line in done.explanation:
                say(line)
    if kind == "oci":
        write_layout(Path(path), images, component.version)
    elif kind == "tar":
        write_docker_archive(images[0], Path(path), [f"{component.name}:{component.version}"])
    elif kind == "dir":
        _write_folder(images[0], Path(path))
    print(images[0].digest if len(images) == 1 else Digest.of(index_of(images).to_bytes()))
    return 0


def _write_folder(image: Image, folder: Path) -> None:
    """The image's files in `folder`, which appears when it is complete."""
    import shutil

    from ocikit import unpack

    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.{os.urandom(8).hex()}.partial")
    try:
        unpack(image, partial)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _run(options: argparse.Namespace) -> int:
    from tagboat.build import build
    from tagboat.component import Component
    from tagboat.container import Port, run_image

    component = Component.load(options.component)
    environment = component.config.service.expanded_environment()
    for text in options.env:
        name, equals, value = text.partition("=")
        if not equals and name not in os.environ:
            complain(f"--env {name}: the environment has no such variable")
            return 2
        environment[name] = value if equals else os.environ[name]
    ports = [Port.parse(text) for text in options.port]
    image = build(component, cache_folder(), progress=say)
    return run_image(image, cache_folder(), arguments=options.arguments, environment=environment, ports=ports)


def _push(options: argparse.Namespace) -> int:
    from ocikit.reference import Reference
    from tagboat.fingerprint import Record

    reference = Reference.parse(options.reference)
    for tag in options.tag:
        reference.with_tag(tag)  # what is no tag is told before anything is sent
    about = options.sbom or options.provenance or options.key or options.keyless
    known = None if about else Record.of(cache_folder(), options.component, options.platform).recall()
    if known is not None and known.pushed is not None and not options.tag:
        from ocikit.client.glance import stands_for
        from ocikit.digest import Digest

        if stands_for(reference, known.pushed.digest, known.pushed.media_type):
            print(reference.with_digest(Digest.parse(known.pushed.digest)))
            return 0
    return _build_and_push(options, reference, known)


def _build_and_push(options: argparse.Namespace, reference: Reference, known: Known | None) -> int:
    from tagboat.ahead import Ahead
    from tagboat.fingerprint import Pushed, Record
    from tagboat.meter import Meter
    from tagboat.places import Places
    from tagboat.push import make, make_upon

    cache, meter = cache_folder(), Meter(sys.stderr)
    places = Places.of(cache, reference.registry)
    signer = signer_of(options)  # before the build, which takes longer
    component = None
    with Ahead(reference, meter, places.known) as ahead:
        made = make_upon(known, cache, say, lambda layer: ahead.send(layer, is_new=True))
        for image in made.images if made is not None else ():
            ahead.send_config(image)
        if made is None:
            from tagboat.component import Component

            component = Component.load(options.component)
            made = make(component, options.platform, cache, say, ahead.send)
        from tagboat.index import blob_sizes, push_images  # wants the client, which is loaded meanwhile

        registry, meter.sizes = ahead.registry, blob_sizes(made.images)
        with meter:
            ahead.wait()
            pushed = push_images(registry, made.images, reference, progress=meter)
        places.remember(
            reference.repository,
            (str(layer.descriptor.digest) for image in made.images for layer in image.layers),
        )
        named = reference.with_digest(pushed.digest)
        documents = documents_of(options, signer)
        if documents is not None and component is not None:  # with documents, nothing was known
            for image in made.images:
                documents.attach(registry, reference, image, component, say)
        if signer is not None:
            from tagboat.supply.signing import sign_image

            say(sign_image(registry, named, signer).said)
        for tag in options.tag:  # last: what has a name is whole
            registry.tag(named, tag)
    if made.known is not None:
        Record.of(cache, options.component, options.platform).remember(
            made.known, Pushed(str(pushed.digest), pushed.media_type)
        )
    print(named)
    return 0


def _base_update(options: argparse.Namespace) -> int:
    from tagboat.build.pin import current_pin
    from tagboat.component import Component

    pin = current_pin(Component.load(options.component), cache_folder(), progress=say)
    for line in pin.changes:
        print(line)
    if options.check:
        return 1 if pin.changes else 0
    pin.write()
    say(f"{pin.file} {'is written' if pin.changes else 'was current'}")
    return 0
