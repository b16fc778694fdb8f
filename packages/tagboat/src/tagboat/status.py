"""What a service is doing, and which release `latest` is."""

from __future__ import annotations

from dataclasses import dataclass

from tagboat.cloud import Cloud
from tagboat.component import Component
from tagboat.deploy import LATEST
from tagboat.plan import releases

_OPERATIONS = 5  # that are shown, the latest
_EXIT_CODES = {"RUNNING": 0, "OPERATION_IN_PROGRESS": 31}


@dataclass(frozen=True, slots=True)
class OperationStatus:
    """Times are UTC, ISO 8601."""

    type: str
    status: str
    started: str
    ended: str | None


@dataclass(frozen=True, slots=True)
class Status:
    """`tag` and `digest` are those of the release that is to be served, None before the first one."""

    service: str
    state: str
    url: str
    tag: str | None
    digest: str | None
    operations: tuple[OperationStatus, ...]

    @property
    def exit_code(self) -> int:
        """0 it runs, 31 an operation is under way, 1 it does not run."""
        return _EXIT_CODES.get(self.state, 1)


def read_status(component: Component) -> Status:
    """Raises NoServiceError, and the errors of registry and cloud."""
    cloud = Cloud()
    service = cloud.existing_service(component.config.service.name or component.name)
    place = cloud.repository(component.config.repository)
    with place.registry() as registry:
        released = registry.digest(place.reference.with_tag(LATEST))
        newest_first = reversed(releases(component, registry.tags(place.reference.repository)).values())
        tags = (tag for tag in newest_first if registry.digest(place.reference.with_tag(tag)) == released)
        tag = next(tags, None) if released else None
    return Status(
        service["ServiceName"],
        service["Status"],
        f"https://{service['ServiceUrl']}",
        tag,
        str(released) if released else None,
        tuple(
            OperationStatus(
                operation["Type"],
                operation["Status"],
                operation["StartedAt"].isoformat(timespec="seconds"),
                operation["EndedAt"].isoformat(timespec="seconds") if operation.get("EndedAt") else None,
            )
            for operation in cloud.operations(service["ServiceArn"])[:_OPERATIONS]
        ),
    )
