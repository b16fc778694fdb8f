"""The keys of an issuer: found by discovery, kept, and asked for again when, and only when, there is need."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packages.homeport.tests.api.conftest import Clock

from homeport.jwks import IssuerError, Keys, UnknownKeyError, decode, fetch, is_issuer, read_key

CONFIGURATION = "/.well-known/openid-configuration"


@pytest.fixture
def find(issuer: Any, clock: Clock) -> Any:
    keys = Keys(fetch, clock)
    return lambda kid, url=issuer.url: asyncio.run(keys.find(url, kid))


def test_keys_are_asked_for_once_an_hour(issuer: Any, find: Any, clock: Clock) -> None:
    for _ in range(5):
        assert find("rsa").key_size == 2048
        assert find("ec").key_size == 256
    assert issuer.asked["/keys"] == 1
    clock.now += 3601
    find("rsa")
    assert issuer.asked["/keys"] == 2


def test_a_new_key_is_found_when_a_token_names_it(
    issuer: Any, find: Any, clock: Clock, signing_keys: Any
) -> None:
    find("rsa")
    issuer.keys["new"] = signing_keys["stranger"]
    clock.now += 31
    assert find("new").public_numbers() == signing_keys["stranger"].public_key().public_numbers()


def test_names_that_nobody_knows_do_not_make_us_ask_again_and_again(
    issuer: Any, find: Any, clock: Clock
) -> None:
    find("rsa")
    clock.now += 31
    for number in range(50):
        with pytest.raises(UnknownKeyError):
            find(f"nonsense-{number}")
    assert issuer.asked["/keys"] == 2
    find("rsa")


def test_a_key_that_is_withdrawn_is_not_believed_for_longer_than_an_hour(
    issuer: Any, find: Any, clock: Clock
) -> None:
    find("rsa")
    del issuer.keys["rsa"]
    clock.now += 3601
    with pytest.raises(UnknownKeyError):
        find("rsa")


def test_an_issuer_that_fails_is_asked_again_soon_and_believed_no_longer_than_an_hour(
    issuer: Any, find: Any, clock: Clock
) -> None:
    find("rsa")
    issuer.documents["/keys"] = b"oops"
    clock.now += 3000
    with pytest.raises(UnknownKeyError):
        find("new")
    find("rsa")
    clock.now += 601
    with pytest.raises(IssuerError):
        find("rsa")
    del issuer.documents["/keys"]
    clock.now += 31
    find("rsa")


def _keys(*keys: Any) -> bytes:
    return json.dumps({"keys": keys}).encode()


@pytest.mark.parametrize(
    ("path", "document", "reason"),
    [
        (CONFIGURATION, b'{"issuer":"https://other","jwks_uri":"https://other/keys"}', "another issuer"),
        (CONFIGURATION, b"[]", "JSON object"),
        (CONFIGURATION, b"x" * (1 << 18) + b"x", "more than"),
        ("/keys", b"{}", "no list"),
        ("/keys", _keys(*[{}] * 101), "no list"),
        ("/keys", b"[" * 100_000, "recursion"),
    ],
)
def test_an_issuer_that_says_nonsense_is_not_believed(
    issuer: Any, find: Any, path: str, document: bytes, reason: str
) -> None:
    issuer.documents[path] = document
    with pytest.raises(IssuerError, match=reason):
        find("rsa")


@pytest.mark.parametrize("place", ["http://10.0.0.1/keys", "file:///etc/passwd", None])
def test_keys_come_over_https_only(issuer: Any, find: Any, place: str | None) -> None:
    issuer.documents[CONFIGURATION] = json.dumps({"issuer": issuer.url, "jwks_uri": place}).encode()
    with pytest.raises(IssuerError, match="not HTTPS"):
        find("rsa")


def test_two_keys_of_one_name_are_none(issuer: Any, find: Any) -> None:
    one = json.loads(issuer.document("/keys"))["keys"][0]
    issuer.documents["/keys"] = _keys(one, one)
    with pytest.raises(IssuerError, match="one name"):
        find("rsa")


def test_an_issuer_that_is_not_there_is_told_so(find: Any) -> None:
    with pytest.raises(IssuerError, match="cannot be asked"):
        find("rsa", "http://127.0.0.1:9")


@pytest.mark.parametrize(
    "change",
    [
        {"use": "enc"},
        {"alg": "RS512"},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kid": 7},
        {"n": "AQAB"},
        {"n": 7},
        {"n": "A" * 10_000},
        {"e": None},
    ],
)
def test_a_key_for_anything_else_is_not_taken(issuer: Any, change: dict[str, Any]) -> None:
    keys = {one["kid"]: one for one in json.loads(issuer.document("/keys"))["keys"]}
    assert read_key(keys["rsa"]) is not None
    assert read_key(keys["rsa"] | change) is None


@pytest.mark.parametrize("change", [{"crv": "P-384"}, {"x": "AAAA"}, {"alg": "RS256"}])
def test_a_key_of_another_curve_or_beside_it_is_not_taken(issuer: Any, change: dict[str, Any]) -> None:
    keys = {one["kid"]: one for one in json.loads(issuer.document("/keys"))["keys"]}
    assert read_key(keys["ec"]) is not None
    assert read_key(keys["ec"] | change) is None


def test_a_key_that_can_be_broken_is_not_taken(issuer: Any, find: Any, signing_keys: Any) -> None:
    issuer.keys["small"] = signing_keys["small"]
    with pytest.raises(UnknownKeyError):
        find("small")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://token.actions.githubusercontent.com", True),
        ("https://oidc.circleci.com/org/1", True),
        ("http://127.0.0.1:8000", True),
        ("http://gitlab.example", False),
        ("https://user:word@gitlab.example", False),
        ("https://", False),
        ("https://[", False),
        ("https://bücher.example", False),
    ],
)
def test_an_issuer_is_an_address_that_nobody_on_the_way_can_answer_for(url: str, expected: bool) -> None:
    assert is_issuer(url) is expected


@given(st.binary(max_size=40))
def test_base64url_has_one_form(data: bytes) -> None:
    import base64  # noqa: PLC0415

    text = base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    assert decode(text) == data
    for other in (text + "=", text + "\n", " " + text):
        with pytest.raises(ValueError, match="not base64url"):
            decode(other)
