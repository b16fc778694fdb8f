"""What to do about a call that the cloud refused, by the code that it gave."""

from __future__ import annotations

import re
from http.client import responses
from typing import TYPE_CHECKING

from botocore.parsers import ResponseParserError

if TYPE_CHECKING:
    from botocore.exceptions import BotoCoreError, ClientError

SETTINGS = 'for a homeport: eval "$(homeport env --data DIR)"'
_KEY = f"the key is not one of this cloud; {SETTINGS}"
_SECRET = f"the secret is not that of the key; {SETTINGS}"
_SESSION = "the session has ended: take a new one, e.g. `aws sso login`"
_CLOCK = "set the clock of this machine: `timedatectl set-ntp true`"
_ADVICE = {
    "InvalidClientTokenId": _KEY,
    "UnrecognizedClientException": _KEY,
    "InvalidAccessKeyId": _KEY,
    "AuthFailure": _KEY,
    "SignatureDoesNotMatch": _SECRET,
    "InvalidSignatureException": _SECRET,
    "ExpiredToken": _SESSION,
    "ExpiredTokenException": _SESSION,
    "InvalidStateException": "run the same command again when `tagboat status` shows no operation under way",
    "RequestExpired": _CLOCK,
    "RequestTimeTooSkewed": _CLOCK,
}
_DENIED = re.compile(r"AccessDenied|UnauthorizedOperation|NotAuthorized|^403$")
_THROTTLED = re.compile(r"Throttl|TooManyRequests|RequestLimitExceeded|PriorRequestNotComplete|SlowDown")
_QUOTA = re.compile(r"LimitExceeded|QuotaExceeded|^TooMany|InsufficientQuota")
_SKEWED = re.compile(r"Signature (expired|not yet current)", re.IGNORECASE)
ENDPOINT = f"is the endpoint (AWS_ENDPOINT_URL) right, and is a proxy in between? {SETTINGS}"
_TITLE = re.compile(r"<title[^<>]*>([^<>]*)<", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")
_READ, _SHOWN = 4000, 80  # characters of a foreign answer
_PERMISSION = re.compile(r"not authorized to perform: ([\w-]+:\w+)")


def code_of(error: ClientError) -> str:
    """What AWS calls the refusal; the status, or nothing, where it was not AWS that answered."""
    return str(error.response.get("Error", {}).get("Code", ""))


def said(error: ClientError) -> str:
    """The code and the message; of an answer that is not AWS's the status and its first words, in a line."""
    if not _is_foreign(error):
        return f"{code_of(error)}: {_message(error)}"
    shown = _first_words(_message(error)) or responses.get(_status(error), "")
    return f"the answer is not AWS's: {_status(error)} {shown}".strip()


def failure(error: BotoCoreError | ResponseParserError) -> str:
    """Why a call has no answer. Where botocore could not read it, its message has the whole body."""
    if not isinstance(error, ResponseParserError):
        return str(error)
    problem, _, body = str(error).partition("\n")
    return f"the answer is not AWS's: {_first_words(body) or problem}"


def _first_words(text: str) -> str:
    """The title of a page, or how the text begins."""
    text = text[:_READ]
    title = _TITLE.search(text)
    words = " ".join((title[1] if title else _TAG.sub(" ", text)).split())
    return "".join(letter for letter in words if letter.isprintable())[:_SHOWN]


def _message(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Message", ""))


def _status(error: ClientError) -> int:
    return error.response["ResponseMetadata"]["HTTPStatusCode"]


def _is_foreign(error: ClientError) -> bool:
    """botocore finds no code in what does not follow the protocol, or takes the status for it and the whole
    body for the message. To HEAD even AWS answers with a status alone.
    """
    code, message = code_of(error), _message(error)
    if "html" in error.response["ResponseMetadata"].get("HTTPHeaders", {}).get("content-type", ""):
        return True
    return code in ("", "Unknown") or (code.isdecimal() and message != responses.get(_status(error)))


def advice(error: ClientError, service: str) -> str | None:
    """What the user can do; None where the message itself has to say so. `service` is that of the call."""
    code, message = code_of(error), _message(error)
    if _is_foreign(error):
        return ENDPOINT
    if known := _CLOCK if _SKEWED.search(message) else _ADVICE.get(code):  # even of a secret that is right
        return known
    if _DENIED.search(code):
        named = _PERMISSION.search(message)
        wanted = named[1] if named else f"for {service}:{error.operation_name}"
        return f"whoever asks (`aws sts get-caller-identity`) needs the permission {wanted}"
    if _THROTTLED.search(code):
        return "it was asked again several times: run the same command again in a minute, it goes on"
    if _QUOTA.search(code):
        return f"the account's quota of {service} is used up: Service Quotas in AWS's console raises it"
    return f"check the AWS settings of this shell; {SETTINGS}" if _status(error) in (401, 403) else None
