"""What an instance has written, and its removal, whatever it has made of its folders."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from homeport.instance import Instances
from homeport.layout import Layout
from homeport.network import Network

NAME = "0123456789ab"


@pytest.fixture
def instances() -> Iterator[Instances]:
    folder = tempfile.mkdtemp(dir="/dev/shm")  # in memory: a thousand folders take a disk their time
    layout = Layout(Path(folder))
    (layout.instances / NAME / "upper").mkdir(parents=True)
    yield Instances(layout, Network(layout, 9000))
    subprocess.run(["rm", "-rf", folder], check=True)  # which goes as deep as there is something


def nest(folder: Path, depth: int, name: str = "d") -> None:
    """Folders in one another, as a program makes them that goes along: perhaps deeper than a path reaches."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def test_folders_and_empty_files_count_as_a_block_each(instances: Instances) -> None:
    upper = instances.directory(NAME) / "upper"
    before = instances.written(NAME)
    for number in range(5):
        (upper / f"folder{number}").mkdir()
        (upper / f"file{number}").touch()
    (upper / "large").write_bytes(os.urandom(100_000))
    (upper / "away").symlink_to("/")
    assert before == 0
    assert 11 * 4096 + 100_000 <= instances.written(NAME) < 200_000


def test_folders_in_one_another_are_counted_and_removed(instances: Instances) -> None:
    nest(instances.directory(NAME) / "upper", 1100)
    assert 1100 * 4096 <= instances.written(NAME) < 1 << 24
    instances.remove(NAME)
    assert not instances.directory(NAME).exists()


def test_what_no_path_reaches_is_more_than_any_limit_and_is_removed(instances: Instances) -> None:
    nest(instances.directory(NAME) / "upper", 20, "d" * 255)
    assert instances.written(NAME) > 1 << 60
    instances.remove(NAME)
    assert not instances.directory(NAME).exists()
