"""What platforms and operators see: readiness, metrics, headers, and what a stop does."""

import re
import time
from pathlib import Path

import pytest

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/posts",
        "/login",
        "/healthz",
        "/readyz",
        "/nowhere",
        "/static/nothing.css",
        "/uploads/x",
        "/%ff",
        "/logout",
    ],
)
def test_every_answer_has_every_header(site, path):
    answer = site.client().get(path)
    # What feeds and cards show is shown by other sites, too.
    elsewhere = {"Cross-Origin-Resource-Policy": "cross-origin"} if path.startswith("/uploads/") else {}
    for name, value in (HEADERS | elsewhere).items():
        assert answer.headers.get_all(name) == [value], name
    policy = answer.headers["Content-Security-Policy"]
    for word in ("unsafe", "http", "*", "data:", "nonce"):
        assert word not in policy
    assert "default-src 'self'" in policy or "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "Strict-Transport-Security" not in answer.headers
    assert "Server" not in answer.headers
    assert answer.headers["X-Request-ID"]
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_only_the_editor_may_run_the_script_of_this_site(site):
    author = site.as_user("author")
    for path, source in (
        ("/posts/new", "'self'"),
        ("/", "'none'"),
        ("/uploads", "'none'"),
        ("/account", "'none'"),
    ):
        answer = author.get(path)
        assert answer.status == 200
        assert f"script-src {source};" in answer.headers["Content-Security-Policy"], path
        assert ("<script src" in answer.text) == (source == "'self'"), path


def test_over_https_browsers_are_told_to_stay_there(site):
    answer = site.client().get("/", X_Forwarded_Proto="https")
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_templates_and_scripts_have_nothing_inline():
    """What the policy would block, and what a policy could not allow without opening the door to others."""
    source = Path(__file__).parent.parent / "src" / "company_site"
    for template in source.rglob("*.html"):
        text = template.read_text()
        assert not re.search(r"<script(?![^>]* (src=|type=\"application/(ld\+)?json\"))", text), template
        assert not re.search(r"\s(style|on[a-z]+)\s*=\s*[\"']", text), template
        assert "<style" not in text, template
        assert "javascript:" not in text, template


def test_ready_when_both_buckets_answer(site):
    answer = site.client().get("/readyz")
    assert answer.status == 200
    assert '"checks":{"database":"ok","uploads":"ok"}' in answer.text
    assert answer.headers["Cache-Control"] == "no-store"


def test_not_ready_while_the_database_is_away(start_site, tmp_path):
    site = start_site()
    client = site.client()
    there, away = tmp_path / "database", tmp_path / "away"
    there.rename(away)
    there.write_text("a file where the directory was")
    deadline = time.monotonic() + 60
    while (answer := client.get("/readyz")).status == 200:  # an answer is good for a second
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert answer.status == 503
    assert '"database":"unavailable"' in answer.text
    assert client.get("/healthz").status == 200
    there.unlink()
    away.rename(there)
    deadline = time.monotonic() + 60
    while client.get("/readyz").status != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_metrics_are_for_those_who_know_the_token(start_site):
    token = "a-token-of-some-length"
    site = start_site(METRICS_TOKEN=token)
    client = site.client()
    client.get("/posts/fridays-are-for-deploying")
    client.get("/posts/nothing-of-this-name")
    client.get("/wp-login.php")
    site.as_user("author")
    for wrong in (
        {},
        {"Authorization": "Bearer"},
        {"Authorization": f"Bearer {token}x"},
        {"Authorization": f"Basic {token}"},
    ):
        answer = client.get("/metrics", **wrong)
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    answer = client.get("/metrics", Authorization=f"Bearer {token}")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    for line in (
        'site_requests_total{method="GET",route="/posts/{slug}",status="200"} 1.0',
        'site_requests_total{method="GET",route="/posts/{slug}",status="404"} 1.0',
        'site_requests_total{method="GET",route="other",status="404"} 1.0',
        'site_request_seconds_count{route="/posts/{slug}"} 2.0',
        'site_request_seconds_bucket{le="+Inf",route="/posts/{slug}"} 2.0',
        "site_requests_in_flight 1.0",
        'site_build_info{version="0.1.0"} 1.0',
    ):
        assert line in answer.text, answer.text
    for name in (
        "process_resident_memory_bytes",
        "site_database_t",
        'site_database_requests_total{kind="put"}',
    ):
        assert re.search(rf"^{re.escape(name)} [0-9.e+]+$", answer.text, re.MULTILINE), name
    assert "deploying" not in answer.text
    assert "wp-login" not in answer.text


def test_without_a_token_there_are_no_metrics(site):
    assert site.client().get("/metrics").status == 404
    assert site.client().get("/metrics", Authorization="Bearer None").status == 404


def test_how_logins_end_is_counted(start_site, provider):
    token = "a-token-of-some-length"
    site = start_site(**provider.environment(METRICS_TOKEN=token))
    site.client().sign_in_at(provider)
    client = site.client()
    assert client.get(provider.approve(client.get("/login/start").location, "eve")).status == 403
    text = client.get("/metrics", Authorization=f"Bearer {token}").text
    assert 'site_logins_total{outcome="in"} 1.0' in text
    assert 'site_logins_total{outcome="not allowed"} 1.0' in text
    assert "eve" not in text.replace("level", "")


def test_a_link_that_opens_something_is_logged_by_its_route(site):
    """What an address holds may be a secret, such as the token of a preview."""
    line = site.line_of(site.client().get("/preview/0123456789-a-token"))
    assert line["path"] == "/preview/{token}"
    assert "0123456789-a-token" not in site.log.read_text()


def test_what_is_logged_of_a_request_has_its_id(start_site, provider):
    site = start_site(**provider.environment())
    client = site.client()
    answer = client.get("/login/callback?code=c&state=s")
    site.line_of(answer)
    assert site.log.read_text().count(answer.headers["X-Request-ID"]) == 2
