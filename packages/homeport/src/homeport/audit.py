"""The audit trail: who called what, when, from where, and how it ended. In bucketlog, a database a month.

Calls that change something are written within a second, those that only read within ten minutes, and of the
latter equal ones are one entry with their number: so a client that polls costs next to nothing. What is not
written yet is lost when the process is killed. Values of requests are never kept, for they may be secrets.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import bucketlog
from bucketlog import BucketlogError
from homeport.command import off_loop
from homeport.schema import attribute

FOLDER: Final = "audit"  # of a data directory
UNKNOWN: Final = "unknown"
OK: Final = "OK"

_log: Final = logging.getLogger("homeport")
_SOON: Final = 0.2  # seconds in which changes gather
_LATER: Final = 600.0  # seconds after which reads are written that nothing else took along
_MONTHS: Final = 13  # that are kept
_MOST: Final = 10_000  # entries that wait in memory while they cannot be written
_READS: Final = ("BatchCheck", "BatchGet", "Describe", "Filter", "Get", "Head", "List")

_GIVES_ACCESS: Final = "GetAuthorizationToken"
_LONGEST: Final = 200  # characters of what a call is about
_ATTRIBUTES: Final = {
    "at": "instant",
    "who": "string",
    "operation": "string",
    "about": "string",
    "from": "string",
    "result": "string",
    "count": "long",
}
_SCHEMA: Final = [attribute(f"call/{name}", kind, indexed=name == "at") for name, kind in _ATTRIBUTES.items()]
_FIELDS: Final = [("source" if name == "from" else name, name) for name in _ATTRIBUTES]
_QUERY: Final = "[:find [(pull ?call [*]) ...] :in $ ?since :where [?call :call/at ?at] [(>= ?at ?since)]]"


@dataclass(frozen=True, slots=True)
class Call:
    """One call, or `count` equal ones of which the first was `at`.

    `who` is `root`, `service/NAME` or `unknown`; `operation` as in `apprunner:CreateService`; `about` what
    the request names; `source` an address; `result` is `OK` or the error's code.
    """

    at: datetime
    who: str
    operation: str
    about: str
    source: str
    result: str
    count: int = 1

    @property
    def reads(self) -> bool:
        """Whether it changes nothing, whatever came of it; so does what nobody known has asked for."""
        name = self.operation.partition(":")[2]
        return self.who == UNKNOWN or (name.startswith(_READS) and name != _GIVES_ACCESS)


class Trail:
    """The audit trail in a folder. To be used from one event loop; `note` never waits."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self.counts: Counter[tuple[str, str]] = Counter()  # calls since the start, by operation and result
        self._changes: list[Call] = []
        self._reads: dict[tuple[str, ...], Call] = {}
        self._noted = asyncio.Event()
        self._month = ""
        self._database: bucketlog.Connection | None = None

    def note(self, call: Call) -> None:
        self.counts[call.operation, call.result] += 1
        self._keep(call)

    def _keep(self, call: Call) -> None:
        if not call.reads:
            self._changes.append(call)
            del self._changes[:-_MOST]
            self._noted.set()
            return
        key = (call.who, call.operation, call.about, call.source, call.result)
        before = self._reads.get(key)
        if before is not None:
            self._reads[key] = replace(before, count=before.count + call.count)
        elif len(self._reads) < _MOST:
            self._reads[key] = call

    async def keep(self) -> None:
        """Write what is noted, until cancelled; then the rest."""
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LATER):
                        await self._noted.wait()
                    await asyncio.sleep(_SOON)
                await self.write()
        finally:
            await self.write()
            if self._database is not None:
                self._database.close()

    async def write(self) -> None:
        """All that is noted; what cannot be written waits for the next time."""
        self._noted.clear()
        calls = [*self._changes, *self._reads.values()]
        if not calls:
            return
        self._changes, self._reads = [], {}
        try:
            await off_loop(self._write, sorted(calls, key=lambda call: call.at))
        except (BucketlogError, OSError) as error:
            _log.error("%d calls are not in the audit trail yet: %s", len(calls), error)
            for call in calls:
                self._keep(call)

    def _write(self, calls: list[Call]) -> None:
        month = f"{calls[-1].at:%Y-%m}"
        if self._database is None or month != self._month:
            if self._database is not None:
                self._database.close()
            self._database = bucketlog.connect(f"file://{self._folder / month}")
            self._database.transact(_SCHEMA)
            self._month = month
            for old in sorted(self._folder.iterdir())[:-_MONTHS]:
                shutil.rmtree(old)
        self._database.transact([_facts(call) for call in calls])


def subject(request: object) -> str:
    """What a request names: its resources, the images, the keys of tags; nothing else of it."""
    if not isinstance(request, dict):
        return ""
    named = [
        value.partition(":000000000000:")[2] or value
        for member, value in request.items()
        if isinstance(value, str) and member.endswith(("Arn", "Name", "SecretId", "Url", "imageTag"))
    ]
    for image in _records(request, "imageIds"):
        named += [value for value in image.values() if isinstance(value, str)]
    for tag in (*_records(request, "Tags"), *_records(request, "tags")):
        named.append(f"+{tag.get('Key')}")
    for keys in (request.get("TagKeys"), request.get("tagKeys")):
        named += [f"-{key}" for key in keys] if isinstance(keys, list) else []
    return plain(" ".join(named))


def plain(text: str) -> str:
    """A text of somebody else's in one line of visible ASCII, and not longer than the trail takes."""
    return text[:_LONGEST].encode("unicode_escape").decode()[:_LONGEST]


def _records(request: dict[str, Any], member: str) -> list[dict[str, Any]]:
    found = request.get(member)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def read_calls(folder: Path, since: datetime, *, reads: bool = False) -> Iterator[Call]:
    """What the trail in a folder holds from `since` on, oldest first; with `reads` also what only reads.

    Raises BucketlogError.
    """
    if not folder.is_dir():
        return
    for month in sorted(folder.resolve().iterdir()):
        if month.name < f"{since:%Y-%m}":
            continue
        with bucketlog.connect(f"file://{month}") as database:
            month_so_far = database.db()
            # A month that another process has only just begun may have no schema yet.
            found = month_so_far.q(_QUERY, since) if month_so_far.entid(":call/at") else []
        calls = [
            Call(**{name: facts[f":call/{attribute}"] for name, attribute in _FIELDS}) for facts in found
        ]
        yield from sorted((call for call in calls if reads or not call.reads), key=lambda call: call.at)


def _facts(call: Call) -> dict[str, Any]:
    return {f":call/{attribute}": getattr(call, name) for name, attribute in _FIELDS}
