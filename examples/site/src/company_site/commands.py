"""What the command does besides serving: the site, or its posts, to files and back; collecting images."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import bucketlog
from company_site.app import SCHEMA
from company_site.archive import export_archive, import_archive, is_there
from company_site.database import Data
from company_site.errors import SiteError
from company_site.posts.frontmatter import dump, load
from company_site.posts.model import FORM_LIMIT, Draft, InvalidDraftError
from company_site.posts.store import create_post, entries, find_post
from company_site.settings import Settings
from company_site.uploads.garbage import Collected, collect
from company_site.uploads.store import ImageStore

_LONGEST_NAME = 200  # bytes of a file's name


class FileError(SiteError):
    """A Markdown file could not be read or written; the text says which and why."""


def run(arguments: argparse.Namespace, settings: Settings) -> Iterator[str]:
    """Do what the command line says; lines for standard output. Raises SiteError, StoreError, obstore's."""
    if arguments.command != "import" and not is_there(settings.database_url):
        raise SiteError(f"there is no database at DATABASE_URL, {settings.database_url}")
    yield from _COMMANDS[arguments.command](arguments, settings)


def _export(arguments: argparse.Namespace, settings: Settings) -> Iterator[str]:
    written = export_archive(settings, arguments.file)
    yield f"{arguments.file}: {written.transaction} transactions, {written.images} images"


def _import(arguments: argparse.Namespace, settings: Settings) -> Iterator[str]:
    read = import_archive(settings, arguments.file)
    yield f"{arguments.file}: {read.transaction} transactions, {read.images} images"


def _export_posts(arguments: argparse.Namespace, settings: Settings) -> Iterator[str]:
    with bucketlog.connect(settings.database_url) as connection:
        connection.transact(SCHEMA)
        database = connection.db()
        try:
            arguments.directory.mkdir(parents=True, exist_ok=True)
            for entry in entries(database):
                post = find_post(database, entry.slug)
                if post is None or post.deleted_at is not None:
                    continue
                slug = post.slug
                if len(slug.encode()) > _LONGEST_NAME:
                    slug = f"{slug[: _LONGEST_NAME // 8]}-{post.id}"
                path = arguments.directory / f"{slug}.md"
                with path.open("x", encoding="utf-8") as file:
                    file.write(dump(post))
                yield str(path)
        except OSError as error:
            raise FileError(f"{error.filename}: {error.strerror}") from error


def _import_posts(arguments: argparse.Namespace, settings: Settings) -> Iterator[str]:
    # All are read before the first is written.
    contents = [(path, *_read(path)) for path in arguments.files]
    with bucketlog.connect(settings.database_url) as connection:
        connection.transact(SCHEMA)
        for path, draft, is_published in contents:
            try:
                creation = create_post(
                    draft.checked(), arguments.user, datetime.now(UTC), publish=is_published
                )
                report = connection.transact([creation])
            except SiteError as error:
                raise FileError(f"{path}: {error}") from error
            slug = report.db_after.pull("[:post/slug]", report.tempids["post"])[":post/slug"]
            yield f"{path}: /posts/{slug}{'' if is_published else ' (a draft)'}"


def _read(path: Path) -> tuple[Draft, bool]:
    """The draft, checked, and whether it says when it was published."""
    try:
        data = path.read_bytes()[: FORM_LIMIT + 1]
        if len(data) > FORM_LIMIT:
            raise FileError(f"{path}: larger than {FORM_LIMIT:,} bytes")
        draft, _ = load(data.decode("utf-8"))
        draft.checked()
    except OSError as error:
        raise FileError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise FileError(f"{path}: not a text in UTF-8") from None
    except InvalidDraftError as error:
        raise FileError(f"{path}: {error}") from error
    return draft, bool(draft.publish_at)


def _collect(_: argparse.Namespace, settings: Settings) -> Iterator[str]:
    collected = asyncio.run(_collect_images(settings))
    yield f"{collected.marked} images marked, {collected.deleted} deleted"


async def _collect_images(settings: Settings) -> Collected:
    data = Data.open(settings.database_url, SCHEMA)
    try:
        return await collect(data, ImageStore.open(settings.uploads_url), datetime.now(UTC))
    finally:
        data.close()


_COMMANDS: dict[str, Callable[[argparse.Namespace, Settings], Iterator[str]]] = {
    "export": _export,
    "import": _import,
    "export-posts": _export_posts,
    "import-posts": _import_posts,
    "collect": _collect,
}
