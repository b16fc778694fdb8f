"""Logs: one JSON object a line, a request id on each, nobody's data in any."""

import json
import logging

from company_site.logs import JsonFormatter


def requests(site, path):
    return [line for line in site.lines() if line["event"] == "request" and line["path"] == path]


def test_each_request_is_one_line_with_its_id(site):
    answer = site.client().get("/about?utm_source=letter")
    (line,) = [line for line in requests(site, "/about") if line["id"] == answer.headers["X-Request-ID"]]
    assert (line["method"], line["status"], line["level"]) == ("GET", 200, "info")
    assert line["ms"] > 0


def test_the_id_of_the_edge_is_kept_if_it_is_one(site):
    client = site.client()
    assert client.get("/", X_Request_ID="edge-0123456789").headers["X-Request-ID"] == "edge-0123456789"
    for forged in ("short", 'x"injected":"yes', "a" * 65):
        assert client.get("/", X_Request_ID=forged).headers["X-Request-ID"] != forged


def test_nothing_personal_is_written_down(site):
    author = site.as_user("author")
    author.get("/about?email=someone@example.com")
    author.write("A title that is no business of the log", "Nor is this text")
    text = site.log.read_text()
    for secret in (
        "someone@example.com",
        "no business",
        "Nor is this",
        "127.0.0.1:",
        *author.cookies.values(),
    ):
        assert secret not in text.replace(site.url, ""), secret


def test_a_healthy_health_check_is_not_worth_a_line(site):
    site.client().get("/healthz")
    assert not requests(site, "/healthz")


def test_an_exception_is_logged_by_type_and_place_without_its_text():
    try:
        raise ValueError("somebody@example.com is not a number")  # noqa: TRY301
    except ValueError as error:
        record = logging.LogRecord(
            "site", logging.ERROR, __file__, 1, "request", None, (type(error), error, error.__traceback__)
        )
    line = json.loads(JsonFormatter().format(record))
    assert line["error"] == "builtins.ValueError"
    assert "test_an_exception_is_logged" in line["at"][-1]
    assert "somebody" not in json.dumps(line)
