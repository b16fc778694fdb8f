"""A service of ECS Express Mode: each release is an update of it, which ECS rolls out and back by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ocikit import Digest, Reference, Registry
from tagboat.aws.kinds.ecs import ExpressService, active, described, endpoint, request, steady
from tagboat.cloud import DeploymentFailedError, LogLine, NoServiceError, last_messages
from tagboat.runtime.aws import OnAws, known
from tagboat.runtime.runtime import LogKind, OperationStatus, Served, State, Watch
from tagboat.targets.ecs_express import log_group
from tagboat.targets.place import LATEST

_SHOWN = 5  # deployments in a state
_STATES = {"ACTIVE": "RUNNING", "DRAINING": "DELETED"}


@dataclass(frozen=True)
class Express(OnAws):
    """The service of a target of the kind `ecs-express`."""

    def require(self) -> None:
        self._described()

    def roll_out(self, registry: Registry, release: Reference, digest: Digest, watch: Watch) -> Served:
        if described(self.stack.account, self.service) is None:
            registry.tag(release, LATEST)
            self.make(watch)
            return Served(self._url())
        settings = known(self.stack, self.resource("ecs.express-service").settings)
        return self._serve(registry, release, digest, watch, settings)

    def roll_back(
        self, registry: Registry, release: Reference, digest: Digest, watch: Watch, *, chosen: bool
    ) -> str:
        self.require()
        steady(self.stack.account, self.service, timeout=watch.timeout)
        found = ExpressService().read(self.stack.account, self.resource("ecs.express-service"))
        return self._serve(registry, release, digest, watch, dict(found.settings) if found else {}).url

    def state(self) -> State:
        service = self._described()
        there = self.stack.account.call(
            "ecs", "list_service_deployments", service=self.service, cluster="default"
        )["serviceDeployments"]
        under_way = any(one["status"] in ("PENDING", "IN_PROGRESS") for one in there[:1])
        state = _STATES.get(service["status"]["statusCode"], service["status"]["statusCode"])
        return State(
            "OPERATION_IN_PROGRESS" if under_way else state,
            self._url(),
            tuple(
                OperationStatus(
                    "DEPLOYMENT",
                    one["status"],
                    one["createdAt"].isoformat(timespec="seconds"),
                    one["finishedAt"].isoformat(timespec="seconds") if one.get("finishedAt") else None,
                )
                for one in there[:_SHOWN]
            ),
        )

    def lines(self, kind: LogKind, *, since: int) -> Iterator[LogLine]:
        service = self._described()
        if kind == "application":
            yield from self.group_lines(log_group(self.stack.place), since=since)
            return
        there = self.stack.account.call(
            "ecs", "list_service_deployments", service=self.service, cluster="default"
        )["serviceDeployments"]
        for one in reversed(there):
            at = int(one["createdAt"].timestamp() * 1000)
            if at >= since:
                yield LogLine(at, f"deployment {one['status']}", one["serviceDeploymentArn"])
        reason = service["status"].get("statusReason")
        if reason:
            yield LogLine(int(service["updatedAt"].timestamp() * 1000), reason, reason)

    def _described(self) -> Any:
        service = described(self.stack.account, self.service)
        if service is None:
            raise NoServiceError(f"there is no service {self.service}", hint="`tagboat deploy` makes it")
        return service

    def _serve(
        self,
        registry: Registry,
        release: Reference,
        digest: Digest,
        watch: Watch,
        settings: Mapping[str, Any],
    ) -> Served:
        account = self.stack.account
        image = f"{release.registry}/{release.repository}@{digest}"
        service, _ = steady(account, self.service, timeout=watch.timeout)
        wanted = request(settings, image)
        already = all(active(service).get(name) == value for name, value in wanted.items())
        if already:
            watch.progress(f"{release} is live already")
        else:
            account.call("ecs", "update_express_gateway_service", serviceArn=service["serviceArn"], **wanted)
            watch.progress(f"ECS rolls {release} out")
            _, status = steady(account, self.service, timeout=watch.timeout)
            if status not in (None, "SUCCESSFUL"):
                raise DeploymentFailedError(
                    f"{self.service}: the deployment ended {status}",
                    last_messages(lambda since: self.lines("application", since=since)),
                    hint="the version that served before still serves"
                    if status == "ROLLBACK_SUCCESSFUL"
                    else None,
                )
        if registry.digest(release.with_tag(LATEST)) != digest:
            registry.tag(release, LATEST)
        return Served(self._url(), already)

    def _url(self) -> str:
        return self.front() or f"https://{endpoint(self._described())}"
