"""Real sites on free ports over real directories, and clients that visit them."""

import base64
import hashlib
import html
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPMessage
from http.cookies import SimpleCookie
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

import pytest
from bench.ports import free_port
from PIL import Image
from playwright.sync_api import Browser, expect, sync_playwright

CHROMIUM = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


expect.set_options(timeout=60_000)  # milliseconds: the machine may have other things to do

_clients = count(1)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: HTTPMessage
    body: bytes
    path: str

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def location(self) -> str | None:
        return self.headers["Location"]

    def field(self, name: str) -> str:
        """The value of an input, of the first form that has it."""
        found = re.search(rf'<input[^>]* name="{name}" value="([^"]*)"', self.text)
        assert found, f"no {name} in {self.path}"
        return html.unescape(found[1])


@dataclass
class Client:
    """A browser without a screen: keeps cookies; follows redirects when asked to."""

    url: str
    cookies: dict[str, str] = field(default_factory=dict)
    # As an edge says: each is somebody else, so that what many tests do is not too often for one.
    address: str = field(default_factory=lambda: f"2001:db8:{next(_clients):x}::1")

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """As a page of the site makes a browser ask."""
        own = {"Origin": self.url, "Sec-Fetch-Site": "same-origin"}
        return self.bare(method, path, body, own | dict(headers or {}))

    def bare(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> Answer:
        """With the cookies and these headers alone; a body is a form unless they say otherwise."""
        parts = urlsplit(self.url)
        connection = HTTPConnection(parts.hostname, parts.port, timeout=60)
        given = {"X-Forwarded-For": self.address}
        given |= {} if body is None else {"Content-Type": "application/x-www-form-urlencoded"}
        if self.cookies:
            given["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # it may answer before it has read all
                connection.request(method, path, body, given | dict(headers))
            response = connection.getresponse()
            for header in response.headers.get_all("Set-Cookie", []):
                for name, morsel in SimpleCookie(header).items():
                    if morsel["max-age"] == "0":
                        self.cookies.pop(name, None)
                    else:
                        self.cookies[name] = morsel.value
            return Answer(response.status, response.headers, response.read(), path)
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.request("GET", path, headers={n.replace("_", "-"): v for n, v in headers.items()})

    def post(self, path: str, form: Mapping[str, str], **headers: str) -> Answer:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.request("POST", path, urlencode(form).encode(), given)

    def upload(
        self,
        path: str,
        data: bytes,
        *,
        name: str = "photo.jpg",
        kind: str = "image/jpeg",
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        field: str = "image",
    ) -> Answer:
        boundary = b"----a-boundary-that-is-in-no-picture"
        parts = [
            b'Content-Disposition: form-data; name="%s"\r\n\r\n%s' % (key.encode(), value.encode())
            for key, value in (form or {}).items()
        ]
        disposition = f'Content-Disposition: form-data; name="{field}"; filename="{name}"'
        parts.append(f"{disposition}\r\nContent-Type: {kind}\r\n\r\n".encode() + data)
        body = b"".join(b"--%s\r\n%s\r\n" % (boundary, part) for part in parts) + b"--%s--\r\n" % boundary
        media_type = f"multipart/form-data; boundary={boundary.decode()}"
        return self.request("POST", path, body, {"Content-Type": media_type, **(headers or {})})

    def follow(self, answer: Answer) -> Answer:
        assert answer.status == 303, (answer.status, answer.text)
        assert answer.location is not None
        return self.get(answer.location)

    def sign_in(self, user: str) -> "Client":
        answer = self.post("/login", {"user": user})
        assert (answer.status, answer.location) == (303, "/"), answer.text
        return self

    def sign_in_at(self, provider: Any, account: str = "mira", following: str = "/") -> "Client":
        """As somebody whom an issuer knows."""
        begun = self.get(f"/login/start?next={following}")
        answer = self.get(provider.approve(begun.location, account), Sec_Fetch_Site="cross-site")
        assert (answer.status, answer.location) == (303, following), answer.text
        return self

    def write(self, title: str, body: str = "A text.", tags: str = "") -> str:
        """Publish a post and return its address."""
        answer = self.post("/posts/new", {"title": title, "body": body, "tags": tags})
        assert answer.status == 303, answer.text
        assert answer.location is not None
        return answer.location


@dataclass
class Site:
    """A running `python -m company_site`."""

    process: subprocess.Popen
    url: str
    environment: dict[str, str]
    log: Path

    @property
    def database_url(self) -> str:
        return self.environment["DATABASE_URL"]

    @property
    def uploads(self) -> Path:
        return Path(urlsplit(self.environment["UPLOADS_URL"]).path)

    def client(self) -> Client:
        return Client(self.url)

    def as_user(self, user: str) -> Client:
        return self.client().sign_in(user)

    def line_of(self, answer: Answer) -> dict[str, Any]:
        """What the site logged of a request; it does so just after it has answered."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for text in self.log.read_text().splitlines():
                is_request = '"event": "request"' in text and text.endswith("}")
                if is_request and answer.headers["X-Request-ID"] in text:
                    line: dict[str, Any] = json.loads(text)
                    return line
            time.sleep(0.01)
        raise AssertionError(f"no line of {answer.path}")

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)


StartSite = Callable[..., Site]

MIRA = {
    "sub": "sub-of-mira",
    "email": "mira@northpier.example",
    "email_verified": True,
    "name": "Mira Okafor",
}
INES = {
    "sub": "sub-of-ines",
    "email": "ines@northpier.example",
    "email_verified": True,
    "name": "Ines Halvorsen",
}
STRANGER = {"sub": "sub-of-eve", "email": "eve@elsewhere.example", "email_verified": True, "name": "Eve"}


@dataclass
class Provider:
    """An issuer at which people sign in: it shows its accounts, gives codes, and takes each code once, from
    its client, with the verifier that belongs to it.

    `token` are changes of the identity tokens that it gives: `claims`, `header`, `key` or `kid`. `reply` is
    what the token endpoint answers instead, `careless` makes it take a code twice.
    """

    issuer: Any
    client_id: str = "the-site"
    client_secret: str = "a secret/+%&of the site"
    accounts: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {"mira": MIRA, "ines": INES, "eve": STRANGER}
    )
    token: dict[str, Any] = field(default_factory=dict)
    reply: tuple[int, bytes] | None = None
    careless: bool = False
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[dict[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.describe()
        self.issuer.pages = {
            ("GET", "/authorize"): self._authorize,
            ("GET", "/choose"): self._choose,
            ("POST", "/token"): self._redeem,
        }

    def describe(self, **changes: Any) -> None:
        """State of the issuer what it is, with these changes."""
        url = self.issuer.url
        document = {
            "issuer": url,
            "authorization_endpoint": f"{url}/authorize",
            "token_endpoint": f"{url}/token",
            "jwks_uri": f"{url}/keys",
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        }
        described = {name: value for name, value in (document | changes).items() if value is not None}
        self.issuer.documents["/.well-known/openid-configuration"] = json.dumps(described).encode()

    def environment(self, **changes: str) -> dict[str, str]:
        """The variables of a site whose login this is."""
        return {
            "SITE_MODE": "prod",
            "OIDC_ISSUER": self.issuer.url,
            "OIDC_CLIENT_ID": self.client_id,
            "OIDC_CLIENT_SECRET": self.client_secret,
            "OWNER_EMAILS": "ines@northpier.example",
            "ALLOWED_EMAILS": "northpier.example",
        } | changes

    def approve(self, address: str | None, account: str = "mira") -> str:
        """What the browser is sent back to when that account was chosen, as a path of the site."""
        assert address is not None
        asked = urlsplit(address)
        assert address.startswith(f"{self.issuer.url}/authorize?"), address
        answer = Client(self.issuer.url).bare("GET", f"/choose?{asked.query}&account={account}", None, {})
        assert answer.status == 303, answer.text
        back = urlsplit(answer.location or "")
        return f"{back.path}?{back.query}"

    def _authorize(self, query: dict[str, str], _: Any) -> tuple[int, dict[str, str], bytes]:
        links = [
            f'<p><a href="/choose?{html.escape(urlencode(query | {"account": name}))}">{claims["name"]}</a>'
            for name, claims in self.accounts.items()
        ]
        return 200, {"Content-Type": "text/html"}, f"<h1>Choose an account</h1>{''.join(links)}".encode()

    def _choose(self, query: dict[str, str], _: Any) -> tuple[int, dict[str, str], bytes]:
        self.asked.append(query)
        code = f"code-{len(self.codes)}"
        self.codes[code] = query
        back = urlencode({"code": code, "state": query["state"]})
        return 303, {"Location": f"{query['redirect_uri']}?{back}"}, b""

    def _redeem(self, form: dict[str, str], headers: Any) -> tuple[int, dict[str, str], bytes]:
        if self.reply is not None:
            status, body = self.reply
            return status, {"Location": f"{self.issuer.url}/elsewhere"} if status == 302 else {}, body
        pair = f"{quote_plus(self.client_id)}:{quote_plus(self.client_secret)}"
        if headers["Authorization"] != f"Basic {base64.b64encode(pair.encode()).decode()}":
            return 401, {}, b'{"error": "invalid_client"}'
        query = self.codes.get(form["code"]) if self.careless else self.codes.pop(form["code"], None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest())
        if (
            query is None
            or query["redirect_uri"] != form["redirect_uri"]
            or query["code_challenge"] != challenge.rstrip(b"=").decode()
        ):
            return 400, {}, b'{"error": "invalid_grant"}'
        now = int(time.time())
        base = {"iss": self.issuer.url, "aud": self.client_id, "iat": now, "exp": now + 300}
        base |= {"nonce": query["nonce"]} | self.accounts[query["account"]]
        token = self.issuer.token(base=base, **self.token)
        return 200, {}, json.dumps({"access_token": "x", "token_type": "Bearer", "id_token": token}).encode()


def start(directory: Path, *, wait: bool = True, **variables: str) -> Site:
    """A site over `directory`; several may share one."""
    port = free_port()
    environment = {
        "DATABASE_URL": f"file://{directory}/database",
        "UPLOADS_URL": f"file://{directory}/uploads",
        "SITE_MODE": "demo",
        "HOST": "127.0.0.1",
        "PORT": str(port),
        **variables,
    }
    if "OIDC_CLIENT_ID" in variables:
        environment.setdefault("SITE_URL", f"http://127.0.0.1:{port}")
    log = directory / f"{port}.log"
    clean = {name: value for name, value in os.environ.items() if name not in environment}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "company_site"], env=clean | environment, stdout=output, stderr=output
        )
    site = Site(process, f"http://127.0.0.1:{port}", environment, log)
    if wait:
        await_health(site)
    return site


def await_health(site: Site) -> None:
    deadline = time.monotonic() + 120
    while True:
        assert site.process.poll() is None, site.log.read_text()
        with suppress(OSError):
            if site.client().get("/healthz").status == 200:
                return
        assert time.monotonic() < deadline, site.log.read_text()
        time.sleep(0.02)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One demo site that tests share: each makes posts of its own."""
    started = start(tmp_path_factory.mktemp("site"))
    yield started
    assert started.stop() == 0, started.log.read_text()


@pytest.fixture
def start_site(tmp_path: Path) -> Iterator[StartSite]:
    """Start sites over the test's own directory, or over another."""
    running: list[Site] = []

    def start_one(directory: Path = tmp_path, **options: Any) -> Site:
        running.append(start(directory, **options))
        return running[-1]

    yield start_one
    for one in running:
        one.process.terminate()
    for one in running:
        one.process.wait(120)


@pytest.fixture(scope="session")
def make_provider() -> Callable[[Any], Provider]:
    return Provider


@pytest.fixture
def provider(start_issuer: Callable[[], Any]) -> Provider:
    return Provider(start_issuer())


@pytest.fixture(scope="session", name="start")
def _start() -> StartSite:
    return start


@pytest.fixture(scope="session")
def start_in() -> StartSite:
    """Start a site over a directory; the caller stops it."""
    return start


@pytest.fixture(name="free_port")
def _free_port() -> Callable[[], int]:
    return free_port


@pytest.fixture
def healthy() -> Callable[[Site], None]:
    return await_health


# Not for the session: while Playwright runs, no test could run an event loop of its own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=CHROMIUM, timeout=180_000
        )
        yield started
        started.close()


@pytest.fixture(scope="session")
def picture() -> Callable[..., bytes]:
    """An encoded picture with some detail in it."""

    def draw(
        size: tuple[int, int] = (64, 48), kind: str = "JPEG", mode: str = "RGB", **options: Any
    ) -> bytes:
        gradient = Image.linear_gradient("L").resize(size)
        output = BytesIO()
        Image.merge("RGB", (gradient, gradient.rotate(90), gradient.rotate(180))).convert(mode).save(
            output, kind, **options
        )
        return output.getvalue()

    return draw
