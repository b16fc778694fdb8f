"""What answers at an address for a name that need not lead there yet: asked as a browser would."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPException, HTTPResponse

from tagboat.tls import connected, trusting

HTTPS = 443
_TIMEOUT = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class Seen:
    """What one address answered. `problem` is None where a visitor of the name would be served there.

    `reached` says that somebody speaks TLS there at all.
    `certificate` is the fingerprint of the one that was shown, trusted or not, `until` its end.
    """

    address: str
    problem: str | None
    status: int | None = None
    location: str | None = None
    certificate: str | None = None
    until: datetime | None = None
    reached: bool = True

    def __str__(self) -> str:
        if self.problem is not None:
            return f"{self.address}: {self.problem}"
        goes = f" to {self.location}" if self.location else ""
        return f"{self.address}: HTTP {self.status}{goes}, certificate until {self.until:%F}"


def seen(address: str, host: str, path: str = "/") -> Seen:
    """Ask `https://host/path` of that address. Never raises for what is wrong there."""
    from cryptography import x509  # noqa: PLC0415  it takes a while, and few commands look here

    try:
        with connected(trusting(), address, HTTPS, host, _TIMEOUT) as secure:
            shown = secure.getpeercert(binary_form=True) or b""
            status, location = _answer(secure, host, path)
    except ssl.SSLCertVerificationError as error:
        return Seen(address, f"its certificate is not one for {host} that is trusted: {error.verify_message}")
    except ssl.SSLError as error:
        return Seen(address, f"it has no certificate for {host} ({error.reason or error})")
    except (OSError, HTTPException) as error:
        return Seen(address, f"it does not answer: {error}", reached=False)
    until = x509.load_der_x509_certificate(shown).not_valid_after_utc.astimezone(UTC)
    problem = f"it answers HTTP {status}" if status >= 400 else None
    return Seen(address, problem, status, location, hashlib.sha256(shown).hexdigest(), until)


def _answer(secure: ssl.SSLSocket, host: str, path: str) -> tuple[int, str | None]:
    secure.sendall(
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: tagboat\r\nAccept: */*\r\n"
        "Connection: close\r\n\r\n".encode()
    )
    answer = HTTPResponse(secure, method="GET")
    answer.begin()
    return answer.status, answer.getheader("Location")


def same_end(address: str, others: Sequence[str], host: str) -> bool:
    """Whether an address is one of the others, or shows for the host the certificate that one of them does.

    A network such as CloudFront's has many more addresses than any one answer of the DNS.
    """
    if address in others:
        return True
    here = seen(address, host).certificate
    return here is not None and any(seen(other, host).certificate == here for other in others[:2])
