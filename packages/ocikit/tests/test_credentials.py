"""Credentials from docker's configuration, and from its helpers."""

import base64
import json
import os
import sys

import pytest

from ocikit import Credentials, OcikitError, find_credentials


@pytest.fixture
def docker(tmp_path, monkeypatch):
    """Writes docker's configuration."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    def write(config):
        text = config if isinstance(config, str) else json.dumps(config)
        (tmp_path / "config.json").write_text(text)

    return write


def _auth(text):
    return {"auth": base64.b64encode(text.encode()).decode()}


def test_a_login_is_found_by_host(docker):
    assert find_credentials("host.x") is None
    docker({"auths": {"host.x:5000": _auth("me:a:b"), "https://index.docker.io/v1/": _auth("hub:c")}})
    assert find_credentials("host.x:5000") == Credentials("me", "a:b")
    assert find_credentials("docker.io") == Credentials("hub", "c")
    assert find_credentials("other.x") is None


def test_a_helper_is_asked_as_the_protocol_says(docker, tmp_path):
    helper = tmp_path / "docker-credential-test"
    helper.write_text(
        '#!/bin/sh\nread host\n[ "$1 $host" = "get host.x" ] && echo \'{"Username": "u", "Secret": "p"}\' '
        "|| { echo credentials not found in native keychain; exit 1; }\n"
    )
    helper.chmod(0o755)
    docker({"credHelpers": {"host.x": "test"}})
    assert find_credentials("host.x") == Credentials("u", "p")
    docker({"credsStore": "test"})
    assert find_credentials("host.x") == Credentials("u", "p")
    assert find_credentials("other.x") is None


def test_a_helper_that_is_not_installed_is_told_with_the_file_that_names_it(docker):
    docker({"credHelpers": {"host.x": "absent"}})
    with pytest.raises(OcikitError, match=r"-absent, which .*config\.json names for host\.x, is not on PATH"):
        find_credentials("host.x")


@pytest.mark.parametrize(
    "script",
    [
        "echo the secret is p; exit 3",
        "echo the secret is p",
        """echo '{"Secret": "the secret is p"}'""",
        """echo '{"Username": "u", "Secret": ["the secret is p"]}'""",
        "printf '\\377'",
    ],
)
def test_a_helper_that_fails_or_raves_is_an_error_that_does_not_repeat_it(docker, tmp_path, script):
    helper = tmp_path / "docker-credential-test"
    helper.write_text(f"#!/bin/sh\nread host\n{script}\n")
    helper.chmod(0o755)
    docker({"credsStore": "test"})
    with pytest.raises(OcikitError, match="docker-credential-test") as caught:
        find_credentials("host.x")
    assert "secret is" not in str(caught.value)


@pytest.mark.parametrize(
    "config",
    [
        "{",
        "[]",
        {"auths": {"host.x": {"auth": "!"}}},
        {"auths": {"host.x": {"auth": "\N{SNOWMAN}"}}},
        {"auths": {"host.x": {"auth": "/w=="}}},
        {"auths": {"host.x": {"auth": 7}}},
        {"auths": {"host.x": "s3cret"}},
        {"auths": ["s3cret"]},
        {"credHelpers": []},
        {"credsStore": ["x"]},
        {"credsStore": "absent"},
    ],
)
def test_a_broken_configuration_is_said_without_what_is_in_it(docker, config):
    docker(config)
    with pytest.raises(OcikitError) as caught:
        find_credentials("host.x")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "config", [{}, {"auths": None, "credHelpers": None, "credsStore": None}, {"auths": {"host.x": {}}}]
)
def test_members_that_docker_leaves_empty_are_no_login(docker, config):
    docker(config)
    assert find_credentials("host.x") is None


def test_an_identity_token_is_kept_as_one(docker):
    docker({"auths": {"host.x": {"auth": base64.b64encode(b"00000000:").decode(), "identitytoken": "t"}}})
    assert find_credentials("host.x") == Credentials("<token>", "t")


@pytest.fixture
def provider(tmp_path, monkeypatch):
    """Installs a provider of credentials: a distribution with an entry point."""

    def install(body, name="test"):
        information = tmp_path / f"provider_{name}-1.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: provider-{name}\nVersion: 1\n")
        (information / "entry_points.txt").write_text(
            f"[ocikit.credentials]\n{name} = provider_{name}:provide\n"
        )
        (tmp_path / f"provider_{name}.py").write_text(
            f"from ocikit import Credentials, OcikitError\ndef provide(registry):\n    {body}\n"
        )
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, f"provider_{name}", raising=False)

    return install


def test_an_installed_provider_is_asked_where_docker_knows_nothing(docker, provider):
    provider("return Credentials('us', registry) if registry.endswith('.x') else None")
    assert find_credentials("host.x") == Credentials("us", "host.x")
    assert find_credentials("host.y") is None
    docker({"auths": {"host.x": _auth("me:mine")}})
    assert find_credentials("host.x") == Credentials("me", "mine")


def test_of_many_providers_the_first_that_knows_is_taken(docker, provider):
    provider("return Credentials('b', 'b')", "b")
    provider("return None", "a")
    assert find_credentials("host.x") == Credentials("b", "b")


@pytest.mark.parametrize(
    "body",
    ["raise ValueError('s3cret')", "return 's3cret'", "return no_such_name", "import no_such_module_at_all"],
)
def test_a_provider_that_fails_is_named_and_not_repeated(docker, provider, body):
    provider(body)
    with pytest.raises(OcikitError, match=r"provider test \(provider_test:provide\)") as caught:
        find_credentials("host.x")
    assert "s3cret" not in str(caught.value)


def test_a_provider_s_own_error_is_passed_on(docker, provider):
    provider("raise OcikitError('log in to the cloud first')")
    with pytest.raises(OcikitError, match="log in to the cloud first"):
        find_credentials("host.x")


def test_a_password_is_not_shown():
    assert "secret" not in repr(Credentials("user", "secret"))
