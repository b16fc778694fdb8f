"""Tests that make containers work in a plain chroot too, as `homeport serve` does."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from homeport.root import mounted_root


@pytest.fixture(scope="session", autouse=True)
def _a_root_that_containers_can_be_made_in() -> Iterator[None]:
    with mounted_root(Path(__file__)):
        yield
