"""The console in a real browser, on a desk and on a phone, in front of a homeport that runs services."""

from __future__ import annotations

import http.client
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--ignore-certificate-errors",
]
_PREFIX = "/_homeport/console"
expect.set_options(timeout=60_000)  # milliseconds: the machine may have other things to do
_SHOTS = os.environ.get("CONSOLE_SHOTS")  # a folder that takes pictures of all pages


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    chromium = tmp_path_factory.mktemp("browser") / "chromium"
    calm = Path(__file__).with_name("calm_chromium.py")
    chromium.write_text(f'#!/bin/sh\nexec {sys.executable} {calm} "$@"\n')
    chromium.chmod(0o755)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=_ARGUMENTS, timeout=180_000)
        yield started
        started.close()


@pytest.fixture(scope="module")
def homeport(open_homeport: Any, make_image: Any) -> Any:
    """Two services: one with a history of releases and a failure, one that rests."""
    made = open_homeport("--console", "console.localhost")
    for name in ("shop", "blog"):
        made.by_boto3("ecr", "CreateRepository", repositoryName=name)
    made.push(make_image(VERSION="1"), "shop")
    made.push(make_image(VERSION="1"), "shop", "shop-v1.0.0")
    made.arn = made.create("shop", Tags=[{"Key": "team", "Value": "web"}])
    made.push(make_image(VERSION="2"), "shop", "shop-v1.1.0")
    made.push(make_image(VERSION="2"), "shop")
    made.until(lambda: made.get("shop.localhost") == (200, "2") and made.status(made.arn) == "RUNNING")
    made.push(make_image(VERSION="9"), "blog")
    blog = made.create("blog")
    made.by_boto3("apprunner", "PauseService", ServiceArn=blog)
    made.until(lambda: made.status(blog) == "PAUSED")
    return made


def log_in(homeport: Any, page: Page, base: str | None = None) -> None:
    page.goto((base or homeport.addresses["endpoint"]) + "/")
    page.get_by_label("Access key ID").fill(homeport.environment["AWS_ACCESS_KEY_ID"])
    page.get_by_label("Secret access key").fill(homeport.environment["AWS_SECRET_ACCESS_KEY"])
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name=re.compile("Services"))).to_be_visible()


@pytest.fixture
def desk(homeport: Any, browser: Browser) -> Iterator[Page]:
    """Logged in; a page that breaks its own policy or throws fails the test."""
    yield from _pages(homeport, browser, {"width": 1280, "height": 900})


@pytest.fixture
def phone(homeport: Any, browser: Browser) -> Iterator[Page]:
    yield from _pages(homeport, browser, {"width": 390, "height": 800})


def _pages(homeport: Any, browser: Browser, viewport: Any) -> Iterator[Page]:
    context = browser.new_context(viewport=viewport)
    page = context.new_page()
    page.set_default_timeout(60_000)
    trouble: list[str] = []
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("console", lambda said: trouble.append(said.text) if said.type == "error" else None)
    foreign: list[str] = []
    page.on(
        "request",
        lambda asked: (
            None
            if asked.url.startswith(page.url[:16]) or page.url == "about:blank"
            else foreign.append(asked.url)
        ),
    )
    log_in(homeport, page)
    yield page
    context.close()
    assert trouble == []
    assert foreign == []


def shot(page: Page, name: str) -> None:
    if _SHOTS:
        page.screenshot(path=Path(_SHOTS) / f"{name}.png", full_page=True)


def narrow(page: Page) -> bool:
    """Whether nothing sticks out to the side."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def test_the_services_are_seen_at_a_glance(homeport: Any, desk: Page) -> None:
    for name, state in (("shop", "Running"), ("blog", "Paused")):
        card = desk.locator(".service", has_text=name)
        expect(card).to_contain_text(state)
    shot(desk, "services")


def test_a_service_shows_its_timeline_and_releases_and_goes_back_by_a_button(
    homeport: Any, desk: Page
) -> None:
    desk.get_by_role("link", name="shop", exact=True).click()
    expect(desk.get_by_role("heading", name="Timeline")).to_be_visible()
    step = desk.locator(".timeline li").first
    expect(step).to_contain_text("Deployment")
    expect(step).to_contain_text("succeeded")
    expect(step).to_contain_text("shop-v1.1.0")
    step.locator("summary").click()
    expect(step).to_contain_text("Successfully routed incoming traffic")
    shot(desk, "service")
    desk.locator(".list li", has_text="shop-v1.0.0").get_by_text("Roll back", exact=True).click()
    shot(desk, "rollback")
    desk.get_by_role("button", name="Roll back to it").click()
    expect(desk.get_by_role("status").first).to_contain_text("goes back to")
    homeport.until(lambda: homeport.get("shop.localhost") == (200, "1"))
    # By itself: nobody has to load the page anew.
    expect(desk.locator(".list li").first).to_contain_text("shop-v1.0.0", timeout=60_000)
    desk.get_by_role("link", name="Audit").click()
    expect(desk.locator(".calls tr", has_text="homeport:rollback").first).to_contain_text("root")
    shot(desk, "audit")


def test_logs_are_live_and_can_be_searched(homeport: Any, desk: Page) -> None:
    desk.goto(f"{homeport.addresses['endpoint']}{_PREFIX}/services/shop/logs")
    expect(desk.get_by_text("live", exact=True)).to_be_visible()
    said = desk.locator("[data-log]")
    homeport.get("shop.localhost", "/say?text=%3Cb%3Eahoy%3C%2Fb%3E")
    expect(said).to_contain_text("<b>ahoy</b>")
    homeport.get("shop.localhost", "/say?text=farewell")
    expect(said).to_contain_text("farewell")
    desk.get_by_placeholder("Show lines with…").fill("FAREWELL")
    expect(said.get_by_text("ahoy")).to_be_hidden()
    expect(said.get_by_text("farewell")).to_be_visible()
    shot(desk, "logs")


def test_it_works_on_a_phone(homeport: Any, phone: Page) -> None:
    assert narrow(phone)
    shot(phone, "phone-services")
    # Its state has the longest name of all.
    homeport.by_boto3(
        "apprunner", "AssociateCustomDomain", ServiceArn=homeport.arn, DomainName="shop.example"
    )
    domains = lambda: homeport.by_boto3("apprunner", "DescribeCustomDomains", ServiceArn=homeport.arn)  # noqa: E731
    homeport.until(lambda: domains()["CustomDomains"][0]["Status"] == "PENDING_CERTIFICATE_DNS_VALIDATION")
    for path in ("/services/shop", "/services/shop/logs", "/audit", "/redirects"):
        phone.goto(f"{homeport.addresses['endpoint']}{_PREFIX}{path}")
        assert narrow(phone), path
        shot(phone, f"phone-{path.rpartition('/')[2]}")
    phone.goto(f"{homeport.addresses['endpoint']}{_PREFIX}/services/shop")
    named = phone.get_by_role("link", name="shop.example", exact=True)
    expect(named).to_have_attribute("href", f"https://shop.example:{homeport.addresses['https_port']}")
    phone.get_by_text("Pause", exact=True).click()
    assert narrow(phone)
    phone.goto(f"{homeport.addresses['endpoint']}{_PREFIX}/services/blog")
    phone.get_by_role("button", name="Resume").click()
    homeport.until(lambda: homeport.get("blog.localhost") == (200, "9"))
    phone.get_by_role("button", name="Log out").click()
    expect(phone.get_by_role("button", name="Log in")).to_be_visible()
    shot(phone, "phone-login")


def test_by_the_edge_it_is_a_site_of_its_own(homeport: Any, browser: Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    log_in(homeport, page, f"https://console.localhost:{homeport.addresses['https_port']}")
    (cookie,) = context.cookies()
    assert cookie["name"] == "__Host-homeport"
    assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "Lax")
    page.get_by_role("link", name="shop", exact=True).click()
    expect(page.get_by_role("heading", name="Timeline")).to_be_visible()
    context.close()


class Client:
    """Speaks HTTP to the console, without a browser's manners."""

    def __init__(self, homeport: Any) -> None:
        self._host = homeport.addresses["registry"]
        self._key = homeport.environment
        self.cookie = ""

    def ask(self, method: str, path: str, form: str | None = None, **headers: str) -> Any:
        connection = http.client.HTTPConnection(self._host, timeout=60)
        sent = {"Content-Type": "application/x-www-form-urlencoded"} if form is not None else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(
            method, _PREFIX + path, form, sent | ({"Cookie": self.cookie} if self.cookie else {})
        )
        answer = connection.getresponse()
        answer.text = answer.read().decode()  # type: ignore[attr-defined]
        connection.close()
        return answer

    def log_in(self) -> Any:
        form = f"key={self._key['AWS_ACCESS_KEY_ID']}&secret={self._key['AWS_SECRET_ACCESS_KEY']}"
        answer = self.ask("POST", "/login", form)
        self.cookie = answer.headers["Set-Cookie"].partition(";")[0]
        return answer


def test_nothing_is_shown_or_done_without_the_root_key(homeport: Any) -> None:
    client = Client(homeport)
    for method, path in (
        ("GET", "/"),
        ("GET", "/services/shop"),
        ("GET", "/services/shop/logs"),
        ("GET", "/services/shop/lines"),
        ("GET", "/audit"),
        ("GET", "/redirects"),
        ("POST", "/services/shop/pause"),
        ("POST", "/logout"),
    ):
        answer = client.ask(method, path, "" if method == "POST" else None)
        assert (answer.status, answer.headers["Location"]) == (303, f"{_PREFIX}/login"), path
        assert answer.text == ""
    client.cookie = "homeport=nonsense"
    assert client.ask("GET", "/").status == 303
    client.cookie = ""
    assert client.ask("POST", "/login", "key=root&secret=wrong").status == 403
    answer = client.log_in()
    assert answer.status == 303
    assert {"HttpOnly", "SameSite=lax", f"Path={_PREFIX}"} <= set(answer.headers["Set-Cookie"].split("; "))
    assert client.ask("GET", "/").status == 200


def test_a_change_needs_the_word_of_a_form_and_a_page_of_ours(homeport: Any) -> None:
    client = Client(homeport)
    client.log_in()
    page = client.ask("GET", "/services/shop").text
    word = re.findall(r'name="word" value="([^"]+)"', page)[0]
    pause = "/services/shop/pause"
    assert client.ask("POST", pause, "").status == 403
    assert client.ask("POST", pause, "word=wrong").status == 403
    assert client.ask("POST", pause, f"word={word}", Sec_Fetch_Site="cross-site").status == 403
    assert client.ask("POST", pause, f"word={word}", Sec_Fetch_Site="same-site").status == 403
    assert client.ask("POST", pause, f"word={word}", Origin="https://evil.example").status == 403
    assert client.ask("POST", pause, f"word={word}&more={'a' * 9000}").status == 403
    assert client.ask("GET", pause).status in (404, 405)
    other = Client(homeport)
    other.log_in()
    assert other.ask("POST", pause, f"word={word}").status == 403, "each visit has a word of its own"
    assert client.ask("POST", "/services/shop/nonsense", f"word={word}").status == 404
    assert client.ask("POST", "/services/nowhere/pause", f"word={word}").status == 404
    assert homeport.status(homeport.arn) == "RUNNING"
    digest = "sha256:" + "0" * 64
    assert client.ask("POST", "/services/shop/rollback", f"word={word}&digest={digest}").status == 303
    assert "is none of the service" in client.ask("GET", "/services/shop").text


def test_pages_say_what_a_browser_may_do_with_them(homeport: Any) -> None:
    client = Client(homeport)
    client.log_in()
    for path in ("/login", "/", "/services/shop", "/nowhere", "/static/console.js"):
        headers = client.ask("GET", path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
    assert client.ask("GET", "/static/../app.py").status == 404
    assert client.ask("GET", "/static/%2e%2e/app.py").status == 404


def test_a_log_is_followed_no_longer_than_the_visit_lasts(homeport: Any) -> None:
    client = Client(homeport)
    client.log_in()
    word = re.findall(r'name="word" value="([^"]+)"', client.ask("GET", "/").text)[0]
    connection = http.client.HTTPConnection(homeport.addresses["registry"], timeout=60)
    connection.request(
        "GET", f"{_PREFIX}/services/shop/lines?since=nonsense", None, {"Cookie": client.cookie}
    )
    following = connection.getresponse()
    assert (following.status, following.headers.get_content_type()) == (200, "text/event-stream")
    homeport.get("shop.localhost", "/say?text=last")
    while b"last" not in following.readline():
        pass
    assert client.ask("POST", "/logout", f"word={word}").status == 303
    following.read()  # comes to an end
    connection.close()
    assert client.ask("GET", "/").status == 303


def test_keys_cannot_be_guessed_for_long(homeport: Any) -> None:
    """The last of the module: this address is not let in for a minute."""
    client = Client(homeport)
    statuses = [client.ask("POST", "/login", f"key=a&secret={number}").status for number in range(12)]
    assert set(statuses) == {403, 429}
    assert statuses[-1] == 429
