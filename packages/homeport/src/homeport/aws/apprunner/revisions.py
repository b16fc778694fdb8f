"""Configurations with revisions, as App Runner lists them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeport.aws.apprunner.faults import INVALID
from homeport.aws.pages import page
from homeport.resources import Resource, Resources

_PAGE = 100


def page_of_revisions(
    resources: Resources, kind: str, name: str | None, request: Mapping[str, Any]
) -> tuple[list[Resource], str | None]:
    """A page of the active revisions of a kind, or of a name of it, and the token of the next page.

    The request says whether it is about the latest of each name alone. Raises ApiError.
    """
    found = resources.active(kind, name)
    if request.get("LatestOnly", True):
        found = [one for one in found if resources.latest(one)]
    return page(
        found,
        request.get("NextToken"),
        request.get("MaxResults", _PAGE),
        key=lambda one: f"{one.name}/{one.revision:09}",
        code=INVALID,
    )
