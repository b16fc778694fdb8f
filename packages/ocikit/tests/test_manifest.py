"""Descriptors, manifests and indices: written in one way, read strictly."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocikit import (
    Descriptor,
    Digest,
    ImageConfig,
    Index,
    InvalidDocumentError,
    Manifest,
    OcikitError,
    Platform,
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


def test_a_manifest_has_one_form():
    """Every digest that is already out there depends on these bytes."""
    digest = Digest("sha256", "ab" * 32)
    config = Descriptor("application/vnd.oci.image.config.v1+json", digest, 2)
    layer = Descriptor("application/vnd.oci.image.layer.v1.tar+gzip", digest, 3, {"a": "é"})
    assert Manifest(config, (layer,), annotations={"b": "c"}).to_bytes().decode() == (
        '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",'
        f'"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":2}},'
        f'"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{digest}","size":3,'
        '"annotations":{"a":"é"}}],"annotations":{"b":"c"}}'
    )
    entry = Descriptor(
        "application/vnd.oci.image.manifest.v1+json", digest, 4, platform=Platform("linux", "amd64")
    )
    assert Index((entry,)).to_bytes().decode() == (
        '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json",'
        f'"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}",'
        '"size":4,"platform":{"architecture":"amd64","os":"linux"}}]}'
    )


GOOD = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": str(DIGEST), "size": 7}


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ({"schemaVersion": 1}, "manifest.schemaVersion"),
        ({"schemaVersion": True}, "manifest.schemaVersion"),
        ({"mediaType": "text/plain"}, "manifest: mediaType 'text/plain'"),
        ({"config": None}, "manifest.config is missing"),
        ({"layers": None}, "manifest.layers is missing"),
        ({"layers": {}}, "manifest.layers is not of type list"),
        ({"layers": [GOOD, 7]}, r"manifest.layers\[1\] is not an object"),
        ({"layers": [GOOD | {"size": -1}]}, r"manifest.layers\[0\].size is negative"),
        ({"layers": [GOOD | {"size": True}]}, r"manifest.layers\[0\].size is not of type int"),
        ({"layers": [GOOD | {"size": 1.5}]}, r"manifest.layers\[0\].size is not of type int"),
        ({"layers": [GOOD | {"digest": None}]}, r"manifest.layers\[0\].digest is missing"),
        ({"layers": [GOOD | {"digest": "sha256:12"}]}, r"manifest.layers\[0\].digest: sha256:12 is no"),
        (
            {"config": GOOD | {"platform": {"os": "linux"}}},
            "config.platform.architecture is missing",
        ),
        ({"annotations": {"a": 1}}, "manifest.annotations"),
        ({"subject": GOOD | {"mediaType": 7}}, "manifest.subject.mediaType"),
        ({"artifactType": 7}, "manifest.artifactType"),
    ],
)
def test_the_member_that_is_wrong_is_named(members, named):
    document = {"schemaVersion": 2, "config": GOOD, "layers": []} | members
    with pytest.raises(InvalidDocumentError, match=named):
        Manifest.parse(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ({"manifests": None}, "index.manifests is missing"),
        ({"manifests": [GOOD, GOOD | {"size": "7"}]}, r"index.manifests\[1\].size"),
        ({"mediaType": "application/vnd.oci.image.manifest.v1+json"}, "index: mediaType"),
        ({"subject": []}, "index.subject"),
    ],
)
def test_the_member_of_an_index_that_is_wrong_is_named(members, named):
    document = {"schemaVersion": 2, "manifests": []} | members
    with pytest.raises(InvalidDocumentError, match=named):
        Index.parse(json.dumps(document).encode())
