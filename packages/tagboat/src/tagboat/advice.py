"""What to do about a call that the cloud refused, by the code that it gave."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

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
_PERMISSION = re.compile(r"not authorized to perform: ([\w-]+:\w+)")


def advice(error: ClientError, service: str) -> str | None:
    """What the user can do; None where the message itself has to say so. `service` is that of the call."""
    detail = error.response["Error"]
    code, message = str(detail.get("Code", "")), str(detail.get("Message", ""))
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
    if error.response["ResponseMetadata"]["HTTPStatusCode"] in (401, 403):
        return f"check the AWS settings of this shell; {SETTINGS}"
    return None
