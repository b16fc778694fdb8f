"""What is there, read; what should be there, made; what was made, taken away. The decisions are `plan`'s."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from tagboat.aws.account import Account, SilentError
from tagboat.aws.kinds import KINDS
from tagboat.aws.kinds.budgets import Budget, obstacle
from tagboat.aws.kinds.secrets import how_to_make
from tagboat.aws.plan import Change, Waits, changed_settings, decide, differences, foreign_owner
from tagboat.aws.resource import Found, Resource, Unknown, refs, resolved
from tagboat.cloud import CloudError, pauses

_READERS = 16
_SEEN = 60.0  # seconds within which what was made is to be seen: AWS is not always of one mind
_MARK = {"create": "+", "update": "~"}


def read(account: Account, resources: Sequence[Resource], *, silent: bool = False) -> dict[str, Found | None]:
    """What is there of each resource, by its key. With `silent`, nothing is there on a homeport that does not
    answer. Raises CloudError.
    """
    found: dict[str, Found | None] = {}
    _ = account.id  # once, before threads ask for it
    with ThreadPoolExecutor(_READERS) as pool:

        def look(some: Iterable[Resource]) -> None:
            asked = [(one, pool.submit(_read_one, account, one, found, silent=silent)) for one in some]
            try:
                found.update({one.key: answer.result() for one, answer in asked})
            finally:
                for _, answer in asked:
                    answer.cancel()

        look(one for one in resources if not _needs_others(one))
        look(one for one in resources if _needs_others(one))
    return found


def require_given(resources: Sequence[Resource], found: Mapping[str, Found | None]) -> None:
    """Raises CloudError that names all that others have to make and is not there, and how they do; on a
    homeport that did not answer nothing is missed.
    """
    answered = {one.port for one in resources if not one.given and found.get(one.key) is not None} | {None}
    given = [one for one in resources if one.given and one.port in answered]
    missing = [one for one in given if found.get(one.key) is None]
    if missing:
        names = ", ".join(f"{one.kind} {one.name}" for one in missing)
        raise CloudError(
            f"{names}: not there, and the service needs {'it' if len(missing) == 1 else 'them'}",
            hint="; ".join(map(how_to_make, missing)),
        )
    for one in given:
        for difference in decide(one, found).differences:
            raise CloudError(
                f"{one.kind} {one.name} is encrypted by {difference.before}: the service could not read it",
                hint="secrets-key of the target names the key, by its ARN",
            )


def held(
    account: Account, resources: Sequence[Resource], found: Mapping[str, Found | None]
) -> dict[str, str]:
    """By key, what AWS would not take yet, with the reason and what to do. Raises CloudError."""
    reasons: dict[str, str] = {}
    for one in resources:
        if one.kind != Budget.name or decide(one, found).action not in _MARK:
            continue
        reason = obstacle(account, one)
        if reason is not None:
            reasons[one.key] = f"{reason}; {reason.hint}"
    return reasons


@dataclass(frozen=True, slots=True)
class Applied:
    """How many resources were made and changed, which wait, and which somebody else has to make."""

    created: int
    updated: int
    waiting: tuple[Change, ...]
    asked: tuple[Change, ...]
    found: Mapping[str, Found | None]


def apply(
    account: Account,
    resources: Sequence[Resource],
    *,
    released: bool,
    adopted: frozenset[str] = frozenset(),
    progress: Callable[[str], None],
) -> Applied:
    """Make `resources`, in order, what they should be.

    It begins with what is there, so it may be cut short at any point and run again. Nothing is touched when
    something of it belongs to somebody else. Raises CloudError.
    """
    try:
        found = read(account, resources)
    except SilentError:  # it may be that what leads to it is missing; it is waited for when its turn comes
        found = read(account, resources, silent=True)
    require_given(resources, found)
    _require_own(resources, found, adopted)
    late = {one.key for one in resources if one.asked and not _known(one, found)}
    waits = Waits(released, held(account, resources, found))
    count = {"create": 0, "update": 0}
    left: list[Change] = []
    for resource in resources:
        if resource.key in late and not waits.reason(resource):
            found[resource.key] = _read_one(account, resource, found)  # now that it is known what it is
        change = waits.change(resource, found, adopted=resource.key in adopted)
        if change.action in ("wait", "ask"):
            left.append(change)
        elif change.action in _MARK:
            progress(f"{_MARK[change.action]} {resource.kind} {resource.name}")
            _bring_about(account, resource, found, progress)
            count[change.action] += 1
    waiting = tuple(change for change in left if change.action == "wait")
    asked = tuple(change for change in left if change.action == "ask")
    return Applied(count["create"], count["update"], waiting, asked, found)


@dataclass(frozen=True, slots=True)
class Removal:
    """What `destroy` takes away, in order, and what it keeps, with the reason."""

    removed: tuple[Resource, ...]
    kept: tuple[tuple[Resource, str], ...]


def plan_removal(
    resources: Sequence[Resource],
    found: Mapping[str, Found | None],
    *,
    data: frozenset[str],
    content: bool,
) -> Removal:
    """What may go: what is ours and holds nothing that would be lost.

    What holds data goes only if its name is in `data`, and with anything in it only if `content` too. What a
    thing that stays needs, and what is part of it, stays with it.
    """
    removed: list[Resource] = []
    kept: dict[str, tuple[Resource, str]] = {}
    for resource in reversed(resources):
        there = found.get(resource.key)
        if there is None or resource.given:
            continue
        reason = "it is taken away where its DNS is kept" if resource.asked else None
        reason = reason or _reason_to_keep(resource, there, named=resource.name in data, content=content)
        needing = next((one for one, _ in kept.values() if resource.key in one.needs and not one.asked), None)
        if reason is None and needing is not None:
            reason = f"{needing.kind} {needing.name} needs it"
        if reason is not None:
            kept[resource.key] = (resource, reason)
        else:
            removed.append(resource)
    for resource in [one for one in removed if one.part_of in kept]:
        removed.remove(resource)
        kept[resource.key] = (resource, f"it is part of {resource.part_of}")
    return Removal(tuple(removed), tuple(kept.values()))


def remove(
    account: Account,
    removal: Removal,
    found: Mapping[str, Found | None],
    progress: Callable[[str], None],
) -> None:
    """Take away what is to go. It may be cut short and run again. Raises CloudError."""
    for resource in removal.removed:
        there = found[resource.key]
        if there is not None:
            progress(f"- {resource.kind} {resource.name}")
            where = _where(account, resource, found)
            if where is not None:
                KINDS[resource.kind].delete(where, _resolved(resource, found), there)


def _read_one(
    account: Account, resource: Resource, found: Mapping[str, Found | None], *, silent: bool = False
) -> Found | None:
    where = _where(account, resource, found)
    if where is None:
        return None
    try:
        return KINDS[resource.kind].read(where, _resolved(resource, found))
    except SilentError as error:
        if resource.port is None:
            raise
        if silent:
            return None
        raise SilentError(
            f"homeport at {resource.port.url} does not answer: {error}",
            hint="a machine that is new takes some minutes, and its name's record as long as DNS does; "
            "`tagboat apply` waits for it",
        ) from error


def _where(account: Account, resource: Resource, found: Mapping[str, Found | None]) -> Account | None:
    """Where the resource is made and read; None where that is not there yet."""
    if resource.port is None:
        return account
    return account.on(resource.port) if found.get(resource.port.machine) is not None else None


def _resolved(resource: Resource, found: Mapping[str, Found | None]) -> Resource:
    return replace(resource, settings=resolved(resource.settings, found))


def _known(resource: Resource, found: Mapping[str, Found | None]) -> bool:
    return not any(isinstance(resolved(ref, found), Unknown) for ref in refs(resource.settings))


def _needs_others(resource: Resource) -> bool:
    identity = KINDS[resource.kind].identified_by
    return resource.port is not None or any(
        True for _ in refs([resource.settings.get(name) for name in identity])
    )


def _require_own(
    resources: Sequence[Resource], found: Mapping[str, Found | None], adopted: frozenset[str]
) -> None:
    for resource in resources:
        there = found.get(resource.key)
        owner = foreign_owner(resource, there) if there is not None else None
        if owner is not None and resource.key not in adopted:
            raise CloudError(
                f"{resource.kind} {resource.name} is there and belongs to {owner}: nothing is changed",
                hint=f"`--adopt {resource.key}` takes it over; `name` in tool.tagboat.targets gives ours "
                "another name",
            )


def _bring_about(
    account: Account,
    resource: Resource,
    found: dict[str, Found | None],
    progress: Callable[[str], None],
) -> None:
    """Make or change one resource, and note in `found` what it is then."""
    kind, where = KINDS[resource.kind], account
    if resource.port is not None:
        account.wait_for(resource.port, progress)
        where = account.on(resource.port) or account
        found[resource.key] = _read_one(account, resource, found)
    if found.get(resource.key) is None:
        kind.create(where, _resolved(resource, found))
        found[resource.key] = _seen(account, resource, found)
    changed = changed_settings(list(differences(resource, found[resource.key], found)))
    there = found[resource.key]
    if changed and there is not None:
        kind.update(where, _resolved(resource, found), there, changed)
        found[resource.key] = _seen(account, resource, found)


def _seen(account: Account, resource: Resource, found: Mapping[str, Found | None]) -> Found:
    """What was made, as soon as AWS shows it."""
    deadline = time.monotonic() + _SEEN
    for pause in pauses():
        there = _read_one(account, resource, found)
        if there is not None:
            return there
        if time.monotonic() > deadline:
            break
        time.sleep(pause)
    raise CloudError(
        f"{resource.kind} {resource.name} was made and is not to be seen", hint="run the same again to go on"
    )


def _reason_to_keep(resource: Resource, there: Found, *, named: bool, content: bool) -> str | None:
    owner = foreign_owner(resource, there)
    if owner is not None:
        return f"it belongs to {owner}"
    if resource.shared and there.holds is not None and not (resource.data and named and content):
        return f"it holds {there.holds}"
    if not resource.data:
        return None
    if not named:
        return f"it holds data; --delete-data {resource.name} takes it away"
    if there.holds is not None and not content:
        return f"it is not empty ({there.holds}); --with-content takes that away too"
    return None
