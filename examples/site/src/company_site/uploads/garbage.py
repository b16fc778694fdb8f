"""Collecting images that nothing uses, without ever taking one that somebody needs.

An image is used when a post's text shows it or ever did, for every revision can be restored, or when a
working copy does. The others go in two steps, each a commit that looks at the very value it is written on:

1. What has been unused for `GRACE` since its upload is marked as ending. It is still served.
2. What is unused a `RESPITE` later is marked as going, its objects are deleted, and then the mark.

A text that shows it, or an upload of the same picture, takes the first mark away. While an image is going,
its upload is refused for the moment that this takes; so no upload can be answered and lost. A collector that
is killed leaves its marks, and the next one goes on. Objects that no upload is known of, as a killed site may
leave them, are marked like all others.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bucketlog import Database
from company_site.database import Data, Transaction
from company_site.uploads.model import NAME, parse_name
from company_site.uploads.store import ImageStore

GRACE = timedelta(days=7)
RESPITE = timedelta(days=1)

_NAMES = re.compile(NAME, re.ASCII)


@dataclass(frozen=True, slots=True)
class Collected:
    """What one collection did, in images."""

    marked: int
    deleted: int


@dataclass(frozen=True, slots=True)
class Usage:
    """The names that any revision of any post shows, by a value of the database.

    All texts there ever were are read once, outside of any commit; a commit reads what was written since.
    """

    basis: int
    names: frozenset[str]

    @classmethod
    def of(cls, database: Database) -> Usage:
        return cls(database.basis_t, frozenset(_shown(database.history(), ":post/body")))

    def at(self, database: Database) -> set[str]:
        """By a later value, and the names that working copies show now."""
        written = _shown(database.since(self.basis), ":post/body")
        return {*self.names, *written, *_shown(database, ":draft/fields")}


def _shown(view: Database, attribute: str) -> set[str]:
    return {match[0] for datom in view.datoms(":aevt", attribute) for match in _NAMES.finditer(datom.v)}


async def collect(data: Data, images: ImageStore, now: datetime) -> Collected:
    """Take both steps for what is due. Any number may run at once. Raises StoreError, obstore's errors."""
    stored = {str(name): at for name, at in await images.list()}
    usage = await asyncio.to_thread(Usage.of, await data.newest())
    marking = await data.transact([_mark(stored, now, usage)])
    marked = len(_marked(marking.db_after, ":upload/ending")) - len(
        _marked(marking.db_before, ":upload/ending")
    )
    going = _marked((await data.transact([_go(now, usage)])).db_after, ":upload/going")
    for text in going:
        if (name := parse_name(text)) is not None:
            await images.delete(name)
    await data.transact([_forget(going)])
    return Collected(max(marked, 0), len(going))


def _mark(stored: dict[str, datetime], now: datetime, usage: Usage) -> Transaction:
    def apply(database: Database) -> list[Any]:
        used, known = usage.at(database), _uploads(database)
        changes: list[Any] = []
        for name, upload in known.items():
            if ":upload/going" in upload:
                continue
            if name in used:
                changes += [[":db/retract", upload[":db/id"], ":upload/ending"]] * (
                    ":upload/ending" in upload
                )
            elif ":upload/ending" not in upload and upload.get(":upload/at", now) <= now - GRACE:
                changes.append({":db/id": upload[":db/id"], ":upload/ending": now})
        for name, at in stored.items():
            if name not in known and name not in used and at <= now - GRACE:
                changes.append({":upload/name": name, ":upload/ending": now})
        return changes

    return apply


def _go(now: datetime, usage: Usage) -> Transaction:
    def apply(database: Database) -> list[Any]:
        due = {
            name: upload[":db/id"]
            for name, upload in _uploads(database).items()
            if upload.get(":upload/ending", now) <= now - RESPITE
        }
        used = usage.at(database) if due else set()
        return [{":db/id": entity, ":upload/going": True} for name, entity in due.items() if name not in used]

    return apply


def _forget(names: Iterable[str]) -> Transaction:
    def apply(database: Database) -> list[Any]:
        going = _marked(database, ":upload/going")
        return [[":db/retractEntity", going[name]] for name in names if name in going]

    return apply


def _uploads(database: Database) -> dict[str, dict[str, Any]]:
    found = database.q("[:find [(pull ?u [*]) ...] :where [?u :upload/name]]")
    return {pulled[":upload/name"]: pulled for pulled in found}


def _marked(database: Database, mark: str) -> dict[str, int]:
    return dict(database.q("[:find ?name ?u :in $ ?mark :where [?u ?mark] [?u :upload/name ?name]]", mark))
