"""Errors as AWS's services answer them: a code that clients match on, and a message for a person."""

from __future__ import annotations

from homeport.sigv4 import Flaw


class ApiError(Exception):
    """What a call is answered with instead of its result."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


# The codes of the JSON and Query services (AWS documentation, "Common errors").
JSON_CODES: dict[Flaw, tuple[str, int]] = {
    Flaw.MISSING: ("MissingAuthenticationTokenException", 403),
    Flaw.MALFORMED: ("IncompleteSignatureException", 403),
    Flaw.UNKNOWN_KEY: ("UnrecognizedClientException", 403),
    Flaw.EXPIRED: ("ExpiredTokenException", 403),
    Flaw.SKEWED: ("InvalidSignatureException", 403),
    Flaw.MISMATCH: ("InvalidSignatureException", 403),
}

# Those of S3 ("Error responses").
S3_CODES: dict[Flaw, tuple[str, int]] = {
    Flaw.MISSING: ("AccessDenied", 403),
    Flaw.MALFORMED: ("AuthorizationHeaderMalformed", 400),
    Flaw.UNKNOWN_KEY: ("InvalidAccessKeyId", 403),
    Flaw.EXPIRED: ("ExpiredToken", 400),
    Flaw.SKEWED: ("RequestTimeTooSkewed", 403),
    Flaw.MISMATCH: ("SignatureDoesNotMatch", 403),
}
