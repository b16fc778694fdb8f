"""What several kinds of target are made of: the same resources in the same words."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from tagboat.aws import policy
from tagboat.aws.kinds.cloudfront import HOSTED_ZONE, edge_code
from tagboat.aws.policy import Document, allow, bucket_policy, canonical, document
from tagboat.aws.resource import Ref, Resource
from tagboat.targets.place import LATEST, Place

_RELEASES_KEPT = 20
_NONCURRENT_DAYS = 30
_INCOMPLETE_DAYS = 7
TTL = 300  # seconds
_YEAR = 365 * 86400  # seconds
_MIN_UPLOADS = {"uploads": None, "bucket": None, "access_control": None}
ISSUER = "amazon.com"  # of ACM's certificates, for CAA
MACHINE_ISSUER = "letsencrypt.org"  # of those of a machine's homeport


def repository(place: Place, readers: Document | None = None) -> Resource:
    """Where releases are pushed. Their tags never move; the last releases are kept. A homeport scans none."""
    # What a rule of a lower number selects no later one expires: after a rollback `latest` may be an old one.
    served = {
        "rulePriority": 1,
        "description": "what is served",
        "selection": {
            "tagStatus": "tagged",
            "tagPatternList": [LATEST],
            "countType": "imageCountMoreThan",
            "countNumber": 1,
        },
        "action": {"type": "expire"},
    }
    rule = {
        "rulePriority": 2,
        "description": "releases",
        "selection": {
            "tagStatus": "tagged",
            "tagPatternList": [f"{place.component.name}-v*"],
            "countType": "imageCountMoreThan",
            "countNumber": _RELEASES_KEPT,
        },
        "action": {"type": "expire"},
    }
    return Resource(
        "ecr.repository",
        place.repository,
        {
            "movable": [LATEST],
            "scan": place.target.kind not in ("homeport", "vm"),
            "lifecycle": {"rules": [served, rule]},
            **({"policy": canonical(readers)} if readers else {}),
        },
        place.shared_tags,
        shared=True,
        data=True,
    )


def log_group(place: Place, name: str) -> Resource:
    return Resource("logs.log-group", name, {"days": place.target.log_days}, place.tags)


def role(
    place: Place,
    suffix: str,
    trust: Document,
    policies: Mapping[str, Document] | None = None,
    managed: Iterable[str] = (),
) -> Resource:
    return Resource(
        "iam.role",
        f"{place.name}-{suffix}",
        {
            "trust": canonical(trust),
            "policies": {name: canonical(one) for name, one in (policies or {}).items()},
            "managed": sorted(managed),
        },
        place.tags,
    )


def bucket_policies(place: Place) -> dict[str, Document]:
    """What the service's role needs for its buckets."""
    return {"buckets": policy.uses_buckets(place.buckets, place.account)} if place.buckets else {}


def secrets(place: Place) -> list[Resource]:
    """What has to be there for the service's secrets, each once."""
    found: dict[str, Resource] = {}
    for secret in place.secrets.values():
        kind = "secretsmanager.secret" if secret.store == "secretsmanager" else "ssm.parameter"
        keys = {one.key for one in place.secrets.values() if one.id == secret.id and one.key}
        settings = {"encryption": place.target.secrets_key, "keys": sorted(keys)}
        found[secret.id] = Resource(kind, secret.id, settings, given=True)
    return list(found.values())


def secret_refs(place: Place) -> dict[str, Ref]:
    """By variable, what App Runner and ECS are told to put into it."""
    by_id = {one.name: one.key for one in secrets(place)}
    return {
        name: Ref(by_id[secret.id], f"key_{secret.key}" if secret.key else "arn")
        for name, secret in sorted(place.secrets.items())
    }


def secret_policies(place: Place) -> dict[str, Document]:
    """What the role that reads the secrets needs."""
    found = secrets(place)
    if not found:
        return {}
    of_kind: dict[str, list[Ref]] = {"secretsmanager.secret": [], "ssm.parameter": []}
    for one in found:
        of_kind[one.kind].append(Ref(one.key, "arn"))
    kept, parameters = of_kind["secretsmanager.secret"], of_kind["ssm.parameter"]
    return {"secrets": policy.reads_secrets(kept, parameters, place.target.secrets_key)}


def finds_secrets(place: Place) -> list[Document]:
    """What a release needs to name the secrets to the platform; it cannot read them."""
    named = [Ref(one.key, "arn") for one in secrets(place) if one.kind == "secretsmanager.secret"]
    return [allow(["secretsmanager:DescribeSecret"], [one]) for one in named]


def buckets(place: Place) -> list[Resource]:
    """The data bucket and the one of uploads: private, versioned, encrypted."""
    found = []
    for name in place.buckets:
        bucket = Resource(
            "s3.bucket",
            name,
            {
                "public": False,
                "ownership": "BucketOwnerEnforced",
                "versioning": True,
                "encryption": "AES256",
                "noncurrent_days": _NONCURRENT_DAYS,
                "incomplete_upload_days": _INCOMPLETE_DAYS,
            },
            place.tags,
            data=True,
        )
        reader = None
        if name == place.target.uploads_bucket and place.target.uploads_path:
            reader = Ref(f"cloudfront.distribution/{place.name}", "arn")
        found += [
            bucket,
            Resource(
                "s3.bucket-policy",
                name,
                {"document": canonical(bucket_policy(name, readable_by=reader))},
                after=(bucket.key,),
                part_of=bucket.key,
            ),
        ]
    return found


def has_front(place: Place) -> bool:
    """Whether a distribution stands in front of the service."""
    target = place.target
    return bool(target.domain or target.uploads_path or target.cached_paths)


def front(place: Place, origin: Ref) -> list[Resource]:
    """The distribution in front of `origin`, a host, with certificate and records where there is a domain."""
    if not has_front(place):
        return []
    target, name = place.target, place.name
    found: list[Resource] = []
    settings: dict[str, Any] = {
        "aliases": sorted(place.hosts),
        "certificate": None,
        "origin": origin,
        "function": None,
        "cached": list(target.cached_paths),
        "cache": None,
        **_MIN_UPLOADS,
        "enabled": True,
    }
    if target.cached_paths:
        # An answer that is kept is given to all: the app is asked for it as nobody, without cookies and
        # credentials, and every query is another one.
        shared = {"headers": ["x-forwarded-host"], "cookies": "none", "queries": "all", "ttl": [0, 0, _YEAR]}
        policy = Resource("cloudfront.cache-policy", name, shared, place.tags)
        found.append(policy)
        settings["cache"] = Ref(policy.key, "id")
    if target.uploads_path:
        access = Resource("cloudfront.origin-access-control", name, {"type": "s3"}, place.tags)
        found.append(access)
        settings |= {
            "uploads": target.uploads_path,
            "bucket": Ref(f"s3.bucket/{target.uploads_bucket}", "host"),
            "access_control": Ref(access.key, "id"),
        }
    if target.domain:
        proof = certificate(place, target.domain, target.redirects)
        code = edge_code(target.domain, target.redirects)
        function = Resource("cloudfront.function", name, {"code": code, "published": True}, place.tags)
        found += [*proof, function]
        settings |= {
            "certificate": Ref(f"acm.validation/{target.domain}", "arn"),
            "function": Ref(function.key, "arn"),
        }
    distribution = Resource("cloudfront.distribution", name, settings, place.tags)
    found.append(distribution)
    for host in place.hosts:
        found += [
            Resource(
                "route53.record",
                f"{kind} {host}",
                {
                    "host": host,
                    "type": kind,
                    "alias": Ref(distribution.key, "host"),
                    "alias_zone": HOSTED_ZONE,
                },
                visited=True,
            )
            for kind in ("A", "AAAA")
        ]
    return found


def certificate(place: Place, domain: str, others: tuple[str, ...]) -> list[Resource]:
    """The certificate, the records that prove and permit it, and that it is issued."""
    wanted = Resource("acm.certificate", domain, {"others": list(others)}, place.tags)
    records = [authorities(host, ISSUER) for host in (domain, *others)]
    for number, host in enumerate((domain, *others)):
        records.append(
            Resource(
                "route53.record",
                f"proof {host}",
                {
                    "host": Ref(wanted.key, f"record_{number}_name"),
                    "type": "CNAME",
                    "ttl": TTL,
                    "values": [Ref(wanted.key, f"record_{number}_value")],
                },
            )
        )
    issued = Resource(
        "acm.validation",
        domain,
        {"certificate": Ref(wanted.key, "arn")},
        after=tuple(record.key for record in records),
    )
    return [wanted, *records, issued]


def authorities(host: str, *issuers: str) -> Resource:
    """Which authorities may sign for a host (RFC 8659)."""
    return Resource(
        "route53.record",
        f"CAA {host}",
        {
            "host": host,
            "type": "CAA",
            "ttl": TTL,
            "values": sorted(f'0 issue "{issuer}"' for issuer in issuers),
        },
    )


def budget(place: Place) -> list[Resource]:
    target = place.target
    if target.budget is None:
        return []
    of_component = target.budget_scope == "component"
    settings = {
        "dollars": target.budget,
        "mail": target.alert,
        "alarms": 2,
        "component": place.component.name if of_component else None,
    }
    name = place.name if of_component else account_budget(place.name)
    return [Resource("budgets.budget", name, settings, place.tags)]


def account_budget(name: str) -> str:
    """What an alarm that watches more than the service of that name is called, in its mails too."""
    return f"{name}-whole-account"


def releases(place: Place, actions: Document) -> list[Resource]:
    """Whose CI jobs may release, without any stored key: the issuer of their tokens, and a role for them."""
    if place.project is None:
        return []
    from tagboat.trust import trust  # noqa: PLC0415  it loads the cloud client

    system, project = place.project
    wanted = trust(
        place.component,
        system,  # type: ignore[arg-type]
        project,
        account=place.account,
        region=place.region,
    )
    role_name = f"{place.name}-release"
    provider = Resource(
        "iam.oidc-provider",
        wanted.issuer.partition("://")[2],
        {"audiences": [wanted.audience], "roles": [role_name]},
        place.shared_tags,
        shared=True,
    )
    releaser = role(place, "release", wanted.policy, {"release": actions})
    return [provider, Resource(**{**_fields(releaser), "after": (provider.key,)})]


def registry_actions(place: Place) -> list[Document]:
    """What pushing a release and finding it again needs."""
    return [
        allow(["ecr:GetAuthorizationToken"], ["*"]),
        allow(
            [f"ecr:{action}" for action in (*policy.PUSH_ACTIONS, "DescribeRepositories")],
            [place.repository_arn],
        ),
    ]


def front_actions(place: Place) -> list[Document]:
    """What finding the distribution in front needs, which AWS lets nobody limit to one."""
    return [allow(["cloudfront:ListDistributions"], ["*"])] if has_front(place) else []


def reads_log(place: Place, group: str) -> Document:
    return allow(["logs:FilterLogEvents"], [place.arn("logs", f"log-group:{group}:*")])


def released_by(*statements: Document) -> Document:
    return document(*statements)


def environment_size(environment: Mapping[str, str]) -> int:
    """The bytes of the variables as Lambda counts them."""
    return len(json.dumps(environment, ensure_ascii=False).encode())


def _fields(resource: Resource) -> dict[str, Any]:
    return {name: getattr(resource, name) for name in Resource.__dataclass_fields__}
