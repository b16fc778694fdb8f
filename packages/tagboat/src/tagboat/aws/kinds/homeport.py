"""What is on a homeport beside services and images: its version, names of services, redirects."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import ClassVar
from urllib.parse import quote

from packaging.version import InvalidVersion, Version

from tagboat.aws.account import Account, AwsError, SilentError, wait_until
from tagboat.aws.kinds.apprunner import service_arn
from tagboat.aws.resource import Found, Resource
from tagboat.cloud import CloudError

_VERSION = "/_homeport/version"
_REDIRECTS = "/_homeport/redirects"
_NONE = "ResourceNotFoundException"
_UPGRADE = 900.0  # seconds that an upgrade may take, the installation included
_LOOK = 0.5
_CERTIFIED = 300.0  # seconds within which a name that leads to a homeport has its certificate


class Release:
    """The version of the homeport. Settings: `version`, or `at_least` one."""

    name: ClassVar[str] = "homeport.release"
    attributes: ClassVar[Mapping[str, str]] = {}
    identified_by: ClassVar[frozenset[str]] = frozenset()

    def read(self, account: Account, resource: Resource) -> Found | None:
        try:
            version = account.own_call("GET", _VERSION)["version"]
        except SilentError:
            raise
        except AwsError:  # from before it could say
            version = "unknown"
        wanted = resource.settings.get("at_least")
        if wanted is not None and _newer(version, wanted):
            version = wanted
        return Found(settings=dict.fromkeys(resource.settings, version))

    def create(self, account: Account, resource: Resource) -> None:
        """The machine comes with one."""

    def update(self, account: Account, resource: Resource, found: Found, changed: frozenset[str]) -> None:
        """Have the version installed and take its place. Raises CloudError where it does not serve then."""
        (wanted,) = resource.settings.values()
        try:
            account.own_call("POST", _VERSION, {"version": wanted})
        except AwsError as error:
            if error.code != "409":  # one is under way, perhaps this very one
                raise
        deadline = time.monotonic() + _UPGRADE
        while time.monotonic() < deadline:
            time.sleep(_LOOK)
            with suppress(SilentError):  # while one takes the other's place
                said = account.own_call("GET", _VERSION)
                upgrade = said["upgrade"] or {}
                if upgrade.get("state") in ("failed", "rolled back"):
                    raise CloudError(
                        f"homeport {wanted}: the upgrade {upgrade['state']}: {upgrade['message']}",
                        hint=f"version {said['version']} serves",
                    )
                if upgrade.get("state") == "succeeded":
                    if said["version"] == wanted:
                        return
                    raise CloudError(
                        f"homeport {wanted}: another upgrade, to {said['version']}, came first",
                        hint="run the same again",
                    )
        raise CloudError(f"homeport {wanted}: the upgrade is not over after {_UPGRADE:.0f} s")

    def delete(self, account: Account, resource: Resource, found: Found) -> None:
        """It goes with the machine."""

    def template(self, resource: Resource) -> None:
        """A homeport is not CloudFormation's to change."""


class Domain:
    """A name of a service's own. Settings: `service`, by name, and `active`: it has its certificate. `end` is
    the host that the name is to lead to.
    """

    name: ClassVar[str] = "apprunner.domain"
    attributes: ClassVar[Mapping[str, str]] = {"end": ""}
    identified_by: ClassVar[frozenset[str]] = frozenset()

    def read(self, account: Account, resource: Resource) -> Found | None:
        service = resource.settings["service"]
        arn = service_arn(account, service)
        if arn is None:
            return None
        token: dict[str, str] = {}
        while True:
            page = account.call("apprunner", "describe_custom_domains", ServiceArn=arn, **token)
            for one in page["CustomDomains"]:
                if one["DomainName"] == resource.name:
                    active = one["Status"].casefold() == "active"
                    attributes = {"service": arn, "end": page["DNSTarget"]}
                    return Found({"service": service, "active": active}, attributes)
            if not page.get("NextToken"):
                return None
            token = {"NextToken": page["NextToken"]}

    def create(self, account: Account, resource: Resource) -> None:
        account.call(
            "apprunner",
            "associate_custom_domain",
            ServiceArn=service_arn(account, resource.settings["service"]),
            DomainName=resource.name,
            EnableWWWSubdomain=False,
        )

    def update(self, account: Account, resource: Resource, found: Found, changed: frozenset[str]) -> None:
        """Wait for its certificate, which follows by itself once the name leads there."""
        _until_active(account, resource, self.read)

    def delete(self, account: Account, resource: Resource, found: Found) -> None:
        account.find(
            "apprunner",
            "disassociate_custom_domain",
            _NONE,
            ServiceArn=found.attributes["service"],
            DomainName=resource.name,
        )

    def template(self, resource: Resource) -> None:
        """As with all that is on a homeport."""


class Redirect:
    """A host that leads to another. Settings: `target`, the beginning of a URL, and `active`: it has its
    certificate.
    """

    name: ClassVar[str] = "homeport.redirect"
    attributes: ClassVar[Mapping[str, str]] = {}
    identified_by: ClassVar[frozenset[str]] = frozenset()

    def read(self, account: Account, resource: Resource) -> Found | None:
        for one in account.own_call("GET", _REDIRECTS)["redirects"]:
            if one["source"] == resource.name:
                return Found({"target": one["target"], "active": one["https"] == "yes"})
        return None

    def create(self, account: Account, resource: Resource) -> None:
        document = {"source": resource.name, "target": resource.settings["target"]}
        account.own_call("POST", _REDIRECTS, document)

    def update(self, account: Account, resource: Resource, found: Found, changed: frozenset[str]) -> None:
        if "target" in changed:
            self.delete(account, resource, found)
            self.create(account, resource)
        if "active" in resource.settings:
            _until_active(account, resource, self.read)

    def delete(self, account: Account, resource: Resource, found: Found) -> None:
        try:
            account.own_call("DELETE", f"{_REDIRECTS}?source={quote(resource.name)}")
        except AwsError as error:
            if error.code != "404":
                raise

    def template(self, resource: Resource) -> None:
        """As with all that is on a homeport."""


def _until_active(
    account: Account, resource: Resource, read: Callable[[Account, Resource], Found | None]
) -> None:
    """Raises CloudError where the name has no certificate in time."""

    def active() -> bool:
        there = read(account, resource)
        return there is not None and bool(there.settings["active"])

    wait_until(
        active,
        f"homeport has no certificate for {resource.name}: does it lead there? (`tagboat logs --events`)",
        timeout=_CERTIFIED,
    )


def _newer(version: str, wanted: str) -> bool:
    """Whether it is `wanted`, or comes after that."""
    try:
        return Version(version) >= Version(wanted)
    except InvalidVersion:
        return False
