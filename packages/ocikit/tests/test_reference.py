"""References: what is a name, what is not, and what it stands for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocikit import Digest, InvalidReferenceError, OcikitError, Reference

DIGEST = Digest.of(b"content")


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
        "host:65536/a",
        "host:0/a",
        "[:]:5000/a",
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
