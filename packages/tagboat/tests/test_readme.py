"""What the README shows is what works."""

import re
import tomllib
from pathlib import Path

import pytest

from tagboat.config import parse_config
from tagboat.errors import ConfigError

README = (Path(__file__).parents[1] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_python_example_runs(project, build_cache, tmp_path, monkeypatch, capsys):
    (example,) = blocks("python")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop").symlink_to(project.directory)
    (tmp_path / "cache").symlink_to(build_cache)
    exec(compile(example, "README.md", "exec"), {})  # noqa: S102
    assert (tmp_path / "image" / "index.json").is_file()
    printed = capsys.readouterr().out
    assert "debian:bookworm" in printed
    assert "dependencies" in printed


def test_the_configuration_example_is_valid_and_shows_every_key():
    (example,) = blocks("toml")
    table = tomllib.loads(example)["tool"]["tagboat"]
    config = parse_config(table, Path("pyproject.toml"), name="shop", scripts=())
    assert config.entrypoint == ("shop", "serve")
    assert sorted(table) == known_keys({"?": 1})
    assert sorted(table["service"]) == known_keys({"service": {"?": 1}})
    assert sorted([*table["ci"], "gitlab"]) == known_keys({"ci": {"?": 1}})
    targets = {"production": {"kind": "vm", "?": 1}}
    others = ("homeport-version", "instance-type", "concurrency", "scale-on", "scale-target", "secrets")
    assert sorted([*table["targets"]["production"], *others]) == known_keys({"targets": targets})


def known_keys(table: dict) -> list[str]:
    """As the refusal of an unknown key lists them."""
    with pytest.raises(ConfigError) as caught:
        parse_config(table, Path("pyproject.toml"), name="shop", scripts=("shop",))
    return caught.value.hint.removeprefix("known keys: ").split(", ")
