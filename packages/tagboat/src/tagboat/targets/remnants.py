"""What a target has and its configuration does not name any more: found by tags, never by a file of state.

AWS's list of tagged things knows most of it, in two calls. What that list leaves out is looked for by name:
roles and budgets, and what has no tags at all. Of these only what says that it is ours, or what belongs to a
thing that is, counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from tagboat.aws.account import GLOBAL_REGION, Account
from tagboat.aws.apply import Removal, plan_removal, read
from tagboat.aws.kinds.cloudfront import HOSTED_ZONE, name_of
from tagboat.aws.kinds.route53 import served_zone
from tagboat.aws.plan import foreign_owner
from tagboat.aws.resource import COMPONENT_TAG, TARGET_TAG, Found, Resource
from tagboat.targets import parts
from tagboat.targets.target import Stack

_ROLES = ("access", "execution", "infrastructure", "instance", "release", "task")
# In the order in which they can be made; they go the other way round.
_ARNS = {
    "ecr.repository": r"ecr:[^:]*:[^:]*:repository/(.+)",
    "iam.oidc-provider": r"iam::[^:]*:oidc-provider/(.+)",
    "iam.role": r"iam::[^:]*:role/(.+)",
    "iam.instance-profile": r"iam::[^:]*:instance-profile/(.+)",
    "logs.log-group": r"logs:[^:]*:[^:]*:log-group:([^:]+)",
    "s3.bucket": r"s3:::([^/]+)",
    "acm.certificate": r"acm:[^:]*:[^:]*:(certificate/.+)",
    "route53.record": None,
    "cloudfront.cache-policy": None,
    "cloudfront.origin-access-control": None,
    "cloudfront.function": None,
    "ec2.security-group": r"ec2:[^:]*:[^:]*:security-group/(.+)",
    "ec2.instance": r"ec2:[^:]*:[^:]*:instance/(.+)",
    "ec2.address": r"ec2:[^:]*:[^:]*:elastic-ip/(.+)",
    "apprunner.auto-scaling": r"apprunner:[^:]*:[^:]*:autoscalingconfiguration/([^/]+)/.+",
    "apprunner.service": r"apprunner:[^:]*:[^:]*:service/([^/]+)/.+",
    "ecs.express-service": r"ecs:[^:]*:[^:]*:service/default/(.+)",
    "lambda.function": r"lambda:[^:]*:[^:]*:function:([^:]+)",
    "cloudfront.distribution": r"cloudfront::[^:]*:(distribution/.+)",
    "budgets.budget": r"budgets::[^:]*:budget/(.+)",
}
_RANKS = {kind: rank for rank, kind in enumerate(_ARNS)}
_DATA = frozenset({"ecr.repository", "s3.bucket", "ec2.instance"})
_SHARED = frozenset({"ecr.repository", "iam.oidc-provider"})
_NAMED = frozenset({"ec2.security-group", "ec2.instance", "ec2.address"})  # by their tag Name
_SERVICES = frozenset({"apprunner.service", "ecs.express-service", "lambda.function", "ec2.instance"})
_OF_MACHINE = re.compile(r"arn:[^:]*:ec2:[^:]*:[^:]*:(volume|network-interface)/")  # they come and go with it
# What a kind has to be asked with, where its name is not enough. No value of it is compared with anything.
_STUBS: dict[str, Mapping[str, Any]] = {
    "apprunner.service": {"scaling": None},
    "ecs.express-service": {"repository": None},
    "lambda.function": {"repository": None, "health_path": None},
    "ec2.instance": {"image": None, "user_data": None, "disk": None},
}
_ISSUER = '0 issue "{}"'


@dataclass(frozen=True, slots=True)
class Remnants:
    """What is there, in the order in which it could have been made, and ARNs of what we know no kind of."""

    resources: tuple[Resource, ...] = ()
    found: Mapping[str, Found | None] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()

    def removal(self, *, data: frozenset[str], content: bool, waits: bool) -> Removal:
        """What may go, as `destroy` has it. While something of the new `waits`, for a release or for records,
        all stays.
        """
        if waits:
            reason = "what takes its place is not there yet"
            return Removal((), tuple((one, reason) for one in self.resources))
        return plan_removal(self.resources, self.found, data=data, content=content)

    def names_of_data(self) -> set[str]:
        return {one.name for one in self.resources if one.data}


def remnants(stack: Stack, found: Mapping[str, Found | None]) -> Remnants:
    """Beside what the stack wants, of which `found` is there. Raises CloudError."""
    return _Search(stack, found).run()


@dataclass(frozen=True)
class _Search:
    stack: Stack
    found: Mapping[str, Found | None]

    def run(self) -> Remnants:
        account, place = self.stack.account, self.stack.place
        if place.target.kind == "homeport":
            return self._read([self._resource("apprunner.auto-scaling", place.name)], ())
        known = {there.attributes.get("arn") for there in self.found.values() if there is not None}
        candidates: dict[str, Resource] = {}
        unknown: list[str] = []
        certificates: list[str] = []
        for arn, tags in self._tagged():
            kind, name = _parsed(arn, tags)
            if arn in known or not self._ours(kind, tags):
                continue
            if kind is None:
                unknown += [] if _OF_MACHINE.match(arn) else [arn]
            elif kind == "acm.certificate":
                certificates.append(arn)
            elif kind == "cloudfront.distribution":
                named = name_of(account, arn)
                unknown += [arn] if named is None else []
                self._add(candidates, kind, named or "")
            else:
                self._add(candidates, kind, name)
        names = {place.name} | {one.name for one in candidates.values() if one.kind in _SERVICES}
        self._by_name(candidates, names)
        records = self._of_certificates(certificates, candidates)
        if "ec2.address" in {one.kind for one in [*self.stack.resources, *candidates.values()]}:
            records += self._of_addresses(candidates)
        return self._read([*candidates.values(), *records], unknown)

    def _tagged(self) -> list[tuple[str, dict[str, str]]]:
        """What carries the component's tag, as AWS lists it: in the region, and what is of no region."""
        account, place = self.stack.account, self.stack.place
        filters = [{"Key": COMPONENT_TAG, "Values": [place.component.name]}]
        here = [account] if account.region == GLOBAL_REGION else [account, account.elsewhere(GLOBAL_REGION)]

        def listed(one: Account) -> list[tuple[str, dict[str, str]]]:
            return [
                (entry["ResourceARN"], {tag["Key"]: tag["Value"] for tag in entry["Tags"]})
                for page in one.pages("resourcegroupstaggingapi", "get_resources", TagFilters=filters)
                for entry in page["ResourceTagMappingList"]
            ]

        with ThreadPoolExecutor(len(here)) as pool:
            return [entry for entries in pool.map(listed, here) for entry in entries]

    def _ours(self, kind: str | None, tags: Mapping[str, str]) -> bool:
        """Of this target; or of all targets of the component, and wanted by none of them any more."""
        place = self.stack.place
        if TARGET_TAG in tags:
            return tags[TARGET_TAG] == place.target.key
        return kind in _SHARED

    def _add(self, candidates: dict[str, Resource], kind: str | None, name: str) -> None:
        if kind is None:
            return
        resource = self._resource(kind, name)
        wanted = {one.key for one in self.stack.resources}
        if name and resource.key not in wanted and not self._wanted_elsewhere(resource):
            candidates[resource.key] = resource

    def _wanted_elsewhere(self, resource: Resource) -> bool:
        """Whether another target of the component still has use for what they share."""
        component, others = self.stack.place.component, self.stack.place.component.config.targets.values()
        if resource.kind == "ecr.repository":
            return resource.name in {one.name or component.config.repository for one in others}
        return False

    def _resource(self, kind: str, name: str, **settings: Any) -> Resource:
        place = self.stack.place
        return Resource(
            kind,
            name,
            {**_STUBS.get(kind, {}), **settings},
            place.shared_tags if kind in _SHARED else place.tags,
            shared=kind in _SHARED,
            data=kind in _DATA,
        )

    def _by_name(self, candidates: dict[str, Resource], names: set[str]) -> None:
        """Add what the list of tagged things leaves out."""
        account = self.stack.account
        wanted_roles = {f"{name}-{suffix}" for name in names for suffix in _ROLES}
        for page in account.pages("iam", "list_roles"):
            for role in page["Roles"]:
                if role["RoleName"] in wanted_roles:
                    self._add(candidates, "iam.role", role["RoleName"])
        for name in sorted(names):
            if f"iam.role/{name}-instance" in candidates:
                self._add(candidates, "iam.instance-profile", f"{name}-instance")
            for budget in (name, parts.account_budget(name)):
                self._add(candidates, "budgets.budget", budget)
            self._add(candidates, "cloudfront.cache-policy", name)
            self._add(candidates, "cloudfront.origin-access-control", name)
            self._add(candidates, "cloudfront.function", name)
            if self.stack.place.target.kind == "apprunner" or f"apprunner.service/{name}" in candidates:
                self._add(candidates, "apprunner.auto-scaling", name)
            self._bind_machine(candidates, name)
        if all(one.kind != "iam.oidc-provider" for one in self.stack.resources):
            listed = account.call("iam", "list_open_id_connect_providers")["OpenIDConnectProviderList"]
            for provider in listed:
                self._add(candidates, *_parsed(provider["Arn"], {}))
        for key, one in candidates.items():
            if one.kind == "iam.oidc-provider":
                roles = [f"{name}-release" for name in names]
                candidates[key] = replace(one, settings={"audiences": [], "roles": roles})

    def _bind_machine(self, candidates: dict[str, Resource], name: str) -> None:
        """What a machine needs stays as long as that does."""
        machine = candidates.get(f"ec2.instance/{name}")
        if machine is None:
            return
        needs = (
            f"ec2.security-group/{name}",
            f"iam.role/{name}-instance",
            f"iam.instance-profile/{name}-instance",
        )
        after = tuple(key for key in needs if key in candidates)
        candidates[machine.key] = replace(machine, after=after)
        self._add(candidates, "ec2.address", name)
        address = candidates.get(f"ec2.address/{name}")
        if address is not None:
            candidates[address.key] = replace(address, part_of=machine.key)

    def _of_certificates(self, arns: Sequence[str], candidates: dict[str, Resource]) -> list[Resource]:
        """The records that prove the certificates, and those of their hosts that lead to what is ours; and
        the certificates.
        """
        account = self.stack.account
        if not arns:
            return []
        covered = {
            host
            for page in account.pages("acm", "list_certificates")
            for summary in page["CertificateSummaryList"]
            if summary["CertificateArn"] not in arns
            for host in summary.get("SubjectAlternativeNameSummaries", [summary["DomainName"]])
        }
        ends = {
            there.attributes["host"]
            for key, there in [
                *self.found.items(),
                *read(
                    account, [one for one in candidates.values() if one.kind == "cloudfront.distribution"]
                ).items(),
            ]
            if there is not None and key.startswith("cloudfront.distribution/")
        }
        made: list[Resource] = []
        for arn in arns:
            there = account.call("acm", "describe_certificate", CertificateArn=arn)["Certificate"]
            hosts = there["SubjectAlternativeNames"]
            for option in there.get("DomainValidationOptions", []):
                host, proof = option["DomainName"], option.get("ResourceRecord")
                for end in sorted(ends):
                    made += self._leading(host, alias=end, alias_zone=HOSTED_ZONE)
                if host not in covered:
                    made += self._permission(host, parts.ISSUER)
                    if proof is not None:
                        values = {"ttl": parts.TTL, "values": [proof["Value"]]}
                        made += self._record(f"proof {host}", proof["Name"], "CNAME", values)
            others = [host for host in hosts if host != there["DomainName"]]
            certificate = self._resource("acm.certificate", there["DomainName"], others=others)
            # Its name may be that of the one that is wanted, which has other hosts.
            made.append(replace(certificate, settings={"others": others, "arn": arn}))
        return made

    def _of_addresses(self, candidates: Mapping[str, Resource]) -> list[Resource]:
        """The records that lead to the machine's address, in the zones of the account."""
        account = self.stack.account
        addresses = [one for one in candidates.values() if one.kind == "ec2.address"]
        there = {**self.found, **read(account, addresses)}
        ips = {one.attributes["ip"] for key, one in there.items() if one and key.startswith("ec2.address/")}
        made: list[Resource] = []
        for page in account.pages("route53", "list_hosted_zones") if ips else ():
            for zone in page["HostedZones"]:
                for records in account.pages("route53", "list_resource_record_sets", HostedZoneId=zone["Id"]):
                    for record in records["ResourceRecordSets"]:
                        values = [one["Value"] for one in record.get("ResourceRecords", [])]
                        if record["Type"] == "A" and len(values) == 1 and values[0] in ips:
                            host = record["Name"].rstrip(".")
                            made += self._record(
                                f"A {host}", host, "A", {"ttl": record["TTL"], "values": values}
                            )
                            made += self._permission(host, parts.MACHINE_ISSUER)
        return made

    def _leading(self, host: str, **settings: Any) -> Iterator[Resource]:
        for kind in ("A", "AAAA"):
            yield from self._record(f"{kind} {host}", host, kind, settings)

    def _permission(self, host: str, issuer: str) -> Iterator[Resource]:
        values = {"ttl": parts.TTL, "values": [_ISSUER.format(issuer)]}
        yield from self._record(f"CAA {host}", host, "CAA", values)

    def _record(self, name: str, host: str, kind: str, settings: Mapping[str, Any]) -> Iterator[Resource]:
        """The record, if it is in a zone of the account, not wanted, and just what we would have made."""
        account = self.stack.account
        wanted = {one.key for one in self.stack.resources}
        if f"route53.record/{name}" in wanted or served_zone(account, host) is None:
            return
        yield Resource("route53.record", name, {"host": host, "type": kind, **settings})

    def _read(self, candidates: Sequence[Resource], unknown: Sequence[str]) -> Remnants:
        """Those that are there and are ours."""
        wanted = {one.key for one in self.stack.resources}
        ordered = sorted(
            (one for one in candidates if one.kind == "acm.certificate" or one.key not in wanted),
            key=lambda one: _RANKS[one.kind],
        )
        found = read(self.stack.account, ordered)
        kept: list[Resource] = []
        for one in ordered:
            there = found[one.key]
            if any(one.key == other.key for other in kept):
                continue  # the record of a host that several certificates have
            if there is None or foreign_owner(one, there) is not None:
                continue
            if one.shared and any((there.tags or {}).get(tag) != text for tag, text in one.tags.items()):
                continue
            if one.kind == "route53.record" and there.settings != one.settings:
                continue
            if one.kind == "acm.certificate" and there.attributes["arn"] != one.settings["arn"]:
                continue
            kept.append(one)
        return Remnants(tuple(kept), {one.key: found[one.key] for one in kept}, tuple(unknown))


def _parsed(arn: str, tags: Mapping[str, str]) -> tuple[str | None, str]:
    """Its kind and name, as the ARN has them, or the tag `Name`; None for what is of no kind of ours."""
    text = arn.partition(":")[2].partition(":")[2]
    for kind, pattern in _ARNS.items():
        match = re.fullmatch(pattern, text) if pattern else None
        if match:
            return kind, tags.get("Name", "") if kind in _NAMED else match[1]
    return None, ""
