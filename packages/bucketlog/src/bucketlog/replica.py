"""A replica: what one process derives from the log, which is the image and the state at its end."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from bucketlog.bucket import EXCISED, Bucket
from bucketlog.errors import FormatError, StoreError
from bucketlog.excision import Redaction, excisions
from bucketlog.garbage import collect
from bucketlog.image import Image
from bucketlog.log import Entry, genesis
from bucketlog.objects import MissingObjectError
from bucketlog.outline import Step
from bucketlog.pages import Base, Pages
from bucketlog.schema import FIRST_ENTITY, Schema
from bucketlog.snapshot import Snapshot, SnapshotKey, read_chunks, read_snapshot, write_pages, write_snapshot
from bucketlog.state import State, advance
from bucketlog.tail import Tail, read_tail, write_tail

__all__ = ["Replica"]

_log: Final = logging.getLogger("bucketlog")

# When the next snapshot is due: so many entries since the last, unless they are little beside the whole
# image; at the latest so many, which bounds the reads of an open; or so many datoms, which bounds what it
# replays. A small image is one object, and it is cheaper to write that more often than to read a long tail.
_ENTRIES: Final = 128
_ENTRIES_OF_A_SMALL_IMAGE: Final = 48
_SMALL_PART: Final = 16
_MOST_ENTRIES: Final = 256
_DATOMS: Final = 100_000
_SNAPSHOTS_A_COLLECTION: Final = 16
"""How many snapshots are written before one of their writers collects the garbage of the others."""
_GRACE: Final = timedelta(days=1)
_GUESSES: Final = 24
"""Entries after a snapshot that are asked for before their names are known, to save a round trip."""
_LEFT_BEHIND: Final = 2_000
"""Datoms after the last snapshot for which a connection that closes writes one more."""


def _is_due(tail: Tail, image_datoms: int, *, is_small: bool, patience: float) -> bool:
    """Whether it is time for the next snapshot of an image of so many datoms.

    By the part `patience` there may be more entries: another one in each process, so that not all find it due
    at once.
    """
    entries = tail.entries / (1 + patience)
    if is_small and entries >= _ENTRIES_OF_A_SMALL_IMAGE:
        return True
    if entries >= _MOST_ENTRIES or tail.datoms >= max(_DATOMS, image_datoms // 2):
        return True
    return entries >= _ENTRIES and tail.datoms * _SMALL_PART >= image_datoms


class Replica:
    """Follows one log. Its methods are called by one thread at a time; the image may be read by any."""

    def __init__(self, bucket: Bucket, now: Callable[[], datetime]) -> None:
        """Open the database in `bucket`, and make it when there is none; raises `StoreError`.

        Two round trips in sequence: the names of the newest snapshot and tail, and the first entry; the
        snapshot, the tail, the names of later entries, the first of them, and the proof that the store
        creates only what is not there. A third one when there are more entries. The pages that they change
        come when somebody reads them.
        """
        self._bucket = bucket
        self._tail = Tail()
        self.snapshot_t = -1
        """The transaction of the newest snapshot that is known; -1 when there is none."""
        self._writer: Future[None] | None = None
        self._may_write = bucket.store.can_list
        self._marks = 0
        self._patience = random.random() / 4  # noqa: S311 -- spreads processes
        with ThreadPoolExecutor(3, "bucketlog-open") as pool:
            keys, tails = pool.submit(bucket.snapshots), pool.submit(bucket.tails)
            first = bucket.log.read(0)
            is_new = first is None
            if first is None:
                entry = genesis(now())
                first = bucket.log.append(entry) or entry
            self._id = first.id
            verified = pool.submit(bucket.log.verify, first)
            if is_new:
                self._load([], [], first, pool)
            else:
                self._load(keys.result(), tails.result(), first, pool)
            try:
                verified.result()
            except BaseException:
                self.image.close()
                raise

    # Opening

    def _load(
        self,
        keys: Sequence[SnapshotKey],
        tails: Sequence[SnapshotKey],
        first: Entry,
        pool: ThreadPoolExecutor,
    ) -> None:
        """The image and state of the newest snapshot, or of nothing, and the log after it."""
        for key in keys:
            tail = pool.submit(self._read_after, key.t, tails)
            with suppress(MissingObjectError):  # collected since it was listed: there is a newer one then
                self._load_snapshot(key)
                break
        else:
            tail = pool.submit(self._read_after, first.last_t, tails)
            self.image = Image(self._pages(Base()))
            self.state = State(-1, Schema(), FIRST_ENTITY, 0)
            self._tail, self.snapshot_t = Tail(), -1
            self._apply([first])
        try:
            self._take(tail.result())
        except BaseException:
            self.image.close()
            raise

    def _read_after(self, t: int, tails: Sequence[SnapshotKey]) -> list[Entry]:
        """The entries after transaction `t`: those in the newest tail from there, the others one by one."""
        if tails and tails[0].t > t:
            with ThreadPoolExecutor(1, "bucketlog-open") as pool:
                later = pool.submit(self._read_each_after, tails[0].t)
                entries = [entry for entry in self._read_tail(tails[0]) if entry.t > t]
                if entries and entries[0].t == t + 1:
                    return entries + later.result()
        return self._read_each_after(t)

    def _read_tail(self, key: SnapshotKey) -> list[Entry]:
        """No entries of a tail that has gone, or that is damaged: the log has them all."""
        try:
            return read_tail(self._bucket.objects, key, self._id)
        except MissingObjectError:
            return []
        except FormatError as error:
            _log.warning("%s; the log is read in its place", error)
            return []

    def _read_each_after(self, t: int) -> list[Entry]:
        return list(self._bucket.log.read_after(t, guesses=_GUESSES))

    def _load_snapshot(self, key: SnapshotKey) -> None:
        snapshot = read_snapshot(self._bucket.objects, key)
        if snapshot.id != self._id or snapshot.t != key.t:
            raise FormatError(
                f"{key} is of another database or transaction: delete it, the log still has everything"
            )
        self.image = Image(self._pages(snapshot.base), basis=snapshot.t, sizes=snapshot.sizes)
        self.state = State(snapshot.t, Schema(snapshot.schema), snapshot.next_entity, snapshot.instant)
        self._tail, self.snapshot_t = Tail(), snapshot.t

    def _pages(self, base: Base) -> Pages:
        return Pages(base, lambda names: read_chunks(self._bucket.objects, names))

    def _take(self, entries: Sequence[Entry]) -> None:
        """Show the entries after a snapshot, whose pages need not be here yet for that, if there are few."""
        if not entries:
            return
        if not self.image.pages.base.chunks:
            self._apply(entries)
            return
        state, steps = self.state, []
        for entry in entries:
            for t, changes in enumerate(entry.transactions, entry.t):
                state = advance(state, t, changes)
                steps.append(Step(t, changes, state.schema))
        if self.image.postpone(self.state.schema, steps):
            self.state = state
            for entry in entries:
                self._tail.add(entry)
        else:
            self.image.prefetch([change for step in steps for change in step.changes], self.state.schema)
            self._apply(entries)

    # Following

    def settle(self) -> None:
        """Have everything in the pages of the image that was committed until now; raises `StoreError`."""
        try:
            self.image.settle()
        except MissingObjectError:
            self.recover()
            self.image.settle()

    def follow(self, entries: Iterable[Entry]) -> None:
        """Apply the next entries of the log to the image and show them."""
        try:
            self._apply(entries)
        except MissingObjectError:
            self.recover()

    def _apply(self, entries: Iterable[Entry]) -> None:
        state = self.state
        tail = self._tail.copy()
        excised = False
        self.image.begin()
        try:
            for entry in entries:
                tail.add(entry)
                for t, changes in enumerate(entry.transactions, entry.t):
                    state = advance(state, t, changes)
                    excised |= self.image.apply(t, changes, state.schema)
        except BaseException:
            self.image.rollback()
            raise
        self.image.commit()
        self.state = state
        self._tail = tail
        if excised:
            self._clean()

    def _clean(self) -> None:
        """After an excision: leave nothing of it in caches, nor in the chunks of later snapshots."""
        self._tail.held = None
        self.image.vacuum()
        self._bucket.objects.forget()

    def recover(self) -> None:
        """Load the newest snapshot into the image, because chunks of an older one are not there any more."""
        image = self.image
        try:
            with ThreadPoolExecutor(1, "bucketlog-open") as pool:
                first = self._bucket.log.read(0)
                if first is None or first.id != self._id:
                    raise StoreError("the database is gone, or another in its place")  # noqa: TRY301
                self._load(self._bucket.snapshots(), self._bucket.tails(), first, pool)
        except BaseException:
            self.image = image
            raise
        image.become(self.image)
        self.image = image

    def catch_up(self) -> None:
        """Apply what others have committed: one read when there is nothing."""
        entry = self._bucket.log.read(self.state.t + 1)
        if entry is not None:
            self.follow([entry])
            self.follow(self._bucket.log.read_after(self.state.t))

    def committed(self, state: State, entry: Entry | None) -> None:
        """Take over a state that was staged in the image and is now the end of the log, by this entry."""
        self.state = state
        if entry is not None:
            self._tail.add(entry, is_ours=True)
            if any(any(excisions(t, c, state.schema)) for t, c in enumerate(entry.transactions, entry.t)):
                self._clean()

    # Excision

    def erase(self) -> int:
        """Take what the transactions of the log excise out of the whole bucket; how many entries changed.

        An excision that was cut short is done as well. Nothing is noted as done before all of it is.
        """
        bucket = self._bucket
        done = {item.key for item in bucket.listed(EXCISED)}
        entries = list(bucket.log.read_after(-1))
        asked = [
            excision
            for entry in entries
            for t, changes in enumerate(entry.transactions, entry.t)
            for excision in excisions(t, changes, self.state.schema)
        ]
        pending = sorted({f"{EXCISED}{excision.t:016d}" for excision in asked} - done)
        if not pending:
            return 0
        if others := bucket.branches():
            raise StoreError(f"branches hold copies of what is to go: delete {', '.join(others)} first")
        redaction = Redaction(asked, self.state.schema)
        changed = 0
        for entry in entries:
            redacted = redaction.redact(entry)
            if redacted is not entry:
                bucket.log.replace(redacted)
                changed += 1
        self._clean()
        self.snapshot(anew=True)
        collect(bucket, datetime.now(UTC), timedelta(0))
        bucket.objects.forget()
        for key in pending:
            bucket.note(key, {})
        return changed

    # Snapshots

    def snapshot_if_due(self) -> None:
        """Begin to write a snapshot in the background when the log after the last one has grown long, and
        before that, a tail now and then.
        """
        busy = self._writer is not None and not self._writer.done()
        datoms, is_small = sum(self.image.sizes.values()), not self.image.pages.base.chunks
        if not self._may_write or busy:
            return
        if _is_due(self._tail, datoms, is_small=is_small, patience=self._patience):
            entries = _ENTRIES_OF_A_SMALL_IMAGE if is_small else _ENTRIES
            self._writer = self._begin_snapshot(enough=entries // 2)
        elif self._tail.is_due:
            self._writer = self._begin_tail()

    def snapshot(self, *, anew: bool = False) -> None:
        """Write a snapshot now, unless there is one of this state and it is not wanted `anew`.

        Raises `StoreError`.
        """
        self._wait()
        if self.snapshot_t < self.state.t or anew:
            self._begin_snapshot(enough=0 if anew else 1).result()

    def finish(self) -> None:
        """Wait for a snapshot that is being written, and write one if nobody may come to do it later.

        A short tail costs whoever opens the database less than another snapshot costs.
        """
        if self._may_write and self._tail.datoms >= _LEFT_BEHIND:
            with suppress(StoreError):
                self.snapshot()
        self._wait()

    def _wait(self) -> None:
        """Wait for the snapshot that is being written; whether it failed was logged."""
        if self._writer is not None:
            with suppress(StoreError):
                self._writer.result()

    def _begin_snapshot(self, *, enough: int) -> Future[None]:
        """Take what is committed; a thread writes it while the image moves on.

        A snapshot of the last `enough` transactions, of another process, is good enough.
        """
        self.settle()
        pages = self.image.pages
        image = Snapshot(
            id=self._id,
            t=self.state.t,
            instant=self.state.instant,
            next_entity=self.state.next_entity,
            schema=self.state.schema.definitions,
            sizes=dict(self.image.sizes),
            base=Base(pages.count),
        )
        base, written = pages.base, pages.written()
        self._tail = self._tail.restarted()
        return _begin(
            f"snapshot of transaction {image.t}",
            lambda: self._write_snapshot(image, pages, base, written, enough),
        )

    def _begin_tail(self) -> Future[None]:
        """Have a thread write the entries since the last snapshot once more."""
        self._tail.drop(self.snapshot_t)
        bucket, tail = self._bucket, self._tail.copy()
        self._tail.written, self._tail.is_turn = len(tail.held or []), False
        return _begin(
            f"tail up to transaction {self.state.t}",
            lambda: write_tail(bucket.objects, self._id, tail, bucket.prefix),
        )

    def _write_snapshot(
        self, image: Snapshot, pages: Pages, base: Base, written: Mapping[int, bytes], enough: int
    ) -> None:
        bucket = self._bucket
        newest = next(iter(bucket.snapshots()), None)
        if newest is not None and newest.t > image.t - enough:
            self.snapshot_t = newest.t
            return  # another process was faster
        kept: tuple[str, ...] = ()
        if newest is not None:
            with suppress(MissingObjectError):
                kept = read_snapshot(bucket.objects, newest).base.chunks
        new_base = write_pages(bucket.objects, base, written, image.base.count, frozenset(kept))
        key = write_snapshot(bucket.objects, replace(image, base=new_base), bucket.prefix)
        self.snapshot_t = image.t
        self._marks = bucket.mark(key, self._marks)
        with suppress(StoreError):  # who collects garbage tries again
            bucket.drop_tails(image.t)
        with self.image.lock:
            if self.image.pages is pages:
                pages.rebase(new_base, written)
        if self._marks % _SNAPSHOTS_A_COLLECTION == 0:
            collect(bucket, datetime.now(UTC), _GRACE)


def _begin(what: str, write: Callable[[], None]) -> Future[None]:
    """Have a thread write something that is derived from the log."""
    result: Future[None] = Future()

    def run() -> None:
        try:
            write()
        except StoreError as error:
            # The log has everything, so that a snapshot less is a slower start until the next one.
            _log.warning("no %s: %s", what, error)
            result.set_exception(error)
        except BaseException as error:
            result.set_exception(error)
            if threading.main_thread().is_alive():
                raise
            # The process ends, and with it the pools of threads; the next one writes a snapshot.
            _log.info("no %s: the process ends", what)
        else:
            result.set_result(None)

    threading.Thread(target=run, name="bucketlog-snapshot").start()
    return result
