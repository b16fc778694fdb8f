"""A thousand posts, in the bucket and in SQLite; and what a page weighs."""

from __future__ import annotations

import gzip
import re
import sqlite3
import urllib.parse
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.cookiejar import CookieJar
from pathlib import Path
from random import Random
from typing import Any, Final

from obstore.store import S3Store

import bucketlog
from bench.site.servers import Bucket, site
from company_site.accounts.store import find_user
from company_site.posts import seed
from company_site.posts.edition import Edition, Editions
from company_site.posts.model import Content
from company_site.posts.store import new_post, summarised

_BATCH: Final = 100
_WORDS: Final = " ".join(file.read_text() for file in sorted(Path(seed.__file__).parent.glob("*.md"))).split()
_TAGS: Final = ("craft", "data", "design", "harbour", "practice", "web")
_FIRST: Final = datetime(2023, 1, 1, 9, tzinfo=UTC)

_TABLES: Final = """
CREATE TABLE post (
    slug TEXT PRIMARY KEY, title TEXT NOT NULL, summary TEXT NOT NULL, author TEXT NOT NULL,
    name TEXT NOT NULL, author_slug TEXT NOT NULL, created TEXT NOT NULL,
    updated TEXT NOT NULL, published TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX post_published ON post (published);
CREATE TABLE tag (slug TEXT NOT NULL, tag TEXT NOT NULL, PRIMARY KEY (tag, slug)) WITHOUT ROWID;
CREATE INDEX tag_slug ON tag (slug);
"""


def fill(bucket: Bucket, database: Path, count: int) -> None:
    """Write so many posts into the bucket, and what is public there into a new SQLite database."""
    with site(bucket):
        pass  # its start writes the schema, the people and the first posts
    store = S3Store.from_url(
        f"{bucket.url}/database",
        endpoint=bucket.endpoint,
        access_key_id=bucket.key,
        secret_access_key=bucket.secret,
        region="local-1",
        client_options={"allow_http": True},
    )
    random = Random(7)  # noqa: S311 -- texts
    with bucketlog.connect(store) as connection:
        for start in range(0, count, _BATCH):
            connection.transact([_posts(range(start, start + _BATCH), random.random())])
        value = connection.db()
        _copy(value, Editions().at(value), database)


def _posts(numbers: range, seed: float) -> Callable[[bucketlog.Database], list[Any]]:
    def apply(database: bucketlog.Database) -> list[Any]:
        random = Random(seed)  # noqa: S311 -- texts, the same when it is called again
        author = find_user(database, "author")
        if author is None:
            raise RuntimeError("the site has not written its people")
        made = []
        for number in numbers:
            title = f"Post {number}: {' '.join(random.choices(_WORDS, k=5))}"
            body = "\n\n".join(" ".join(random.choices(_WORDS, k=90)) for _ in range(6))
            content = Content(
                title, body, tuple(sorted(set(random.choices(_TAGS, k=2)))), slug=f"post-{number}"
            )
            made.append(new_post(database, content, author, _FIRST + timedelta(days=number)))
        return made

    return apply


def _copy(value: bucketlog.Database, edition: Edition, path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.executescript(_TABLES)
        for post in summarised(value, edition.posts):
            instants = (post.created, post.updated, post.date)
            texts = (post.slug, post.title, post.summary, post.author.id, post.author.name)
            row = (*texts, edition.slugs[post.author.id], *(instant.isoformat() for instant in instants))
            database.execute("INSERT INTO post VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            database.executemany("INSERT INTO tag VALUES (?, ?)", [(post.slug, tag) for tag in post.tags])
    database.close()


def publish(url: str, count: int) -> None:
    """Sign in as an author, and write so many posts."""
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))

    def send(path: str, **form: str) -> None:
        request = urllib.request.Request(  # noqa: S310 -- loopback
            url + path,
            urllib.parse.urlencode(form).encode(),
            {"Origin": url, "Sec-Fetch-Site": "same-origin"},
        )
        with browser.open(request) as answer:
            answer.read()

    send("/login", user="author")
    for number in range(count):
        send("/posts/new", title=f"Live {number}", body="A text.", action="publish")


def page_weight(url: str, path: str) -> int:
    """Bytes of a page and of what it needs, as they travel."""
    page, size = _fetch(url + path)
    needed = re.findall(r'<link rel="(?:stylesheet|icon)"[^>]* href="([^"]+)"', page)
    needed += re.findall(r'<(?:script|img)[^>]* src="([^"]+)"', page)
    return size + sum(_fetch(url + address)[1] for address in needed)


def _fetch(url: str) -> tuple[str, int]:
    request = urllib.request.Request(url, headers={"Accept-Encoding": "gzip"})  # noqa: S310 -- loopback
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        data: bytes = answer.read()
        packed = answer.headers["Content-Encoding"] == "gzip"
    return (gzip.decompress(data) if packed else data).decode(), len(data)
