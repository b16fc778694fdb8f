"""From a component to an image, without Docker and without root."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tagboat.build.frame import Build, LayerReport
    from tagboat.build.image import build, build_with_report

__all__ = ["Build", "LayerReport", "build", "build_with_report"]


def __getattr__(name: str) -> Any:
    """What builds is loaded by who builds: `tagboat tag` reads a lock, and waits for nothing else."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tagboat.build import image  # noqa: PLC0415

    return getattr(image, name)
