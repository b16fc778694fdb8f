"""`homeport redirect`, against a homeport that runs."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench.ports import free_port


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory of a homeport that serves."""
    folder = tmp_path_factory.mktemp("redirecting") / "port"
    process = start(folder)
    yield folder
    process.send_signal(signal.SIGTERM)
    process.wait(60)


def start(folder: Path) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-m", "homeport", "serve", "--data", str(folder)]
    for option in ("--port", "--https-port", "--http-port"):
        arguments += [option, str(free_port())]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    with process.stderr:
        for line in process.stderr:
            if "to drive it" in line:
                return process
    raise AssertionError("homeport did not start")


@pytest.fixture
def redirect(data: Path) -> Any:
    def run(*arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "homeport", "redirect", *arguments, "--data", str(data)],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            env={**os.environ, "PYTHONUTF8": "1"},
        )
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    return run


def location(data: Path, host: str, target: str) -> tuple[int, str | None]:
    port = json.loads((data / "homeport.json").read_text())["http_port"]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", target, headers={"Host": host})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, answer.headers["Location"]


def test_a_redirect_is_added_answers_is_listed_with_its_hits_and_removed(
    data: Path, redirect: Any, eventually: Any
) -> None:
    said = redirect("add", "Apex.example", "https://www.apex.example", "--status", "308", "--drop-query")
    assert said == "apex.example → https://www.apex.example (308)\n"
    assert location(data, "apex.example", "/a%20b?q") == (308, "https://www.apex.example/a%20b")
    eventually(lambda: json.loads(redirect("ls", "--json"))[0]["hits"] == 1)  # counted a moment later
    (shown,) = json.loads(redirect("ls", "--json"))
    assert (shown["source"], shown["status"], shown["hits"]) == ("apex.example", 308, 1)
    assert (shown["keep_path"], shown["keep_query"]) == (True, False)
    table = redirect("ls").splitlines()
    assert table[0].split() == ["SOURCE", "TARGET", "STATUS", "HITS", "HTTPS"]
    assert table[1].startswith("apex.example  https://www.apex.example (without query)  308     1     ")
    assert redirect("rm", "apex.example") == "apex.example is not redirected any more\n"
    assert location(data, "apex.example", "/")[0] == 421
    assert json.loads(redirect("ls", "--json")) == []


def test_a_local_host_has_https_at_once_and_another_says_what_it_lacks(
    redirect: Any, eventually: Any
) -> None:
    for host in ("old.shop.localhost", "*.shop.localhost", "old.example"):
        redirect("add", host, "https://new.example")

    def https() -> dict[str, str]:
        return {one["source"]: one["https"] for one in json.loads(redirect("ls", "--json"))}

    eventually(lambda: https()["old.shop.localhost"] == "yes")
    eventually(lambda: "--acme" in https()["old.example"])
    assert "wildcard" in https()["*.shop.localhost"]
    for host in ("old.shop.localhost", "*.shop.localhost", "old.example"):
        redirect("rm", host)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("add", "nodots", "https://a.example"), "no host name"),
        (("add", "a.example/x y", "https://a.example"), "no source"),
        (("add", "a.example", "www.a.example"), "whole URL"),
        (("add", "a.example", "https://a.example/b"), "itself"),
        (("rm", "never.example"), "not redirected"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(
    redirect: Any, arguments: tuple[str, ...], words: str
) -> None:
    assert words in redirect(*arguments, code=1)


def test_a_call_that_nobody_signed_is_refused(data: Path) -> None:
    endpoint = json.loads((data / "homeport.json").read_text())["endpoint"]
    with pytest.raises(urllib.error.HTTPError, match="403") as refused:
        urllib.request.urlopen(f"{endpoint}/_homeport/redirects")
    refused.value.close()


def test_redirects_and_their_hits_outlive_a_crash(tmp_path: Path, eventually: Any) -> None:
    process = start(tmp_path)
    try:
        arguments = [sys.executable, "-m", "homeport", "redirect"]
        add = [*arguments, "add", "apex.example", "https://www.apex.example", "--data", str(tmp_path)]
        subprocess.run(add, check=True, stdout=subprocess.DEVNULL, timeout=300)
        ls = [*arguments, "ls", "--json", "--data", str(tmp_path)]
        location(tmp_path, "apex.example", "/")
        subprocess.run(ls, check=True, stdout=subprocess.DEVNULL, timeout=300)
        process.kill()
        process.wait(60)
        process = start(tmp_path)
        assert location(tmp_path, "apex.example", "/")[0] == 301

        def hits() -> int:
            shown = subprocess.run(ls, check=True, capture_output=True, text=True, timeout=300).stdout
            return int(json.loads(shown)[0]["hits"])

        eventually(lambda: hits() == 2)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
