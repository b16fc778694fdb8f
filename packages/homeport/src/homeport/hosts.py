"""Names of hosts, as they may be given to the edge."""

from __future__ import annotations

import re
from typing import Final

from homeport.errors import HomeportError

_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})+")
_DIGITS: Final = re.compile(r"[0-9.]+")


class HostError(HomeportError):
    """A text that is no host name."""


def host_name(text: str, *, wildcard: bool = False) -> str:
    """The name in lower case, without the dot at its end (RFC 1123, section 2.1).

    `wildcard`: it may begin with `*.`. Raises HostError.
    """
    name = text.removesuffix(".").lower()
    rest = name.removeprefix("*.") if wildcard else name
    if not name.isascii():
        raise HostError(f"{text!r} has letters beyond ASCII: write the name as DNS has it, xn--…")
    if len(name) > 253 or not _NAME.fullmatch(rest) or _DIGITS.fullmatch(rest):
        raise HostError(f"{text!r} is no host name with at least two parts, like www.example.com")
    return name


def is_local(name: str) -> bool:
    """Whether it never leaves the machine (RFC 6761, section 6.3): the local authority may sign for it."""
    return name == "localhost" or name.endswith(".localhost")
