"""Signatures: what botocore signs is believed, and nothing else is."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from homeport.sigv4 import Call, Flaw, SignatureError, read_claim, verify

_KEY, _SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

_text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
# Of a key's own slashes: every client of S3 leaves them as they are, and S3 takes %2F for one.
_paths = st.lists(_text.filter(lambda part: "/" not in part), max_size=4).map(
    lambda parts: "/" + "/".join(quote(part, safe="~") for part in parts)
)
_queries = st.lists(st.tuples(_text.filter(bool), _text), max_size=4).map(
    lambda pairs: "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in pairs)
)
_visible = st.text(st.sampled_from("abcXYZ019 -_.,;:+/="), min_size=1, max_size=20)
_headers = st.dictionaries(
    st.sampled_from(["X-Amz-Target", "X-Amz-Meta-A", "Content-Type", "If-None-Match"]), _visible, max_size=3
)
_methods = st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD"])


def _signed(
    service: str, method: str, target: tuple[str, str], headers: dict[str, str], body: bytes
) -> tuple[Call, str]:
    """A call as botocore signs it, and the hash of its body."""
    path, query = target
    url = "http://127.0.0.1:7070" + path + (f"?{query}" if query else "")
    request = AWSRequest(method, url, headers=headers, data=body)
    signer = S3SigV4Auth if service == "s3" else SigV4Auth
    signer(Credentials(_KEY, _SECRET), service, "local-1").add_auth(request)
    sent = urlsplit(request.url)
    items = [(name, value) for name, value in request.headers.items()]
    call = Call(method, sent.path, sent.query, [("Host", "127.0.0.1:7070"), *items])
    return call, hashlib.sha256(body).hexdigest()


def _secret_of(key: str) -> str | None:
    return _SECRET if key == _KEY else None


def _flaw(call: Call, payload: str, *, late: timedelta = timedelta()) -> Flaw:
    with pytest.raises(SignatureError) as caught:
        verify(call, payload, _secret_of, now=datetime.now(UTC) + late)
    return caught.value.flaw


def _with(call: Call, name: str, value: str) -> Call:
    return replace(
        call, headers=[*((k, v) for k, v in call.headers if k.lower() != name.lower()), (name, value)]
    )


def _authorization(call: Call, old: str, new: str) -> Call:
    text = call.header("authorization") or ""
    assert old in text
    return _with(call, "Authorization", text.replace(old, new))


def _example(headers: Sequence[tuple[str, str]] = (("X-Amz-Target", "ECR.Do"),)) -> tuple[Call, str]:
    return _signed("ecr", "POST", ("/", "a=1"), dict(headers), b"{}")


@given(_methods, _paths, _queries, _headers, st.binary(max_size=40))
def test_what_botocore_signs_for_s3_is_believed(
    method: str, path: str, query: str, headers: dict[str, str], body: bytes
) -> None:
    call, payload = _signed("s3", method, (path, query), headers, body)
    claim = verify(call, payload, _secret_of, now=datetime.now(UTC))
    assert (claim.access_key, claim.region, claim.service) == (_KEY, "local-1", "s3")


@given(_methods, _queries, _headers, st.binary(max_size=40))
def test_what_botocore_signs_for_a_json_service_is_believed(
    method: str, query: str, headers: dict[str, str], body: bytes
) -> None:
    call, payload = _signed("apprunner", method, ("/", query), headers, body)
    assert verify(call, payload, _secret_of, now=datetime.now(UTC)).service == "apprunner"


@given(_paths, _queries, st.binary(max_size=10), st.data())
@settings(max_examples=150)
def test_a_request_changed_on_the_way_is_refused(
    path: str, query: str, body: bytes, data: st.DataObject
) -> None:
    call, payload = _signed("s3", "PUT", (path, query), {"X-Amz-Meta-A": "x", "Content-Type": "y"}, body)
    changes = {
        "method": (replace(call, method="GET"), payload),
        "path": (replace(call, path=call.path + "x"), payload),
        "query": (replace(call, query=call.query + "&z=1"), payload),
        "header": (_with(call, "X-Amz-Meta-A", "z"), payload),
        "header gone": (
            replace(call, headers=[(k, v) for k, v in call.headers if k.lower() != "content-type"]),
            payload,
        ),
        "header twice": (replace(call, headers=[*call.headers, ("x-amz-meta-a", "z")]), payload),
        "host": (_with(call, "Host", "elsewhere"), payload),
        "body": (call, hashlib.sha256(body + b"x").hexdigest()),
        "signed headers": (_authorization(call, "content-type;", ""), payload),
        "region": (_authorization(call, "/local-1/", "/local-2/"), payload),
        "service": (_authorization(call, "/s3/", "/ecr/"), payload),
    }
    changed, hash_of_body = changes[data.draw(st.sampled_from(sorted(changes)))]
    assert _flaw(changed, hash_of_body) == Flaw.MISMATCH


def test_an_encoded_plus_does_not_become_a_space_on_the_way() -> None:
    call, payload = _signed("s3", "GET", ("/box", "prefix=a%2Bb"), {}, b"")
    verify(call, payload, _secret_of, now=datetime.now(UTC))
    assert _flaw(replace(call, query="prefix=a+b"), payload) == Flaw.MISMATCH
    spaced, payload = _signed("s3", "GET", ("/box", "prefix=a%20b"), {}, b"")
    verify(replace(spaced, query="prefix=a+b"), payload, _secret_of, now=datetime.now(UTC))


@given(st.integers(0, 63), st.sampled_from("0123456789abcdef"))
def test_a_signature_with_another_digit_is_refused(place: int, digit: str) -> None:
    call, payload = _example()
    signature = read_claim(call).signature
    forged = signature[:place] + digit + signature[place + 1 :]
    if forged != signature:
        assert _flaw(_authorization(call, signature, forged), payload) == Flaw.MISMATCH


@pytest.mark.parametrize("forged", ["", "0", "é" * 64, "A" * 64, "0" * 640])
def test_what_is_no_signature_at_all_is_refused(forged: str) -> None:
    call, payload = _example()
    assert _flaw(_authorization(call, read_claim(call).signature, forged), payload) in (
        Flaw.MISMATCH,
        Flaw.MALFORMED,
    )


def test_another_secret_is_refused() -> None:
    call, payload = _example()
    with pytest.raises(SignatureError) as caught:
        verify(call, payload, lambda _key: "another", now=datetime.now(UTC))
    assert caught.value.flaw == Flaw.MISMATCH


def test_an_unknown_key_is_told_from_a_wrong_signature() -> None:
    call, payload = _example()
    assert _flaw(_authorization(call, _KEY, "SOMEBODY"), payload) == Flaw.UNKNOWN_KEY


@pytest.mark.parametrize("minutes", [-20, -16, 16, 60 * 24])
def test_an_old_or_early_request_is_refused(minutes: int) -> None:
    assert _flaw(*_example(), late=timedelta(minutes=minutes)) == Flaw.SKEWED


@pytest.mark.parametrize("minutes", [-14, 0, 14])
def test_clocks_may_differ_by_minutes(minutes: int) -> None:
    call, payload = _example()
    verify(call, payload, _secret_of, now=datetime.now(UTC) + timedelta(minutes=minutes))


def test_the_date_of_the_scope_must_be_the_dates_own() -> None:
    call, payload = _example()
    date = read_claim(call).date
    assert _flaw(_authorization(call, f"/{date}/", "/20010101/"), payload) == Flaw.SKEWED


def test_an_empty_date_in_the_scope_is_refused() -> None:
    call, payload = _example()
    assert _flaw(_authorization(call, f"/{read_claim(call).date}/", "//"), payload) != Flaw.MISSING


@pytest.mark.parametrize("stamp", ["", "now", "2026-01-01T00:00:00Z", "20260101", "99999999T999999Z", "\x00"])
def test_a_date_of_another_form_is_refused(stamp: str) -> None:
    call, payload = _example()
    assert _flaw(_with(call, "X-Amz-Date", stamp), payload) in (Flaw.MALFORMED, Flaw.SKEWED)


def test_a_request_without_the_header_is_not_signed() -> None:
    assert _flaw(Call("GET", "/", "", [("Host", "h")]), "") == Flaw.MISSING


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic QVdTOng=",
        "AWS AKID:signature",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request, SignedHeaders=host",
        "AWS4-HMAC-SHA256 Credential=a/b/c/aws4_request, SignedHeaders=host, Signature=00",
        "AWS4-HMAC-SHA256 Credential=a/b/c/d/aws5_request, SignedHeaders=host, Signature=00",
        "AWS4-ECDSA-P256-SHA256 Credential=a/b/c/d/aws4_request, SignedHeaders=host, Signature=00",
    ],
)
def test_a_header_of_another_form_is_refused(header: str) -> None:
    assert _flaw(Call("GET", "/", "", [("Host", "h"), ("Authorization", header)]), "") == Flaw.MALFORMED


@given(st.text(max_size=200))
def test_no_header_makes_it_stumble(header: str) -> None:
    for prefix in ("", "AWS4-HMAC-SHA256 "):
        _flaw(Call("GET", "/", "", [("Host", "h"), ("Authorization", prefix + header)]), "")


@pytest.mark.parametrize("name", ["X-Amz-Copy-Source", "x-amz-security-token", "X-AMZ-ACL"])
def test_what_steers_a_request_must_be_signed(name: str) -> None:
    call, payload = _example()
    assert _flaw(replace(call, headers=[*call.headers, (name, "x")]), payload) == Flaw.MISMATCH


def test_the_host_must_be_signed() -> None:
    call, payload = _example()
    assert _flaw(_authorization(call, "SignedHeaders=host;", "SignedHeaders="), payload) == Flaw.MISMATCH


def test_a_header_that_is_not_signed_and_steers_nothing_may_come() -> None:
    call, payload = _example()
    verify(
        replace(call, headers=[*call.headers, ("User-Agent", "x")]),
        payload,
        _secret_of,
        now=datetime.now(UTC),
    )
