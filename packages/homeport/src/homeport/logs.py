"""Log lines with their times, in files of bounded size.

An instance writes raw lines to a file of its own, opened for appending, so that it needs no homeport to go
on. A `Tail` takes them over into the service's log and gives each the time at which it was seen; then it
frees the bytes it has read by punching a hole (fallocate(2)): the writer's position stays, nothing is lost in
between, and the disk holds only what is unread. Each line in the log carries the position it ended at, which
is where the next homeport process goes on after a crash.
"""

from __future__ import annotations

import ctypes
import os
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

from homeport.model import LogKind, LogLine

_SEGMENT = 8 << 20  # bytes; a log has at most two segments
_READ = 1 << 20  # bytes taken over at once
_LINE = 64 << 10  # bytes; a longer line is broken
_LINES = 5_000  # taken over at once: an instance that writes nothing but line ends holds up nobody
_LAST = 20_000  # lines that one which ended may have left unread; of more, the newest are taken over
_BACKLOG = 8 << 20  # bytes; of more than this unread, only the newest are taken over
_GLANCE = 256 << 10  # bytes at the end of a log that whoever follows it is shown
_BLOCK = 4096
_FALLOC_KEEP_SIZE_PUNCH_HOLE = 0x01 | 0x02

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a log: a file, and how many of its bytes have been read; of -1 the last ones are wanted."""

    file: int  # its inode
    read: int

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        file, dash, read = text.partition("-")
        well = dash and (file + read).isascii() and file.isdecimal() and read.isdecimal()
        return cls(int(file), int(read)) if well else None

    def __str__(self) -> str:
        return f"{self.file}-{self.read}"


class Log:
    """One log: a line a record, `milliseconds stream position message`, in `NAME.log` and the older
    `NAME.log.1`.

    Times never go back, even when the clock does, so that a reader may ask for what came since.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._older = path.with_name(path.name + ".1")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _mend(path)
        records = self._records()
        self._last = _time(records[-1]) if records else 0

    def write(self, stream: str, lines: Iterable[tuple[str, int]]) -> None:
        """Append messages, each with the position in its source that it ended at."""
        now = self._last = max(int(time.time() * 1000), self._last)
        data = b"".join(
            f"{now} {stream} {position} {message}\n".encode(errors="replace") for message, position in lines
        )
        if not data:
            return
        with suppress(FileNotFoundError):
            if self._path.stat().st_size + len(data) > _SEGMENT:
                self._path.replace(self._older)
        with self._path.open("ab") as file:
            file.write(data)

    def read(self, since: int, limit: int) -> list[LogLine]:
        """Oldest first, from `since` milliseconds on; with more than `limit` lines, the newest of them."""
        records = self._records()
        records = records[bisect_left(records, since, key=_time) :]
        return [_line(record) for record in records[max(len(records) - limit, 0) :]]

    def follow(self, since: Cursor | None, most: int = 500) -> tuple[list[LogLine], Cursor]:
        """What was written after `since`, and where to go on; without it, the last lines.

        Reads the end of the file alone, so it may be asked often. What is longer ago than the file before the
        present one is passed over.
        """
        with suppress(FileNotFoundError), self._path.open("rb") as file:
            found = os.fstat(file.fileno())
            here = Cursor(found.st_ino, 0)
            if since is not None and since.file == here.file:
                return _records_of(file, since, found.st_size, most)
            before: list[LogLine] = []
            if since is not None or found.st_size < _GLANCE:
                with suppress(FileNotFoundError), self._older.open("rb") as older:
                    old = os.fstat(older.fileno())
                    begin = since if since is not None and since.file == old.st_ino else None
                    if since is None or begin is not None:
                        before, _ = _records_of(older, begin or Cursor(old.st_ino, -1), old.st_size, most)
            lines, cursor = _records_of(file, here if since else Cursor(here.file, -1), found.st_size, most)
            return (before + lines)[-most:], cursor
        return [], since or Cursor(0, 0)

    def tail(self, stream: str, count: int) -> list[str]:
        """The last messages of one stream, oldest first."""
        found: list[str] = []
        for record in reversed(self._records()):
            _, name, _, message = record.decode().split(" ", 3)
            if name == stream:
                found.append(message)
                if len(found) == count:
                    break
        return found[::-1]

    def position(self, stream: str) -> int:
        """Up to where the stream's source has been taken over."""
        mark = stream.encode()
        for record in reversed(self._records()):
            _, name, position, _ = record.split(b" ", 3)
            if name == mark:
                return int(position)
        return 0

    def _records(self) -> list[bytes]:
        records: list[bytes] = []
        for path in (self._older, self._path):
            with suppress(FileNotFoundError):
                records += path.read_bytes().split(b"\n")[:-1]
        return records


def _records_of(file: IO[bytes], since: Cursor, size: int, most: int) -> tuple[list[LogLine], Cursor]:
    begin = since.read
    cut = begin < 0 or size - begin > _GLANCE  # it begins within a record
    if cut:
        begin = max(size - _GLANCE, 0)
        cut = begin > 0
    file.seek(begin)
    data = file.read(size - begin)
    data = data[: data.rfind(b"\n") + 1]
    records = data.split(b"\n")[:-1]
    lines = [_line(record) for record in (records[1:] if cut else records)[-most:]]
    return lines, Cursor(since.file, begin + len(data))


def _line(record: bytes) -> LogLine:
    stamp, stream, _, message = record.decode().split(" ", 3)
    return LogLine(int(stamp), stream, message)


class Tail:
    """Takes an instance's output over into a log."""

    def __init__(self, source: Path, log: Log, stream: str) -> None:
        self._source = source
        self._log = log
        self._stream = stream
        self._position = log.position(stream)

    def pump(self) -> None:
        """Take over complete lines: 5,000 and of one mebibyte at most."""
        self._take(ended=False)

    def finish(self) -> None:
        """Take over all that is left, a last line without its end too: the instance writes no more."""
        while self._take(ended=True):
            pass

    def note(self, text: str) -> None:
        """Put a line of homeport's own behind what has been taken over."""
        self._log.write(self._stream, [(text, self._position)])

    def _take(self, *, ended: bool) -> bool:
        """True when there is more."""
        try:
            descriptor = os.open(self._source, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return self._read(descriptor, ended=ended)
        finally:
            os.close(descriptor)

    def _read(self, descriptor: int, *, ended: bool) -> bool:
        size = os.fstat(descriptor).st_size
        if size < self._position:  # the instance has cut its own output
            self._position = 0
        if size == self._position:
            return False
        note: list[tuple[str, int]] = []
        begin = max(self._position, size - _BACKLOG)
        if ended:
            begin = _begin_of_last(descriptor, begin, size)
        if begin > self._position:
            note = [(f"[{begin - self._position} bytes of output skipped]", begin)]
            self._position = begin
        data = os.pread(descriptor, _READ, self._position)
        more = self._position + len(data) < size
        lines = list(islice(_lines(data, self._position, whole=ended and not more), _LINES))
        if lines:
            self._log.write(self._stream, [*note, *lines])
            self._position = lines[-1][1]
            _free(descriptor, self._position)
        return (more or len(lines) == _LINES) and bool(lines)


def _lines(data: bytes, position: int, *, whole: bool) -> Iterator[tuple[str, int]]:
    """Each line without its end, and the position after it. What is not UTF-8 is replaced."""
    start = 0
    while start < len(data):
        end = data.find(b"\n", start, start + _LINE)
        if end >= 0:
            piece, after = data[start:end], end + 1
        elif len(data) - start >= _LINE:
            piece, after = data[start : start + _LINE], start + _LINE
        elif whole:
            piece, after = data[start:], len(data)
        else:
            return
        yield piece.rstrip(b"\r").decode(errors="replace"), position + after
        start = after


def _begin_of_last(descriptor: int, begin: int, size: int) -> int:
    """Where the last lines begin, if the last mebibyte has more than these; else `begin`."""
    start = max(begin, size - _READ)
    parts = os.pread(descriptor, size - start, start).rsplit(b"\n", _LAST)
    return start + len(parts[0]) + 1 if len(parts) > _LAST else begin


def _free(descriptor: int, position: int) -> None:
    """Best effort: a file system that cannot punch holes keeps the bytes until the instance is gone."""
    length = position // _BLOCK * _BLOCK
    if length:
        _libc.fallocate(
            descriptor, _FALLOC_KEEP_SIZE_PUNCH_HOLE, ctypes.c_longlong(0), ctypes.c_longlong(length)
        )


def _mend(path: Path) -> None:
    """Cut off a last record that a crash left unfinished."""
    with suppress(FileNotFoundError), path.open("r+b") as file:
        data = file.read()
        if not data.endswith(b"\n"):
            file.truncate(data.rfind(b"\n") + 1)


def _time(record: bytes) -> int:
    return int(record[: record.index(b" ")])


class Logbook:
    """All logs of one homeport: `DIRECTORY/SERVICE/KIND.log`, each opened once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._open: dict[tuple[str, LogKind], Log] = {}

    def log(self, service: str, kind: LogKind) -> Log:
        if (service, kind) not in self._open:
            self._open[service, kind] = Log(self._directory / service / f"{kind}.log")
        return self._open[service, kind]
