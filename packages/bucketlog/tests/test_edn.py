"""EDN: forms are read as documented, written so that they read back, refused with their place when wrong."""

from __future__ import annotations

import math
import uuid
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketlog import EdnError
from bucketlog.edn import URI, Keyword, List, Symbol, Vector, dumps, loads

_NAMES = st.from_regex(r"[a-z][a-z0-9.*+!_?<>=-]{0,8}", fullmatch=True).filter(
    lambda name: name not in {"true", "false", "nil"}
)
_ATOMS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(max_size=20),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.just(URI("urn:a:b")),
    st.uuids(),
    st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])),
    _NAMES.map(Symbol),
    st.tuples(_NAMES, _NAMES).map(lambda parts: Symbol("/".join(parts))),
    _NAMES.map(lambda name: Keyword(f":{name}")),
    st.tuples(_NAMES, _NAMES).map(lambda parts: Keyword(":" + "/".join(parts))),
)
_KEYS = st.one_of(st.text(max_size=5), st.integers(), _NAMES.map(lambda name: Keyword(f":{name}")))
_FORMS = st.recursive(
    _ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(Vector),
        st.lists(inner, max_size=4).map(List),
        st.dictionaries(_KEYS, inner, max_size=4),
        st.frozensets(_KEYS, max_size=4),
    ),
    max_leaves=12,
)


def _typed(form: Any) -> Any:
    """A form with its types, so that comparison tells 1 from true and a list from a vector."""
    if isinstance(form, dict):
        return dict, {key: _typed(value) for key, value in form.items()}
    if isinstance(form, tuple):
        return type(form), tuple(_typed(item) for item in form)
    return type(form), form


@given(_FORMS)
def test_what_is_written_reads_back_the_same(form: Any) -> None:
    assert _typed(loads(dumps(form))) == _typed(form)


@given(st.text(max_size=60) | st.text(alphabet='[](){}#":\\;_? 1aN.@^', max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        form = loads(text)
    except EdnError:
        return
    assert _typed(loads(dumps(form))) == _typed(form)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("[1, -2 +3 4N]", Vector([1, -2, 3, 4])),
        ("(1.5 2e3 1.)", List([1.5, 2000.0, 1.0])),
        ("[##Inf ##-Inf]", Vector([math.inf, -math.inf])),
        ('"a\\n\\t\\"\\\\\\u00e9\\ud83d\\ude00"', 'a\n\t"\\é😀'),
        ("[\\a \\newline \\space]", Vector(["a", "\n", " "])),
        ("; a comment\n:a/b", Keyword(":a/b")),
        ("[1 #_[2 3] 4 #_5]", Vector([1, 4])),
        (
            "[_ ... . $ $2 % ?x not= <= / a/b]",
            Vector(map(Symbol, ["_", "...", ".", "$", "$2", "%", "?x", "not=", "<=", "/", "a/b"])),
        ),
        ("#{1 2}", frozenset({1, 2})),
        ("{:a 1, (1 2) [3]}", {Keyword(":a"): 1, List([1, 2]): Vector([3])}),
        ('#inst "2024-02-29T12:00:00.000-00:00"', datetime(2024, 2, 29, 12, tzinfo=UTC)),
        ('#uuid "00000000-0000-0000-0000-000000000001"', uuid.UUID(int=1)),
        ("[1.50M -2M 1e3M]", Vector([Decimal("1.50"), Decimal(-2), Decimal(1000)])),
        ('#uri "urn:isbn:1"', URI("urn:isbn:1")),
        ("nil", None),
    ],
)
def test_forms_are_read(text: str, form: Any) -> None:
    assert _typed(loads(text)) == _typed(form)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found nothing"),
        ("[1\n  [2", "line 2, column 3: '\\[' is never closed"),
        ("[1)", "line 1, column 3: unexpected '\\)'"),
        ('"abc', "a string that never ends"),
        ("1 2", "after it"),
        ("{:a}", "a key without a value"),
        ("{:a 1 :a 2}", "same key twice"),
        ("#{1 1}", "same member twice"),
        ("{{} 1}", "not allowed as map keys"),
        ("#foo 1", "unknown tag #foo"),
        ('#inst "yesterday"', "#inst 'yesterday'"),
        ("12ab", "neither a number"),
        ("##NaN", "not a value"),
        ("\\uhu", "unknown character"),
        ('"\\q"', "unknown escape"),
        ("#_", "expected a form after"),
        ("[" * 1000, "nested more than"),
        ("1" * 400 + "M", "a decimal of more than 400 digits"),
        ("1e99999999999999999999M", "an exponent that is too large"),
        ("1.5MM", "neither a number"),
        ('#uri "a b"', "is not a URI"),
        ("9" * 500, "more than 400 digits"),
    ],
)
def test_mistakes_are_named_with_their_place(text: str, message: str) -> None:
    with pytest.raises(EdnError, match=message):
        loads(text)


def test_what_has_no_form_is_refused() -> None:
    for value in (object(), math.nan, Decimal("NaN"), datetime(2024, 1, 1)):  # noqa: DTZ001 -- the point of the test
        with pytest.raises(EdnError):
            dumps(value)


def test_a_keyword_is_its_text_with_the_colon() -> None:
    assert Keyword(":a/b") == ":a/b"
    with pytest.raises(ValueError, match="not a keyword"):
        Keyword("a/b")
