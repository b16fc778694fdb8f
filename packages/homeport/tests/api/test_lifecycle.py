"""Lifecycle policies: which images expire, by ECR's rules."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.lifecycle import PolicyError, Rule, expiring, read_policy

_NOW = datetime(2026, 7, 1, tzinfo=UTC)


@dataclass(frozen=True)
class _Image:
    digest: str
    tags: tuple[str, ...]
    pushed_at: datetime


def _image(digest: str, days_old: float, *tags: str) -> _Image:
    return _Image(digest, tags, _NOW - timedelta(days=days_old))


def _rule(priority: int = 1, **selection: Any) -> dict[str, Any]:
    selection = {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1, **selection}
    return {"rulePriority": priority, "selection": selection, "action": {"type": "expire"}}


def _older_than(days: int, **selection: Any) -> dict[str, Any]:
    return {"countType": "sinceImagePushed", "countUnit": "days", "countNumber": days, **selection}


def _expiring(images: list[_Image], *rules: dict[str, Any]) -> dict[str, int]:
    return expiring(read_policy(json.dumps({"rules": rules})), images, _NOW)


def test_of_too_many_the_oldest_expire() -> None:
    images = [_image("a", 3), _image("b", 1), _image("c", 2, "v1")]
    assert _expiring(images, _rule(countNumber=2)) == {"a": 1}
    assert _expiring(images, _rule(countNumber=3)) == {}


def test_what_is_older_than_its_days_expires() -> None:
    images = [_image("a", 7.01), _image("b", 6.99)]
    assert _expiring(images, _rule(**_older_than(7))) == {"a": 1}


def test_a_rule_for_untagged_images_leaves_the_tagged() -> None:
    images = [_image("a", 9, "v1"), _image("b", 9), _image("c", 1)]
    assert _expiring(images, _rule(**_older_than(7, tagStatus="untagged"))) == {"b": 1}


@pytest.mark.parametrize(
    ("selection", "selected"),
    [
        ({"tagPrefixList": ["v"]}, {"a", "c"}),
        ({"tagPrefixList": ["v", "prod"]}, {"a"}),
        ({"tagPatternList": ["v*"]}, {"a", "c"}),
        ({"tagPatternList": ["*1"]}, {"a", "b"}),
        ({"tagPatternList": ["v1"]}, {"a"}),
        ({"tagPatternList": ["p*d*"]}, {"a", "b"}),
        ({"tagPatternList": ["[v]1"]}, set()),
        ({"tagPrefixList": ["?"]}, set()),
    ],
)
def test_an_image_is_selected_that_has_a_tag_for_each_prefix_or_pattern(
    selection: dict[str, Any], selected: set[str]
) -> None:
    images = [_image("a", 9, "v1", "prod"), _image("b", 9, "prod1"), _image("c", 9, "v2"), _image("d", 9)]
    rule = _rule(tagStatus="tagged", **selection, **_older_than(1))
    assert _expiring(images, rule).keys() == selected


def test_what_one_rule_selects_no_later_rule_expires() -> None:
    images = [_image("a", 90, "prod"), _image("b", 80, "prod"), _image("c", 70, "dev")]
    keep_prod = _rule(1, tagStatus="tagged", tagPrefixList=["prod"])
    assert _expiring(images, keep_prod, _rule(2, **_older_than(30))) == {"a": 1, "c": 2}


def test_a_later_rule_counts_also_what_an_earlier_one_expires() -> None:
    images = [_image("a", 1, "x"), _image("b", 2, "x"), _image("c", 3), _image("d", 4)]
    by_tag = _rule(1, tagStatus="tagged", tagPrefixList=["x"])
    assert _expiring(images, by_tag, _rule(2, countNumber=3)) == {"b": 1, "d": 2}


@given(
    ages=st.lists(st.floats(0, 100), max_size=12),
    tags=st.lists(st.sets(st.sampled_from(["v1", "v2", "dev", "latest"])), min_size=12, max_size=12),
    keep=st.integers(1, 12),
    days=st.integers(1, 100),
)
def test_expiry_takes_from_the_oldest_on_and_never_more_than_it_may(
    ages: list[float], tags: list[set[str]], keep: int, days: int
) -> None:
    images = [_image(str(index), age, *tags[index]) for index, age in enumerate(ages)]
    by_count = Rule(1, "any", (), keep, None)
    gone = expiring([by_count], images, _NOW).keys()
    assert len(gone) == max(0, len(images) - keep)
    left = [image.pushed_at for image in images if image.digest not in gone]
    assert all(image.pushed_at <= min(left) for image in images if image.digest in gone)
    tagged = Rule(1, "tagged", ("v*",), keep, None)
    both = expiring([tagged, Rule(2, "any", (), None, days)], images, _NOW)
    for image in images:
        if both.get(image.digest) == 2:
            assert not any(tag.startswith("v") for tag in image.tags)
            assert image.pushed_at < _NOW - timedelta(days=days)
    selected = [image for image in images if any(tag.startswith("v") for tag in image.tags)]
    assert len([one for one in selected if one.digest not in both]) == min(len(selected), keep)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", 'a list "rules"'),
        ('{"rules": {}}', 'a list "rules"'),
        ('{"rules": [], "more": 1}', 'a list "rules"'),
        ('{"rules": []}', "rules is empty"),
        ('{"rules": [1]}', r"rules\[0\] must be an object"),
        ([_rule() | {"colour": "blue"}], r"rules\[0\]\.colour is no member"),
        ([_rule(colour="blue")], "selection.colour is no member"),
        ([_rule() | {"description": 1}], "description must be a text"),
        ([_rule() | {"action": {"type": "transition"}}], "no archive"),
        ([_rule() | {"action": "expire"}], "action must be an object"),
        ([_rule(storageClass="archive")], "no archive"),
        ([_rule(tagStatus="some")], "tagged, untagged or any"),
        ([_rule(tagStatus=["any"])], "tagged, untagged or any"),
        ([_rule(tagStatus="tagged")], "goes with a tagPrefixList or a tagPatternList"),
        ([_rule(tagPrefixList=["v"])], "goes with a tagPrefixList"),
        ([_rule(tagStatus="tagged", tagPrefixList=["v"], tagPatternList=["v"])], "goes with a tagPrefixList"),
        ([_rule(tagStatus="tagged", tagPrefixList=[])], "must be a list of texts"),
        ([_rule(tagStatus="tagged", tagPrefixList="v")], "must be a list of texts"),
        ([_rule(tagStatus="tagged", tagPatternList=[""])], "must be a list of texts"),
        ([_rule(tagStatus="tagged", tagPatternList=["*a*b*c*d*"])], "more than 4 wildcards"),
        ([_rule(countType="sinceImagePulled", countUnit="days")], "countType must be"),
        ([_rule(countUnit="days")], "countUnit must be days with sinceImagePushed"),
        ([_rule(countType="sinceImagePushed")], "countUnit must be days with sinceImagePushed"),
        ([_rule(countNumber=0)], "countNumber must be a whole number"),
        ([_rule(countNumber="1")], "countNumber must be a whole number"),
        ([_rule(countNumber=True)], "countNumber must be a whole number"),
        ([_rule(0)], "rulePriority must be a whole number"),
        ([_rule(1), _rule(1, tagStatus="untagged")], "each rule needs a number of its own"),
        ([_rule(1), _rule(2)], "only one rule may say any"),
        ([_rule(1), _rule(2, tagStatus="untagged")], "any needs the highest number"),
    ],
)
def test_what_is_no_policy_is_refused_with_where(policy: Any, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        read_policy(policy if isinstance(policy, str) else json.dumps({"rules": policy}))


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["rules", "selection", "action", "type", "tagStatus", "countType", "x"]),
                inner,
            )
        ),
    )
)
def test_no_json_makes_the_reader_stumble(document: Any) -> None:
    with pytest.raises(PolicyError):
        read_policy(json.dumps(document))
