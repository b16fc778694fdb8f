"""The distribution in front: HTTPS for the domain, redirects of other hosts, uploads from their bucket."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tagboat.aws.account import Account, wait_until
from tagboat.aws.kinds.cache import MADE, tags_of
from tagboat.aws.resource import Found, Resource
from tagboat.aws.tags import mapping, pairs

_COMMENT = "tagboat: "
# The alias target's zone of every distribution ("Amazon CloudFront endpoints and quotas").
HOSTED_ZONE = "Z2FDTNDATAQYW2"
# Managed policies ("Use managed cache policies", "Use managed origin request policies").
_NOT_CACHED = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
_CACHED = "658327ea-f89d-4fab-a63d-7e88639e58f6"
_SAFE_HEADERS = "67f7725c-6f97-4210-82d7-5512b31e9d03"  # nosniff and the like ("… response headers policies")
_ALL_BUT_HOST = "b689b0a8-53d0-40ab-baf2-68738e2966ac"
_READS = ["GET", "HEAD"]
_ALL = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]
_READ_TIMEOUT = 60  # seconds that the origin may take
_KEEPALIVE = 60  # seconds that a connection to the origin is kept


class OriginAccessControl:
    """Lets distributions sign what they ask a bucket. Settings: `type`."""

    name: ClassVar[str] = "cloudfront.origin-access-control"
    attributes: ClassVar[Mapping[str, str]] = {"id": "Id"}
    identified_by: ClassVar[frozenset[str]] = frozenset()

    def read(self, account: Account, resource: Resource) -> Found | None:
        there = account.call("cloudfront", "list_origin_access_controls", MaxItems="100")
        found = (
            Found(
                {"type": one["OriginAccessControlOriginType"]},
                {"id": one["Id"]},
                tags_of(one.get("Description")),
            )
            for one in there["OriginAccessControlList"].get("Items", [])
            if one["Name"] == resource.name
        )
        return next(found, None)

    def create(self, account: Account, resource: Resource) -> None:
        account.call(
            "cloudfront",
            "create_origin_access_control",
            OriginAccessControlConfig=_access_control(resource),
        )

    def update(self, account: Account, resource: Resource, found: Found, changed: frozenset[str]) -> None:
        named = {"Id": found.attributes["id"]}
        account.call(
            "cloudfront",
            "update_origin_access_control",
            **named,
            IfMatch=account.call("cloudfront", "get_origin_access_control", **named)["ETag"],
            OriginAccessControlConfig=_access_control(resource),
        )

    def delete(self, account: Account, resource: Resource, found: Found) -> None:
        none = "NoSuchOriginAccessControl"
        there = account.find("cloudfront", "get_origin_access_control", none, Id=found.attributes["id"])
        if there is not None:
            account.find(
                "cloudfront",
                "delete_origin_access_control",
                none,
                Id=found.attributes["id"],
                IfMatch=there["ETag"],
            )

    def template(self, resource: Resource) -> tuple[str, dict[str, Any]]:
        return "AWS::CloudFront::OriginAccessControl", {
            "OriginAccessControlConfig": _access_control(resource)
        }


class EdgeFunction:
    """JavaScript that sees each request first. Settings: `code`, `published`."""

    name: ClassVar[str] = "cloudfront.function"
    attributes: ClassVar[Mapping[str, str]] = {"arn": "FunctionARN"}
    identified_by: ClassVar[frozenset[str]] = frozenset()
    _none = "NoSuchFunctionExists"

    def read(self, account: Account, resource: Resource) -> Found | None:
        named = {"Name": resource.name}
        there = account.find("cloudfront", "get_function", self._none, **named, Stage="DEVELOPMENT")
        if there is None:
            return None
        draft = account.call("cloudfront", "describe_function", **named, Stage="DEVELOPMENT")
        live = account.find("cloudfront", "describe_function", self._none, **named, Stage="LIVE")
        code = there["FunctionCode"].read().decode()
        summary = live and live["FunctionSummary"]
        return Found(
            settings={
                "code": code,
                "published": bool(summary) and summary["FunctionMetadata"]["Stage"] == "LIVE",
            },
            attributes={
                "arn": draft["FunctionSummary"]["FunctionMetadata"]["FunctionARN"],
                "etag": draft["ETag"],
            },
            tags=tags_of(draft["FunctionSummary"]["FunctionConfig"].get("Comment")),
        )

    def create(self, account: Account, resource: Resource) -> None:
        account.call("cloudfront", "create_function", **_edge_code(resource, resource.settings))

    def update(self, account: Account, resource: Resource, found: Found, changed: frozenset[str]) -> None:
        etag = found.attributes["etag"]
        if changed & {"code", "tags"}:
            etag = account.call(
                "cloudfront", "update_function", IfMatch=etag, **_edge_code(resource, resource.settings)
            )["ETag"]
        account.call("cloudfront", "publish_function", Name=resource.name, IfMatch=etag)

    def delete(self, account: Account, resource: Resource, found: Found) -> None:
        account.find_when_free(
            "cloudfront",
            "delete_function",
            self._none,
            busy="FunctionInUse",
            Name=resource.name,
            IfMatch=found.attributes["etag"],
        )

    def template(self, resource: Resource) -> tuple[str, dict[str, Any]]:
        described = _edge_code(resource, resource.settings)
        return "AWS::CloudFront::Function", {
            "Name": resource.name,
            "AutoPublish": True,
            "FunctionConfig": described["FunctionConfig"],
            "FunctionCode": resource.settings["code"],
        }


class Distribution:
    """Settings: `aliases` (host names), `certificate` (ARN or None), `origin` (host), `function` (ARN or
    None), `cached` (paths that the origin's Cache-Control decides about), `cache` (the id of the policy for
    these), `bucket`, `access_control` and
    `uploads` (the host of the bucket, what signs for it, the path; None without one).
    """

    name: ClassVar[str] = "cloudfront.distribution"
    attributes: ClassVar[Mapping[str, str]] = {"id": "", "arn": "ARN", "host": "DomainName"}
    identified_by: ClassVar[frozenset[str]] = frozenset()

    def read(self, account: Account, resource: Resource) -> Found | None:
        summary = _summary(account, resource.name)
        if summary is None:
            return None
        config = account.call("cloudfront", "get_distribution_config", Id=summary["Id"])["DistributionConfig"]
        tags = account.call("cloudfront", "list_tags_for_resource", Resource=summary["ARN"])
        return Found(
            settings=_settings(config),
            attributes={"id": summary["Id"], "arn": summary["ARN"], "host": summary["DomainName"]},
            tags=mapping(tags["Tags"].get("Items")),
        )

    def create(self, account: Account, resource: Resource) -> None:
        account.call(
            "cloudfront",
            "create_distribution_with_tags",
            DistributionConfigWithTags={
                "DistributionConfig": {
                    "CallerReference": _comment(resource.name),
                    **_config(resource, resource.settings),
                },
                "Tags": {"Items": pairs(resource.tags)},
            },
        )

    def update(self, account: Account, resource: Resource, found: Found, changed: frozenset[str]) -> None:
        if "tags" in changed:
            items = {"Items": pairs(resource.tags)}
            account.call("cloudfront", "tag_resource", Resource=found.attributes["arn"], Tags=items)
        if changed - {"tags"}:
            self._change(account, found, _config(resource, resource.settings))

    def delete(self, account: Account, resource: Resource, found: Found) -> None:
        distribution = {"Id": found.attributes["id"]}
        if found.settings["enabled"]:  # not so when an earlier try was cut short here
            self._change(account, found, {"Enabled": False})
        wait_until(
            lambda: bool(
                account.call("cloudfront", "get_distribution", **distribution)["Distribution"]["Status"]
                == "Deployed"
            ),
            f"the distribution {distribution['Id']} is not switched off",
            timeout=1800,
        )
        etag = account.call("cloudfront", "get_distribution_config", **distribution)["ETag"]
        account.find("cloudfront", "delete_distribution", "NoSuchDistribution", **distribution, IfMatch=etag)

    def template(self, resource: Resource) -> tuple[str, dict[str, Any]]:
        return "AWS::CloudFront::Distribution", {
            "DistributionConfig": _template_config(_config(resource, resource.settings)),
            "Tags": pairs(resource.tags),
        }

    @staticmethod
    def _change(account: Account, found: Found, config: Mapping[str, Any]) -> None:
        """Settings that somebody has made beside ours are kept."""
        distribution = {"Id": found.attributes["id"]}
        there = account.call("cloudfront", "get_distribution_config", **distribution)
        account.call(
            "cloudfront",
            "update_distribution",
            **distribution,
            IfMatch=there["ETag"],
            DistributionConfig={**there["DistributionConfig"], **config},
        )


def edge_code(domain: str, redirects: tuple[str, ...]) -> str:
    """What each request passes first: other hosts are sent to the domain, path and query kept byte for byte.

    The app learns the host that was asked in X-Forwarded-Host: Host is the origin's.
    """
    return _EDGE.replace("REDIRECTS", str(list(redirects)).replace("'", '"')).replace("DOMAIN", domain)


_EDGE = """\
var redirects = REDIRECTS;
function handler(event) {
  var request = event.request;
  var host = request.headers.host.value;
  if (redirects.indexOf(host) >= 0) {
    var query = request.rawQueryString();
    return {
      statusCode: 308,
      statusDescription: 'Permanent Redirect',
      headers: { location: { value: 'https://DOMAIN' + request.uri + (query ? '?' + query : '') } }
    };
  }
  request.headers['x-forwarded-host'] = { value: host };
  return request;
}
"""


def host_of(account: Account, name: str) -> str | None:
    """The host of the distribution of that name; None where there is none."""
    summary = _summary(account, name)
    return str(summary["DomainName"]) if summary else None


def _summary(account: Account, name: str) -> Any:
    """What the list of distributions has of it."""
    found = (
        one
        for page in account.pages("cloudfront", "list_distributions")
        for one in page["DistributionList"].get("Items", [])
        if one["Comment"] == _comment(name)
    )
    return next(found, None)


def name_of(account: Account, arn: str) -> str | None:
    """What the distribution with that ARN is called; None where its name is not one of ours."""
    found = (
        one["Comment"].removeprefix(_COMMENT)
        for page in account.pages("cloudfront", "list_distributions")
        for one in page["DistributionList"].get("Items", [])
        if one["ARN"] == arn and one["Comment"].startswith(_COMMENT)
    )
    return next(found, None)


def _comment(name: str) -> str:
    return f"{_COMMENT}{name}"


def _access_control(resource: Resource) -> dict[str, str]:
    return {
        "Name": resource.name,
        "Description": MADE,
        "SigningProtocol": "sigv4",
        "SigningBehavior": "always",
        "OriginAccessControlOriginType": resource.settings["type"],
    }


def _edge_code(resource: Resource, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "Name": resource.name,
        "FunctionConfig": {"Comment": MADE, "Runtime": "cloudfront-js-2.0"},
        "FunctionCode": settings["code"],
    }


def _config(resource: Resource, settings: Mapping[str, Any]) -> dict[str, Any]:
    app = {
        "Id": "app",
        "DomainName": settings["origin"],
        "OriginPath": "",
        "CustomHeaders": {"Quantity": 0},
        "CustomOriginConfig": {
            "HTTPPort": 80,
            "HTTPSPort": 443,
            "OriginProtocolPolicy": "https-only",
            "OriginSslProtocols": _items(["TLSv1.2"]),
            "OriginReadTimeout": _READ_TIMEOUT,
            "OriginKeepaliveTimeout": _KEEPALIVE,
        },
    }
    origins = [app]
    behaviours = [
        {"PathPattern": path, **_behaviour("app", settings["cache"], _READS, settings)}
        for path in settings["cached"]
    ]
    if settings["uploads"] is not None:
        origins.append(
            {
                "Id": "uploads",
                "DomainName": settings["bucket"],
                "OriginPath": "",
                "CustomHeaders": {"Quantity": 0},
                "S3OriginConfig": {"OriginAccessIdentity": ""},
                "OriginAccessControlId": settings["access_control"],
            }
        )
        behaviours.append(
            {"PathPattern": settings["uploads"], **_behaviour("uploads", _CACHED, _READS, settings)}
        )
    return {
        "Comment": _comment(resource.name),
        "Enabled": True,
        "IsIPV6Enabled": True,
        "HttpVersion": "http2and3",
        "PriceClass": "PriceClass_All",
        "Aliases": _items(list(settings["aliases"])),
        "Origins": _items(origins),
        "DefaultCacheBehavior": _behaviour("app", _NOT_CACHED, _ALL, settings),
        "CacheBehaviors": _items(behaviours),
        "ViewerCertificate": {
            "ACMCertificateArn": settings["certificate"],
            "SSLSupportMethod": "sni-only",
            "MinimumProtocolVersion": "TLSv1.2_2021",
        }
        if settings["certificate"] is not None
        else {"CloudFrontDefaultCertificate": True},
    }


def _behaviour(origin: str, policy: str, methods: list[str], settings: Mapping[str, Any]) -> dict[str, Any]:
    functions = []
    if settings["function"] is not None:
        functions = [{"FunctionARN": settings["function"], "EventType": "viewer-request"}]
    return {
        "TargetOriginId": origin,
        "ViewerProtocolPolicy": "redirect-to-https",
        "AllowedMethods": {**_items(methods), "CachedMethods": _items(_READS)},
        "Compress": True,
        "CachePolicyId": policy,
        **({"OriginRequestPolicyId": _ALL_BUT_HOST} if policy == _NOT_CACHED else {}),
        **({"ResponseHeadersPolicyId": _SAFE_HEADERS} if origin == "uploads" else {}),
        "FunctionAssociations": _items(functions),
    }


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that make this configuration, as far as it is one of ours."""
    origins = {one["Id"]: one for one in config["Origins"]["Items"]}
    behaviours = config["CacheBehaviors"].get("Items", [])
    functions = config["DefaultCacheBehavior"].get("FunctionAssociations", {}).get("Items", [])
    uploads = origins.get("uploads")
    cached = [one for one in behaviours if one["TargetOriginId"] == "app"]
    return {
        "aliases": sorted(config["Aliases"].get("Items", [])),
        "certificate": config["ViewerCertificate"].get("ACMCertificateArn") or None,
        "origin": origins["app"]["DomainName"] if "app" in origins else None,
        "function": functions[0]["FunctionARN"] if functions else None,
        "cached": [one["PathPattern"] for one in cached],
        "cache": next((one.get("CachePolicyId") for one in cached), None),
        "bucket": uploads and uploads["DomainName"],
        "access_control": uploads and uploads.get("OriginAccessControlId"),
        "uploads": next(
            (one["PathPattern"] for one in behaviours if one["TargetOriginId"] == "uploads"), None
        ),
        "enabled": config["Enabled"],
    }


def _items(items: list[Any]) -> dict[str, Any]:
    """CloudFront's way to write a list."""
    return {"Quantity": len(items), **({"Items": items} if items else {})}


def _template_config(value: Any) -> Any:
    """The same in CloudFormation's way: lists are lists, and some names differ."""
    if isinstance(value, Mapping):
        if "Quantity" in value and set(value) <= {"Quantity", "Items"}:
            return [_template_config(one) for one in value.get("Items", [])]
        if "Quantity" in value:  # methods, with those that are cached beside
            return [_template_config(one) for one in value["Items"]]
        done = {_TEMPLATE_NAMES.get(name, name): _template_config(one) for name, one in value.items()}
        if "AllowedMethods" in value:
            done["CachedMethods"] = _template_config(value["AllowedMethods"]["CachedMethods"])
        if value.get("CustomHeaders") == {"Quantity": 0}:
            del done["OriginCustomHeaders"]
        return done
    if isinstance(value, list):
        return [_template_config(one) for one in value]
    return value


_TEMPLATE_NAMES = {
    "ACMCertificateArn": "AcmCertificateArn",
    "SSLSupportMethod": "SslSupportMethod",
    "IsIPV6Enabled": "IPV6Enabled",
    "OriginSslProtocols": "OriginSSLProtocols",
    "CustomHeaders": "OriginCustomHeaders",
}
