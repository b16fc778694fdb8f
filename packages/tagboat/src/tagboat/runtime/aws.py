"""What services on AWS share, for which `tagboat apply` makes whatever is needed."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ocikit import Credentials, Platform
from tagboat.aws.account import Account
from tagboat.aws.apply import apply, read, require_given
from tagboat.aws.kinds.cloudfront import host_of
from tagboat.aws.kinds.dns import leads
from tagboat.aws.kinds.logs import lines
from tagboat.aws.kinds.secrets import parameter_arn
from tagboat.aws.resource import Found, Ref, Resource, replaced
from tagboat.cloud import CloudError, LogLine, Repository
from tagboat.dns import DnsError, Names
from tagboat.errors import TagboatError
from tagboat.runtime.runtime import Watch
from tagboat.targets import parts
from tagboat.targets.target import Stack


class NoRepositoryError(TagboatError):
    """There is nowhere to push to yet."""


def kept_secrets(account: Account, stack: Stack) -> dict[str, Found | None]:
    """The secrets that the service gets, as they are in the account, which is a homeport's where the service
    is there. Raises CloudError for a missing one.
    """
    # Parameters have their name in their ARN: who releases need not be able to look for them.
    secrets = [replace(one, port=None) for one in stack.wanted if one.kind == "secretsmanager.secret"]
    found = read(account, secrets) if secrets else {}
    require_given(secrets, found)
    return found


def known(stack: Stack, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that refer to roles and secrets alone, as they are. Raises CloudError for a missing secret."""
    place = stack.place
    found = kept_secrets(stack.account, stack)

    def value(ref: Ref) -> str:
        there = found.get(ref.resource)
        if there is not None:
            return there.attributes[ref.attribute]
        kind, _, name = ref.resource.partition("/")
        return parameter_arn(place.arn, name) if kind == "ssm.parameter" else place.role_arn(name)

    done: dict[str, Any] = replaced(settings, value)
    return done


@dataclass(frozen=True)
class OnAws:
    """A service that `stack` describes."""

    stack: Stack

    @property
    def service(self) -> str:
        return self.stack.place.name

    @property
    def platform(self) -> Platform:
        return Platform.parse(self.stack.place.platform)

    def identity(self) -> str:
        return self.stack.account.identity

    def repository(self) -> Repository:
        account, name = self.stack.account, self.stack.place.repository
        there = account.find(
            "ecr", "describe_repositories", "RepositoryNotFoundException", repositoryNames=[name]
        )
        if there is None:
            raise NoRepositoryError(
                f"there is no repository {name} in {account.region}",
                hint=f"`tagboat apply --target {self.stack.place.target.key}` makes it, and all else",
            )
        data = account.call("ecr", "get_authorization_token")["authorizationData"][0]
        user, _, password = base64.b64decode(data["authorizationToken"]).decode().partition(":")
        insecure = data["proxyEndpoint"].startswith("http:")
        uri: str = there["repositories"][0]["repositoryUri"]
        return Repository(uri, Credentials(user, password), insecure)

    def resource(self, kind: str) -> Resource:
        """The only resource of that kind."""
        (found,) = [one for one in self.stack.wanted if one.kind == kind]
        return found

    def make(self, watch: Watch) -> None:
        """Make what waited for the first release."""
        watch.progress(f"{self.service} is not there yet: making all that it needs")
        apply(self.stack.account, self.stack.resources, released=True, progress=watch.progress)

    def front(self) -> str | None:
        """Where the service is to be seen by way of the distribution in front of it.

        None where there is none, or where its domain has not moved there yet: who looked at the domain would
        see what was before.
        """
        place = self.stack.place
        domain = place.target.domain
        try:
            host = host_of(self.stack.account, place.name) if parts.has_front(place) else None
        except CloudError:  # a release role that was made before it might ask
            return f"https://{domain}" if domain else None
        if host is None:
            return None
        if domain is None:
            return f"https://{host}"
        return f"https://{domain}" if _leads(domain, host) else None

    def group_lines(self, group: str, *, since: int) -> Iterator[LogLine]:
        """The lines of a log group."""
        yield from lines(self.stack.account, group, since=since)


def _leads(domain: str, host: str) -> bool:
    """Whether visitors of the domain come to that host, as far as the DNS can be asked from here."""
    names = Names.of_settings()
    try:
        return leads(names, domain, host, names.led(domain))
    except DnsError:
        return True
