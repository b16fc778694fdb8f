"""How often somebody may try something."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from company_site.limits import CAPACITY, Limit, TooOftenError, address


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def test_a_burst_and_then_one_by_one():
    clock = Clock()
    limit = Limit("test", 3, 60, clock)
    for _ in range(3):
        limit.take("a")
    with pytest.raises(TooOftenError) as refused:
        limit.take("a")
    assert refused.value.seconds == 20
    limit.take("b")
    clock.now += refused.value.seconds
    limit.take("a")
    with pytest.raises(TooOftenError):
        limit.take("a")
    clock.now += 3600
    for _ in range(3):
        limit.take("a")


@given(st.lists(st.tuples(st.floats(0, 30), st.sampled_from("ab")), max_size=60))
def test_nobody_ever_has_more_than_the_burst_and_what_came_since(steps):
    clock = Clock()
    limit = Limit("test", 5, 50, clock)
    taken: dict[str, list[float]] = {"a": [], "b": []}
    waits: list[int] = []
    for wait, caller in steps:
        clock.now += wait
        try:
            limit.take(caller)
        except TooOftenError as error:
            waits.append(error.seconds)
        else:
            taken[caller].append(clock.now)
    assert all(1 <= wait <= 10 for wait in waits)
    for times in taken.values():
        for first in range(len(times)):
            for last in range(first, len(times)):
                assert last - first + 1 <= 5 + (times[last] - times[first]) / 10 + 1e-6


def test_memory_is_bounded_and_the_busy_are_remembered():
    limit = Limit("test", 2, 1e9)
    limit.take("busy")
    for number in range(CAPACITY + 500):
        limit.take(f"caller {number}")
        if number == CAPACITY // 2:
            limit.take("busy")
    assert len(limit) == CAPACITY
    with pytest.raises(TooOftenError):
        limit.take("busy")


def request(forwarded, client="10.0.0.1"):
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    return Request({"type": "http", "headers": headers, "client": (client, 1)})


@pytest.mark.parametrize(
    ("forwarded", "proxies", "counted"),
    [
        ([], 1, "10.0.0.1"),
        (["203.0.113.7"], 1, "203.0.113.7"),
        (["1.1.1.1, 203.0.113.7"], 1, "203.0.113.7"),
        (["1.1.1.1", "203.0.113.7"], 1, "203.0.113.7"),
        (["1.1.1.1, 203.0.113.7, 192.0.2.1"], 2, "203.0.113.7"),
        (["203.0.113.7"], 2, "203.0.113.7"),
        (["2001:db8:1:2:3:4:5:6"], 1, "2001:db8:1:2::/64"),
        (["::ffff:203.0.113.7"], 1, "203.0.113.7"),
        (["not an address"], 1, "not an address"),
        (["x" * 9000], 1, "x" * 64),
        ([" , "], 1, "10.0.0.1"),
    ],
)
def test_who_is_counted_is_who_the_last_proxy_saw(forwarded, proxies, counted):
    assert address(request(forwarded), proxies) == counted


def refused(ask):
    """It counts as what was refused before: at most a few are let through, for the time that has passed."""
    assert any(ask().status == 429 for _ in range(20))


def test_a_login_that_is_tried_too_often_is_a_429_page_for_that_address_alone(start_site, provider):
    site = start_site(**provider.environment())
    client = site.client()
    for _ in range(200):
        answer = client.get("/login/start")
        if answer.status != 303:
            break
    assert answer.status == 429
    assert "Not so fast" in answer.text
    assert 1 <= int(answer.headers["Retry-After"]) <= 10
    refused(lambda: client.get("/login/callback?code=c&state=s"))
    assert site.line_of(answer)["status"] == 429
    assert '"limit": "login by address"' in site.log.read_text()
    site.client().sign_in_at(provider)
    refused(lambda: client.get("/login/start", X_Forwarded_For=f"192.0.2.1, {client.address}"))


def test_an_account_that_signs_in_too_often_has_to_wait_from_wherever(start_site, provider):
    site = start_site(**provider.environment())
    statuses = []
    for _ in range(60):
        client = site.client()
        begun = client.get("/login/start")
        statuses.append(client.get(provider.approve(begun.location)).status)
        if statuses[-1] == 429:
            break
    assert statuses[-1] == 429
    assert set(statuses[:-1]) == {303}
    site.client().sign_in_at(provider, "ines")


def test_a_member_uploads_so_many_at_once(start_site, picture):
    site = start_site()
    author = site.as_user("author")
    for _ in range(250):
        answer = author.upload("/uploads", b"no picture")
        if answer.status != 422:
            break
    assert answer.status == 429
    form = {"action": "upload", "title": "t", "body": "b"}
    refused(lambda: author.upload("/posts/new", picture(), form=form))
    assert site.as_user("editor").upload("/uploads", picture()).status == 303
