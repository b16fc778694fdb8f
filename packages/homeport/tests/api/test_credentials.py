"""Keys and tokens: kept for root's eyes alone, derived where they can be, refused when they are not ours."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.credentials import TOKEN_LIFETIME, AccessKey, CredentialsError, Keyring, Principal

_RING = Keyring(AccessKey("HPROOTAAAA", "root-secret"), b"master")
_NOW = datetime(2026, 7, 1, tzinfo=UTC)


def test_a_new_directory_gets_keys_for_its_owners_eyes_alone(tmp_path: Path) -> None:
    keyring = Keyring.open(tmp_path)
    path = tmp_path / "credentials.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["credentials.json"]
    again = Keyring.open(tmp_path)
    assert again.root == keyring.root
    assert again.service_key("blog", "1") == keyring.service_key("blog", "1")


def test_two_directories_have_different_keys(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, two = Keyring.open(tmp_path / "a"), Keyring.open(tmp_path / "b")
    assert one.root.id != two.root.id
    assert one.root.secret != two.root.secret
    assert one.service_key("blog", "1").secret != two.service_key("blog", "1").secret


def test_processes_that_make_the_keys_at_once_agree_on_them(tmp_path: Path) -> None:
    found: list[AccessKey] = []
    together = threading.Barrier(16)

    def openit() -> None:
        together.wait()
        found.append(Keyring.open(tmp_path).root)

    threads = [threading.Thread(target=openit) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16
    assert len(set(found)) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["credentials.json"]


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{",
        "[]",
        "null",
        "\x00\x00\x00",
        '{"access_key_id": "topsecret-id"}',
        '{"access_key_id": "i", "secret_access_key": "topsecret", "master_secret": "not hex topsecret"}',
        '{"access_key_id": "i", "secret_access_key": ["topsecret"], "master_secret": "00"}',
        '{"access_key_id": "", "secret_access_key": "topsecret", "master_secret": "00"}',
        '{"access_key_id": "i", "secret_access_key": "topsecret", "master_secret": ""}',
        "[" * 100_000,
    ],
)
def test_a_damaged_file_is_said_to_be_damaged_without_its_secrets(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "credentials.json"
    path.write_text(damage)
    with pytest.raises(CredentialsError, match="is damaged; restore it") as caught:
        Keyring.open(tmp_path)
    assert "topsecret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert path.read_text() == damage, "keys must never be replaced unasked"


def test_a_cut_off_file_is_damaged_at_whatever_byte(tmp_path: Path) -> None:
    secret = Keyring.open(tmp_path).root.secret
    path = tmp_path / "credentials.json"
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(CredentialsError) as caught:
            Keyring.open(tmp_path)
        assert secret not in str(caught.value)


def test_a_file_that_cannot_be_read_or_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="cannot be made: No such file"):
        Keyring.open(tmp_path / "nowhere")
    with pytest.raises(CredentialsError, match="cannot be read: No such file"):
        Keyring.load(tmp_path)
    (tmp_path / "credentials.json").mkdir()
    with pytest.raises(CredentialsError, match="cannot be read: Is a directory"):
        Keyring.open(tmp_path)


def test_a_killed_process_leaves_no_half_written_keys(tmp_path: Path) -> None:
    (tmp_path / f".credentials.json.{os.getpid()}").write_text("{")
    made = Keyring.open(tmp_path)
    assert Keyring.load(tmp_path).root == made.root


def test_no_secret_shows_in_a_repr() -> None:
    key = _RING.service_key("blog", "1")
    assert key.secret not in repr(key)
    assert "root-secret" not in repr(_RING) + repr(_RING.root)
    assert "master" not in repr(_RING)


@given(st.text(min_size=1).filter(lambda name: "/" not in name), st.text(min_size=1))
def test_a_services_key_says_whose_it_is(name: str, service_id: str) -> None:
    key = _RING.service_key(name, service_id)
    assert _RING.find(key.id) == (Principal(name, service_id), key.secret)


def test_each_service_has_another_secret() -> None:
    pairs = [("blog", "1"), ("blog", "2"), ("blo", "g/1"), ("shop", "1")]
    assert len({_RING.service_key(name, identity).secret for name, identity in pairs}) == 4


def test_the_root_key_is_found() -> None:
    assert _RING.find("HPROOTAAAA") == (Principal(), "root-secret")
    assert Principal().is_root


@given(st.one_of(st.text(), st.text().map("HPSVC".__add__), st.text("ABCXYZ234567=").map("HPSVC".__add__)))
def test_a_hostile_key_id_is_nobody_or_some_service_but_never_the_owner(key_id: str) -> None:
    found = _RING.find(key_id)
    assert found is None or (not found[0].is_root and found[1] != _RING.root.secret)


def test_a_token_opens_the_registry_until_it_ends() -> None:
    token, expires = _RING.registry_token(Principal(), _NOW)
    assert expires == _NOW + TOKEN_LIFETIME
    assert _RING.opens_registry("AWS", token, _NOW)
    assert _RING.opens_registry("AWS", token, expires - timedelta(seconds=1))
    assert not _RING.opens_registry("AWS", token, expires)
    assert not _RING.opens_registry("aws", token, _NOW)
    assert not _RING.opens_registry("HPROOTAAAA", token, _NOW)


def test_a_tokens_end_cannot_be_moved() -> None:
    token, _ = _RING.registry_token(Principal(), _NOW)
    seconds, _, signature = token.partition(".")
    assert not _RING.opens_registry("AWS", f"{int(seconds) + 1}.{signature}", _NOW)
    assert not _RING.opens_registry("AWS", f"0{seconds}.{signature}", _NOW)
    assert not _RING.opens_registry("AWS", f"{seconds}.{signature[:-1]}", _NOW)
    assert not _RING.opens_registry("AWS", seconds, _NOW)


def test_a_token_of_another_directory_opens_nothing() -> None:
    other = Keyring(_RING.root, b"another master")
    assert not _RING.opens_registry("AWS", other.registry_token(Principal(), _NOW)[0], _NOW)


def test_a_services_secret_is_no_token() -> None:
    key = _RING.service_key("blog", "1")
    assert not _RING.opens_registry(key.id, key.secret, _NOW)
    assert not _RING.opens_registry("AWS", key.secret, _NOW)


@given(st.sampled_from(["AWS", "HPROOTAAAA", "", "é"]), st.text())
def test_no_password_that_was_not_given_out_opens_the_registry(user: str, password: str) -> None:
    assert not _RING.opens_registry(user, password, _NOW)
    assert not _RING.opens_registry(user, f"{'9' * 12}.{password}", _NOW)


def test_the_root_key_opens_the_registry_too() -> None:
    assert _RING.opens_registry("HPROOTAAAA", "root-secret", _NOW)


@pytest.mark.parametrize(
    ("service", "bucket", "may"),
    [
        ("blog", "blog", True),
        ("blog", "blog-data", True),
        ("Blog", "blog-data", True),
        ("blog", "blogger", False),
        ("blog", "shop-blog", False),
        ("blog", "", False),
        ("blog", "Blog", False),
    ],
)
def test_a_service_has_the_buckets_of_its_name(service: str, bucket: str, may: bool) -> None:
    assert Principal(service, "1").may_use_bucket(bucket) is may
