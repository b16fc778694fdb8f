"""Configuration: read once at the start, refused with every name that is wrong."""

import os
import subprocess
import sys

import pytest

from company_site import Mode, Settings, SettingsError

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
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_variable(name, value):
    with pytest.raises(SettingsError, match=rf"^{name} "):
        Settings.from_environment({**STORES, name: value})


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
    for name in ("DATABASE_URL", "UPLOADS_URL", "SITE_MODE", "SITE_NAME", "HOST", "PORT"):
        assert name in done.stdout
