"""A job of a CI system takes a role with its identity token: whose tokens are taken, and whose are not."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

AUDIENCE = "sts.amazonaws.com"


@pytest.fixture
def refusal(assume: Callable[..., Any]) -> Callable[..., tuple[str, str]]:
    """The code and the words that a token is refused with."""

    def refused(token: str, role: str = "release") -> tuple[str, str]:
        with pytest.raises(ClientError) as caught:
            assume(token, role)
        error = caught.value.response["Error"]
        assert token not in error["Message"]
        return error["Code"], error["Message"]

    return refused


@pytest.mark.parametrize("kid", ["rsa", "ec"])
@pytest.mark.parametrize("sub", ["repo:octo/shop", "repo:octo@300/shop@100200"])
def test_a_job_of_the_trusted_repository_gets_credentials(
    harbour: Any, trusted: Any, assume: Any, kid: str, sub: str
) -> None:
    subject = f"{sub}:environment:production"
    given = assume(trusted.token({"sub": subject}, kid=kid), DurationSeconds=900)
    assert given["SubjectFromWebIdentityToken"] == subject
    assert given["Audience"] == AUDIENCE
    arn = "arn:aws:sts::000000000000:assumed-role/release/octo.shop-7"
    assert given["AssumedRoleUser"]["Arn"] == arn
    lasts = given["Credentials"]["Expiration"] - datetime.now(UTC)
    assert 890 < lasts.total_seconds() <= 900


def test_a_token_for_one_audience_in_a_list_is_taken(trusted: Any, assume: Any) -> None:
    assert assume(trusted.token({"aud": [AUDIENCE]}))["Audience"] == AUDIENCE


def _resigned_part(issuer: Any, index: int, change: Callable[[dict[str, Any]], None]) -> str:
    """A genuine token of which one part was changed afterwards."""
    parts = issuer.token().split(".")
    document = json.loads(base64.urlsafe_b64decode(parts[index] + "=="))
    change(document)
    parts[index] = base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()
    return ".".join(parts)


def _public_pem(issuer: Any) -> bytes:
    form = PublicFormat.SubjectPublicKeyInfo
    pem: bytes = issuer.keys["rsa"].public_key().public_bytes(Encoding.PEM, form)
    return pem


def _unsigned(issuer: Any, algorithm: str) -> str:
    head, body, _ = issuer.token(header={"alg": algorithm}).split(".")
    return f"{head}.{body}."


def _twice(issuer: Any) -> str:
    """Two subjects in one token, genuinely signed."""
    body = json.dumps(issuer.release())[:-1] + ', "sub": "repo:evil/shop:environment:production"}'
    return _signed_text(issuer, body)


def _signed_text(issuer: Any, body: str) -> str:
    """A genuine signature under any text as claims."""
    head = issuer.token().split(".")[0]
    payload = base64.urlsafe_b64encode(body.encode()).rstrip(b"=").decode()
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import padding  # noqa: PLC0415

    signed = f"{head}.{payload}"
    signature = issuer.keys["rsa"].sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


NOW = time.time
HOSTILE: dict[str, tuple[str, Callable[[Any], str]]] = {
    # Not signed by the issuer
    "claims changed": ("InvalidIdentityToken", lambda i: _resigned_part(i, 1, lambda c: c.update(ref="x"))),
    "header changed": ("InvalidIdentityToken", lambda i: _resigned_part(i, 0, lambda h: h.update(x5t="x"))),
    "signature cut": ("InvalidIdentityToken", lambda i: i.token()[:-8]),
    "signature of another token": (
        "InvalidIdentityToken",
        lambda i: i.token().rpartition(".")[0] + "." + i.token().rpartition(".")[2],
    ),
    "alg none": ("InvalidIdentityToken", lambda i: _unsigned(i, "none")),
    "alg None": ("InvalidIdentityToken", lambda i: _unsigned(i, "None")),
    "no signature": ("InvalidIdentityToken", lambda i: _unsigned(i, "RS256")),
    "HS256 with the public key": ("InvalidIdentityToken", lambda i: i.token(key=_public_pem(i))),
    "HS256 with an empty key": ("InvalidIdentityToken", lambda i: i.token(key=b"")),
    "RS384": ("InvalidIdentityToken", lambda i: i.token(header={"alg": "RS384"})),
    "PS256": ("InvalidIdentityToken", lambda i: i.token(header={"alg": "PS256"})),
    "ES256 by a key for RS256": ("InvalidIdentityToken", lambda i: i.token(header={"alg": "ES256"})),
    "RS256 by a key of ES256": ("InvalidIdentityToken", lambda i: i.token(header={"alg": "RS256"}, kid="ec")),
    "alg a list": ("InvalidIdentityToken", lambda i: i.token(header={"alg": ["RS256"]})),
    # Tricks with the key
    "unknown kid": ("InvalidIdentityToken", lambda i: i.token(key=i.keys["rsa"], kid="other")),
    "no kid": ("InvalidIdentityToken", lambda i: i.token(header={"kid": None})),
    "kid a path": ("InvalidIdentityToken", lambda i: i.token(header={"kid": "../../../../dev/null"})),
    "kid a query": ("InvalidIdentityToken", lambda i: i.token(header={"kid": "rsa' OR '1'='1"})),
    "kid a list": ("InvalidIdentityToken", lambda i: i.token(header={"kid": ["rsa"]})),
    "kid of the other key": ("InvalidIdentityToken", lambda i: i.token(header={"kid": "ec"})),
    "critical extension": ("InvalidIdentityToken", lambda i: i.token(header={"crit": ["b64"], "b64": False})),
    "an access token": ("InvalidIdentityToken", lambda i: i.token(header={"typ": "at+jwt"})),
    # Of somebody else
    "another issuer": ("InvalidIdentityToken", lambda i: i.token({"iss": "https://token.evil.example"})),
    "issuer with a slash": ("InvalidIdentityToken", lambda i: i.token({"iss": f"{i.url}/"})),
    "issuer below": ("InvalidIdentityToken", lambda i: i.token({"iss": f"{i.url}/evil"})),
    "no issuer": ("InvalidIdentityToken", lambda i: i.token({"iss": None})),
    "another audience": ("InvalidIdentityToken", lambda i: i.token({"aud": "https://github.com/octo"})),
    "several audiences": ("InvalidIdentityToken", lambda i: i.token({"aud": [AUDIENCE, "https://evil"]})),
    "no audience": ("InvalidIdentityToken", lambda i: i.token({"aud": None})),
    "given to another party": ("InvalidIdentityToken", lambda i: i.token({"azp": "https://evil"})),
    "another repository": (
        "AccessDenied",
        lambda i: i.token({"sub": "repo:octo/cart:environment:production", "repository_id": "100201"}),
    ),
    "a repository of a name that begins alike": (
        "AccessDenied",
        lambda i: i.token({"sub": "repo:octo/shop-evil:environment:production"}),
    ),
    "an owner of a name that begins alike": (
        "AccessDenied",
        lambda i: i.token({"sub": "repo:octo-evil/shop:environment:production"}),
    ),
    "the name in other letters": (
        "AccessDenied",
        lambda i: i.token({"sub": "repo:Octo/Shop:environment:production"}),
    ),
    "the repository deleted and made again": ("AccessDenied", lambda i: i.token({"repository_id": "999999"})),
    "the owner's name taken by another": ("AccessDenied", lambda i: i.token({"repository_owner_id": "301"})),
    "the same in the immutable form": (
        "AccessDenied",
        lambda i: i.token({"sub": "repo:octo@301/shop@999999:environment:production"}),
    ),
    "no repository id": ("AccessDenied", lambda i: i.token({"repository_id": None})),
    "repository id a number": ("AccessDenied", lambda i: i.token({"repository_id": 100200})),
    "another environment": ("AccessDenied", lambda i: i.token({"sub": "repo:octo/shop:environment:staging"})),
    "no environment": ("AccessDenied", lambda i: i.token({"sub": "repo:octo/shop:ref:refs/tags/shop-v1"})),
    "a branch": ("AccessDenied", lambda i: i.token({"ref": "refs/heads/main", "ref_type": "branch"})),
    "a branch that is called like a tag": ("AccessDenied", lambda i: i.token({"ref": "refs/heads/shop-v1"})),
    # Code of anybody
    "pull request by its subject": (
        "InvalidIdentityToken",
        lambda i: i.token({"sub": "repo:octo/shop:pull_request"}),
    ),
    "pull request by its event": ("InvalidIdentityToken", lambda i: i.token({"event_name": "pull_request"})),
    "pull_request_target": ("InvalidIdentityToken", lambda i: i.token({"event_name": "pull_request_target"})),
    "pull request by its ref": ("InvalidIdentityToken", lambda i: i.token({"ref": "refs/pull/7/merge"})),
    "merge request": ("InvalidIdentityToken", lambda i: i.token({"pipeline_source": "merge_request_event"})),
    # Of another time
    "expired": ("ExpiredTokenException", lambda i: i.token({"iat": NOW() - 400, "exp": NOW() - 61})),
    "not yet good": ("InvalidIdentityToken", lambda i: i.token({"nbf": NOW() + 90})),
    "issued in the future": ("InvalidIdentityToken", lambda i: i.token({"iat": NOW() + 90, "nbf": None})),
    "good for ever": ("InvalidIdentityToken", lambda i: i.token({"exp": NOW() + 1e8})),
    "no end": ("InvalidIdentityToken", lambda i: i.token({"exp": None})),
    "no beginning": ("InvalidIdentityToken", lambda i: i.token({"iat": None})),
    "an end that is no number": ("InvalidIdentityToken", lambda i: i.token({"exp": str(int(NOW()) + 300)})),
    "an end that is infinite": ("InvalidIdentityToken", lambda i: i.token({"exp": float("inf")})),
    "an end that is true": ("InvalidIdentityToken", lambda i: i.token({"exp": True})),
    # Not a token
    "no jti": ("InvalidIdentityToken", lambda i: i.token({"jti": None})),
    "no subject": ("InvalidIdentityToken", lambda i: i.token({"sub": None})),
    "a subject twice": ("InvalidIdentityToken", _twice),
    "claims that are a list": ("InvalidIdentityToken", lambda i: _signed_text(i, "[]")),
    "claims that are deep": ("InvalidIdentityToken", lambda i: _signed_text(i, "[" * 14_000)),
    "padding": ("InvalidIdentityToken", lambda i: i.token() + "="),
    "a part too many": ("InvalidIdentityToken", lambda i: i.token() + ".x"),
    "not a token": ("InvalidIdentityToken", lambda _: "nonsense"),
    "not ASCII": ("InvalidIdentityToken", lambda i: i.token() + "\u0665"),
    "encrypted": ("InvalidIdentityToken", lambda _: "a.b.c.d.e"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_token_gets_nothing(trusted: Any, refusal: Any, name: str) -> None:
    expected, make = HOSTILE[name]
    code, message = refusal(make(trusted))
    assert code == expected, message


def test_a_token_is_good_once(trusted: Any, assume: Any, refusal: Any) -> None:
    token = trusted.token()
    assume(token)
    assert refusal(token) == ("InvalidIdentityToken", "the token has been used already")


def test_of_many_who_use_a_token_at_once_one_has_it(trusted: Any, assume: Any) -> None:
    token = trusted.token()

    def attempt(_: int) -> bool:
        try:
            assume(token)
        except ClientError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 1


def test_a_token_that_was_refused_for_its_claims_is_not_used_up(
    trusted: Any, assume: Any, refusal: Any
) -> None:
    token = trusted.token()
    assert refusal(token, role="other")[0] == "AccessDenied"
    assume(token)


def test_whom_a_role_does_not_take_is_told_why_but_not_whom_it_takes(trusted: Any, refusal: Any) -> None:
    _, message = refusal(trusted.token({"repository_id": "5"}))
    assert "its repository_id is '5'" in message
    assert "100200" not in message
    assert refusal(trusted.token(), role="nobody")[1].endswith("no such role")


def test_an_issuer_that_nobody_trusts_is_never_asked(trusted: Any, harbour: Any, refusal: Any) -> None:
    harbour.client("iam").delete_open_id_connect_provider(
        OpenIDConnectProviderArn=f"arn:aws:iam::000000000000:oidc-provider/{trusted.url.removeprefix('http://')}"
    )
    assert refusal(trusted.token())[0] == "InvalidIdentityToken"
    assert not trusted.asked


@pytest.mark.parametrize("seconds", [899, 3601])
def test_a_session_lasts_from_15_to_60_minutes(trusted: Any, harbour: Any, seconds: int) -> None:
    form = (
        "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleSessionName=me"
        f"&RoleArn=arn:aws:iam::000000000000:role/release&DurationSeconds={seconds}"
        f"&WebIdentityToken={trusted.token()}"
    )
    reply = harbour.send("POST", "/", {}, form.encode())
    assert reply.status == 400
    assert b"<Code>ValidationError</Code>" in reply.body
