"""Volumes, folders in memory, and a root that is read-only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.mounts import Mounts, Tmpfs, Volume, parse_tmpfs, parse_volumes


@pytest.fixture(scope="module")
def services(shared_harbour: Any, make_image: Any) -> Any:
    shared_harbour.store(make_image())
    return shared_harbour


@pytest.fixture
def create(services: Any) -> Iterator[Any]:
    """Makes services; they are deleted in the end."""
    made: list[str] = []

    def create(**spec: Any) -> str:
        made.append(services.create(**spec))
        return made[-1]

    yield create
    for arn in made:
        if services.service(arn)["status"] != "DELETED":
            delete(services, arn)


def delete(services: Any, arn: str) -> None:
    services.tell("delete_service", arn=arn)
    assert services.ended(arn)["status"] == "SUCCEEDED"


def test_a_volume_outlives_instances_and_the_service(services: Any, create: Any, make_image: Any) -> None:
    arn = create(volumes="data:/var/data")
    assert services.get("/write?path=/var/data/kept").text == "written"
    assert (services.data / "volumes" / "web" / "data" / "kept").read_text() == "x"
    services.push(make_image(VERSION="two"))
    assert services.ended(arn)["status"] == "SUCCEEDED"
    assert services.served() == "two"
    assert services.get("/read?path=/var/data/kept").text == "x"
    delete(services, arn)
    create(volumes="data:/elsewhere")
    assert services.get("/read?path=/elsewhere/kept").text == "x"


def test_a_read_only_root_leaves_memory_and_volumes_to_write_to(services: Any, create: Any) -> None:
    create(read_only=True, tmpfs="/cache:1", volumes="data:/data")
    for path, result in (
        ("/tmp/x", "written"),  # noqa: S108 - the instance's own
        ("/cache/x", "written"),
        ("/data/x", "written"),
        ("/x", "OSError"),
    ):
        assert services.get(f"/write?path={path}").text == result


@pytest.mark.parametrize(
    ("text", "volumes"),
    [
        ("data:/data", (Volume("data", "/data"),)),
        ("  a:/a   b-1:/srv/b ", (Volume("a", "/a"), Volume("b-1", "/srv/b"))),
    ],
)
def test_volumes_are_read(text: str, volumes: tuple[Volume, ...]) -> None:
    assert parse_volumes(text) == volumes


@pytest.mark.parametrize(
    "text",
    [
        *("", "data", "data:", "data:data", "../x:/data", ".x:/data", "A:/data", "data:/", "data:/a/../b"),
        *("data:/a/", "data://a", "data:/a:b", "data:/proc", "data:/proc/x", "data:/run", "data:/dev/shm"),
        *("data:/etc", "data:/etc/hosts", "data:/run/secrets/x", "data:/\u00e4"),
    ],
)
def test_what_is_no_volume_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        parse_volumes(text)


@pytest.mark.parametrize("text", ["", "/a:", "/a:0", "/a:1g", "/a:999999", "a", "/a:-1", "/run/secrets"])
def test_what_is_no_folder_in_memory_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        parse_tmpfs(text)


@given(text=st.text(alphabet="ab1:/. -\0\n", max_size=20))
def test_whatever_is_read_is_inside_the_volumes_and_at_an_absolute_path(text: str) -> None:
    with suppress(ValueError):
        for volume in parse_volumes(text):
            assert "/" not in volume.name
            assert not volume.name.startswith(".")
            assert volume.path.startswith("/")
            assert not {"", ".", ".."} & set(volume.path.split("/")[1:])


def test_two_things_at_one_path_are_a_conflict() -> None:
    data = Volume("data", "/data")
    assert Mounts(volumes=(data, Volume("b", "/database"))).conflict is None
    assert Mounts(volumes=(data,), tmpfs=(Tmpfs("/data/cache"),)).conflict == ("/data/cache", "/data")
    assert Mounts(volumes=(data, Volume("b", "/data"))).conflict == ("/data", "/data")


def test_a_read_only_root_brings_a_folder_for_temporary_files_unless_there_is_one() -> None:
    brought = Tmpfs("/tmp")  # noqa: S108
    assert Mounts().in_memory == ()
    assert Mounts(read_only=True).in_memory == (brought,)
    assert Mounts(read_only=True, volumes=(Volume("a", "/tmp"),)).in_memory == ()  # noqa: S108
    assert Mounts(read_only=True, tmpfs=(Tmpfs("/tmp", 8),)).in_memory == (Tmpfs("/tmp", 8),)  # noqa: S108
