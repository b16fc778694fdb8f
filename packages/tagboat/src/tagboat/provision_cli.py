"""`tagboat plan`, `apply`, `drift`, `destroy` and `export`: what a target needs on AWS."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tagboat.arguments import add_common, add_component, add_target
from tagboat.terminal import say

if TYPE_CHECKING:
    from tagboat.arguments import Commands
    from tagboat.aws.apply import Removal
    from tagboat.forge import Project
    from tagboat.targets.place import Place

# As in cli.py, what a command needs is imported when it runs.
# ruff: noqa: PLC0415

DIFFERS = 2  # the exit code of `plan` and `drift` where something is not as it should be


def add_provision_commands(commands: Commands) -> None:
    """Add the commands about what a target needs."""
    plan = commands.add_parser(
        "plan",
        help="what a target needs on AWS, beside what is there; exit code 2 when they differ",
        epilog="example: tagboat plan --target production examples/site",
    )
    add_common(plan)
    plan.add_argument("--all", action="store_true", help="show what is as it should be, too")
    _add_adopt(plan)
    plan.set_defaults(run=_plan)

    apply = commands.add_parser(
        "apply",
        help="make and change what a target needs; a second time changes nothing",
        epilog="example: tagboat apply --target production examples/site",
    )
    add_common(apply)
    _add_adopt(apply)
    _add_data(apply)
    apply.set_defaults(run=_apply)

    drift = commands.add_parser(
        "drift",
        help="what has been changed or made beside the configuration; exit code 2 when anything has",
        epilog="example: tagboat drift --target production examples/site",
    )
    add_common(drift)
    drift.set_defaults(run=_drift)

    destroy = commands.add_parser(
        "destroy",
        help="take away what a target needed, but not data",
        epilog="example: tagboat destroy --target staging --yes examples/site",
    )
    add_common(destroy)
    destroy.add_argument("--yes", action="store_true", help="do it; without this it says what would go")
    _add_data(destroy)
    destroy.set_defaults(run=_destroy)

    export = commands.add_parser(
        "export",
        help="what a target needs, for others to make",
        epilog="example: tagboat export cloudformation --target production examples/site >stack.json",
    )
    export.add_argument(
        "form",
        choices=("cloudformation", "cloud-init", "zone"),
        help="a template with the whole stack, the user data that makes a fresh Debian a homeport, or what "
        "the DNS lacks, as lines of a zone file",
    )
    add_component(export)
    add_target(export)
    export.set_defaults(run=_export)


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--delete-data",
        action="append",
        default=[],
        metavar="NAME",
        help="this bucket, repository or machine too, if it is empty",
    )
    parser.add_argument(
        "--with-content", action="store_true", help="what --delete-data names also if it is not empty"
    )


def _add_adopt(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--adopt",
        action="append",
        default=[],
        metavar="KIND/NAME",
        help="take over this one, which is there and nobody's or somebody else's",
    )


def _plan(options: argparse.Namespace) -> int:
    from tagboat.aws.apply import held, read, require_given
    from tagboat.aws.plan import make_plan, rendered, summary, to_json
    from tagboat.component import Component
    from tagboat.targets.records import wanted_records
    from tagboat.targets.remnants import remnants
    from tagboat.targets.target import Stack

    stack = Stack.of(Component.load(options.component), options.target)
    found = read(stack.account, stack.resources)
    require_given(stack.resources, found)
    not_yet = held(stack.account, stack.resources, found)
    plan = make_plan(
        stack.resources,
        found,
        released=stack.released(),
        adopted=frozenset(options.adopt),
        held=not_yet,
    )
    waits = any(change.action in ("wait", "ask") for change in plan.changes)
    removal = remnants(stack, found).removal(data=frozenset(), content=False, waits=waits)
    if options.json:
        wanted = wanted_records(plan.asked, found).by_resource
        changes = [one | wanted.get(f"{one['kind']}/{one['name']}", {}) for one in to_json(plan)]
        print(json.dumps([*changes, *_removal_json(removal)], indent=2))
    else:
        for line in [*rendered(plan, all_kept=options.all), *wanted_records(plan.asked, found).lines()]:
            print(line)
        for line in _removal_lines(removal):
            print(line)
        gone = f", {len(removal.removed)} to remove" if removal.removed else ""
        say(f"{stack.place.target.key} in {stack.account.region}: {summary(plan)}{gone}")
    if plan.foreign:
        return 1
    return DIFFERS if plan.pending or plan.asked or not_yet or removal.removed else 0


def _removal_lines(removal: Removal) -> Iterator[str]:
    """What the configuration does not name any more: what goes, and what stays."""
    for resource in removal.removed:
        yield f"- {resource.kind} {resource.name}  (not in the configuration any more)"
    for resource, reason in removal.kept:
        yield f"= {resource.kind} {resource.name}  (not in the configuration any more; stays: {reason})"


def _removal_json(removal: Removal) -> Iterator[dict[str, Any]]:
    for resource in removal.removed:
        yield {"kind": resource.kind, "name": resource.name, "action": "remove", "differences": []}
    for resource, reason in removal.kept:
        yield {
            "kind": resource.kind,
            "name": resource.name,
            "action": "stay",
            "reason": reason,
            "differences": [],
        }


def _apply(options: argparse.Namespace) -> int:
    from tagboat.aws.apply import apply, remove
    from tagboat.aws.plan import BILLING, RECORDS, RELEASE
    from tagboat.component import Component
    from tagboat.targets.records import wanted_records
    from tagboat.targets.remnants import remnants
    from tagboat.targets.target import Stack

    stack = Stack.of(Component.load(options.component), options.target)
    done = apply(
        stack.account,
        stack.resources,
        released=stack.released(),
        adopted=frozenset(options.adopt),
        progress=say,
    )
    waiting = {reason: sum(one.reason == reason for one in done.waiting) for reason in (RELEASE, RECORDS)}
    left = remnants(stack, done.found)
    data = frozenset(options.delete_data)
    removal = left.removal(data=data, content=options.with_content, waits=bool(done.waiting or done.asked))
    remove(stack.account, removal, left.found, say)
    wanted = wanted_records(done.asked, done.found)
    said = {
        "created": done.created,
        "changed": done.updated,
        "removed": [resource.key for resource in removal.removed],
        "kept": {resource.key: reason for resource, reason in removal.kept},
        "waiting": [change.resource.key for change in done.waiting],
        "records": wanted.to_json(),
    }
    if options.json:
        print(json.dumps(said))
    else:
        removed = f", {len(removal.removed)} removed" if removal.removed else ""
        print(f"{done.created} created, {done.updated} changed{removed}")
        for resource, reason in removal.kept:
            say(f"{resource.kind} {resource.name} is not in the configuration any more and stays: {reason}")
        for line in wanted.lines():
            print(line)
    if stack.place.project is not None:
        say(_ci_variables(stack.place, stack.place.project[1]))
    if waiting[RELEASE]:
        say(f"{waiting[RELEASE]} wait for the first release: `tagboat deploy` makes them")
    without = [change for change in done.waiting if change.reason == BILLING]
    for change in without:
        for note in change.notes:
            say(f"{change.resource.kind} {change.resource.name} is not made: {note}")
    wanted.require_none(waiting[RECORDS])
    return 1 if without else 0


def _ci_variables(place: Place, project: Project) -> str:
    """What the CI system has to be told for its jobs to get the release role."""
    role = place.role_arn(f"{place.name}-release")
    environment = place.component.config.ci.environment
    variables = f"AWS_ROLE_ARN={role} and AWS_REGION={place.region}"
    return f"releases from {project.path}: set {variables} in its environment {environment}"


def _drift(options: argparse.Namespace) -> int:
    from tagboat.aws.apply import held, read
    from tagboat.aws.plan import Plan, make_plan, rendered, to_json
    from tagboat.component import Component
    from tagboat.targets.remnants import remnants
    from tagboat.targets.target import Stack

    stack = Stack.of(Component.load(options.component), options.target)
    found = read(stack.account, stack.resources)
    not_yet = held(stack.account, stack.resources, found)
    plan = make_plan(stack.resources, found, released=stack.released(), held=not_yet)
    drifted = Plan(
        tuple(change for change in plan.changes if change.action not in ("keep", "wait") or change.notes)
    )
    left = remnants(stack, found)
    named = [(left.found[one.key], one) for one in left.resources]
    unknown = sorted(
        [*left.unknown, *((there and there.attributes.get("arn")) or one.key for there, one in named)]
    )
    if options.json:
        print(json.dumps({"drift": to_json(drifted), "strays": unknown}, indent=2))
    else:
        for line in rendered(drifted):
            print(line)
        for arn in unknown:
            print(f"? {arn}  (tagged as this target's, and not in its configuration)")
        if not drifted.changes and not unknown:
            say("all is as the configuration says")
    return DIFFERS if drifted.changes or unknown else 0


def _destroy(options: argparse.Namespace) -> int:
    from tagboat.aws.apply import plan_removal, read, remove
    from tagboat.component import Component
    from tagboat.targets.remnants import remnants
    from tagboat.targets.target import Stack

    stack = Stack.of(Component.load(options.component), options.target)
    found = read(stack.account, stack.resources, silent=True)
    left = remnants(stack, found)
    holding = {one.name for one in stack.resources if one.data} | left.names_of_data()
    unknown = set(options.delete_data) - holding
    if unknown:
        say(f"--delete-data {', '.join(sorted(unknown))}: the target has no such bucket, repository, machine")
        return 2
    data, content = frozenset(options.delete_data), options.with_content
    removal = plan_removal(stack.resources, found, data=data, content=content)
    others = left.removal(data=data, content=content, waits=False)
    if options.yes:
        remove(stack.account, removal, found, say)
        remove(stack.account, others, left.found, say)
    going, staying = [*removal.removed, *others.removed], [*removal.kept, *others.kept]
    gone = [resource.key for resource in going]
    if options.json:
        kept = {resource.key: reason for resource, reason in staying}
        print(json.dumps({"done": options.yes, "removed": gone, "kept": kept}, indent=2))
        return 0 if options.yes or not gone else DIFFERS
    for resource in going:
        if not options.yes:
            print(f"- {resource.kind} {resource.name}")
    for resource, reason in staying:
        print(f"= {resource.kind} {resource.name}  (stays: {reason})")
    if options.yes:
        print(f"{len(gone)} removed, {len(staying)} kept")
        return 0
    say(f"{len(gone)} would go: --yes does it")
    return DIFFERS if gone else 0


def _export(options: argparse.Namespace) -> int:
    if options.form == "cloud-init":
        print(_cloud_init(options), end="")
        return 0
    from tagboat.component import Component
    from tagboat.targets.target import Stack, exported

    if options.form == "zone":
        from tagboat.aws.apply import read
        from tagboat.aws.plan import make_plan
        from tagboat.dns.record import zone_file
        from tagboat.targets.records import wanted_records

        stack = Stack.of(Component.load(options.component), options.target)
        found = read(stack.account, stack.resources)
        plan = make_plan(stack.resources, found, released=stack.released())
        for line in zone_file(wanted_records(plan.asked, found).records):
            print(line)
        return 0
    print(json.dumps(exported(Component.load(options.component), options.target), indent=2))
    return 0


def _cloud_init(options: argparse.Namespace) -> str:
    """The user data of a target's machine; without a target those that suit any machine."""
    from tagboat.aws.account import Account
    from tagboat.component import Component
    from tagboat.errors import ConfigError
    from tagboat.targets.place import Place
    from tagboat.targets.target import named_target
    from tagboat.targets.vm import user_data

    if options.target is None:
        return user_data()
    component = Component.load(options.component)
    target = named_target(component, options.target)
    if target.kind != "vm" or not target.domain:
        raise ConfigError(f"target {target.key} is no machine with a domain", hint='kind = "vm"')
    return user_data(Place(component, target, "", Account(target.region).region))
