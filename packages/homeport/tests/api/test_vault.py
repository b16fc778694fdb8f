"""Secrets by name, and what ARNs lead to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.vault import MOST, SecretError, SecretReference, Vault

_SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:"
_names = st.from_regex(r"[A-Za-z0-9_+=.@-][A-Za-z0-9/_+=.@-]{0,79}", fullmatch=True)


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path / "secrets")


@given(
    kept=st.dictionaries(_names, st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1))
)
def test_what_is_kept_is_found_by_its_name_and_by_every_arn_of_it(
    tmp_path_factory: pytest.TempPathFactory, kept: dict[str, str]
) -> None:
    vault = Vault(tmp_path_factory.mktemp("vault") / "secrets")
    for name, value in kept.items():
        vault.set(name, value)
    assert sorted(vault.names()) == sorted(kept)
    for name, value in kept.items():
        references = (name, f"/{name}", f"{_SECRET}{name}", f"arn:aws-cn:ssm:cn-north-1:1:parameter/{name}")
        asked = {str(number): reference for number, reference in enumerate(references)}
        assert set(vault.resolve(asked).values()) == {value}
        if f"{name}-a1B2c3" not in kept and len(name) < 74:
            assert vault.resolve({"A": f"{_SECRET}{name}-a1B2c3::AWSCURRENT:"}) == {"A": value}
    for name in kept:
        vault.remove(name)
    assert vault.names() == {}


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("plain", SecretReference("plain")),
        (f"{_SECRET}shop/db-a1B2c3", SecretReference("shop/db-a1B2c3")),
        (f"{_SECRET}shop/db-a1B2c3:password::", SecretReference("shop/db-a1B2c3", "password")),
        (f"{_SECRET}shop/db:password:AWSCURRENT:", SecretReference("shop/db", "password")),
        ("arn:aws:ssm:us-east-1:123456789012:parameter/shop/db", SecretReference("shop/db")),
    ],
)
def test_references_of_app_runner_are_understood(text: str, reference: SecretReference) -> None:
    assert SecretReference.parse(text) == reference


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no secret's name"),
        ("a b", "no secret's name"),
        ("../../etc/passwd\n", "no secret's name"),
        ("arn:aws:s3:::bucket", "no ARN of a Secrets Manager secret or an SSM parameter"),
        (f"{_SECRET}db::AWSPREVIOUS:", "keeps the current one only"),
        (f"{_SECRET}db:::5f1c", "keeps the current one only"),
        (f"{_SECRET}db:a:b:c:d", "keeps the current one only"),
        (f"{_SECRET}{'x' * 81}", "no secret's name"),
    ],
)
def test_other_references_are_refused(text: str, reason: str) -> None:
    with pytest.raises(SecretError, match=reason):
        SecretReference.parse(text)


def test_no_name_leads_out_of_the_folder(vault: Vault, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("x")
    for name in ("..", ".", "../outside", "a/../../outside", ".hidden"):
        vault.set(name, "inside")
        assert vault.resolve({"A": name}) == {"A": "inside"}
    assert (tmp_path / "outside").read_text() == "x"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside", "secrets"]


def test_a_member_of_a_json_object_is_had_by_its_key(vault: Vault) -> None:
    vault.set("db", json.dumps({"password": "geheim", "port": 5432, "nul": "a\0b"}))
    keys = {"A": f"{_SECRET}db:password::", "B": f"{_SECRET}db:port::"}
    assert vault.resolve(keys) == {"A": "geheim", "B": "5432"}


@pytest.mark.parametrize(
    ("value", "key"), [("geheim", "a"), ('["geheim"]', "0"), ('{"a": "geheim\\u0000"}', "a")]
)
def test_what_cannot_be_had_is_told_without_the_value(vault: Vault, value: str, key: str) -> None:
    vault.set("db", value)
    with pytest.raises(SecretError, match=r"^A: .*secret db") as refused:
        vault.resolve({"A": f"{_SECRET}db:{key}::"})
    assert "geheim" not in str(refused.value)


@pytest.mark.parametrize("value", ["", "a\0b", "x" * (MOST + 1)])
def test_what_cannot_be_a_variables_value_is_not_kept(vault: Vault, value: str) -> None:
    with pytest.raises(SecretError, match="the value of db"):
        vault.set("db", value)
    assert vault.names() == {}


def test_a_value_takes_the_place_of_the_one_before_and_keeps_to_its_owner(
    vault: Vault, tmp_path: Path
) -> None:
    vault.set("db", "one")
    vault.set("db", "two\r\n")
    assert vault.resolve({"A": "db"}) == {"A": "two\r\n"}
    (file,) = (tmp_path / "secrets").iterdir()
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_what_is_not_there_is_told(vault: Vault) -> None:
    with pytest.raises(SecretError, match="there is no secret db"):
        vault.remove("db")
    with pytest.raises(
        SecretError, match="PASSWORD: there is no secret db; `homeport secret set db` makes it"
    ):
        vault.resolve({"PASSWORD": "db"})


def test_the_api_says_whether_a_secret_is_there_and_never_its_value(harbour: Any, error_of: Any) -> None:
    Vault(harbour.data / "secrets").set("prod/db", "value")
    manager = harbour.client("secretsmanager")
    arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db-AbCdEf:password::"
    for named in ("prod/db", "/prod/db", arn):
        said = manager.describe_secret(SecretId=named)
        assert (said["Name"], said["ARN"].rpartition(":")[2]) == ("prod/db", "prod/db")
        assert "value" not in str(said)
    assert error_of(manager.describe_secret, SecretId="prod/none") == "ResourceNotFoundException"
    assert error_of(manager.get_secret_value, SecretId="prod/db") == "UnknownOperationException"


def test_the_api_keeps_a_value_that_no_answer_and_no_trail_has(harbour: Any, error_of: Any) -> None:
    manager, vault = harbour.client("secretsmanager"), Vault(harbour.data / "secrets")
    assert (
        error_of(manager.put_secret_value, SecretId="mail", SecretString="x") == "ResourceNotFoundException"
    )
    said = [manager.create_secret(Name="/mail", SecretString="correct horse")]
    assert vault.resolve({"A": "mail"}) == {"A": "correct horse"}
    assert error_of(manager.create_secret, Name="mail", SecretString="x") == "ResourceExistsException"
    said.append(manager.put_secret_value(SecretId="mail", SecretString="battery staple"))
    assert vault.resolve({"A": "mail"}) == {"A": "battery staple"}
    assert [one["Name"] for one in said] == ["mail", "mail"]
    for wrong in ({"SecretBinary": b"x"}, {"SecretString": "a\0b"}):
        assert error_of(manager.put_secret_value, SecretId="mail", **wrong) == "InvalidParameterException"
    long = {"SecretString": "x" * (MOST + 1)}
    assert error_of(manager.put_secret_value, SecretId="mail", **long) == "InvalidRequestException"
    assert vault.resolve({"A": "mail"}) == {"A": "battery staple"}
    assert not any(value in str(said) for value in ("correct horse", "battery staple"))
