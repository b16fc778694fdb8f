"""From a component to an image, without Docker and without root."""

from __future__ import annotations

from tagboat.build.image import Build, LayerReport, build, build_with_report

__all__ = ["Build", "LayerReport", "build", "build_with_report"]
