"""Where homeport says it is, in AWS's terms: one account in one region."""

from __future__ import annotations

ACCOUNT = "000000000000"
REGION = "local-1"


def arn(service: str, resource: str) -> str:
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{resource}"
