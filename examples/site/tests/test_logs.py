"""Logs: one JSON object a line, a request id on each, nobody's data in any."""

import json
import logging

from company_site.logs import JsonFormatter


def test_each_request_is_one_line_with_its_id(site):
    line = site.line_of(site.client().get("/about?utm_source=letter"))
    assert (line["event"], line["method"], line["path"], line["status"]) == ("request", "GET", "/about", 200)
    assert line["level"] == "info"
    assert line["ms"] > 0


def test_the_id_of_the_edge_is_kept_if_it_is_one(site):
    client = site.client()
    assert client.get("/", X_Request_ID="edge-0123456789").headers["X-Request-ID"] == "edge-0123456789"
    for forged in ("short", 'x"injected":"yes', "a" * 65):
        assert client.get("/", X_Request_ID=forged).headers["X-Request-ID"] != forged


def test_nothing_personal_is_written_down(site):
    author = site.as_user("author")
    author.get("/about?email=someone@example.com")
    author.write("A title of no business to the log", "Nor is this text")
    site.line_of(author.get("/"))
    text = site.log.read_text()
    for secret in ("someone@example.com", "no business", "Nor is this", "Mira", *author.cookies.values()):
        assert secret not in text


def test_a_healthy_health_check_is_not_worth_a_line(site):
    client = site.client()
    client.get("/healthz")
    site.line_of(client.get("/"))
    assert '"/healthz"' not in site.log.read_text()


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
