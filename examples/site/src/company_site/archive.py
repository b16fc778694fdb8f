"""A whole site in one file: posts and their history, users and roles, drafts, and every image.

The file is a ZIP with `site.json`, which says what it is; `database.jsonl`, the database with all of its
history as bucketlog exports it; and `uploads/NAME` for each image. Exported, imported and exported again they
are the same.

An archive is not trusted. Every name and size is checked before anything is read, every image is what its
name says and one that this site could have made, and the database is made in a temporary directory once
before anything is written where it shall be. Sessions and preview links end with an import.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import bucketlog
from bucketlog.export import export_text
from bucketlog.importing import ImportTextError, import_text
from company_site.accounts.store import people
from company_site.app import SCHEMA
from company_site.errors import SiteError
from company_site.posts.store import entries
from company_site.settings import Settings
from company_site.uploads.image import UnacceptableImageError, check_stored
from company_site.uploads.model import FILE_LIMIT, ImageName, parse_name
from company_site.uploads.store import ImageStore

FORMAT = "company-site-archive"
VERSION = 1
_HEAD, _TEXT, _IMAGES = "site.json", "database.jsonl", "uploads/"
_MOST_FILES = 100_000
_HEAD_LIMIT = 64 * 1024  # bytes
_TEXT_LIMIT = 4 * 1024**3  # bytes
_LINE_LIMIT = 64 * 1024**2  # bytes: a transaction


class ArchiveError(SiteError):
    """The file cannot be written, or is no archive that can be imported; the text says why."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What went through: the number of the last transaction, and how many images."""

    transaction: int
    images: int


def export_archive(settings: Settings, path: Path) -> Contents:
    """Write the archive; the file is there when it is whole. Raises ArchiveError, StoreError, obstore's."""
    if path.exists():
        raise ArchiveError(f"{path} is there already: name another file, or remove it")
    partial = path.with_name(f"{path.name}.partial")
    images = ImageStore.open(settings.uploads_url)
    try:
        with asyncio.Runner() as runner, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            with archive.open(_TEXT, "w", force_zip64=True) as text:
                last = export_text(settings.database_url, text.write)
            names = sorted(str(name) for name, _ in runner.run(images.list()))
            for name in names:
                entry = zipfile.ZipInfo(f"{_IMAGES}{name}")  # stored as it is: it is compressed already
                archive.writestr(entry, runner.run(images.read(_name(name))))
            head = {"format": FORMAT, "version": VERSION, "images": len(names)}
            archive.writestr(_HEAD, json.dumps(head))
        partial.rename(path)
    except OSError as error:
        raise ArchiveError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
    return Contents(last, len(names))


def import_archive(settings: Settings, path: Path) -> Contents:
    """Make the site of an archive, where there is none yet. Raises ArchiveError, StoreError, obstore's."""
    try:
        with asyncio.Runner() as runner, zipfile.ZipFile(path) as archive:
            names = _check(archive)
            with tempfile.TemporaryDirectory() as directory:
                _try(archive, f"file://{directory}/database")
            if is_there(settings.database_url):
                raise ArchiveError("there is a database already: import into an empty DATABASE_URL")
            store = ImageStore.open(settings.uploads_url)
            for name in names:
                data = _read(archive, f"{_IMAGES}{name}", FILE_LIMIT)
                try:
                    check_stored(name, data)
                except UnacceptableImageError as error:
                    raise ArchiveError(f"{_IMAGES}{name}: {error}") from None
                runner.run(store.keep(name, data))
            with _lines(archive) as lines:
                last = import_text(lines, settings.database_url)
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise ArchiveError(f"{path} is not a good ZIP file: {error}") from None
    except OSError as error:
        raise ArchiveError(f"{path} cannot be read: {error.strerror or error}") from error
    with bucketlog.connect(settings.database_url) as connection:
        connection.transact([_end_sessions])
    return Contents(last, len(names))


def _check(archive: zipfile.ZipFile) -> list[ImageName]:
    """The names of the images. Nothing but the directory of the file has been read before."""
    infos = archive.infolist()
    if len(infos) > _MOST_FILES:
        raise ArchiveError(f"it has {len(infos):,} files; {_MOST_FILES:,} are taken")
    if len({info.filename for info in infos}) != len(infos):
        raise ArchiveError("two of its files have one name")
    names: list[ImageName] = []
    for info in infos:
        limit = {_HEAD: _HEAD_LIMIT, _TEXT: _TEXT_LIMIT}.get(info.filename)
        if limit is None:
            name = parse_name(info.filename.removeprefix(_IMAGES))
            if name is None or not info.filename.startswith(_IMAGES):
                raise ArchiveError(f"{info.filename[:80]!r} does not belong into an archive of a site")
            names.append(name)
            limit = FILE_LIMIT
        if info.file_size > limit:
            raise ArchiveError(f"{info.filename} has {info.file_size:,} bytes; {limit:,} are taken")
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ArchiveError(f"{info.filename} is encrypted, or compressed in a way that is not read")
    if missing := {_HEAD, _TEXT} - {info.filename for info in infos}:
        raise ArchiveError(f"{' and '.join(sorted(missing))} is missing: this is no archive of a site")
    try:
        head = json.loads(_read(archive, _HEAD, _HEAD_LIMIT))
        stated = (head["format"], head["version"], head["images"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ArchiveError(f"{_HEAD} does not say what this is") from None
    if stated != (FORMAT, VERSION, len(names)):
        raise ArchiveError(f"{_HEAD} states {stated}; it should be {(FORMAT, VERSION, len(names))}")
    return names


def _try(archive: zipfile.ZipFile, url: str) -> None:
    """Make the database somewhere else first, and see that it is one of a site."""
    try:
        with _lines(archive) as lines:
            import_text(lines, url)
        with bucketlog.connect(url) as connection:
            database = connection.db()
            for ident in (":post/slug", ":user/id"):
                if database.q("[:find ?a . :in $ ?ident :where [?a :db/ident ?ident]]", ident) is None:
                    raise ArchiveError(f"{_TEXT} is not the database of a site: it has no {ident}")
            connection.transact(SCHEMA)  # as the start of a site does
            entries(connection.db())
            people(connection.db(), datetime.now(UTC))
    except ImportTextError as error:
        raise ArchiveError(f"{_TEXT}: {error}") from None
    except (bucketlog.BucketlogError, KeyError, TypeError, ValueError) as error:
        raise ArchiveError(f"{_TEXT} is not the database of a site: {error}") from None


def is_there(url: str) -> bool:
    """Whether there is a database, without making one as a connection would."""
    try:
        export_text(url, lambda _: None, to=0)
    except bucketlog.StoreError:
        return False
    return True


@contextmanager
def _lines(archive: zipfile.ZipFile) -> Iterator[Iterator[bytes]]:
    with archive.open(_TEXT) as text:
        yield _bounded(text)


def _bounded(text: IO[bytes]) -> Iterator[bytes]:
    total = 0
    while line := text.readline(_LINE_LIMIT):
        total += len(line)
        if total > _TEXT_LIMIT or (len(line) == _LINE_LIMIT and not line.endswith(b"\n")):
            raise ArchiveError(f"{_TEXT} is larger than what is taken")
        yield line


def _read(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    with archive.open(name) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ArchiveError(f"{name} has more than {limit:,} bytes")
    return data


def _end_sessions(database: bucketlog.Database) -> list[Any]:
    idents = (":session/digest", ":preview/digest")
    found = (
        entity
        for ident in idents
        if database.q("[:find ?a . :in $ ?ident :where [?a :db/ident ?ident]]", ident) is not None
        for entity in database.q("[:find [?e ...] :in $ ?a :where [?e ?a]]", ident)
    )
    return [[":db/retractEntity", entity] for entity in found]


def _name(text: str) -> ImageName:
    name = parse_name(text)
    if name is None:
        raise ArchiveError(f"{text!r} is no name of an image")
    return name
