"""A working copy: the editor's form as its writer left it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from company_site.posts.model import BODY_LIMIT, Draft, InvalidDraftError

LIFETIMES = {days: timedelta(days=days) for days in (1, 7, 30)}
"""How long a preview link may work, by the number of days."""
COPIES_LIMIT = 100  # working copies a writer
LINKS_LIMIT = 50  # preview links a writer
_FIELDS_LIMIT = 4 * BODY_LIMIT  # characters, as kept


@dataclass(frozen=True, slots=True)
class WorkingCopy:
    """One writer's, of one post as it was at revision `basis`, or of none yet.

    Its writer alone sees it. It changes nothing that anybody reads until it is published.
    """

    id: int
    key: str
    post: int | None
    basis: int
    draft: Draft
    saved: datetime


def dump_draft(draft: Draft) -> str:
    """As the database keeps it. Raises InvalidDraftError when it is too long for that."""
    text = json.dumps(asdict(draft), ensure_ascii=False, sort_keys=True)
    if len(text) > _FIELDS_LIMIT:
        raise InvalidDraftError({"body": f"The text has more than {BODY_LIMIT:,} characters."})
    return text


def load_draft(text: str) -> Draft:
    """What was kept; what a later version knows besides is left out."""
    kept: dict[str, Any] = json.loads(text)
    known = {field.name: kept[field.name] for field in fields(Draft) if field.name in kept}
    return Draft(**known | {"pages": tuple(known.get("pages", ()))})
