"""The posts that a new site begins with: the Markdown files beside this one.

A file begins with `name: value` lines (title, author, tags, published, and perhaps pages and featured), then
an empty line, then the text.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from bucketlog import Database
from company_site.accounts.store import find_user
from company_site.errors import GoneError
from company_site.posts.model import Draft
from company_site.posts.store import new_post


def add_first_posts(database: Database) -> list[Any]:
    """Transaction function; needs the people of the demo to be there."""
    posts = []
    for file in sorted(Path(__file__).parent.glob("*.md")):
        head, _, body = file.read_text("utf-8").partition("\n\n")
        fields = dict(line.split(": ", 1) for line in head.splitlines())
        author = find_user(database, fields["author"])
        if author is None:
            raise GoneError(f"{file.name} is by {fields['author']}, whom the database does not know")
        featured = fields.get("featured") == "yes"
        pages = tuple(fields.get("pages", "").split())
        content = Draft(fields["title"], body, fields["tags"], pages=pages, featured=featured).checked()
        posts.append(new_post(database, content, author, datetime.fromisoformat(fields["published"])))
    return posts
