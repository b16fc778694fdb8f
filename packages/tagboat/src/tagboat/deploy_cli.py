"""`tagboat deploy` and `demo`: a release that is served."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tagboat.arguments import add_component, add_json, add_target, add_timeout, whole
from tagboat.cache_folder import cache_folder
from tagboat.supply_cli import add_documents, add_signer, documents_of, signer_of
from tagboat.terminal import complain, say

if TYPE_CHECKING:
    from tagboat.arguments import Commands

# As in cli.py, what a command needs is imported when it runs.
# ruff: noqa: PLC0415


def add_deploy_command(commands: Commands) -> None:
    """Add `deploy` to the commands."""
    deploy = commands.add_parser(
        "deploy",
        help="build, push and roll out the release that is checked out",
        epilog='example: eval "$(homeport env --data DIR)" && tagboat deploy examples/site',
    )
    add_component(deploy)
    add_target(deploy)
    add_timeout(deploy, "seconds to wait for each operation")
    deploy.add_argument(
        "--image", metavar="LOCATION", help="deploy this image, e.g. oci:DIR, instead of building one"
    )
    deploy.add_argument("--digest", metavar="DIGEST", help="what the image given with --image must be")
    add_documents(deploy)
    add_signer(deploy)
    add_json(deploy, "print tag, digest, URL and timings as JSON")
    deploy.set_defaults(run=_deploy)


def add_demo_command(commands: Commands) -> None:
    """Add `demo` to the commands."""
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
            f"--{name}", type=whole, default=0, metavar="N", help=f"port of the {what} (default: free)"
        )
    demo.set_defaults(run=_demo)


def _deploy(options: argparse.Namespace) -> int:
    from tagboat.component import Component
    from tagboat.deploy import deploy
    from tagboat.location import Location

    component = Component.load(options.component)
    prebuilt = Location.parse(options.image).image() if options.image else None
    if options.digest and (prebuilt is None or str(prebuilt.digest) != options.digest):
        complain(f"{options.image} is not {options.digest}", "give both, as one build wrote and printed them")
        return 2
    signer = signer_of(options)
    deployment = deploy(
        component,
        cache_folder(),
        timeout=options.timeout,
        progress=say,
        target=options.target,
        prebuilt=prebuilt,
        documents=documents_of(options, signer),
        signer=signer,
    )
    say(", ".join(f"{step} {seconds:.2f} s" for step, seconds in deployment.seconds.items()))
    if options.json:
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
