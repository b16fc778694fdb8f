"""Redirects: what they are written as, which one answers, where it leads; HAProxy against plain Python."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bucketlog
from homeport.configuration import Names, Route
from homeport.hits import counts
from homeport.redirects import (
    NoSuchRedirectError,
    Redirect,
    RedirectError,
    Redirects,
    Source,
    Target,
    match,
)

_WWW = "https://www.example.com"
_ALL = [
    Redirect(Source.parse("example.com"), _WWW),
    Redirect(Source.parse("example.com/old"), f"{_WWW}/new", 302),
    Redirect(Source.parse("example.com/old?id=3"), f"{_WWW}/three?x=1#here", 307),
    Redirect(Source.parse("example.com/Shop"), "https://shop.example", 308, keep_query=False),
    Redirect(Source.parse("example.com/docs/*"), f"{_WWW}/manual/", 302),
    Redirect(Source.parse("example.com/docs/v1/*"), f"{_WWW}/v1?from=old&$x='1'"),
    Redirect(Source.parse("example.com/go/*"), f"{_WWW}/100%25/start", keep_path=False),
    Redirect(Source.parse("*.example.com"), "https://any.example/sub"),
    Redirect(Source.parse("*.deep.example.com/a/*"), "https://deep.example"),
    Redirect(Source.parse("one.example.com/only"), "https://one.example"),
    Redirect(Source.parse("plain.example"), "http://plain.example.net:8080", 302),
]


@pytest.fixture(scope="module")
def front(open_front: Any) -> Any:
    return open_front({}, Names(redirects=_ALL))


@pytest.mark.parametrize(
    ("host", "target", "status", "location"),
    [
        ("example.com", "/", 301, f"{_WWW}/"),
        ("example.com", "/a%2Fb//c/%E4?x=1&y=%20+&&z", 301, f"{_WWW}/a%2Fb//c/%E4?x=1&y=%20+&&z"),
        ("example.com", "//evil.example/", 301, f"{_WWW}//evil.example/"),
        ("EXAMPLE.com:80", "/?", 301, f"{_WWW}/?"),
        ("example.com", "/old", 302, f"{_WWW}/new"),
        ("example.com", "/old?a=b", 302, f"{_WWW}/new?a=b"),
        ("example.com", "/OLD", 302, f"{_WWW}/new"),
        ("example.com", "/old/", 301, f"{_WWW}/old/"),
        ("example.com", "/old?id=3", 307, f"{_WWW}/three?x=1&id=3#here"),
        ("example.com", "/shop?a=b", 308, "https://shop.example"),
        ("example.com", "/docs/a/b", 302, f"{_WWW}/manual/a/b"),
        ("example.com", "/docs/", 302, f"{_WWW}/manual/"),
        ("example.com", "/docs", 301, f"{_WWW}/docs"),
        ("example.com", "/docs/v1/x?q=%25", 301, f"{_WWW}/v1/x?from=old&$x='1'&q=%25"),
        ("example.com", "/docs/v1/?", 301, f"{_WWW}/v1/?from=old&$x='1'"),
        ("example.com", "/go/anywhere?a", 301, f"{_WWW}/100%25/start?a"),
        ("b.example.com", "/x", 301, "https://any.example/sub/x"),
        ("a.b.example.com", "/x", 301, "https://any.example/sub/x"),
        ("x.deep.example.com", "/a/b", 301, "https://deep.example/b"),
        ("one.example.com", "/only", 301, "https://one.example"),
        ("one.example.com", "/other", 301, "https://any.example/sub/other"),
        ("plain.example", "/p?q", 302, "http://plain.example.net:8080/p?q"),
    ],
)
@pytest.mark.parametrize("tls", [False, True])
def test_the_narrowest_source_answers_in_one_hop_with_path_and_query_byte_for_byte(
    front: Any, host: str, target: str, status: int, location: str, *, tls: bool
) -> None:
    answer = front.ask(host, target, tls=tls)
    assert (answer.status, answer.headers["Location"]) == (status, location)


@pytest.mark.parametrize(
    "host", ["example.org", "xexample.com", "example.com.evil", "x.deep.example.com/b", "other.localhost"]
)
def test_what_no_source_fits_is_misdirected(front: Any, host: str) -> None:
    name, _, path = host.partition("/")
    assert front.ask(name, f"/{path}").status == 421
    assert front.ask(name, f"/{path}", tls=True).status == 421


def test_a_post_is_redirected_as_the_source_says(front: Any) -> None:
    assert front.ask("example.com", "/old?id=3", "POST").status == 307
    assert front.ask("example.com", "/shop", "POST").status == 308


_path = st.lists(
    st.sampled_from(["/", "old", "OLD", "docs", "v1", "%2F", "shop", "Shop", "go", "a", "..", ";x", "only"]),
    max_size=5,
).map(lambda parts: "/" + "".join(parts))
_query = st.none() | st.sampled_from(["", "id=3", "a=%20&b", "?", "x=/y"])
_host = st.sampled_from(
    ["example.com", "one.example.com", "x.deep.example.com", "deep.example.com", "plain.example", "other.org"]
)


@given(host=_host, path=_path, query=_query)
@settings(max_examples=150)
def test_haproxy_answers_what_the_rules_say(front: Any, host: str, path: str, query: str | None) -> None:
    answer = front.ask(host, path if query is None else f"{path}?{query}")
    redirect = match(_ALL, host, path, query)
    if redirect is None:
        assert answer.status == 421
    else:
        expected = (redirect.status, redirect.location(path, query))
        assert (answer.status, answer.headers["Location"]) == expected


def test_a_redirect_goes_before_the_service_of_its_host_and_the_rest_stays_the_services(
    open_front: Any,
) -> None:
    moved = Redirect(Source.parse("web.localhost/moved"), _WWW)
    front = open_front({"svc": Route("web.localhost")}, Names(redirects=[moved]))
    assert front.ask("web.localhost", "/moved", tls=True).headers["Location"] == _WWW
    assert front.ask("web.localhost", "/moved").headers["Location"] == _WWW
    to_https = f"https://web.localhost:{front.https_port}/else"
    assert front.ask("web.localhost", "/else").headers["Location"] == to_https


def test_a_change_is_over_when_the_worker_from_before_takes_no_connection_any_more(
    open_front: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    front = open_front({}, Names(redirects=[Redirect(Source.parse("one.example"), _WWW)]))
    haproxy = front.edge._haproxy
    ask, asked = haproxy._ask, 0

    async def slow(line: str) -> str:
        """As a worker that has not come to its signals yet."""
        nonlocal asked
        if not line.endswith(" show info"):
            return str(await ask(line))
        asked += 1
        return "Stopping: 0\n" if asked < 4 else "Stopping: 1\n"

    monkeypatch.setattr(haproxy, "_ask", slow)
    front.do(front.edge.rename(Names()))
    assert asked == 4
    assert front.ask("one.example").status == 421


def test_each_answer_is_counted_for_its_redirect_across_reloads(open_front: Any, eventually: Any) -> None:
    one, two = (Redirect(Source.parse(host), _WWW) for host in ("one.example", "two.example"))
    front = open_front({}, Names(redirects=[one, two]))
    for host in ("one.example", "one.example", "two.example"):
        front.ask(host)

    def seen() -> dict[str, int]:
        """An answer is counted a moment after it has been given."""
        counted = counts(front.do(front.edge.statistics()))
        return {name: count for (_, name), count in counted.items() if count}

    eventually(lambda: seen() == {one.id: 2, two.id: 1})
    front.do(front.edge.rename(Names(redirects=[one])))
    front.ask("one.example")
    assert front.ask("two.example").status == 421
    eventually(lambda: one.id in seen())


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("Example.COM.", Source("example.com", "/", prefix=True)),
        ("example.com/", Source("example.com", "/")),
        ("example.com/*", Source("example.com", "/", prefix=True)),
        ("example.com/a%20b", Source("example.com", "/a%20b")),
        ("example.com/a/*", Source("example.com", "/a/", prefix=True)),
        ("example.com/a?b=c", Source("example.com", "/a", "b=c")),
        ("*.example.com/a", Source("*.example.com", "/a")),
    ],
)
def test_a_source_is_read_and_written_the_same(text: str, source: Source) -> None:
    assert Source.parse(text) == source
    assert Source.parse(str(source)) == source


@pytest.mark.parametrize(
    "text",
    [
        *("", "example", "https://example.com", "example.com/a b", "example.com/a*", "example.com/a/*?b"),
        *(
            "example.com?a",
            "example.com/ä",
            "a.*.example.com",
            "example.com:80/a",
            'example.com/"',
            "1.2.3.4",
        ),
        *("example.com/a/*/b", "example.com/a#b", "example.com/\n", "example.com/" + "a" * 2000),
    ],
)
def test_what_is_no_source_is_refused_with_the_reason(text: str) -> None:
    with pytest.raises(RedirectError):
        Source.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "www.example.com", "//www.example.com", "ftp://example.com", "javascript:alert(1)", "https://"),
        *("https://a b", 'https://a.example/"', "https://a.example/\r\nX: y", "https://user@a.example"),
        *("https://a.example:x/", "https://a.example/\\", "https://[::1/"),
    ],
)
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(RedirectError):
        Target.parse(text)


@given(
    base=st.sampled_from(
        ["https://a.example", "https://a.example/b", "https://a.example/b/?c", "http://x.y/#f"]
    ),
    path=st.text("abc/%", max_size=8).map(lambda text: f"/{text}"),
    query=st.none() | st.text("abc=&", max_size=5),
)
def test_what_is_kept_is_in_the_location_byte_for_byte(base: str, path: str, query: str | None) -> None:
    location = Redirect(Source.parse("s.example"), base).location(path, query)
    before, _, _ = location.partition("#")
    way, _, asked = before.partition("?")
    assert way.endswith(path)
    assert asked.endswith(query or "")


@pytest.fixture
def redirects(tmp_path: Path) -> Any:
    with bucketlog.connect(f"file://{tmp_path / 'db'}") as database:
        store = Redirects(database)
        store.load()
        yield store, database


def test_redirects_are_kept_and_found_again(redirects: Any) -> None:
    store, database = redirects
    now = datetime.now(UTC).replace(microsecond=0)
    kept = Redirect(
        Source.parse("a.example/x?y"), _WWW, 308, keep_path=False, keep_query=False, created_at=now
    )
    store.add(kept)
    store.add(Redirect(Source.parse("b.example"), _WWW))
    store.remove(Source.parse("b.example"))
    again = Redirects(database)
    again.load()
    assert again.all() == [kept]


def test_a_source_has_one_redirect_and_none_to_itself(redirects: Any) -> None:
    store, _ = redirects
    store.add(Redirect(Source.parse("a.example"), _WWW))
    with pytest.raises(RedirectError, match="already"):
        store.add(Redirect(Source.parse("A.example/*"), "https://b.example"))
    with pytest.raises(RedirectError, match="itself"):
        store.add(Redirect(Source.parse("c.example/x/*"), "https://C.example/x/y"))
    with pytest.raises(NoSuchRedirectError):
        store.remove(Source.parse("never.example"))
    with pytest.raises(RedirectError, match="301"):
        Redirect(Source.parse("d.example"), _WWW, 303)  # type: ignore[arg-type]
