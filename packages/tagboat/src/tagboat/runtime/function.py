"""A function of Lambda's: a release is a published version, and the alias `live` names what is served.

A version is asked for its health before the alias moves to it, so one that does not work is never served.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ocikit import Digest, Reference, Registry
from tagboat.aws.kinds.lambda_ import ALIAS, own_configuration, own_settings, ready
from tagboat.aws.probe import STILL, is_of_platform, log_group, require_well
from tagboat.cloud import LogLine, NoServiceError
from tagboat.runtime.aws import OnAws
from tagboat.runtime.runtime import LogKind, OperationStatus, Served, State, Watch
from tagboat.targets.place import LATEST

_NONE = "ResourceNotFoundException"
_SHOWN = 5  # versions in a state


@dataclass(frozen=True)
class Function(OnAws):
    """The function of a target of the kind `lambda`."""

    def require(self) -> None:
        self._served()

    def roll_out(self, registry: Registry, release: Reference, digest: Digest, watch: Watch) -> Served:
        account, named = self.stack.account, {"FunctionName": self.service}
        there = account.find("lambda", "get_function", _NONE, **named)
        if there is None:
            registry.tag(release, LATEST)
            self.make(watch)
            return Served(self._url())
        settings = self.resource("lambda.function").settings
        has = own_settings(there["Configuration"])
        same = all(settings[name] == value for name, value in has.items())
        if not same:
            watch.progress("the settings of the function change")
            ready(account, self.service)
            account.call("lambda", "update_function_configuration", **named, **own_configuration(settings))
        return self._serve(registry, release, digest, watch, same=same)

    def roll_back(
        self, registry: Registry, release: Reference, digest: Digest, watch: Watch, *, chosen: bool
    ) -> str:
        self.require()
        return self._serve(registry, release, digest, watch, same=True).url

    def state(self) -> State:
        alias = self._served()
        account, named = self.stack.account, {"FunctionName": self.service}
        live = account.call("lambda", "get_function_configuration", **named, Qualifier=ALIAS)
        versions = [
            version
            for page in account.pages("lambda", "list_versions_by_function", **named)
            for version in page["Versions"]
            if version["Version"] != "$LATEST"
        ]
        newest = sorted(versions, key=lambda version: int(version["Version"]), reverse=True)[:_SHOWN]
        return State(
            "RUNNING" if live.get("State", "Active") in ("Active", "Inactive") else live["State"],
            self._url(),
            tuple(
                OperationStatus(
                    f"VERSION {version['Version']}",
                    "SERVED" if version["Version"] == alias["FunctionVersion"] else "PUBLISHED",
                    version["LastModified"],
                    None,
                )
                for version in newest
            ),
        )

    def lines(self, kind: LogKind, *, since: int) -> Iterator[LogLine]:
        self.require()
        for line in self.group_lines(log_group(self.service), since=since):
            if is_of_platform(line) == (kind == "service"):
                yield line

    def _served(self) -> Any:
        alias = self.stack.account.find("lambda", "get_alias", _NONE, FunctionName=self.service, Name=ALIAS)
        if alias is None:
            raise NoServiceError(f"there is no function {self.service}", hint="`tagboat deploy` makes it")
        return alias

    def _serve(
        self, registry: Registry, release: Reference, digest: Digest, watch: Watch, *, same: bool
    ) -> Served:
        account, named = self.stack.account, {"FunctionName": self.service}
        image = f"{release.registry}/{release.repository}@{digest}"
        live = account.find("lambda", "get_function", _NONE, **named, Qualifier=ALIAS)
        already = same and live is not None and live["Code"].get("ImageUri") == image
        if already:
            watch.progress(f"{release} is live already")
        else:
            ready(account, self.service)
            version = account.call(
                "lambda",
                "update_function_code",
                **named,
                ImageUri=image,
                Architectures=[self.resource("lambda.function").settings["architecture"]],
                Publish=True,
            )["Version"]
            watch.progress(f"version {version} is {release}")
            if live is None:  # an earlier first version was not well: the alias is made when this one is
                registry.tag(release, LATEST)
                self.make(watch)
                return Served(self._url())
            path = self.stack.place.component.config.service.health_path
            require_well(account, self.service, version, path, hint=STILL, timeout=watch.timeout)
            account.call("lambda", "update_alias", **named, Name=ALIAS, FunctionVersion=version)
            watch.progress(f"version {version} is served")
        if registry.digest(release.with_tag(LATEST)) != digest:
            registry.tag(release, LATEST)
        return Served(self._url(), already)

    def _url(self) -> str:
        front = self.front()
        if front is not None:
            return front
        there = self.stack.account.call(
            "lambda", "get_function_url_config", FunctionName=self.service, Qualifier=ALIAS
        )
        return str(there["FunctionUrl"]).rstrip("/")
