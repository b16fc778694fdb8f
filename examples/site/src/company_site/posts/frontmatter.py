"""A post as a Markdown file: front matter between two lines of `---`, in YAML, then the text.

Read are `title`, `tags`, `pages`, `featured`, `slug`, `published` and `unpublish`: what its author could have
typed into the editor, where it is checked as if they had. Who wrote it and when it was created are written
for other programs to see, and never read.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from company_site.posts.model import Draft, InvalidDraftError, Post

_FENCE = "---"
_LIMIT = 16 * 1024  # characters of front matter
_DEPTH = 3
_READ = frozenset({"title", "tags", "pages", "featured", "slug", "published", "unpublish"})


def dump(post: Post) -> str:
    """The post as a file."""
    import yaml  # type: ignore[import-untyped]  # noqa: PLC0415 - a start of the site has no need of it

    fields = {
        "title": post.title,
        "slug": post.slug,
        "author": post.author.name,
        "created": post.created.isoformat(),
        "published": post.published_at and post.published_at.isoformat(),
        "unpublish": post.unpublish_at and post.unpublish_at.isoformat(),
        "tags": list(post.tags),
        "pages": [str(page) for page in post.pages],
        "featured": post.featured,
    }
    kept = {name: value for name, value in fields.items() if value not in (None, [], False)}
    head = yaml.safe_dump(kept, allow_unicode=True, sort_keys=False, width=1000)
    return f"{_FENCE}\n{head}{_FENCE}\n\n{post.body}\n"


def load(text: str) -> tuple[Draft, list[str]]:
    """What the editor begins with, and the names in the front matter that are not read.

    A file without front matter is a text whose first heading is its title. Raises InvalidDraftError.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    if lines[0].rstrip() != _FENCE:
        title, _, rest = text.strip("\n").partition("\n")
        if title.startswith("# "):
            return Draft(title=title[2:].strip(), body=rest.strip("\n")), []
        return Draft(body=text.strip("\n")), []
    ends = [number for number, line in enumerate(lines[1:], 1) if line.rstrip() in (_FENCE, "...")]
    if not ends:
        raise InvalidDraftError({"file": "The front matter has no end: a line of three hyphens."})
    fields = _parse("\n".join(lines[1 : ends[0]]))
    draft = Draft(
        title=_text(fields, "title"),
        body="\n".join(lines[ends[0] + 1 :]).strip("\n"),
        tags=", ".join(_list(fields, "tags")),
        pages=tuple(page.lower() for page in _list(fields, "pages")),
        featured=fields.get("featured") is True,
        slug=_text(fields, "slug"),
        publish_at=_time(fields, "published"),
        unpublish_at=_time(fields, "unpublish"),
    )
    return draft, sorted(str(name) for name in fields if name not in _READ)


def _parse(head: str) -> dict[Any, Any]:
    import yaml  # noqa: PLC0415

    if len(head) > _LIMIT:
        raise InvalidDraftError({"file": f"The front matter has more than {_LIMIT:,} characters."})
    try:
        # An alias can stand for much more than was sent, and depth costs more than its length.
        depth = 0
        for event in yaml.parse(head, yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or depth > _DEPTH:
                raise InvalidDraftError({"file": "The front matter has aliases or nests: neither is read."})
        fields = yaml.safe_load(head)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        place = getattr(error, "problem_mark", None)
        where = f" in line {place.line + 2}" if place else ""
        raise InvalidDraftError({"file": f"The front matter is not good YAML{where}."}) from None
    if fields is None:
        return {}
    if not isinstance(fields, dict):
        raise InvalidDraftError({"file": "The front matter has no names and values."})
    return fields


def _text(fields: dict[Any, Any], name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if isinstance(value, dict | list):
        raise InvalidDraftError({"file": f"In the front matter {name} is not a text."})
    return str(value)


def _list(fields: dict[Any, Any], name: str) -> list[str]:
    value = fields.get(name)
    if isinstance(value, str):
        value = value.split(",")
    if value is None:
        return []
    if not isinstance(value, list) or any(isinstance(item, dict | list) for item in value):
        raise InvalidDraftError({"file": f"In the front matter {name} is not a list of texts."})
    return [str(item).strip() for item in value]


def _time(fields: dict[Any, Any], name: str) -> str:
    value = fields.get(name)
    if isinstance(value, datetime):
        moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        return f"{moment:%Y-%m-%dT%H:%M:%S}"
    if isinstance(value, date):
        return f"{value:%Y-%m-%d}T00:00:00"
    return _text(fields, name)
