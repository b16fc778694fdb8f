"""The local authority: what it signs, for whom, and for how long."""

from __future__ import annotations

import os
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from homeport.authority import Authority
from homeport.errors import HomeportError


def test_the_keys_are_readable_by_root_alone(tmp_path: Path) -> None:
    Authority(tmp_path).ensure_leaf(tmp_path / "web.pem", ["web.localhost"])
    for name in ("ca-key.pem", "web.pem"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_the_authority_stays_the_same_when_it_is_opened_again(tmp_path: Path) -> None:
    first = Authority(tmp_path).certificate_path.read_bytes()
    assert Authority(tmp_path).certificate_path.read_bytes() == first


def test_a_good_leaf_is_kept_and_one_near_its_end_or_for_other_names_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    path = tmp_path / "web.pem"
    assert authority.ensure_leaf(path, ["web.localhost"])
    assert not authority.ensure_leaf(path, ["web.localhost"])
    assert authority.ensure_leaf(path, ["other.localhost"])

    class Later(datetime):
        @classmethod
        def now(cls, _: object = None) -> datetime:  # type: ignore[override]
            return datetime.now(UTC) + timedelta(days=21)

    monkeypatch.setattr("homeport.authority.datetime", Later)
    assert authority.ensure_leaf(path, ["other.localhost"])


def test_a_damaged_leaf_is_replaced(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    path = tmp_path / "web.pem"
    path.write_text("nonsense")
    assert authority.ensure_leaf(path, ["web.localhost"])
    assert b"BEGIN CERTIFICATE" in path.read_bytes()


def test_trust_in_the_authority_reaches_localhost_only(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    for name in ("web.localhost", "bank.example"):
        authority.ensure_leaf(tmp_path / f"{name}.pem", [name])
    assert _accepts(tmp_path, "web.localhost")
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
        _accepts(tmp_path, "bank.example")


def test_a_leaf_is_short_lived_and_good_for_servers_only(tmp_path: Path) -> None:
    Authority(tmp_path).ensure_leaf(tmp_path / "web.pem", ["web.localhost", "localhost"])
    leaf = x509.load_pem_x509_certificate((tmp_path / "web.pem").read_bytes())
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc <= timedelta(days=31)
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def _accepts(directory: Path, name: str) -> bool:
    """A TLS handshake in memory, the client trusting the authority."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(directory / f"{name}.pem")
    client_context = ssl.create_default_context(cafile=str(directory / "ca.pem"))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname=name)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server, client, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return client.version() is not None


def test_keys_are_on_the_disk_before_they_have_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, fsync = set(), os.fsync

    def watched(handle: int) -> None:
        fsync(handle)
        synced.add(os.fstat(handle).st_ino)

    monkeypatch.setattr(os, "fsync", watched)
    Authority(tmp_path)
    assert {path.stat().st_ino for path in tmp_path.iterdir()} <= synced


@pytest.mark.parametrize("name", ["ca.pem", "ca-key.pem"])
def test_a_damaged_authority_says_what_to_do(tmp_path: Path, name: str) -> None:
    Authority(tmp_path)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(HomeportError, match=r"is damaged: restore them, or remove both"):
        Authority(tmp_path)
