"""The difference between what should be there and what is, as a value. Nothing here calls anybody."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from tagboat.aws.resource import COMPONENT_TAG, TARGET_TAG, Found, Resource, Unknown, resolved

Action = Literal["create", "update", "keep", "wait", "foreign", "ask"]
_MARKS: dict[Action, str] = {
    "create": "+", "update": "~", "keep": "=", "wait": ".", "foreign": "!", "ask": ">",
}  # fmt: skip
RELEASE = "the first release"
RECORDS = "records in the DNS"
BILLING = "its tag to be active for billing"
_PRIVATE = "environment"  # settings whose values may be secrets: told by name alone
_WIDTH = 100  # characters of a value that are shown
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Difference:
    """One setting that is not as it should be; `path` has a dot for each level."""

    path: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Change:
    """What is to happen to one resource, and why.

    `wait`: it needs an image, or records that somebody else makes, or something that does, or a tag that
    counts for bills; `reason` says which. `foreign`: it is there and belongs to somebody else. `ask`: it is
    changed by hand, or by `cutover`.
    """

    resource: Resource
    action: Action
    differences: tuple[Difference, ...] = ()
    owner: str | None = None
    reason: str | None = None
    notes: tuple[str, ...] = ()  # what only its owner can bring about


@dataclass(frozen=True, slots=True)
class Plan:
    """All changes, in the order in which they can be made."""

    changes: tuple[Change, ...]

    @property
    def pending(self) -> tuple[Change, ...]:
        """Those that `apply` would make."""
        return tuple(change for change in self.changes if change.action in ("create", "update"))

    @property
    def foreign(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.action == "foreign")

    @property
    def asked(self) -> tuple[Change, ...]:
        """Those that somebody else has to make."""
        return tuple(change for change in self.changes if change.action == "ask")

    def count(self, action: Action) -> int:
        return sum(change.action == action for change in self.changes)


def make_plan(
    resources: Sequence[Resource],
    found: Mapping[str, Found | None],
    *,
    released: bool,
    adopted: frozenset[str] = frozenset(),
    held: Mapping[str, str] | None = None,
) -> Plan:
    """Compare `resources`, in order, with what was `found`; `adopted` are keys of things to take over, and
    `held` says by key what AWS would not take yet, and why.
    """
    waits = Waits(released, held)
    return Plan(tuple(waits.change(one, found, adopted=one.key in adopted) for one in resources))


class Waits:
    """What cannot be made yet, and why, as it is noted in order."""

    def __init__(self, released: bool, held: Mapping[str, str] | None = None) -> None:
        self._released = released
        self._held = held or {}
        self._reasons: dict[str, str] = {}

    def change(
        self, resource: Resource, found: Mapping[str, Found | None], *, adopted: bool = False
    ) -> Change:
        """What is to happen to the next one."""
        change = decide(resource, found, reason=self.reason(resource), adopted=adopted)
        if change.reason == BILLING:
            change = replace(change, notes=(*change.notes, self._held[resource.key]))
        self._note(change)
        return change

    def reason(self, resource: Resource) -> str | None:
        """Why it cannot be made yet: RELEASE, RECORDS or BILLING; None where it can."""
        if resource.key in self._held:
            return BILLING
        if resource.released and not self._released:
            return RELEASE
        reasons = {self._reasons[need] for need in resource.needs if need in self._reasons}
        return RELEASE if RELEASE in reasons else next(iter(reasons), None)

    def _note(self, change: Change) -> None:
        """What needs this one waits with it."""
        if change.action == "wait" and change.reason:
            self._reasons[change.resource.key] = change.reason
        elif change.action == "ask":
            self._reasons[change.resource.key] = RECORDS


def decide(
    resource: Resource,
    found: Mapping[str, Found | None],
    *,
    reason: str | None = None,
    adopted: bool = False,
) -> Change:
    """What is to happen to one resource. `reason`: why it cannot be made yet; `adopted`: whoever owns it."""
    there = found.get(resource.key)
    if there is None:
        if reason is not None:
            return Change(resource, "wait", reason=reason)
        action: Action = "ask" if resource.asked else "create"
        return Change(resource, action, tuple(differences(resource, None, found)))
    owner = None if adopted else foreign_owner(resource, there)
    if owner is not None:
        return Change(resource, "foreign", owner=owner)
    changed = tuple(differences(resource, there, found))
    if changed and reason is not None and (reason != RELEASE or resource.asked):
        return Change(resource, "wait", reason=reason, notes=there.notes)
    if changed and (resource.asked or resource.visited):
        return Change(resource, "ask", changed)
    return Change(resource, "update" if changed else "keep", changed, notes=there.notes)


def foreign_owner(resource: Resource, there: Found) -> str | None:
    """Who owns what is there, if not this component and target: their tags, or "nobody"."""
    if there.tags is None or resource.shared:
        return None
    names = [name for name in (COMPONENT_TAG, TARGET_TAG) if name in resource.tags]
    if all(there.tags.get(name) == resource.tags[name] for name in names):
        return None
    said = [f"{name}={there.tags[name]}" for name in names if name in there.tags]
    return ", ".join(said) or "nobody"


def differences(
    resource: Resource, there: Found | None, found: Mapping[str, Found | None]
) -> Iterator[Difference]:
    """Each setting that is not as it should be. Settings that the resource does not name are left alone."""
    before: dict[str, Any] = dict(there.settings) if there else {}
    wanted = resolved(resource.settings, found)
    for name, value in wanted.items():
        yield from _compared(name, before.get(name, _ABSENT), value)
    if there is not None and there.tags is not None and not resource.shared:
        for tag, text in resource.tags.items():
            if there.tags.get(tag) != text:
                yield Difference(f"tags.{tag}", _shown("", there.tags.get(tag, _ABSENT)), _shown("", text))


def changed_settings(changes: Sequence[Difference]) -> frozenset[str]:
    """The names of the settings, at the top level, in which there are differences."""
    return frozenset(difference.path.partition(".")[0] for difference in changes)


def rendered(plan: Plan, *, all_kept: bool = False) -> list[str]:
    """The plan as lines: `+` is made, `~` changed, `.` waits, `!` is somebody else's, `>` asked for, `?` left
    to its owner.
    """
    lines: list[str] = []
    for change in plan.changes:
        lines += [f"? {change.resource.kind} {change.resource.name}: {note}" for note in change.notes]
        if change.action == "keep" and not all_kept:
            continue
        said = f"{_MARKS[change.action]} {change.resource.kind} {change.resource.name}"
        if change.action == "foreign":
            said += f"  (is there and belongs to {change.owner}; --adopt {change.resource.key} takes it over)"
        if change.action == "wait":
            said += f"  (waits for {change.reason})"
        if change.action == "ask" and change.resource.visited:
            said += f"  (leads elsewhere: `tagboat cutover {change.resource.settings['host']}` moves it)"
        elif change.action == "ask":
            said += "  (made by hand, where its DNS is kept)"
        lines.append(said)
        for difference in change.differences:
            arrow = "" if change.action == "create" else f"{difference.before} -> "
            lines.append(f"    {difference.path}: {arrow}{difference.after}")
    return lines


def summary(plan: Plan) -> str:
    """One line: how many of what."""
    parts = [
        f"{plan.count('create')} to create",
        f"{plan.count('update')} to change",
        f"{plan.count('keep')} as they should be",
    ]
    for reason in (RELEASE, RECORDS, BILLING):
        waiting = sum(change.reason == reason for change in plan.changes)
        if waiting:
            parts.append(f"{waiting} waiting for {reason}")
    if plan.asked:
        parts.append(f"{len(plan.asked)} to be made in the DNS")
    if plan.foreign:
        parts.append(f"{plan.count('foreign')} belonging to somebody else")
    return ", ".join(parts)


def to_json(plan: Plan) -> list[dict[str, Any]]:
    """A list with an object a change, as `tagboat plan --json` prints it."""
    return [
        {
            "kind": change.resource.kind,
            "name": change.resource.name,
            "action": change.action,
            **({"owner": change.owner} if change.owner else {}),
            **({"reason": change.reason} if change.reason else {}),
            **({"notes": list(change.notes)} if change.notes else {}),
            "differences": [
                {"path": one.path, "before": one.before, "after": one.after} for one in change.differences
            ],
        }
        for change in plan.changes
    ]


def _compared(path: str, before: Any, after: Any) -> Iterator[Difference]:
    if isinstance(after, Mapping) and (before is _ABSENT or isinstance(before, Mapping)):
        there = before if isinstance(before, Mapping) else {}
        for name in [*after, *(name for name in there if name not in after)]:
            yield from _compared(f"{path}.{name}", there.get(name, _ABSENT), after.get(name, _ABSENT))
        if not after and before is _ABSENT:
            yield Difference(path, _shown(path, _ABSENT), "{}")
    elif isinstance(before, list) and isinstance(after, list) and before != after:
        yield from _compared_lists(path, before, after)
    elif before is _ABSENT or after is _ABSENT or before != after:
        yield Difference(path, _shown(path, before), _shown(path, after))


def _compared_lists(path: str, before: list[Any], after: list[Any]) -> Iterator[Difference]:
    """Item by item where they are tables, such as the statements of a policy; otherwise just what differs."""
    if len(before) == len(after) and all(isinstance(one, Mapping) for one in [*before, *after]):
        for number, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _compared(f"{path}.{number}", old, new)
        return
    gone = [one for one in before if one not in after]
    come = [one for one in after if one not in before]
    if gone or come:
        yield Difference(path, _shown(path, gone), _shown(path, come))
    else:  # the same in another order
        yield Difference(path, _shown(path, before), _shown(path, after))


def _shown(path: str, value: Any) -> str:
    if value is _ABSENT:
        return "(none)"
    if path.partition(".")[0] == _PRIVATE:
        return "(not shown)"
    text = str(value) if isinstance(value, Unknown) else json.dumps(value, default=str, sort_keys=True)
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH]}…"
