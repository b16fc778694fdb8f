"""Who one is, by STS."""

from __future__ import annotations

from typing import Any

from homeport.credentials import AccessKey


def test_the_root_key_is_the_account(harbour: Any) -> None:
    identity = harbour.client("sts").get_caller_identity()
    assert identity["Account"] == "000000000000"
    assert identity["Arn"] == "arn:aws:iam::000000000000:root"


def test_a_wrong_secret_is_told_by_its_own_code(harbour: Any, error_of: Any) -> None:
    liar = harbour.client("sts", AccessKey(harbour.root.id, "not the secret"))
    assert error_of(liar.get_caller_identity) == "InvalidSignatureException"


def test_an_unknown_key_is_told_by_its_own_code(harbour: Any, error_of: Any) -> None:
    stranger = harbour.client("sts", AccessKey("HPROOTNOBODY", "any"))
    assert error_of(stranger.get_caller_identity) == "UnrecognizedClientException"


def test_another_action_is_refused_by_name(harbour: Any, error_of: Any) -> None:
    assert error_of(harbour.client("sts").get_session_token) == "InvalidAction"


def test_a_service_may_not_ask(harbour: Any, error_of: Any) -> None:
    _, key = harbour.service_key("blog")
    assert error_of(harbour.client("sts", key).get_caller_identity) == "AccessDeniedException"


def test_an_action_with_a_body_that_is_not_text_is_refused(harbour: Any) -> None:
    reply = harbour.signed("sts", "POST", "/", body=b"\xff\x00=\xfe")
    assert reply.status == 400
    assert b"<Code>InvalidAction</Code>" in reply.body
