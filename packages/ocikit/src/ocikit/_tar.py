"""The tar format: ustar with pax extended headers (POSIX.1-2001, pax utility, "EXTENDED DESCRIPTION").

Our own because both sides need what the standard library's does not promise: on writing, bytes that depend on
nothing but the entry; on reading, memory that a hostile archive does not decide, and no file larger than what
was sent (sparse files are refused).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol

from ocikit.errors import UnsafeArchiveError

BLOCK: Final = 512
FILE: Final = b"0"
HARD_LINK: Final = b"1"
SYMBOLIC_LINK: Final = b"2"
CHARACTER_DEVICE: Final = b"3"
BLOCK_DEVICE: Final = b"4"
DIRECTORY: Final = b"5"
FIFO: Final = b"6"
END: Final = bytes(2 * BLOCK)

_KINDS: Final = frozenset((FILE, HARD_LINK, SYMBOLIC_LINK, CHARACTER_DEVICE, BLOCK_DEVICE, DIRECTORY, FIFO))
_OLD_FILES: Final = frozenset((b"\0", b"7"))  # before ustar, and "contiguous", which nobody makes
_PAX: Final = b"x"
_PAX_GLOBAL: Final = b"g"
_GNU_NAME: Final = b"L"
_GNU_TARGET: Final = b"K"
LATEST: Final = 8**11 - 1  # seconds since 1970 that the octal digits of a ustar header hold
_LARGEST_SIZE: Final = 8**11 - 1
_LARGEST_ID: Final = 8**7 - 1
_LARGEST_HEADER: Final = 1 << 20  # bytes of one extended header
# Bytes of all names, targets and attributes, which readers may have to remember.
_MOST_NAMES: Final = 256 << 20
_MOST_LASTING: Final = 100  # records that hold for all entries that follow
_MTIME: Final = re.compile(r"(-?)(\d{1,12})(?:\.(\d+))?")
_XATTR: Final = "SCHILY.xattr."


class Source(Protocol):
    """What an archive is read from: at most `size` bytes a call, none at the end."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. Names are text as Python's file functions take it: what is not UTF-8 as surrogates."""

    name: str
    kind: bytes
    mode: int
    uid: int
    gid: int
    size: int  # bytes of content; 0 but for regular files
    mtime: int  # nanoseconds since 1970
    target: str  # of a link
    xattrs: Mapping[str, bytes]


class Reader:
    """The entries of an archive in their order; the content of one is read before the next is asked for.

    Raises UnsafeArchiveError for what is no tar, is cut off, or has what no layer needs. How much it is in
    all, the source decides.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._names = 0  # bytes of names, targets and attributes so far
        self._left = 0  # bytes of the current content that have not been read
        self._padding = 0

    def __iter__(self) -> Iterator[Entry]:
        lasting: dict[str, bytes] = {}
        extended: dict[str, bytes] = {}
        while (header := self._header()) is not None:
            kind = header[156:157]
            if kind in (_PAX, _PAX_GLOBAL, _GNU_NAME, _GNU_TARGET):
                data = self._extended(_number(header[124:136], "size"))
                if kind == _PAX:
                    extended |= _pax_records(data)
                elif kind == _PAX_GLOBAL:
                    lasting |= _pax_records(data)
                    if len(lasting) > _MOST_LASTING:
                        raise UnsafeArchiveError(f"more than {_MOST_LASTING} records for all that follows")
                else:
                    extended["path" if kind == _GNU_NAME else "linkpath"] = data.partition(b"\0")[0]
                continue
            entry = _entry(header, {key: value for key, value in (lasting | extended).items() if value})
            extended = {}
            self._count(entry)
            self._left, self._padding = entry.size, -entry.size % BLOCK
            yield entry
            while self.content():
                pass
            self._exactly(self._padding)

    def _count(self, entry: Entry) -> None:
        self._names += len(entry.name) + len(entry.target)
        self._names += sum(len(name) + len(value) for name, value in entry.xattrs.items())
        if self._names > _MOST_NAMES:
            raise UnsafeArchiveError(f"more than {_MOST_NAMES} bytes of names and attributes")

    def content(self, size: int = 1 << 20) -> bytes:
        """The next bytes of the current entry's content, none at its end."""
        data = self._source.read(min(size, self._left)) if self._left else b""
        if self._left and not data:
            raise UnsafeArchiveError("the archive ends within a file")
        self._left -= len(data)
        return data

    def _header(self) -> bytes | None:
        first = self._source.read(BLOCK)
        if not first:
            return None  # no end marker, but nothing is missing either
        header = first + self._exactly(BLOCK - len(first))
        if not any(header):
            return None
        if _number(header[148:156], "checksum") != sum(header) - sum(header[148:156]) + 8 * 0x20:
            raise UnsafeArchiveError("a header's checksum is wrong: this is no tar archive, or a broken one")
        return header

    def _extended(self, size: int) -> bytes:
        if size > _LARGEST_HEADER:
            raise UnsafeArchiveError(f"an extended header of {size} bytes; {_LARGEST_HEADER} are the most")
        return self._exactly(size + -size % BLOCK)[:size]

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._source.read(size - len(data))
            if not more:
                raise UnsafeArchiveError("the archive ends within a block")
            data += more
        return data


def encode_header(
    name: str, kind: bytes, *, mode: int, uid: int, gid: int, mtime: int, size: int = 0, target: str = ""
) -> bytes:
    """The header of one entry (`mtime` in seconds), with a pax header before it for what ustar cannot say."""
    header = _ustar(name, kind, mode=mode, uid=uid, gid=gid, size=size, mtime=mtime, target=target)
    extended: dict[bytes, bytes] = {}
    for key, text in ((b"path", name), (b"linkpath", target)):
        if len(text) > 100 or not text.isascii():
            extended[key] = text.encode("utf-8", "surrogateescape")
    if size > _LARGEST_SIZE or uid > _LARGEST_ID or gid > _LARGEST_ID:
        numbers = ((b"size", size, _LARGEST_SIZE), (b"uid", uid, _LARGEST_ID), (b"gid", gid, _LARGEST_ID))
        extended |= {key: b"%d" % number for key, number, largest in numbers if number > largest}
    if not extended:
        return header
    if any(_is_binary(value) for value in extended.values()):
        extended = {b"hdrcharset": b"BINARY", **extended}
    records = b"".join(_pax_record(key, value) for key, value in extended.items())
    before = _ustar("././@PaxHeader", _PAX, mode=0, uid=0, gid=0, size=len(records), mtime=0, target="")
    return before + records + padding(len(records)) + header


def padding(size: int) -> bytes:
    """What follows `size` bytes of content up to the next block."""
    return bytes(-size % BLOCK)


def _ustar(
    name: str, kind: bytes, *, mode: int, uid: int, gid: int, size: int, mtime: int, target: str
) -> bytes:
    raw = name.encode("ascii", "replace")[:100]
    owners = uid if uid <= _LARGEST_ID else 0, gid if gid <= _LARGEST_ID else 0
    numbers = b"%07o\0%07o\0%07o\0%011o\0" % (mode, *owners, size if size <= _LARGEST_SIZE else 0)
    rest, added = _rest(kind, mtime, target.encode("ascii", "replace")[:100])
    checksum = b"%06o\0 " % (added + sum(raw) + sum(numbers))
    return b"".join((raw, bytes(100 - len(raw)), numbers, rest[:12], checksum, rest[12:]))


@lru_cache(maxsize=64)  # of thousands of entries most have the same
def _rest(kind: bytes, mtime: int, target: bytes) -> tuple[bytes, int]:
    """What is around the checksum of a header: 12 bytes before it, the others after it; and what these, and
    the checksum itself as blanks, add to it."""
    after = (kind + target.ljust(100, b"\0") + b"ustar\x0000").ljust(BLOCK - 156, b"\0")
    rest = b"%011o\0" % mtime + after
    return rest, sum(rest) + 8 * 0x20


def _pax_record(key: bytes, value: bytes) -> bytes:
    """`LENGTH KEY=VALUE\\n`, where the length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)


def _pax_records(data: bytes) -> dict[str, bytes]:
    records: dict[str, bytes] = {}
    position = 0
    while position < len(data):
        digits = data[position : position + 8].partition(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        record = data[position : position + length]
        key, equals, value = record[len(digits) + 1 : -1].partition(b"=")
        if not equals or not key or record[-1:] != b"\n" or len(record) != length:
            raise UnsafeArchiveError("an extended header is malformed")
        records[key.decode("utf-8", "surrogateescape")] = value
        position += length
    return records


def _entry(header: bytes, extended: Mapping[str, bytes]) -> Entry:
    kind = header[156:157]
    name = _text(extended.get("path") or _name(header))
    if kind in _OLD_FILES:
        kind = DIRECTORY if name.endswith("/") else FILE
    if kind not in _KINDS or any(key.startswith("GNU.sparse.") for key in extended):
        raise UnsafeArchiveError(f"{name!r} is of a kind that no layer needs ({kind!r}, or sparse)")
    size = _decimal(extended, "size", _number(header[124:136], "size"))
    return Entry(
        name=name,
        kind=kind,
        mode=_number(header[100:108], "mode") & 0o7777,
        uid=_decimal(extended, "uid", _number(header[108:116], "uid")),
        gid=_decimal(extended, "gid", _number(header[116:124], "gid")),
        size=size if kind == FILE else 0,
        mtime=_mtime(header, extended),
        target=_text(extended.get("linkpath") or header[157:257].partition(b"\0")[0]),
        xattrs={key.removeprefix(_XATTR): value for key, value in extended.items() if key.startswith(_XATTR)},
    )


def _name(header: bytes) -> bytes:
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _number(field: bytes, what: str) -> int:
    """Octal digits, or, as GNU and star write what does not fit, two's complement with the first bit set."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    try:
        return int(digits, 8) if digits else 0
    except ValueError:
        raise UnsafeArchiveError(f"a header's {what} is no number") from None


def _decimal(extended: Mapping[str, bytes], key: str, otherwise: int) -> int:
    value = extended.get(key)
    if value is None:
        return otherwise
    if not value.isdigit() or len(value) > 19:
        raise UnsafeArchiveError(f"an extended header's {key} is no number")
    return int(value)


def _mtime(header: bytes, extended: Mapping[str, bytes]) -> int:
    value = extended.get("mtime")
    if value is None:
        return _number(header[136:148], "time") * 10**9
    match = _MTIME.fullmatch(_text(value))
    if match is None:
        raise UnsafeArchiveError("an extended header's mtime is no time")
    nanoseconds = int(match[2]) * 10**9 + int((match[3] or "")[:9].ljust(9, "0"))
    return -nanoseconds if match[1] else nanoseconds


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _is_binary(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return True
    return False
