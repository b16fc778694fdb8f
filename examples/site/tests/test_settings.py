"""Configuration: read once at the start, refused with every name that is wrong."""

import os
import subprocess
import sys

import pytest

from company_site import Mode, Settings, SettingsError
from company_site.accounts.model import parse_email
from company_site.settings import VARIABLES

STORES = {"DATABASE_URL": "s3://site-data/db", "UPLOADS_URL": "file:///srv/uploads"}


def test_two_urls_are_enough():
    settings = Settings.from_environment(STORES)
    assert settings == Settings("s3://site-data/db", "file:///srv/uploads")
    assert (settings.mode, settings.port, settings.site_name) == (Mode.PROD, 8080, "Northpier")


def test_everything_can_be_set():
    settings = Settings.from_environment(
        {
            **STORES,
            "SITE_MODE": "demo",
            "PORT": "9000",
            "HOST": "127.0.0.1",
            "SITE_NAME": "Café Øst",
            "SITE_URL": "https://cafe.example/",
        }
    )
    assert settings == Settings(
        database_url="s3://site-data/db",
        uploads_url="file:///srv/uploads",
        mode=Mode.DEMO,
        site_name="Café Øst",
        site_url="https://cafe.example",
        host="127.0.0.1",
        port=9000,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", ""),
        ("DATABASE_URL", "site-data"),
        ("DATABASE_URL", "https://site-data/db"),
        ("DATABASE_URL", "file://relative/path"),
        ("UPLOADS_URL", "s3://"),
        ("UPLOADS_URL", "s3://Bad_Bucket"),
        ("SITE_MODE", ""),
        ("SITE_MODE", "development"),
        ("SITE_NAME", " "),
        ("SITE_NAME", "a" * 61),
        ("SITE_NAME", "two\nlines"),
        ("SITE_URL", ""),
        ("SITE_URL", "cafe.example"),
        ("SITE_URL", "https://cafe.example/path"),
        ("SITE_URL", "https://user@cafe.example"),
        ("HOST", ""),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "http"),
        ("PORT", "²"),
        ("PROXIES", "10"),
        ("METRICS_TOKEN", "short"),
        ("OIDC_ISSUER", "https://issuer.example"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_variable(name, value):
    with pytest.raises(SettingsError, match=rf"^{name} "):
        Settings.from_environment({**STORES, name: value})


LOGIN = {
    "SITE_URL": "https://site.example/",
    "OIDC_CLIENT_ID": "site",
    "OIDC_CLIENT_SECRET": "a-secret-of-two",
    "OWNER_EMAILS": "Ines@Site.example, second@site.example",
}


def test_a_login_is_google_unless_another_issuer_is_named():
    settings = Settings.from_environment(STORES | LOGIN)
    assert settings.site_url == "https://site.example"
    assert settings.login is not None
    assert settings.login.issuer == "https://accounts.google.com"
    assert settings.login.gate.owners == {"ines@site.example", "second@site.example"}
    assert "a-secret-of-two" not in repr(settings)
    other = Settings.from_environment(STORES | LOGIN | {"OIDC_ISSUER": "https://id.example/realms/site"})
    assert other.login is not None
    assert other.login.issuer == "https://id.example/realms/site"


@pytest.mark.parametrize("name", ["SITE_URL", "OIDC_CLIENT_SECRET", "OWNER_EMAILS", "OIDC_CLIENT_ID"])
def test_a_login_without_one_of_its_parts_is_refused_by_that_name(name):
    for rest in ({}, {name: ""}):
        given = {key: value for key, value in (STORES | LOGIN).items() if key != name}
        with pytest.raises(SettingsError, match=rf"\b{name} is (not|empty|set)"):
            Settings.from_environment(given | rest)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SITE_URL", "http://site.example"),
        ("OIDC_ISSUER", "http://id.example"),
        ("OIDC_ISSUER", "https://somebody@id.example"),
        ("OIDC_ISSUER", "https://[broken"),
        ("OIDC_ISSUER", "id.example"),
        ("OIDC_HOSTED_DOMAIN", "https://site.example"),
        ("OWNER_EMAILS", "ines"),
        ("OWNER_EMAILS", "ines@site.example; b@site.example"),
        ("ALLOWED_EMAILS", "*"),
        ("ALLOWED_EMAILS", "*@*"),
        ("ALLOWED_EMAILS", "*@*.com"),
        ("ALLOWED_EMAILS", "*@*site.example"),
        ("ALLOWED_EMAILS", "example"),
        ("ALLOWED_EMAILS", ".*@site\\.example"),
        ("ALLOWED_EMAILS", "site.example, @"),
        ("SITE_MODE", "demo"),
    ],
)
def test_a_wrong_part_of_a_login_is_refused_by_name(name, value):
    with pytest.raises(SettingsError, match=rf"\b{name} (is|has)"):
        Settings.from_environment(STORES | LOGIN | {name: value})


@pytest.mark.parametrize(
    ("allowed", "let_in", "refused"),
    [
        (
            "site.example",
            ["a@site.example"],
            ["a@sub.site.example", "a@evilsite.example", "a@site.example.com"],
        ),
        ("@Site.example", ["a@site.example"], ["site.example@evil.com"]),
        ("a@site.example", ["a@site.example"], ["b@site.example", "aa@site.example"]),
        ("*@*.site.example", ["a@b.site.example", "a@b.c.site.example"], ["a@site.example"]),
        ("dev-*@site.example", ["dev-1@site.example"], ["dev@site.example", "a@b@site.example"]),
    ],
)
def test_who_is_let_in(allowed, let_in, refused):
    login = Settings.from_environment(STORES | LOGIN | {"ALLOWED_EMAILS": allowed}).login
    assert login is not None
    for email in [*let_in, "ines@site.example"]:
        assert login.gate.lets_in(email), email
    for email in refused:
        assert not login.gate.lets_in(email), email


def test_an_address_is_compared_in_ascii_alone():
    assert parse_email("Ines@Site.example") == "ines@site.example"
    for other in (
        "ines@\u212aite.example",
        "in\u0435s@site.example",
        "ines",
        "@site.example",
        "a b@site.example",
    ):
        assert parse_email(other) is None


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment({"PORT": "x", "SITE_MODE": "y"})
    for name in ("DATABASE_URL", "UPLOADS_URL", "SITE_MODE", "PORT"):
        assert name in str(refused.value)


def test_the_command_ends_with_2_and_one_line_when_settings_are_wrong():
    clean = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "UPLOADS_URL")}
    done = subprocess.run(
        [sys.executable, "-m", "company_site"], env=clean, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("site: DATABASE_URL is not set")
    assert len(done.stderr.splitlines()) == 1


def test_help_names_every_variable():
    done = subprocess.run(
        [sys.executable, "-m", "company_site", "--help"], capture_output=True, text=True, check=True
    )
    for name in VARIABLES:
        assert name in done.stdout
