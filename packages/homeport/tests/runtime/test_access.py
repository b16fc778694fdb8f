"""Access logs, from the request to the line."""

from __future__ import annotations

import re
from typing import Any

import pytest


@pytest.fixture(scope="module")
def served(shared_harbour: Any, make_image: Any) -> tuple[Any, str]:
    shared_harbour.store(make_image())
    arn = shared_harbour.create("web", entrance={"log": True})
    shared_harbour.create("mute")
    return shared_harbour, arn


def said(harbour: Any, arn: str) -> list[str]:
    return [line["message"] for line in harbour.tell("logs", arn=arn, kind="access")]


def test_each_request_is_a_line_without_its_query(served: Any, eventually: Any) -> None:
    harbour, arn = served
    assert harbour.get("/a%20b?token=secret", headers={"User-Agent": 'a "quoted" one'}).status == 200
    assert harbour.get("/", name="mute").status == 200
    eventually(lambda: said(harbour, arn))
    (line,) = said(harbour, arn)
    assert re.fullmatch(
        rf'127\.0\.0\.1 "GET web\.localhost:{harbour.https_port}/a%20b" 200 \d+ \d+ "a .*quoted.* one"', line
    ), line
    assert "secret" not in line


def test_it_goes_on_after_a_crash_and_a_line_of_its_own_cannot_be_written_by_a_client(
    served: Any, eventually: Any
) -> None:
    harbour, arn = served
    harbour.kill()
    assert harbour.get("/unseen").status == 200, "who serves waits for no log"
    harbour.start()
    before = len(said(harbour, arn))
    agent = 'x"\t127.0.0.1 "GET /forged" 200'
    assert harbour.get("/seen", headers={"User-Agent": agent}).status == 200
    eventually(lambda: len(said(harbour, arn)) > before)
    assert len(said(harbour, arn)) == before + 1
    assert '" 200 ' not in said(harbour, arn)[-1].split(" 200 ", 1)[1]
