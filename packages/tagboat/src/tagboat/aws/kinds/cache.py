"""What CloudFront keeps of a path's answers, and what it tells the origin of who asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tagboat.aws.account import Account
from tagboat.aws.resource import Found, Resource

MADE = "made by tagboat"
"""The comment by which what has no tags is known for ours."""
_NONE = "NoSuchCachePolicy"


def tags_of(comment: str | None) -> Mapping[str, str] | None:
    """In place of the tags of what has a comment alone: None, so that it is ours by its name, or none."""
    return None if comment == MADE else {}


class CachePolicy:
    """Settings: `headers`, `cookies`, `queries` (what answers differ by, and all that the origin is told of
    them: names of headers, and "none" or "all"), and `ttl`: the least, the usual and the most seconds, and
    between these the origin's Cache-Control decides.
    """

    name: ClassVar[str] = "cloudfront.cache-policy"
    attributes: ClassVar[Mapping[str, str]] = {"id": "Id"}
    identified_by: ClassVar[frozenset[str]] = frozenset()

    def read(self, account: Account, resource: Resource) -> Found | None:
        there = account.call("cloudfront", "list_cache_policies", Type="custom", MaxItems="100")
        for one in there["CachePolicyList"].get("Items", []):
            config = one["CachePolicy"]["CachePolicyConfig"]
            if config["Name"] == resource.name:
                return Found(
                    _settings(config), {"id": one["CachePolicy"]["Id"]}, tags_of(config.get("Comment"))
                )
        return None

    def create(self, account: Account, resource: Resource) -> None:
        config = _config(resource)
        account.call("cloudfront", "create_cache_policy", CachePolicyConfig=_counted(config))

    def update(self, account: Account, resource: Resource, found: Found, changed: frozenset[str]) -> None:
        named = {"Id": found.attributes["id"]}
        etag = account.call("cloudfront", "get_cache_policy", **named)["ETag"]
        config = _counted(_config(resource))
        account.call("cloudfront", "update_cache_policy", **named, IfMatch=etag, CachePolicyConfig=config)

    def delete(self, account: Account, resource: Resource, found: Found) -> None:
        named = {"Id": found.attributes["id"]}
        there = account.find("cloudfront", "get_cache_policy", _NONE, **named)
        if there is not None:
            account.find("cloudfront", "delete_cache_policy", _NONE, **named, IfMatch=there["ETag"])

    def template(self, resource: Resource) -> tuple[str, dict[str, Any]]:
        return "AWS::CloudFront::CachePolicy", {"CachePolicyConfig": _config(resource)}


def _config(resource: Resource) -> dict[str, Any]:
    settings = resource.settings
    least, usual, most = settings["ttl"]
    headers = {"HeaderBehavior": "whitelist", "Headers": settings["headers"]}
    return {
        "Name": resource.name,
        "Comment": MADE,
        "MinTTL": least,
        "DefaultTTL": usual,
        "MaxTTL": most,
        "ParametersInCacheKeyAndForwardedToOrigin": {
            "EnableAcceptEncodingGzip": True,
            "EnableAcceptEncodingBrotli": True,
            "HeadersConfig": headers if settings["headers"] else {"HeaderBehavior": "none"},
            "CookiesConfig": {"CookieBehavior": settings["cookies"]},
            "QueryStringsConfig": {"QueryStringBehavior": settings["queries"]},
        },
    }


def _counted(config: dict[str, Any]) -> dict[str, Any]:
    """CloudFormation's words in those of CloudFront's own API, where a list comes with its length."""
    key = dict(config["ParametersInCacheKeyAndForwardedToOrigin"])
    headers = key["HeadersConfig"]
    if "Headers" in headers:
        items = {"Quantity": len(headers["Headers"]), "Items": headers["Headers"]}
        key["HeadersConfig"] = {**headers, "Headers": items}
    return {**config, "ParametersInCacheKeyAndForwardedToOrigin": key}


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    key = config["ParametersInCacheKeyAndForwardedToOrigin"]
    return {
        "headers": sorted(key["HeadersConfig"].get("Headers", {}).get("Items", [])),
        "cookies": key["CookiesConfig"]["CookieBehavior"],
        "queries": key["QueryStringsConfig"]["QueryStringBehavior"],
        "ttl": [int(config[name]) for name in ("MinTTL", "DefaultTTL", "MaxTTL")],
    }
