"""How values are said on a page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from homeport.model import OperationStatus, OperationType, ServiceStatus

_KINDS = {
    OperationType.CREATE_SERVICE: "Creation",
    OperationType.START_DEPLOYMENT: "Deployment",
    OperationType.UPDATE_SERVICE: "Update",
    OperationType.DELETE_SERVICE: "Deletion",
    OperationType.PAUSE_SERVICE: "Pause",
    OperationType.RESUME_SERVICE: "Resumption",
}
_ENDS = {
    OperationStatus.PENDING: ("waiting", "busy"),
    OperationStatus.IN_PROGRESS: ("in progress", "busy"),
    OperationStatus.ROLLBACK_IN_PROGRESS: ("rolling back", "busy"),
    OperationStatus.SUCCEEDED: ("succeeded", "good"),
    OperationStatus.ROLLBACK_SUCCEEDED: ("failed, rolled back", "bad"),
    OperationStatus.ROLLBACK_FAILED: ("failed", "bad"),
    OperationStatus.FAILED: ("failed", "bad"),
}
_STATES = {
    ServiceStatus.RUNNING: ("Running", "good"),
    ServiceStatus.PAUSED: ("Paused", "idle"),
    ServiceStatus.OPERATION_IN_PROGRESS: ("Operation in progress", "busy"),
    ServiceStatus.CREATE_FAILED: ("Creation failed", "bad"),
    ServiceStatus.DELETE_FAILED: ("Deletion failed", "bad"),
    ServiceStatus.DELETED: ("Deleted", "idle"),
}


def kind(value: OperationType) -> str:
    return _KINDS[value]


def end(value: OperationStatus) -> tuple[str, str]:
    """In words, and as one of good, bad, busy, idle."""
    return _ENDS[value]


def state(value: ServiceStatus) -> tuple[str, str]:
    """In words, and as one of good, bad, busy, idle."""
    return _STATES[value]


def short(digest: str | None) -> str:
    """The first twelve digits, as other tools show them."""
    return "" if digest is None else digest.removeprefix("sha256:")[:12]


def ago(time: datetime, now: datetime | None = None) -> str:
    """How long ago, in the largest unit of which there is one; `now` is the present by default."""
    seconds = ((now or datetime.now(UTC)) - time).total_seconds()
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} ago"
    return "just now"


def lasted(time: timedelta) -> str:
    """How long, in one unit."""
    seconds = time.total_seconds()
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def stamp(time: datetime) -> str:
    """To the second, in UTC."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def size(count: float) -> str:
    """Bytes."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def many(count: float) -> str:
    """A number with three digits at most."""
    for unit in ("", "k", "M"):
        if count < 1000:
            return f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.3g}G"
