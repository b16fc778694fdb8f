"""The page about a server of one's own: its commands run, with pebble in the place of Let's Encrypt."""

from __future__ import annotations

import configparser
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from homeport.cli import _parser

_PAGE = (Path(__file__).parents[4] / "docs/own-server.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", _PAGE, re.MULTILINE | re.DOTALL)


def test_the_unit_starts_what_homeport_understands() -> None:
    (unit,) = blocks("ini")
    parser = configparser.ConfigParser(strict=True)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(unit.replace("\\\n", ""))
    program, *arguments = shlex.split(parser["Service"]["ExecStart"])
    assert Path(program).name == "homeport"
    options = _parser().parse_args(arguments)
    assert (options.address, options.https_port, options.http_port) == ("::", 443, 80)
    assert (options.domain, options.console) == ("apps.example.com", "admin.apps.example.com")


def test_the_scrape_is_of_an_endpoint_that_is_there() -> None:
    (job,) = yaml.safe_load(blocks("yaml")[0])["scrape_configs"]
    assert job["metrics_path"] == "/_homeport/metrics"


def test_its_commands_run(
    open_homeport: Any, open_pebble: Any, make_image: Any, free_port: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    http_port = free_port()
    pebble = open_pebble(http_port)
    monkeypatch.setenv("SSL_CERT_FILE", str(pebble.trust))
    homeport = open_homeport(
        *("--http-port", str(http_port), "--domain", "apps.example.com", "--acme", pebble.directory)
    )
    homeport.by_boto3("ecr", "CreateRepository", repositoryName="shop")
    homeport.push(make_image(), "shop")
    homeport.create("shop")
    script = "\n".join(["set -eu", f"cd {homeport.data.parent}", *blocks("sh")])
    said = homeport.run("bash", "-c", script)
    assert "export AWS_ENDPOINT_URL=" in said
    assert "ACTIVE" in said
    assert re.search(r"example\.com\s+https://www\.example\.com\s+301", said)
    assert 'homeport_services{status="RUNNING"}' in said
