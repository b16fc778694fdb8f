"""Who a repository is at its host: the numbers by which GitHub and GitLab know it, whatever it is called."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

from tagboat.errors import TagboatError

_TIMEOUT = 30.0  # seconds


class ForgeError(TagboatError):
    """The host does not say who the repository is."""


@dataclass(frozen=True, slots=True)
class Project:
    """A repository (or GitLab's project): its path as its host writes it, its number and its owner's."""

    path: str
    id: str
    owner_id: str


def github(path: str) -> Project:
    """A repository of GitHub, or of the one that GITHUB_API_URL names. Raises ForgeError."""
    token = os.environ.get("GH_TOKEN") or os.environ.get("GITHUB_TOKEN")
    address = os.environ.get("GITHUB_API_URL") or "https://api.github.com"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    said = _ask(f"{address}/repos/{quote(path)}", headers, "GH_TOKEN")
    try:
        return Project(said["full_name"], str(said["id"]), str(said["owner"]["id"]))
    except (KeyError, TypeError) as error:
        raise ForgeError(f"{address} does not say what {path} is") from error


def gitlab(path: str) -> Project:
    """A project of GitLab, or of the one that CI_API_V4_URL names. Raises ForgeError."""
    token = os.environ.get("GITLAB_TOKEN")
    address = os.environ.get("CI_API_V4_URL") or "https://gitlab.com/api/v4"
    headers = {"PRIVATE-TOKEN": token} if token else {}
    said = _ask(f"{address}/projects/{quote(path, safe='')}", headers, "GITLAB_TOKEN")
    try:
        return Project(said["path_with_namespace"], str(said["id"]), str(said["namespace"]["id"]))
    except (KeyError, TypeError) as error:
        raise ForgeError(f"{address} does not say what {path} is") from error


def _ask(address: str, headers: Mapping[str, str], variable: str) -> Any:
    request = Request(address, headers={"Accept": "application/json", **headers})  # noqa: S310
    try:
        with urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310  the user's own host
            return json.load(answer)
    except (OSError, ValueError) as error:
        if isinstance(error, HTTPError):
            error.close()
        raise ForgeError(
            f"{address}: {error}",
            hint=f"for a private repository set {variable}, or give --repository-id and --owner-id",
        ) from error
