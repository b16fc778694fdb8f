"""Pipelines for CI systems that release a component: written whole, and compared with what is there."""

from __future__ import annotations

from tagboat.ci.pipeline import SYSTEMS, Pipeline

__all__ = ["SYSTEMS", "Pipeline"]
