"""Following releases: which tag is the newest, and what a push of one does."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.tracking import Track

versions = st.tuples(*[st.integers(0, 10**6)] * 3)


@pytest.mark.parametrize(
    ("track", "tag", "version"),
    [
        ("semver", "1.2.3", (1, 2, 3)),
        ("semver", "v1.2.3", (1, 2, 3)),
        ("semver", "site-v1.2.3", None),
        ("semver", "latest", None),
        ("semver", "v1.2", None),
        ("semver", "v1.2.3-rc.1", None),
        ("semver", "v01.2.3", None),
        ("semver", "vv1.2.3", None),
        ("semver:site-v", "site-v1.10.0", (1, 10, 0)),
        ("semver:site-v", "site-video-1.0.0", None),
        ("semver:site-v", "v1.0.0", None),
        ("semver:v1.", "v1.9.0", (1, 9, 0)),
        ("semver:v1.", "v10.0.0", None),
        ("semver:v1.4.", "v1.5.0", None),
        ("semver:1", "1.0.0", (1, 0, 0)),
    ],
)
def test_a_tag_is_a_release_or_is_not_followed(
    track: str, tag: str, version: tuple[int, int, int] | None
) -> None:
    assert Track.parse(track).version(tag) == version


@pytest.mark.parametrize("text", ["v1", "semver:", "semver: v", "semver:.x", "semver:a/b", "Semver"])
def test_what_is_no_track_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        Track.parse(text)


@given(st.lists(versions, min_size=1, max_size=10))
def test_the_newest_is_the_highest_version_not_the_last_in_the_alphabet(
    found: list[tuple[int, int, int]],
) -> None:
    tags = ["latest", *(f"v{one[0]}.{one[1]}.{one[2]}" for one in found)]
    assert Track("v").version(str(Track("v").newest(tags))) == max(found)
    assert Track("w").newest(tags) is None


def test_a_service_that_follows_releases_deploys_the_newest_and_no_other(
    harbour: Any, make_image: Any
) -> None:
    harbour.store(make_image(VERSION="moved"), "latest")
    harbour.store(make_image(VERSION="1.9.0"), "v1.9.0")
    harbour.store(make_image(VERSION="1.10.0"), "v1.10.0")
    arn = harbour.create(track="semver")
    assert harbour.served() == "1.10.0"
    for tag in ("v1.9.1", "latest", "v2.0.0-rc.1"):
        harbour.push(make_image(VERSION=tag), tag)
    assert len(harbour.tell("operations", arn=arn)) == 1
    harbour.push(make_image(VERSION="1.10.1"), "v1.10.1")
    assert harbour.ended(arn)["type"] == "START_DEPLOYMENT"
    assert harbour.served() == "1.10.1"
    # One whose notice was lost.
    harbour.store(make_image(VERSION="2.0.0"), "v2.0.0")
    harbour.kill()
    harbour.start()
    assert harbour.ended(arn)["status"] == "SUCCEEDED"
    assert harbour.served() == "2.0.0"


def test_a_service_that_follows_releases_where_there_are_none_fails_and_says_so(
    harbour: Any, make_image: Any
) -> None:
    harbour.store(make_image())
    arn, operation = harbour.begin(track="semver:site-v")
    reason = "no tag of web is a release that semver:site-v follows"
    assert harbour.ended(arn, operation)["reason"] == reason
