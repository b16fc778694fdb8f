"""The `tagboat` command. Results go to standard output, everything else to standard error.

Exit codes: 0 done, 1 failed, 2 wrong use or wrong configuration.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tagboat.arguments import Parser, add_component, add_target
from tagboat.errors import TagboatError
from tagboat.supply_cli import add_signer, signer_of

if TYPE_CHECKING:
    from ocikit import Image, Platform, Reference
    from tagboat.fingerprint import Known

# The commands import what they need when they run: `tagboat --help` answers without loading a cloud client.
# ruff: noqa: PLC0415

_LITTLE = 32 << 20  # bytes: with as much left, a disk may have been full just now


def main(arguments: Sequence[str] | None = None) -> int:
    if arguments is None and sys.getfilesystemencoding() != "utf-8":
        # Names in images and in projects are UTF-8, whatever the locale of who builds.
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606  ourselves
    try:
        return _command(arguments)
    except KeyboardInterrupt:
        _complain("interrupted", None)
        if sys.stdout is not None:
            sys.stdout.flush()
        os._exit(130)  # at once: what threads are still sending or making is nobody's until it is whole


def _command(arguments: Sequence[str] | None) -> int:
    words = sys.argv[1:] if arguments is None else arguments
    options = parser(words[0] if words else None).parse_args(words)
    from ocikit import InvalidReferenceError, OcikitError

    try:
        code: int = options.run(options)
        if arguments is None:
            gc.freeze()  # all goes with the process, sooner if none of it is looked through first
    except TagboatError as error:
        _complain(str(error), error.hint)
        for line in getattr(error, "log", []):
            print(f"  | {line}", file=sys.stderr)
        return error.exit_code
    except OcikitError as error:
        from tagboat.build.cache import drop_damaged

        damaged = drop_damaged(cache_folder(), str(error))
        _complain(
            str(error), "it was damaged in the cache, and is gone from there: try again" if damaged else None
        )
        return 2 if isinstance(error, InvalidReferenceError) else 1
    except BrokenPipeError:  # whoever reads, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:  # the disk is full, a folder may not be written to
        _complain(*_of_system(error))
        return 1
    return code


def parser(only: str | None = None) -> argparse.ArgumentParser:
    """All commands and their options; if it is one of those that are used most, `only` that command."""
    whole: argparse.ArgumentParser = Parser(
        prog="tagboat",
        description="From git tag to a served page: build, tag, push and deploy a Python app without Docker.",
        epilog="example: tagboat tag && tagboat deploy",
    )
    # Asked for the name, argparse would make up and format a usage first.
    commands = whole.add_subparsers(required=True, metavar="COMMAND", prog=whole.prog)
    own = {"build": _add_build, "run": _add_run, "push": _add_push}
    if only in own:
        own[only](commands)
        return whole
    from importlib.metadata import version

    from tagboat.cost_cli import add_cost_command
    from tagboat.cutover_cli import add_cutover_command
    from tagboat.doctor_cli import add_doctor_command
    from tagboat.image_cli import add_image_commands
    from tagboat.provision_cli import add_provision_commands
    from tagboat.release_cli import add_release_commands
    from tagboat.service_cli import add_service_commands
    from tagboat.supply_cli import add_supply_commands
    from tagboat.trust_cli import add_trust_command

    whole.add_argument("--version", action="version", version=f"tagboat {version('tagboat')}")
    for add in own.values():
        add(commands)
    _add_base(commands)
    image = commands.add_parser("image", help="look into images, wherever they are")
    add_image_commands(image.add_subparsers(required=True, metavar="COMMAND"))
    add_supply_commands(commands)
    add_release_commands(commands)
    _add_deploy(commands)
    add_service_commands(commands)
    add_trust_command(commands)
    add_provision_commands(commands)
    add_cutover_command(commands)
    add_cost_command(commands)
    add_doctor_command(commands)
    _add_demo(commands)
    return whole


def _add_build(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
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


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
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


def _add_push(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
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
    _add_documents(push)
    add_signer(push)
    push.set_defaults(run=_push)


def _add_base(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
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


def _add_deploy(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    deploy = commands.add_parser(
        "deploy",
        help="build, push and roll out the release that is checked out",
        epilog='example: eval "$(homeport env --data DIR)" && tagboat deploy examples/site',
    )
    add_component(deploy)
    add_target(deploy)
    deploy.add_argument(
        "--timeout",
        type=float,
        default=900,
        metavar="S",
        help="seconds to wait for each operation (%(default)s)",
    )
    deploy.add_argument(
        "--image", metavar="LOCATION", help="deploy this image, e.g. oci:DIR, instead of building one"
    )
    deploy.add_argument("--digest", metavar="DIGEST", help="what the image given with --image must be")
    _add_documents(deploy)
    add_signer(deploy)
    deploy.add_argument("--json", action="store_true", help="print tag, digest, URL and timings as JSON")
    deploy.set_defaults(run=_deploy)


def _add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    demo = commands.add_parser(
        "demo",
        help="the whole way on this machine: a port, a site, two releases, a crash",
        epilog="example: tagboat demo --exit --json demo.json",
    )
    demo.add_argument("--exit", action="store_true", help="end when the steps are done, instead of on Ctrl-C")
    demo.add_argument("--json", type=Path, metavar="FILE", help="write what happened to FILE")
    demo.add_argument(
        "--data", type=Path, metavar="DIR", help="keep state and buckets in DIR (default: temporary)"
    )
    demo.add_argument(
        "--source",
        type=Path,
        default=Path("examples/site"),
        metavar="DIR",
        help="the site (default: %(default)s)",
    )
    for name, what in (
        ("port", "registry and API"),
        ("https-port", "HTTPS edge"),
        ("http-port", "HTTP edge"),
    ):
        demo.add_argument(
            f"--{name}", type=int, default=0, metavar="N", help=f"port of the {what} (default: free)"
        )
    demo.set_defaults(run=_demo)


def _add_platforms(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--platform",
        action="append",
        default=[],
        metavar="OS/ARCH",
        help="what it is for, e.g. linux/arm64; several make an index (default: this machine's)",
    )


def _platforms(options: argparse.Namespace) -> list[Platform]:
    """Those that are asked for, each once, or this machine's."""
    from ocikit import Platform

    return [Platform.parse(text) for text in dict.fromkeys(options.platform)] or [Platform.host()]


def _add_documents(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sbom",
        action="append",
        default=[],
        choices=("spdx", "cyclonedx"),
        help="attach the image's software bill of materials; may be given for both formats",
    )
    parser.add_argument(
        "--provenance", action="store_true", help="attach how it was built (SLSA), signed if there is a key"
    )


def _build(options: argparse.Namespace) -> int:
    from ocikit import Digest, write_docker_archive
    from tagboat.build import build_with_report
    from tagboat.component import Component
    from tagboat.index import index_of, write_layout

    component = Component.load(options.component)
    kind, _, path = (options.output or "").partition(":")
    if options.output and (kind not in ("oci", "tar", "dir") or not path):
        _complain(f"--output {options.output}: not oci:DIR, tar:FILE or dir:DIR", None)
        return 2
    if kind == "dir" and os.path.lexists(path):
        _complain(f"--output {options.output}: it exists", "name a folder that is to be made")
        return 2
    platforms = _platforms(options)
    if kind in ("tar", "dir") and len(platforms) > 1:
        _complain(f"--output {options.output}: it holds one image", "oci:DIR holds several platforms")
        return 2
    images = []
    for platform in platforms:
        done = build_with_report(component, cache_folder(), platform=platform, progress=_progress)
        images.append(done.image)
        if options.explain:
            for line in done.explanation:
                _progress(line)
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
            _complain(f"--env {name}: the environment has no such variable", None)
            return 2
        environment[name] = value if equals else os.environ[name]
    ports = [Port.parse(text) for text in options.port]
    image = build(component, cache_folder(), progress=_progress)
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
    from tagboat.index import blob_sizes, push_images
    from tagboat.meter import Meter
    from tagboat.places import Places
    from tagboat.push import make, make_upon

    cache, meter = cache_folder(), Meter(sys.stderr)
    places = Places.of(cache, reference.registry)
    signer = signer_of(options)  # before the build, which takes longer
    with Ahead(reference, meter, places.known) as ahead:
        made = make_upon(known, cache, _progress, lambda layer: ahead.send(layer, is_new=True))
        for image in made.images if made is not None else ():
            ahead.send_config(image)
        if made is None:
            from tagboat.component import Component

            component = Component.load(options.component)
            made = make(component, options.platform, cache, _progress, ahead.send)
        from tagboat.index import blob_sizes, push_images  # wants the client, which is loaded meanwhile

        registry, meter.sizes = ahead.registry, blob_sizes(made.images)
        with meter:
            ahead.wait()
            pushed = push_images(registry, made.images, reference, progress=meter)
        places.remember(
            reference.repository,
            (str(layer.descriptor.digest) for image in made.images for layer in image.layers),
        )
        digest = pushed.digest
        if options.sbom or options.provenance:  # nothing was known then
            from tagboat.supply.documents import Documents

            documents = Documents(tuple(options.sbom), options.provenance, signer)
            for image in made.images:
                documents.attach(registry, reference, image, component, _progress)
        if signer is not None:
            from tagboat.supply.signing import sign_image

            _progress(sign_image(registry, reference.with_digest(digest), signer).said)
        for tag in options.tag:  # last: what has a name is whole
            registry.tag(reference.with_digest(digest), tag)
    if made.known is not None:
        Record.of(cache, options.component, options.platform).remember(
            made.known, Pushed(str(digest), pushed.media_type)
        )
    print(reference.with_digest(digest))
    return 0


def _base_update(options: argparse.Namespace) -> int:
    from tagboat.build.pin import current_pin
    from tagboat.component import Component

    pin = current_pin(Component.load(options.component), cache_folder(), progress=_progress)
    for line in pin.changes:
        print(line)
    if options.check:
        return 1 if pin.changes else 0
    pin.write()
    _progress(f"{pin.file} {'is written' if pin.changes else 'was current'}")
    return 0


def _deploy(options: argparse.Namespace) -> int:
    from tagboat.component import Component
    from tagboat.deploy import deploy
    from tagboat.location import Location

    component = Component.load(options.component)
    prebuilt = Location.parse(options.image).image() if options.image else None
    if options.digest and (prebuilt is None or str(prebuilt.digest) != options.digest):
        _complain(
            f"{options.image} is not {options.digest}", "give both, as one build wrote and printed them"
        )
        return 2
    documents, signer = None, signer_of(options)
    if options.sbom or options.provenance:
        from tagboat.supply.documents import Documents

        documents = Documents(tuple(options.sbom), options.provenance, signer)
    deployment = deploy(
        component,
        cache_folder(),
        timeout=options.timeout,
        progress=_progress,
        target=options.target,
        prebuilt=prebuilt,
        documents=documents,
        signer=signer,
    )
    _progress(", ".join(f"{step} {seconds:.2f} s" for step, seconds in deployment.seconds.items()))
    if options.json:
        import json
        from dataclasses import asdict

        print(json.dumps(asdict(deployment)))
    else:
        print(deployment.url)
    return 0


def _demo(options: argparse.Namespace) -> int:
    from tagboat.demo import Ports, run_demo

    return run_demo(
        options.source,
        data=options.data,
        ports=Ports(options.port, options.https_port, options.http_port),
        stay=not options.exit,
        report=options.json,
    )


def cache_folder() -> Path:
    """What builds may use again: below the user's cache folder (XDG base directory specification)."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tagboat"


def _progress(line: str) -> None:
    print(f"tagboat: {line}", file=sys.stderr, flush=True)


def _complain(message: str, hint: str | None) -> None:
    print(f"tagboat: {message}", file=sys.stderr)
    if hint:
        print(f"  {hint}", file=sys.stderr)


def _of_system(error: OSError) -> tuple[str, str | None]:
    """What the operating system refused, where it did, and what to do about it."""
    import errno
    import shutil
    import tempfile

    where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
    message = f"{where}{error.strerror or error}"
    cache = cache_folder()
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        places = dict.fromkeys((cache, Path.cwd(), Path(tempfile.gettempdir())))
        full = [
            str(place)
            for place in places
            if (there := next((one for one in (place, *place.parents) if one.exists()), None))
            and shutil.disk_usage(there).free < _LITTLE
        ]
        return message, f"make room for {' and for '.join(full)}" if full else None
    if where and Path(where.removesuffix(": ")).is_relative_to(cache):
        return message, "the cache has to be a folder of yours; XDG_CACHE_HOME names another one"
    return message, None
