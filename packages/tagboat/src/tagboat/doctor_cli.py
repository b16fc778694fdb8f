"""`tagboat doctor`: what keeps a release from being made, and what to do about it."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from tagboat.arguments import add_component, add_json, add_target
from tagboat.cache_folder import cache_folder

if TYPE_CHECKING:
    from tagboat.arguments import Commands

# As in cli.py, what a command needs is imported when it runs.
# ruff: noqa: PLC0415


def add_doctor_command(commands: Commands) -> None:
    """Add `doctor` to the commands."""
    doctor = commands.add_parser(
        "doctor",
        help="look at all that a release needs, and say what to do where something is wrong",
        epilog="example: tagboat doctor --name www.shop.example shop",
    )
    add_component(doctor)
    add_target(doctor)
    doctor.add_argument(
        "--name",
        action="append",
        default=[],
        metavar="HOST[:PORT]",
        help="also look at this name, by which visitors come; may be given more than once",
    )
    add_json(doctor, "print what was found as JSON")
    doctor.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    from tagboat.doctor import examine

    findings = []
    for finding in examine(options.component, cache_folder(), options.name, options.target):
        findings.append(finding)
        if not options.json:
            mark = {"failed": "FAILED"}.get(finding.state, finding.state)
            print(f"{mark:<8} {finding.name}: {finding.found}", flush=True)
            if finding.advice:
                print(f"{'':<8} → {finding.advice}", flush=True)
    well = all(finding.state != "failed" for finding in findings)
    if options.json:
        print(json.dumps({"ok": well, "findings": [asdict(finding) for finding in findings]}, indent=2))
    return 0 if well else 1
