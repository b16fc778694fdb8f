"""Digests: their algorithms, their lengths, their text."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocikit import Digest, InvalidReferenceError, OcikitError


@pytest.mark.parametrize("text", ["sha256:" + "A" * 64, "sha256:" + "a" * 63, "md5:" + "a" * 32, "a" * 64])
def test_a_digest_is_of_a_known_algorithm_and_of_its_length(text):
    with pytest.raises(InvalidReferenceError):
        Digest.parse(text)


@given(st.binary(max_size=200))
def test_a_digest_written_is_read_back(data):
    digest = Digest.of(data)
    assert str(digest) == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert Digest.parse(str(digest)) == digest
    assert digest.path == str(digest).replace(":", "/")
    longer = Digest("sha512", hashlib.sha512(data).hexdigest())
    assert Digest.parse(str(longer)) == longer
    assert longer.hasher().name == "sha512"


@given(st.text(max_size=80))
def test_text_that_is_no_digest_is_an_error_of_ours(text):
    for tried in (text, f"sha256:{text}", f"{text}:{'a' * 64}"):
        try:
            assert str(Digest.parse(tried)) == tried
        except OcikitError:
            continue
