"""The list page over SQLite: the site's templates, middleware and server, and a query for each page."""

from __future__ import annotations

import os
import sqlite3
import sys
from datetime import UTC, datetime
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from company_site.accounts.model import User
from company_site.headers import SecurityHeaders
from company_site.logs import RequestLog, configure_logging
from company_site.meta import Meta
from company_site.posts.model import Summary
from company_site.settings import Mode, Settings
from company_site.templating import environment

_SIZE: Final = 20
_PAGE: Final = """
SELECT slug, title, summary, author, name, author_slug, created, updated, published FROM post
WHERE published <= ? ORDER BY published DESC LIMIT ? OFFSET ?
"""
_TAGS: Final = """
SELECT tag, count(*) FROM tag JOIN post USING (slug) WHERE published <= ? GROUP BY tag ORDER BY tag
"""


def main() -> None:
    """Serve the database that the argument names on PORT, until SIGTERM."""
    database = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True, check_same_thread=False)
    templates = environment(Settings("file:///unused", "file:///unused", Mode.DEMO))

    async def posts(request: Request) -> Response:
        now = datetime.now(UTC).isoformat()
        number = int(request.query_params.get("page", "1"))
        rows = database.execute(_PAGE, (now, _SIZE, (number - 1) * _SIZE)).fetchall()
        ((count,),) = database.execute("SELECT count(*) FROM post WHERE published <= ?", (now,)).fetchall()
        tags = {tag: range(of) for tag, of in database.execute(_TAGS, (now,))}
        found = []
        for slug, title, summary, author, name, _, created, updated, published in rows:
            own = database.execute("SELECT tag FROM tag WHERE slug = ?", (slug,)).fetchall()
            found.append(
                Summary(
                    slug=slug,
                    title=title,
                    summary=summary,
                    author=User(author, name),
                    tags=tuple(tag for (tag,) in own),
                    featured=False,
                    created=datetime.fromisoformat(created),
                    updated=datetime.fromisoformat(updated),
                    published_at=datetime.fromisoformat(published),
                )
            )
        base = str(request.base_url).rstrip("/")
        meta = Meta(f"{base}/posts", "The log", "What we build, what we learn, and what went wrong.", base)
        text = templates.get_template("posts/list.html").render(
            user=None,
            path="/posts",
            meta=meta,
            author_slugs={row[3]: row[5] for row in rows},
            posts=found,
            heading="The log",
            whole_log=True,
            tags=tags,
            count=count,
            number=number,
            last=-(-count // _SIZE),
            before=f"/posts?page={number - 1}",
            after=f"/posts?page={number + 1}",
        )
        return HTMLResponse(text, headers={"Cache-Control": "no-cache", "Vary": "Cookie"})

    app = Starlette(
        routes=[Route("/posts", posts)],
        middleware=[Middleware(GZipMiddleware, minimum_size=1024, compresslevel=6)],
    )
    configure_logging()
    uvicorn.run(
        RequestLog(SecurityHeaders(app)),
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        loop="uvloop",
        http="httptools",
        log_config=None,
        access_log=False,
        server_header=False,
    )


if __name__ == "__main__":
    main()
