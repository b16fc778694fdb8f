"""Platforms: their text, and which image runs where."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocikit import InvalidReferenceError, Platform


def test_a_platform_matches_by_variant_only_where_one_is_asked_for():
    arm7, arm = Platform.parse("linux/arm/v7"), Platform.parse("linux/arm")
    assert arm7.matches(arm)
    assert arm.matches(arm7)
    assert not Platform("linux", "arm", "v6").matches(arm7)
    assert not Platform.parse("linux/arm64").matches(arm)
    assert not Platform.parse("windows/arm").matches(arm)


PART = st.text(st.characters(exclude_characters="/"), min_size=1, max_size=8)


@given(PART, PART, st.none() | PART)
def test_a_platform_written_is_read_back(system, architecture, variant):
    platform = Platform(system, architecture, variant)
    assert Platform.parse(str(platform)) == platform


@pytest.mark.parametrize("text", ["", "linux", "linux/", "/amd64", "linux//v8", "linux/arm/v7/x"])
def test_what_is_no_platform_is_refused_with_an_example(text):
    with pytest.raises(InvalidReferenceError, match="linux/amd64"):
        Platform.parse(text)
