"""Health checks against real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from homeport.health import UnhealthyError, check, until_healthy, until_unhealthy
from homeport.model import HealthCheck

HTTP = HealthCheck(protocol="HTTP", path="/healthz", interval=1, timeout=60, unhealthy_threshold=1)
Answer = Callable[[bytes], bytes]


async def _serving(answer: Answer, ask: Callable[[int], Awaitable[None]]) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            writer.write(answer(request))
        except asyncio.IncompleteReadError:
            pass
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        await ask(server.sockets[0].getsockname()[1])


def test_who_rests_is_not_asked_and_not_ill_for_having_been_asked_as_the_rest_began() -> None:
    asked: list[bytes] = []
    health = HealthCheck(protocol="HTTP", path="/", interval=0, timeout=60, unhealthy_threshold=1)

    def answer(request: bytes) -> bytes:
        asked.append(request)
        return b"HTTP/1.1 500 \r\n\r\n"

    async def ask(port: int) -> None:
        rests = iter([True, True, False, True, False, False])
        said = await until_unhealthy("127.0.0.1", port, health, "web", lambda: next(rests))
        assert said == "GET / answered 500"

    asyncio.run(_serving(answer, ask))
    assert len(asked) == 2


@pytest.mark.parametrize("status", [200, 204, 302])
def test_an_answer_of_2xx_or_3xx_is_healthy(status: int) -> None:
    seen: list[bytes] = []

    def answer(request: bytes) -> bytes:
        seen.append(request)
        return b"HTTP/1.1 %d \r\nContent-Length: 0\r\n\r\n" % status

    asyncio.run(_serving(answer, lambda port: check("127.0.0.1", port, HTTP, "web.localhost:8443")))
    assert seen[0].startswith(b"GET /healthz HTTP/1.1\r\nHost: web.localhost:8443\r\n")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 500 Oh\r\n\r\n", "GET /healthz answered 500"),
        (b"HTTP/1.1 404 \r\n\r\n", "answered 404"),
        (b"SSH-2.0-x\r\n", "not HTTP"),
        (b"HTTP/1.1\r\n\r\n", "not HTTP"),
        (b"", "not HTTP"),
        (b"x" * 100_000, "not HTTP"),
    ],
)
def test_any_other_answer_is_unhealthy_and_the_error_says_why(answer: bytes, why: str) -> None:
    async def ask(port: int) -> None:
        with pytest.raises(UnhealthyError, match=why):
            await check("127.0.0.1", port, HTTP, "x")

    asyncio.run(_serving(lambda _: answer, ask))


def test_a_tcp_check_needs_a_listener_only() -> None:
    asyncio.run(_serving(lambda _: b"", lambda port: check("127.0.0.1", port, HealthCheck(), "x")))


def test_nobody_there_is_unhealthy_once_the_time_is_over(free_port: Callable[[], int]) -> None:
    health = HealthCheck(interval=1, unhealthy_threshold=1)
    port = free_port()
    with pytest.raises(UnhealthyError, match=f"not healthy within 1 s: nothing listens on port {port}"):
        asyncio.run(until_healthy("127.0.0.1", port, health, "x"))


def test_an_instance_is_healthy_after_as_many_good_answers_in_a_row_as_the_threshold_says() -> None:
    answers = [200, 500, 200, 200, 500, 200, 200, 200]
    given: list[int] = []

    def answer(_: bytes) -> bytes:
        given.append(answers[len(given)])
        return b"HTTP/1.1 %d \r\n\r\n" % given[-1]

    health = HealthCheck("HTTP", "/", interval=5, timeout=60, healthy_threshold=3)
    asyncio.run(_serving(answer, lambda port: until_healthy("127.0.0.1", port, health, "x")))
    assert given == answers


def test_a_running_instance_is_ill_after_as_many_bad_answers_in_a_row() -> None:
    async def ask(port: int) -> None:
        assert await until_unhealthy("127.0.0.1", port, HTTP, "x") == "GET /healthz answered 503"

    asyncio.run(_serving(lambda _: b"HTTP/1.1 503 \r\n\r\n", ask))
