"""A function of Lambda's: a release is a published version, and the alias `live` names what is served.

A version is asked for its health before the alias moves to it, so one that does not work is never served.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ocikit import Digest, Reference, Registry
from tagboat.aws.account import wait_until
from tagboat.aws.kinds.lambda_ import ALIAS, own_configuration, own_settings, ready
from tagboat.cloud import DeploymentFailedError, LogLine, NoServiceError, last_messages
from tagboat.runtime.aws import OnAws
from tagboat.runtime.runtime import LogKind, OperationStatus, State, Watch
from tagboat.targets.lambda_ import log_group
from tagboat.targets.place import LATEST

_NONE = "ResourceNotFoundException"
_SHOWN = 5  # versions in a state
_PLATFORM_LINES = ("INIT_START", "START RequestId", "END RequestId", "REPORT RequestId", "EXTENSION")


@dataclass(frozen=True)
class Function(OnAws):
    """The function of a target of the kind `lambda`."""

    def require(self) -> None:
        self._served()

    def roll_out(self, registry: Registry, release: Reference, digest: Digest, watch: Watch) -> str:
        account, named = self.stack.account, {"FunctionName": self.service}
        there = account.find("lambda", "get_function", _NONE, **named)
        if there is None:
            registry.tag(release, LATEST)
            self.make(watch)
            return self._url()
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
        return self._serve(registry, release, digest, watch, same=True)

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
        for line in self.group_lines(log_group(self.stack.place), since=since):
            if line.message.startswith(_PLATFORM_LINES) == (kind == "service"):
                yield line

    def _served(self) -> Any:
        alias = self.stack.account.find("lambda", "get_alias", _NONE, FunctionName=self.service, Name=ALIAS)
        if alias is None:
            raise NoServiceError(f"there is no function {self.service}", hint="`tagboat deploy` makes it")
        return alias

    def _serve(
        self, registry: Registry, release: Reference, digest: Digest, watch: Watch, *, same: bool
    ) -> str:
        account, named = self.stack.account, {"FunctionName": self.service}
        image = f"{release.registry}/{release.repository}@{digest}"
        live = account.find("lambda", "get_function", _NONE, **named, Qualifier=ALIAS)
        if same and live is not None and live["Code"].get("ImageUri") == image:
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
            self._wait(version, watch)
            self._require_health(version, watch)
            account.call("lambda", "update_alias", **named, Name=ALIAS, FunctionVersion=version)
            watch.progress(f"version {version} is served")
        if registry.digest(release.with_tag(LATEST)) != digest:
            registry.tag(release, LATEST)
        return self._url()

    def _wait(self, version: str, watch: Watch) -> None:
        named = {"FunctionName": self.service, "Qualifier": version}

        def done() -> bool:
            there = self.stack.account.call("lambda", "get_function_configuration", **named)
            if there.get("State") == "Failed":
                raise DeploymentFailedError(
                    f"{self.service}: Lambda cannot run version {version}: {there.get('StateReason')}",
                    [],
                    hint=_STILL,
                )
            return bool(there.get("State", "Active") == "Active")

        wait_until(done, f"version {version} of {self.service} is not ready", timeout=watch.timeout)

    def _require_health(self, version: str, watch: Watch) -> None:
        """Ask the version as the function's URL would. Raises DeploymentFailedError where it is not well."""
        path = self.stack.place.component.config.service.health_path
        if path is None:
            return
        answer = self.stack.account.call(
            "lambda",
            "invoke",
            FunctionName=self.service,
            Qualifier=version,
            Payload=json.dumps(_request(path)).encode(),
        )
        payload = answer["Payload"].read()
        problem = answer.get("FunctionError") or _problem(payload)
        if problem:
            raise DeploymentFailedError(
                f"{self.service}: version {version} is not well at {path}: {problem}",
                last_messages(lambda since: self.lines("application", since=since)),
                hint=_STILL,
            )
        watch.progress(f"version {version} is well at {path}")

    def _url(self) -> str:
        front = self.front()
        if front is not None:
            return front
        there = self.stack.account.call(
            "lambda", "get_function_url_config", FunctionName=self.service, Qualifier=ALIAS
        )
        return str(there["FunctionUrl"]).rstrip("/")


_STILL = "the version that served before still serves"


def _request(path: str) -> dict[str, Any]:
    """A GET as the function's URL sends it ("Lambda function URLs: payload format 2.0")."""
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"host": "localhost", "user-agent": "tagboat", "x-forwarded-proto": "https"},
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "tagboat",
            "domainName": "localhost",
            "domainPrefix": "tagboat",
            "http": {
                "method": "GET",
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": "tagboat",
            },
            "requestId": "tagboat",
            "routeKey": "$default",
            "stage": "$default",
            "time": "01/Jan/2026:00:00:00 +0000",
            "timeEpoch": 1767225600000,
        },
        "isBase64Encoded": False,
    }


def _problem(payload: bytes) -> str | None:
    """What is wrong with the answer of a function, buffered or streamed; None if nothing is.

    A streamed one is a JSON document, eight zero bytes and the body ("Lambda response streaming").
    """
    try:
        answer = json.loads(payload.partition(b"\0" * 8)[0])
        status = int(answer["statusCode"])
    except (ValueError, KeyError, TypeError):
        return f"its answer is none of a web page: {payload[:200]!r}"
    return f"it answers {status}" if status >= 400 else None
