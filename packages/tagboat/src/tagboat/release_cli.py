"""`tagboat tag`, `changelog` and `ci`: what is released, what is said of it, and by which pipeline."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tagboat.arguments import add_component, add_json
from tagboat.terminal import say

if TYPE_CHECKING:
    from tagboat.arguments import Commands
    from tagboat.plan import Plan

# As in cli.py, what a command needs is imported when it runs.
# ruff: noqa: PLC0415


def add_release_commands(commands: Commands) -> None:
    """Add `tag`, `changelog` and `ci` to the commands."""
    tag = commands.add_parser(
        "tag",
        help="create and push the release tag NAME-vVERSION",
        epilog="example: tagboat tag --bump minor examples/site",
    )
    add_component(tag)
    tag.add_argument(
        "--bump",
        metavar="STEP",
        help="raise the version in a commit: major, minor, patch, alpha, beta, rc, stable, or X.Y.Z",
    )
    tag.add_argument(
        "--remote", default="origin", metavar="NAME", help="the git remote to push to (default: %(default)s)"
    )
    tag.add_argument(
        "--branch",
        metavar="NAME",
        help="the branch that releases are made on (default: the remote's default branch)",
    )
    tag.add_argument("--dry-run", action="store_true", help="check everything and change nothing")
    tag.add_argument(
        "--check",
        action="store_true",
        help="print the tag of the release that is checked out, if it is one",
    )
    add_json(tag, "print tag, version, commit and changelog as JSON")
    tag.set_defaults(run=_tag)

    changelog = commands.add_parser(
        "changelog",
        help="draft the next section of CHANGELOG.md from the commits since the last tag",
        epilog="example: tagboat changelog --write && git commit -m 'Changelog' CHANGELOG.md",
    )
    add_component(changelog)
    changelog.add_argument(
        "--write", action="store_true", help="put it into CHANGELOG.md, to be edited there"
    )
    add_json(changelog, "print the draft and its version as JSON")
    changelog.set_defaults(run=_changelog)

    ci = commands.add_parser(
        "ci",
        help="write the pipeline that tests, builds and deploys a release without stored keys",
        epilog="example: tagboat ci github examples/site",
    )
    ci.add_argument("system", nargs="?", choices=("github", "gitlab"), help="which CI it is for")
    add_component(ci)
    ci.add_argument(
        "--check",
        action="store_true",
        help="write nothing; print what differs, in every pipeline that is there, and then end with 1",
    )
    add_json(ci, "print the files, and what differs, as JSON")
    ci.set_defaults(run=_ci)


def _tag(options: argparse.Namespace) -> int:
    from tagboat.component import Component
    from tagboat.plan import plan_release
    from tagboat.tag import create_release_tag, require_release

    component = Component.load(options.component)
    if options.check:
        release = require_release(component)
        print(json.dumps({"tag": release.name, "commit": release.commit}) if options.json else release.name)
        return 0
    plan = plan_release(component, remote=options.remote, branch=options.branch, step=options.bump)
    commit = plan.commit if options.dry_run else create_release_tag(plan).commit
    if options.dry_run:
        for line in _intent(plan):
            say(line)
    else:
        say(f"{plan.tag} is on {commit[:12]} and pushed to {plan.remote}")
        say(f"`git push {plan.remote} --delete {plan.tag} && git tag --delete {plan.tag}` takes it back")
    print(json.dumps(_report(plan, commit, pushed=not options.dry_run)) if options.json else plan.tag)
    return 0


def _intent(plan: Plan) -> list[str]:
    """What would be done, in words."""
    files = ", ".join(str(file.relative_to(plan.tree.root)) for file in plan.edits)
    where = "that commit" if files else plan.commit[:12]
    return [
        *([f"would commit {files}, and push that to {plan.remote}/{plan.branch}"] if files else []),
        f"would {'sign' if plan.signed else 'create'} {plan.tag} on {where} and push it to {plan.remote}:",
        *(f"  {line}".rstrip() for line in plan.message.splitlines()),
    ]


def _report(plan: Plan, commit: str, *, pushed: bool) -> dict[str, object]:
    subject, _, body = plan.message.partition("\n\n")
    return {
        "tag": plan.tag,
        "version": plan.version,
        "previous": plan.previous,
        "commit": commit,
        "branch": plan.branch,
        "remote": plan.remote,
        "signed": plan.signed,
        "pushed": pushed,
        "subject": subject,
        "changelog": body.strip(),
    }


def _changelog(options: argparse.Namespace) -> int:
    from tagboat.changelog import FILE_NAME, with_section
    from tagboat.component import Component
    from tagboat.draft import draft_changelog

    component = Component.load(options.component)
    drafted = draft_changelog(component)
    file = component.directory / FILE_NAME
    today = datetime.now(UTC).date()
    since = f"since {drafted.since}" if drafted.since else "so far"
    if not drafted.body:
        say(f"no commit {since} touches {component.name}")
        if options.json:
            print(json.dumps(asdict(drafted)))
        return 1
    noun, verb = ("commit", "touches") if drafted.commits == 1 else ("commits", "touch")
    say(f"{drafted.commits} {noun} {since} {verb} {component.name}")
    if options.write:
        text = file.read_text(encoding="utf-8") if file.exists() else None
        file.write_text(with_section(text, drafted.version, drafted.body, today), encoding="utf-8")
        what = drafted.version or "what is not released yet"
        say(f"{file} has a section for {what}: edit it, then commit it")
    if options.json:
        print(json.dumps(asdict(drafted)))
    elif not options.write:
        print(with_section("", drafted.version, drafted.body, today).strip())
    return 0


def _ci(options: argparse.Namespace) -> int:
    from tagboat.ci import SYSTEMS, Pipeline
    from tagboat.component import Component
    from tagboat.errors import ConfigError

    component = Component.load(options.component)
    if options.check:
        pipelines = [Pipeline.of(component, name) for name in SYSTEMS if options.system in (None, name)]
        looked_at = [pipeline for pipeline in pipelines if pipeline.is_there or options.system]
        if not looked_at:
            raise ConfigError(f"{component.name} has no pipeline yet", hint="`tagboat ci github` writes one")
        differences = {str(pipeline.file): pipeline.difference() for pipeline in looked_at}
        if options.json:
            print(json.dumps([{"file": name, "difference": text} for name, text in differences.items()]))
        else:
            sys.stdout.write("".join(differences.values()))
        return 1 if any(differences.values()) else 0
    if options.system is None:
        raise ConfigError("which CI is it for?", hint="`tagboat ci github` or `tagboat ci gitlab`")
    pipeline = Pipeline.of(component, options.system)
    changed = bool(pipeline.difference())
    if changed:
        pipeline.write()
    say(f"{pipeline.file} {'is written' if changed else 'was current'}{pipeline.note()}")
    print(json.dumps({"file": str(pipeline.file), "written": changed}) if options.json else pipeline.file)
    return 0
