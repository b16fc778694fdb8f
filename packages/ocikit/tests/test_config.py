"""Image configurations: written in one way, read strictly."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocikit import (
    ContainerConfig,
    Digest,
    History,
    ImageConfig,
    InvalidDocumentError,
    Platform,
)

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
DIGESTS = st.binary(max_size=8).map(Digest.of)
PLATFORMS = st.builds(
    Platform,
    st.sampled_from(["linux", "windows"]),
    st.sampled_from(["amd64", "arm64", "arm"]),
    st.sampled_from([None, "v7"]),
)
CONFIGS = st.builds(
    ImageConfig,
    PLATFORMS,
    st.builds(
        ContainerConfig,
        user=TEXT,
        env=st.lists(TEXT, max_size=2).map(tuple),
        entrypoint=st.lists(TEXT, max_size=2).map(tuple),
        cmd=st.lists(TEXT, max_size=2).map(tuple),
        working_dir=TEXT,
        labels=st.dictionaries(TEXT, TEXT, max_size=2),
        exposed_ports=st.lists(TEXT, max_size=2, unique=True).map(tuple),
        stop_signal=TEXT,
        volumes=st.lists(TEXT, max_size=2, unique=True).map(tuple),
    ),
    st.lists(DIGESTS, max_size=3).map(tuple),
    st.lists(st.builds(History, TEXT, TEXT, TEXT, st.booleans()), max_size=2).map(tuple),
    st.none() | TEXT,
    st.none() | TEXT,
)


@given(CONFIGS)
def test_a_configuration_written_is_read_back(config):
    assert ImageConfig.parse(config.to_bytes()) == config
    assert ImageConfig.parse(config.to_bytes()).to_bytes() == config.to_bytes()


def test_a_configuration_has_one_form():
    """Every image that is already out there depends on these bytes."""
    config = ImageConfig(
        Platform("linux", "arm64", "v8"),
        ContainerConfig(
            user="65532:65532",
            env=("A=1",),
            entrypoint=("/é",),
            cmd=("x",),
            working_dir="/app",
            labels={"l": "v"},
            exposed_ports=("80/tcp",),
            stop_signal="SIGINT",
            volumes=("/data",),
        ),
        (Digest("sha256", "ab" * 32),),
        (History(created_by="us"), History(comment="env", empty_layer=True)),
        created="1970-01-01T00:00:00Z",
        author="me",
    )
    assert config.to_bytes().decode() == (
        '{"created":"1970-01-01T00:00:00Z","author":"me","architecture":"arm64","os":"linux","variant":"v8",'
        '"config":{"User":"65532:65532","ExposedPorts":{"80/tcp":{}},"Env":["A=1"],"Entrypoint":["/é"],'
        '"Cmd":["x"],"Volumes":{"/data":{}},"WorkingDir":"/app","Labels":{"l":"v"},"StopSignal":"SIGINT"},'
        f'"rootfs":{{"type":"layers","diff_ids":["sha256:{"ab" * 32}"]}},'
        '"history":[{"created_by":"us"},{"comment":"env","empty_layer":true}]}'
    )


def _document(**members):
    plain = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": []}}
    return json.dumps(plain | members).encode()


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ({"os": None}, "configuration.os is missing"),
        ({"os": 7}, "configuration.os is not of type str"),
        ({"variant": []}, "configuration.variant"),
        ({"rootfs": []}, "configuration.rootfs"),
        ({"rootfs": {"type": "bricks"}}, "rootfs.type"),
        ({"rootfs": {"type": "layers", "diff_ids": [1]}}, "rootfs.diff_ids"),
        ({"rootfs": {"type": "layers", "diff_ids": ["x"]}}, r"rootfs.diff_ids\[0\]: 'x' is no digest"),
        ({"config": {"Env": "A=1"}}, "configuration.config.Env"),
        ({"config": {"Env": [1]}}, "configuration.config.Env"),
        ({"config": {"Labels": {"a": 1}}}, "configuration.config.Labels"),
        ({"config": {"ExposedPorts": ["80"]}}, "configuration.config.ExposedPorts"),
        ({"history": [{}, 7]}, r"configuration.history\[1\]"),
        ({"history": [{"empty_layer": "no"}]}, r"configuration.history\[0\].empty_layer"),
    ],
)
def test_the_member_that_is_wrong_is_named(members, named):
    with pytest.raises(InvalidDocumentError, match=named):
        ImageConfig.parse(_document(**members))


def test_members_that_docker_leaves_null_are_empty():
    nothing = {"Env": None, "Cmd": None, "Labels": None, "Volumes": None, "ExposedPorts": None, "User": None}
    config = ImageConfig.parse(_document(config=nothing, history=None, variant=""))
    assert config == ImageConfig(Platform("linux", "amd64"))
