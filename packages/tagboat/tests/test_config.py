"""`[tool.tagboat]`: what is written there, or why it is refused."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagboat.config import Config, parse_config
from tagboat.errors import ConfigError
from tagboat.table import Text

FILE = Path("/shop/pyproject.toml")


def parse(table: dict, scripts: tuple[str, ...] = ("shop",)) -> Config:
    return parse_config(table, FILE, name="shop", scripts=scripts)


def refusal(table: dict, scripts: tuple[str, ...] = ("shop",)) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse(table, scripts)
    return caught.value


def test_everything_may_be_left_out():
    config = parse({})
    assert config.base == "debian:bookworm"
    assert config.entrypoint == ("shop",)
    assert config.repository == "shop"
    assert config.user == "65532:65532"
    assert config.lock is None
    assert config.python is None
    assert config.expanded_environment() == {}
    service = config.service
    assert (service.name, service.port, service.cpu, service.memory) == (None, 8080, 256, 512)
    assert service.health_path is None
    assert service.expanded_environment() == {}


def test_every_key_is_read(monkeypatch):
    monkeypatch.setenv("LEVEL", "debug")
    config = parse(
        {
            "base": "oci:base",
            "entrypoint": ["uvicorn", "shop:app", "--port", "$PORT"],
            "environment": {"LOG_LEVEL": "${LEVEL}!"},
            "user": "1000",
            "lock": "locks/linux.lock",
            "python": "/opt/python/bin/python3",
            "interpreter": "python.tar.gz",
            "repository": "team/shop",
            "service": {
                "name": "storefront",
                "port": 8000,
                "cpu": 1024,
                "memory": 2048,
                "health-path": "/healthz",
                "environment": {"PRICE": "5$$"},
            },
        }
    )
    assert config.base == "oci:base"
    assert config.entrypoint == ("uvicorn", "shop:app", "--port", "$PORT")
    assert config.expanded_environment() == {"LOG_LEVEL": "debug!"}
    assert config.user == "1000"
    assert config.lock == "locks/linux.lock"
    assert config.python == "/opt/python/bin/python3"
    assert config.interpreter == "python.tar.gz"
    assert config.repository == "team/shop"
    assert config.service.name == "storefront"
    assert config.service.port == 8000
    assert config.service.cpu == 1024
    assert config.service.memory == 2048
    assert config.service.health_path == "/healthz"
    assert config.service.expanded_environment() == {"PRICE": "5$"}


def test_an_unset_variable_is_named_with_its_key_and_file(monkeypatch):
    monkeypatch.delenv("SHOP_TOKEN", raising=False)
    config = parse({"service": {"environment": {"TOKEN": "x-${SHOP_TOKEN}"}}})
    with pytest.raises(ConfigError) as caught:
        config.service.expanded_environment()
    assert str(caught.value) == (
        "/shop/pyproject.toml: tool.tagboat.service.environment.TOKEN: "
        "the environment variable SHOP_TOKEN is not set"
    )
    assert caught.value.exit_code == 2


def test_variables_are_looked_up_only_when_used(monkeypatch):
    monkeypatch.delenv("REGISTRY_NAME", raising=False)
    config = parse({"repository": "$REGISTRY_NAME/shop", "environment": {"X": "$REGISTRY_NAME"}})
    monkeypatch.setenv("REGISTRY_NAME", "team")
    assert config.repository == "team/shop"


@pytest.mark.parametrize("text", ["$", "a $ b", "${", "${}", "$1", "${A-b}", "$-"])
def test_a_dollar_sign_that_starts_no_variable_is_refused(text):
    with pytest.raises(ConfigError, match=r"a `\$` that starts no variable"):
        Text(text, "tool.tagboat.base", FILE).expanded()


@given(st.text())
def test_any_text_survives_when_its_dollar_signs_are_doubled(text):
    assert Text(text.replace("$", "$$"), "key", FILE).expanded() == text


@pytest.mark.parametrize(
    ("table", "key", "near"),
    [
        ({"entry-point": ["x"]}, "tool.tagboat.entry-point", "entrypoint"),
        ({"enviroment": {}}, "tool.tagboat.enviroment", "environment"),
        ({"service": {"health_path": "/"}}, "tool.tagboat.service.health_path", "health-path"),
        ({"service": {"mem": 5}}, "tool.tagboat.service.mem", "memory"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(table, key, near):
    error = refusal(table)
    assert str(error) == f"/shop/pyproject.toml: unknown key {key}"
    assert error.hint == f"did you mean `{near}`?"


def test_an_unknown_key_like_no_other_gets_the_list():
    assert "known keys: base, build-from-source, byte-code, ci, compression" in refusal({"zzz": 1}).hint


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"base": 5}, "tool.tagboat.base must be a string, not an integer"),
        ({"base": ""}, "tool.tagboat.base is empty"),
        ({"lock": ""}, "tool.tagboat.lock is empty"),
        ({"entrypoint": "shop"}, "tool.tagboat.entrypoint must be a list of strings, not a string"),
        ({"entrypoint": []}, "tool.tagboat.entrypoint must be a list of strings with at least one"),
        ({"entrypoint": ["a", 1]}, "tool.tagboat.entrypoint must be a list of strings with at least one"),
        ({"build-from-source": "a"}, "tool.tagboat.build-from-source must be a list of names, not a string"),
        ({"build-from-source": ["../a"]}, "build-from-source must be a list of names of packages"),
        ({"interpreter": {"x86": "a.tar"}}, "unknown key tool.tagboat.interpreter.x86"),
        ({"interpreter": {}}, "tool.tagboat.interpreter is empty: 'amd64' or 'arm64'"),
        ({"compression": "xz"}, "tool.tagboat.compression is 'xz', not 'gzip' or 'zstd'"),
        ({"stop-signal": "TERM"}, "tool.tagboat.stop-signal is 'TERM', no signal of Linux such as 'SIGTERM'"),
        ({"byte-code": "no"}, 'tool.tagboat.byte-code must be true, false or "imported", not a string'),
        ({"environment": {"A": 1}}, "tool.tagboat.environment.A must be a string, not an integer"),
        ({"environment": {"A=B": "x"}}, "tool.tagboat.environment.A=B is no name"),
        ({"user": "app"}, "tool.tagboat.user is 'app', not UID or UID:GID in numbers"),
        ({"python": "python3"}, "tool.tagboat.python is 'python3', which does not start with `/`"),
        ({"service": []}, "tool.tagboat.service must be a table, not a list"),
        ({"service": {"port": True}}, "tool.tagboat.service.port must be an integer, not a boolean"),
        ({"service": {"port": 70000}}, "tool.tagboat.service.port is 70000, not between 1 and 65535"),
        ({"service": {"cpu": 0.25}}, "tool.tagboat.service.cpu must be an integer, not a float"),
        ({"service": {"health-path": "healthz"}}, "service.health-path is 'healthz', which does not start"),
    ],
)
def test_a_wrong_value_is_refused_with_file_and_key(table, message):
    text = str(refusal(table))
    assert text.startswith("/shop/pyproject.toml: ")
    assert message in text


def test_without_an_entry_point_there_must_be_exactly_one_script():
    assert "no script is defined" in str(refusal({}, scripts=()))
    assert refusal({"entrypiont": ["shop"]}, scripts=()).hint == "did you mean `entrypoint`?"
    assert "has 2: a, b" in str(refusal({}, scripts=("a", "b")))
