"""Digests, references, platforms, descriptors, manifests, indices and configurations."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocikit import (
    BytesBlob,
    ContainerConfig,
    Credentials,
    Descriptor,
    Digest,
    History,
    Image,
    ImageConfig,
    Index,
    InvalidDocumentError,
    InvalidReferenceError,
    Layer,
    Manifest,
    OcikitError,
    Platform,
    Reference,
)

DIGEST = Digest.of(b"content")
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
DIGESTS = st.binary(max_size=8).map(Digest.of)
PLATFORMS = st.builds(
    Platform,
    st.sampled_from(["linux", "windows"]),
    st.sampled_from(["amd64", "arm64", "arm"]),
    st.sampled_from([None, "v7"]),
)
DESCRIPTORS = st.builds(
    Descriptor,
    st.sampled_from(["application/vnd.oci.image.layer.v1.tar+gzip", "text/plain"]),
    DIGESTS,
    st.integers(0, 2**53),
    st.dictionaries(TEXT, TEXT, max_size=2),
    st.none() | PLATFORMS,
    st.none() | st.just("application/x"),
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


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("127.0.0.1:5000/a/b:v1", ("127.0.0.1:5000", "a/b", "v1", None)),
        ("localhost/a", ("localhost", "a", None, None)),
        ("[::1]:80/a:b", ("[::1]:80", "a", "b", None)),
        ("python:3.12", ("docker.io", "library/python", "3.12", None)),
        ("bitnami/python", ("docker.io", "bitnami/python", None, None)),
        (f"ghcr.io/a/b@{DIGEST}", ("ghcr.io", "a/b", None, DIGEST)),
        (f"ghcr.io/a/b:t@{DIGEST}", ("ghcr.io", "a/b", "t", DIGEST)),
    ],
)
def test_a_reference_is_read_as_docker_reads_it(text, parts):
    assert Reference.parse(text) == Reference(*parts)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "UPPER/case",
        "host:5000/",
        "host:5000/a:",
        "host:5000/a:b c",
        "host:5000/../a",
        "a@sha256:12",
        "a//b",
        "host.x/a\n",
        "host.x/" + "a" * 300,
        "host.x/a:" + "t" * 129,
        "ho st.x/a",
        "host.x:port/a",
        "a@md5:00",
    ],
)
def test_what_is_no_reference_is_refused(text):
    with pytest.raises(InvalidReferenceError):
        Reference.parse(text)


@given(st.text(max_size=60))
def test_a_reference_written_is_read_back_and_nothing_else_escapes(text):
    try:
        reference = Reference.parse(text)
    except OcikitError:
        return
    assert Reference.parse(str(reference)) == reference


def test_a_digest_pins_and_a_tag_unpins():
    reference = Reference.parse("host.x/a:t")
    assert reference.with_digest(DIGEST).identifier == str(DIGEST)
    assert str(reference.with_digest(DIGEST).with_tag("u")) == "host.x/a:u"
    assert Reference("host.x", "a").identifier == "latest"


@pytest.mark.parametrize("text", ["sha256:" + "A" * 64, "sha256:" + "a" * 63, "md5:" + "a" * 32, "a" * 64])
def test_a_digest_is_of_a_known_algorithm_and_of_its_length(text):
    with pytest.raises(InvalidReferenceError):
        Digest.parse(text)


def test_a_platform_matches_by_variant_only_where_one_is_asked_for():
    arm7, arm = Platform.parse("linux/arm/v7"), Platform.parse("linux/arm")
    assert arm7.matches(arm)
    assert arm.matches(arm7)
    assert not Platform("linux", "arm", "v6").matches(arm7)
    with pytest.raises(InvalidReferenceError):
        Platform.parse("linux")


@given(CONFIGS)
def test_a_configuration_written_is_read_back(config):
    assert ImageConfig.parse(config.to_bytes()) == config
    assert ImageConfig.parse(config.to_bytes()).to_bytes() == config.to_bytes()


@given(DESCRIPTORS, st.lists(DESCRIPTORS, max_size=3).map(tuple), st.none() | DESCRIPTORS)
def test_a_manifest_and_an_index_written_are_read_back(config, layers, subject):
    manifest = Manifest(config, layers, subject=subject)
    assert Manifest.parse(manifest.to_bytes()) == manifest
    index = Index(layers, subject=subject, annotations={"a": "b"})
    assert Index.parse(index.to_bytes()) == index


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "schemaVersion",
                    "mediaType",
                    "config",
                    "layers",
                    "manifests",
                    "digest",
                    "size",
                    "rootfs",
                    "os",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON, st.sampled_from([Manifest, Index, ImageConfig]))
def test_a_document_that_is_not_one_is_an_error_of_ours(document, kind):
    try:
        kind.parse(json.dumps(document).encode())
    except OcikitError:
        pass
    else:
        assert isinstance(document, dict)


@given(st.binary(max_size=40), st.sampled_from([Manifest, Index, ImageConfig]))
def test_bytes_that_are_no_json_are_an_error_of_ours(data, kind):
    with pytest.raises(InvalidDocumentError):
        kind.parse(data)


def test_a_document_that_is_manifest_and_index_at_once_is_refused():
    layer = Descriptor("application/vnd.oci.image.layer.v1.tar", DIGEST, 1)
    document = json.loads(Manifest(layer, (layer,)).to_bytes())
    del document["mediaType"]
    for kind in (Manifest, Index):
        with pytest.raises(InvalidDocumentError, match="two kinds"):
            kind.parse(json.dumps(document | {"manifests": []}).encode())


def test_deep_and_huge_documents_are_refused():
    for data in (b"[" * 100_000, b"{" + b" " * (4 << 20) + b"}"):
        with pytest.raises(InvalidDocumentError):
            Manifest.parse(data)


def test_an_image_from_elsewhere_keeps_its_bytes_until_it_is_changed():
    config = json.dumps(
        {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": []}, "odd": [1, 2]},
        indent=3,
    ).encode()
    descriptor = Descriptor("application/vnd.oci.image.config.v1+json", Digest.of(config), len(config))
    manifest = json.dumps(json.loads(Manifest(descriptor, ()).to_bytes()), indent=2).encode()
    image = Image.from_bytes(manifest, config, ())
    assert image.digest == Digest.of(manifest)
    assert image.config_bytes == config
    changed = replace(image, config=replace(image.config, created="1970-01-01T00:00:00Z"))
    assert changed.digest != image.digest
    assert json.loads(changed.config_bytes)["created"] == "1970-01-01T00:00:00Z"
    assert image.digest == Digest.of(manifest)


def test_an_image_whose_layers_and_configuration_disagree_is_refused(make_image):
    image = make_image({"a": b"1"}, {"b": b"2"})
    with pytest.raises(InvalidDocumentError):
        Image.from_bytes(image.manifest_bytes, image.config_bytes, image.layers[:1])


def test_layers_are_equal_by_what_they_are_not_by_where_they_lie():
    descriptor = Descriptor("application/vnd.oci.image.layer.v1.tar", DIGEST, 7)
    assert Layer(descriptor, DIGEST, BytesBlob(b"content")) == Layer(descriptor, DIGEST, BytesBlob(b""))


def test_a_password_is_not_shown():
    assert "secret" not in repr(Credentials("user", "secret"))
