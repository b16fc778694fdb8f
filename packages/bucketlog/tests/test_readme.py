"""The README's tour runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import bucketlog
from bucketlog.query.aggregates import AGGREGATES

README = Path(__file__).parents[1] / "README.md"


def test_the_tour_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, str(README), "exec", dont_inherit=True), {"__name__": "readme"})  # noqa: S102 -- our own text


def test_the_readme_names_every_aggregate_that_there_is() -> None:
    text = README.read_text()
    assert [name for name in AGGREGATES if f"`{name}`" not in text] == []


def test_what_is_public_is_documented() -> None:
    assert [name for name in bucketlog.__all__ if not getattr(bucketlog, name).__doc__] == []
