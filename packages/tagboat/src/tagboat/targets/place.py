"""One target of one component, in one account: what every kind of target computes its resources from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from tagboat.aws.resource import COMPONENT_TAG, TARGET_TAG
from tagboat.component import Component
from tagboat.config import Target
from tagboat.errors import ConfigError, TagboatError
from tagboat.forge import Project
from tagboat.secret import Secret

LATEST = "latest"
_BUCKET_URL = re.compile(r"\bs3://([a-z0-9.-]+)")


class UnsupportedError(TagboatError):
    """The target cannot honour the configuration."""


@dataclass(frozen=True)
class Place:
    """`account` is the account's number. In a template, it and the region are CloudFormation's variables."""

    component: Component
    target: Target
    account: str
    region: str

    @property
    def name(self) -> str:
        """Of the service, and the beginning of the names of whatever belongs to it."""
        return self.target.name or self.component.config.service.name or self.component.name

    @cached_property
    def repository(self) -> str:
        """Where its images are: a target that has a name of its own has a repository, and a `latest`, too."""
        return self.target.name or self.component.config.repository

    @cached_property
    def environment(self) -> dict[str, str]:
        """What instances are started with; `PORT` tells the app where to listen."""
        service = self.component.config.service
        ours = {name: text.expanded() for name, text in self.target.environment.items()}
        return {"PORT": str(service.port), **service.expanded_environment(), **ours}

    @cached_property
    def secrets(self) -> dict[str, Secret]:
        """Where the values of further variables are kept. Raises ConfigError."""
        written = {**self.component.config.service.secrets, **self.target.secrets}
        for name in sorted(written.keys() & self.environment.keys()):
            raise ConfigError(
                f"{name} is in an environment and in secrets of {self.component.name}",
                hint="a variable has one value: leave one of them out",
            )
        return {name: Secret.of(text) for name, text in written.items()}

    @property
    def platform(self) -> str:
        default = "linux/amd64" if self.target.kind == "apprunner" else "linux/arm64"
        return self.target.platform or default

    @property
    def arm(self) -> bool:
        return self.platform == "linux/arm64"

    @property
    def tags(self) -> dict[str, str]:
        return {COMPONENT_TAG: self.component.name, TARGET_TAG: self.target.key}

    @property
    def shared_tags(self) -> dict[str, str]:
        """Of what all targets of the component share."""
        return {COMPONENT_TAG: self.component.name}

    @property
    def buckets(self) -> tuple[str, ...]:
        return tuple(name for name in (self.target.data_bucket, self.target.uploads_bucket) if name)

    @property
    def hosts(self) -> tuple[str, ...]:
        """The domain first, then those that redirect to it."""
        return ((self.target.domain,) if self.target.domain else ()) + self.target.redirects

    @cached_property
    def project(self) -> tuple[str, Project] | None:
        """The CI system and the repository that releases come from, None where none is named."""
        ci = self.component.config.ci
        found = [(system, path) for system, path in (("github", ci.github), ("gitlab", ci.gitlab)) if path]
        if not found:
            return None
        if len(found) > 1:
            raise ConfigError("tool.tagboat.ci has both github and gitlab", hint="releases come from one")
        system, path = found[0]
        if ci.repository_id is None or ci.owner_id is None:
            raise ConfigError(
                f"tool.tagboat.ci.{system} is {path}, and its numbers are missing",
                hint="repository-id and owner-id, as its host's API has them: names can change hands",
            )
        return system, Project(path, str(ci.repository_id), str(ci.owner_id))

    def arn(self, service: str, resource: str) -> str:
        return f"arn:aws:{service}:{self.region}:{self.account}:{resource}"

    @property
    def repository_arn(self) -> str:
        return self.arn("ecr", f"repository/{self.repository}")

    def role_arn(self, name: str) -> str:
        return f"arn:aws:iam::{self.account}:role/{name}"

    def refuse(self, *keys: str, why: str) -> list[str]:
        """A problem for each of these keys of the target that is written."""
        return [f"{key}: {why}" for key in keys if key in self.target.given]

    def host_problems(self) -> list[str]:
        """What is wrong with the names that it is served under, wherever it runs."""
        if self.target.redirects and not self.target.domain:
            return ["redirects: they need a domain to lead to"]
        return []

    def common_problems(self) -> list[str]:
        """What is wrong wherever it runs on AWS."""
        target, problems = self.target, []
        if target.region is None:
            problems.append("region is missing: say where, e.g. eu-central-1")
        if target.secrets_key and not self.secrets:
            problems.append("secrets-key: there are no secrets")
        problems += self.host_problems()
        if target.uploads_path and not target.uploads_bucket:
            problems.append("uploads-path: it needs uploads-bucket")
        if (target.budget is None) != (target.alert is None):
            problems.append("budget and alert: an alarm needs both, dollars a month and an e-mail address")
        if "budget-scope" in target.given and target.budget is None:
            problems.append("budget-scope: there is no budget")
        problems += [
            f"environment {name} names the bucket {bucket}, which is neither data-bucket nor uploads-bucket "
            "of this target: the service could not open it"
            for name, value in self.environment.items()
            for bucket in _BUCKET_URL.findall(value)
            if bucket not in self.buckets
        ]
        return problems
