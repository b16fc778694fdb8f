"""What all tests share: how long an example takes says nothing of the code; an issuer of identity tokens,
and services that sign for whoever has one.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from bench.serving import in_thread
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from packages.tagboat.tests.keyless.instance import Instance


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """On several cores the tests of a file stay together, and so do those of the site, which share one."""
    for item in items:
        parts = item.path.relative_to(item.config.rootpath).parts
        group = "site" if parts[:2] == ("examples", "site") else "/".join(parts)
        item.add_marker(pytest.mark.xdist_group(group))


# The same on each machine: a slow one is no fault of the code, nor is a draw that came out large; and
# `suppress_health_check` in a test would take these back. Where `CI` is set the draws are the same each
# time, so that a change is judged by itself and not by luck; everybody else looks further with each run.
settings.register_profile(
    "any-machine",
    deadline=None,
    derandomize="CI" in os.environ,
    print_blob=True,
    suppress_health_check=[
        HealthCheck.data_too_large,
        HealthCheck.filter_too_much,
        HealthCheck.function_scoped_fixture,
        HealthCheck.large_base_example,
        HealthCheck.too_slow,
    ],
)
settings.load_profile("any-machine")

SigningKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


# Of a request its fields and headers, to an answer: its status, headers and body.
Page = Callable[[dict[str, str], Mapping[str, str]], tuple[int, dict[str, str], bytes]]


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass
class Issuer:
    """An issuer of identity tokens on loopback, which says what GitHub's says, and whatever a test wants.

    `keys` are those that it publishes, `documents` what it answers instead of its own documents, `asked` the
    paths that were asked for, `bearer` what a runner shows to get a token of `claims`. `pages` are what else
    it does, by method and path, such as a login: each is given the query or the form, and the headers.
    """

    url: str
    keys: dict[str, SigningKey]
    documents: dict[str, bytes] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    bearer: str = field(default_factory=lambda: uuid.uuid4().hex)
    claims: dict[str, Any] = field(default_factory=dict)
    given: list[str] = field(default_factory=list)
    pages: dict[tuple[str, str], Page] = field(default_factory=dict)

    def token(
        self,
        claims: dict[str, Any] | None = None,
        *,
        header: dict[str, Any] | None = None,
        key: SigningKey | bytes | None = None,
        kid: str = "rsa",
        base: dict[str, Any] | None = None,
    ) -> str:
        """A token of a release job, or of `base`, with other claims; those that are None are left out.

        It is signed with the key of that name, or with `key`; bytes are a key of HS256.
        """
        key = key if key is not None else self.keys[kid]
        algorithm = {bytes: "HS256"}.get(
            type(key), "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
        )
        head = {"alg": algorithm, "typ": "JWT", "kid": kid} | (header or {})
        body = (self.release() if base is None else base) | self.claims | (claims or {})
        parts = [{name: value for name, value in part.items() if value is not None} for part in (head, body)]
        signed = ".".join(encoded(json.dumps(part).encode()) for part in parts)
        return f"{signed}.{encoded(signature(key, signed.encode()))}"

    def release(self) -> dict[str, Any]:
        """What GitHub says of a job of octo/shop in the environment `production`, started by a tag."""
        now = int(time.time())
        return {
            "iss": self.url,
            "aud": "sts.amazonaws.com",
            "sub": "repo:octo/shop:environment:production",
            "iat": now,
            "nbf": now - 5,
            "exp": now + 300,
            "jti": str(uuid.uuid4()),
            "repository": "octo/shop",
            "repository_id": "100200",
            "repository_owner": "octo",
            "repository_owner_id": "300",
            "repository_visibility": "private",
            "ref": "refs/tags/shop-v1.0.0",
            "ref_type": "tag",
            "sha": "c0ffee" * 6 + "c0ff",
            "environment": "production",
            "event_name": "push",
            "actor": "mona",
            "actor_id": "400",
            "run_id": "7",
            "run_attempt": "1",
            "runner_environment": "github-hosted",
            "workflow_ref": "octo/shop/.github/workflows/release-shop.yml@refs/tags/shop-v1.0.0",
        }

    def document(self, path: str) -> bytes | None:
        if path in self.documents:
            return self.documents[path]
        if path == "/.well-known/openid-configuration":
            return json.dumps({"issuer": self.url, "jwks_uri": f"{self.url}/keys"}).encode()
        if path == "/keys":
            return json.dumps({"keys": [jwk(kid, key) for kid, key in self.keys.items()]}).encode()
        return None


def signature(key: SigningKey | bytes, data: bytes) -> bytes:
    if isinstance(key, bytes):
        return hmac.digest(key, data, "sha256")
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def jwk(kid: str, key: SigningKey) -> dict[str, str]:
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        rsa_numbers = public.public_numbers()
        named = {"n": (rsa_numbers.n, public.key_size // 8), "e": (rsa_numbers.e, 3)}
        kind = {"kty": "RSA", "alg": "RS256"}
    else:
        ec_numbers = public.public_numbers()
        named = {"x": (ec_numbers.x, 32), "y": (ec_numbers.y, 32)}
        kind = {"kty": "EC", "crv": "P-256", "alg": "ES256"}
    numbers = {name: encoded(number.to_bytes(size, "big")) for name, (number, size) in named.items()}
    return {**kind, "use": "sig", "kid": kid, **numbers}


class _Answers(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        form = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if not self._did_page("POST", form):
            self._answer(404, {}, b"")

    def do_GET(self) -> None:
        issuer: Issuer = self.server.issuer  # type: ignore[attr-defined]
        parts = urlsplit(self.path)
        issuer.asked[parts.path] += 1
        if self._did_page("GET", parts.query):
            return
        scheme, _, bearer = self.headers.get("Authorization", "").partition(" ")
        if parts.path == "/token" and (scheme.lower(), bearer) == ("bearer", issuer.bearer):
            token = issuer.token({"aud": parse_qs(parts.query)["audience"][0]} | issuer.claims)
            issuer.given.append(token)
            data: bytes | None = json.dumps({"value": token}).encode()
        else:
            data = issuer.document(parts.path)
        self._answer(404 if data is None else 200, {}, data or b"")

    def _did_page(self, method: str, fields: str) -> bool:
        issuer: Issuer = self.server.issuer  # type: ignore[attr-defined]
        page = issuer.pages.get((method, urlsplit(self.path).path))
        if page is not None:
            given = {name: values[0] for name, values in parse_qs(fields).items()}
            self._answer(*page(given, self.headers))
        return page is not None

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="session")
def signing_keys() -> dict[str, SigningKey]:
    return {
        "rsa": rsa.generate_private_key(65537, 2048),
        "ec": ec.generate_private_key(ec.SECP256R1()),
        "stranger": rsa.generate_private_key(65537, 2048),
        "small": rsa.generate_private_key(65537, 1024),  # noqa: S505  that such a key is refused is tested
    }


@contextmanager
def serving(keys: dict[str, SigningKey]) -> Iterator[Issuer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    made = Issuer(f"http://127.0.0.1:{server.server_port}", keys)
    server.issuer = made  # type: ignore[attr-defined]
    with in_thread(server):
        yield made


@pytest.fixture
def issuer(signing_keys: dict[str, SigningKey]) -> Iterator[Issuer]:
    with serving({name: signing_keys[name] for name in ("rsa", "ec")}) as made:
        yield made


@pytest.fixture(scope="session")
def start_issuer(signing_keys: dict[str, SigningKey]) -> Iterator[Callable[[], Issuer]]:
    """Issuers that many tests share."""
    with ExitStack() as running:
        yield lambda: running.enter_context(serving({name: signing_keys[name] for name in ("rsa", "ec")}))


@pytest.fixture
def sigstore(issuer: Issuer, tmp_path: Path) -> Iterator[Instance]:
    """Services of sigstore that take the issuer's tokens."""
    from packages.tagboat.tests.keyless.instance import running  # noqa: PLC0415  few tests need all of it

    folder = tmp_path / "sigstore"
    folder.mkdir()
    with running(folder, issuer.url) as instance:
        yield instance
