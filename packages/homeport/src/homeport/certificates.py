"""A certificate for every name of the owner's: from the local authority, or from one that speaks ACME.

Each name has a certificate of its own, so that one whose DNS is wrong keeps no other waiting. It is renewed
when two thirds of its life are over; what fails is tried again with growing pauses, also across restarts.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

from cryptography import x509

import bucketlog
from homeport.authority import Authority
from homeport.command import off_loop
from homeport.disk import write
from homeport.errors import CertificateError, HomeportError
from homeport.hosts import is_local
from homeport.schema import attribute

_FIRST_PAUSE: Final = timedelta(minutes=1)
_LONGEST_PAUSE: Final = timedelta(hours=12)  # Let's Encrypt bears five failures an hour for each name
_LOOK: Final = 600.0  # seconds between looks for what is due, when nothing happens
_AT_ONCE: Final = 4  # orders under way at a time
_MARK: Final = "Issued by "  # begins a file; what stands before the first PEM block is a comment

_SCHEMA = [
    attribute("certificate/name", "string", identity=True),
    attribute("certificate/failures", "long"),
    attribute("certificate/reason", "string"),
    attribute("certificate/tried", "instant"),
]


class Issuer(Protocol):
    """Whoever can prove to an authority that a name leads here.

    `directory` is the authority's URL; `thumbprint` the one of the account's key, by which the edge answers
    challenges.
    """

    @property
    def directory(self) -> str: ...

    @property
    def thumbprint(self) -> str: ...

    def issue(self, name: str) -> bytes:
        """The certificate with its chain and its key, PEM. Blocks. Raises CertificateError."""
        ...


@dataclass(frozen=True, slots=True)
class Failure:
    """The last of `count` tries in a row that failed."""

    count: int
    reason: str
    tried_at: datetime

    @property
    def retry_at(self) -> datetime:
        return self.tried_at + min(_FIRST_PAUSE * 2.0 ** min(self.count - 1, 20), _LONGEST_PAUSE)


def renewal_time(name: str, begin: datetime, end: datetime) -> datetime:
    """Two thirds of the life, and up to a twentieth of it sooner: names that were issued together are renewed
    apart, each always at the same point.
    """
    jitter = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]) / 2**32
    return begin + (end - begin) * (2 / 3 - jitter / 20)


class Certificates:
    """Files in `folder`, one a name; `run` gets and renews them, and calls `changed` when one is new."""

    def __init__(
        self,
        folder: Path,
        database: bucketlog.Connection,
        authority: Authority,
        issuer: Issuer | None,
        *,
        changed: Callable[[], Awaitable[None]],
        failed: Callable[[str, str], None],
    ) -> None:
        self._folder = folder
        self._database = database
        self._authority = authority
        self._issuer = issuer
        self._changed = changed
        self._failed = failed
        self._wanted: frozenset[str] = frozenset()
        self._failures: dict[str, Failure] = {}
        self._lives: dict[str, tuple[datetime, datetime]] = {}
        self._foreign: set[str] = set()  # whose certificate another authority has signed than now would
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._binding: set[str] = set()
        self._wake = asyncio.Event()
        self._orders = asyncio.Semaphore(_AT_ONCE)

    def load(self) -> None:
        """Install the schema, and read what there is. Blocks."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._database.transact(_SCHEMA)
        db = self._database.db()
        for entity in db.q("[:find [?e ...] :where [?e :certificate/name _]]"):
            facts: Mapping[str, Any] = db.pull("[*]", entity)
            self._failures[facts[":certificate/name"]] = Failure(
                facts[":certificate/failures"], facts[":certificate/reason"], facts[":certificate/tried"]
            )
        for path in self._folder.glob("*.pem"):
            with suppress(ValueError):
                self._read(path)

    def want(self, names: Iterable[str]) -> None:
        """These and no others are to have a certificate from now on."""
        self._wanted = frozenset(names)
        for name in set(self._lives) - self._wanted:
            del self._lives[name]
            self.path(name).unlink(missing_ok=True)
        self._wake.set()

    def path(self, name: str) -> Path:
        return self._folder / f"{name}.pem"

    def has(self, name: str) -> bool:
        """Whether there is one that is still good."""
        life = self._lives.get(name)
        return life is not None and life[1] > datetime.now(UTC)

    def files(self) -> list[Path]:
        return [self.path(name) for name in sorted(self._lives) if self.has(name)]

    def expiries(self) -> dict[str, datetime]:
        """When each that there is ends."""
        return {name: end for name, (_, end) in self._lives.items()}

    def failure(self, name: str) -> Failure | None:
        return self._failures.get(name)

    def binding(self, name: str) -> bool:
        """Whether the first one is being had: once it is there, the edge is yet to learn of it."""
        return name in self._binding

    async def run(self) -> None:
        """Get what is missing, renew what is due. Ends only by cancellation."""
        try:
            while True:
                self._wake.clear()
                now = datetime.now(UTC)
                for name in self._wanted - set(self._tasks):
                    if self._due_at(name) <= now:
                        self._begin(name)
                times = [self._due_at(name) for name in self._wanted - set(self._tasks)]
                pause = min(((time - now).total_seconds() for time in times), default=_LOOK)
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(max(pause, 0.1), _LOOK)):
                        await self._wake.wait()
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _begin(self, name: str) -> None:
        task = asyncio.create_task(self._get(name))
        self._tasks[name] = task

        def ended(_: asyncio.Task[None]) -> None:
            del self._tasks[name]
            self._wake.set()

        task.add_done_callback(ended)

    def _due_at(self, name: str) -> datetime:
        failure, life = self._failures.get(name), self._lives.get(name)
        if failure is not None:
            return failure.retry_at
        if life is None or name in self._foreign:
            return datetime.min.replace(tzinfo=UTC)
        return renewal_time(name, *life)

    async def _get(self, name: str) -> None:
        if not self.has(name):
            self._binding.add(name)
        try:
            async with self._orders:
                await off_loop(self._issue, name)
            await self._changed()
            await off_loop(self.forget, name)
        except (HomeportError, OSError) as error:
            before = self._failures.get(name)
            failure = Failure(1 if before is None else before.count + 1, str(error), datetime.now(UTC))
            self._failures[name] = failure
            self._failed(name, failure.reason)
            await off_loop(self._note, name, failure)
        finally:
            self._binding.discard(name)

    def _issue(self, name: str) -> None:
        path = self.path(name)
        if is_local(name):
            write(path, self._authority.issue([name]), mode=0o600)
        elif self._issuer is None:
            raise CertificateError(f"no authority may sign for {name}: start homeport with --acme URL")
        else:
            content = self._issuer.issue(name)
            write(path, f"{_MARK}{self._issuer.directory}\n".encode() + content, mode=0o600)
        self._read(path)

    def _read(self, path: Path) -> None:
        content = path.read_bytes()
        leaf = x509.load_pem_x509_certificate(content)
        self._lives[path.stem] = (leaf.not_valid_before_utc, leaf.not_valid_after_utc)
        first = content.partition(b"\n")[0].decode(errors="replace")
        now = None if self._issuer is None or is_local(path.stem) else f"{_MARK}{self._issuer.directory}"
        (self._foreign.discard if now in (None, first) else self._foreign.add)(path.stem)

    def _note(self, name: str, failure: Failure) -> None:
        self._database.transact([
            {
                ":certificate/name": name,
                ":certificate/failures": failure.count,
                ":certificate/reason": failure.reason,
                ":certificate/tried": failure.tried_at,
            }
        ])  # fmt: skip

    def forget(self, name: str) -> None:
        """That it has failed before: it is tried again at once. Blocks."""
        if self._failures.pop(name, None) is not None:
            self._database.transact([[":db/retractEntity", [":certificate/name", name]]])
