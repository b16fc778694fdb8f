"""What AWS's API has no member for rides in a service's tags whose keys begin with `homeport:`.

A tag says how the service is to run, so changing it updates the service; taking it away brings the default
back. `homeport:rollback` is not kept: it is a call.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import Any

from homeport.aws.apprunner.faults import invalid
from homeport.model import Controller, Entrance, NoSuchReleaseError, Scaling, Service, ServiceSpec
from homeport.mounts import parse_tmpfs, parse_volumes
from homeport.origins import OriginPolicy
from homeport.tracking import Track

ROLLBACK = "homeport:rollback"

_PREFIX = "homeport:"
_PREVIOUS = "previous"
_LONGEST = 86_400  # seconds
_LONGEST_REQUEST = 3_600


@dataclass(frozen=True, slots=True)
class _Extension:
    """`meaning` is for whoever gets the value wrong."""

    meaning: str
    read: Callable[[str], Any]  # raises ValueError
    apply: Callable[[ServiceSpec, Any], ServiceSpec]
    default: Any


def applied(spec: ServiceSpec, tags: Mapping[str, str], keys: Collection[str]) -> ServiceSpec:
    """The specification as the tags say of these keys, and by default where they say nothing of one; of all
    others it stays: a service whose tags a crash has kept from being written down keeps its policy, say.
    Raises ApiError.
    """
    for key in tags:
        if key.startswith(_PREFIX) and key not in _EXTENSIONS:
            raise invalid(f"homeport has no tag {key}; it knows {', '.join(KNOWN)}")
    for key, extension in _EXTENSIONS.items():
        if key not in keys:
            continue
        value = extension.default
        if key in tags:
            try:
                value = extension.read(tags[key])
            except ValueError as error:
                why = "" if str(error) == tags[key] else f": {error}"
                raise invalid(f"the tag {key} is {tags[key]!r}, not {extension.meaning}{why}") from None
        spec = extension.apply(spec, value)
    if (conflict := spec.mounts.conflict) is not None:
        raise invalid("{} and {}, of homeport's tags, are in each other's way".format(*conflict))
    return spec


async def roll_back(controller: Controller, service: Service, to: str) -> None:
    """Deploy what the service has served before: a digest, or `previous` for what it served last.

    Raises NoSuchServiceError, ServiceBusyError, ApiError.
    """
    releases = controller.releases(service.arn)
    before = [digest for digest in releases if digest != service.digest]
    if to == _PREVIOUS:
        if not before:
            raise invalid(f"{service.spec.name} has served nothing else to go back to")
        to = before[0]
    try:
        await controller.rollback(service.arn, to)
    except NoSuchReleaseError as error:
        choice = f"; it can go back to {', '.join(before)}" if before else ""
        raise invalid(f"{error}{choice}") from error


def _switch(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"


def _seconds(text: str, longest: int = _LONGEST) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:6]) <= longest:
        raise ValueError(text)
    return int(text)


def _networks(text: str) -> tuple[str, ...]:
    """Addresses and networks as CIDR, apart by spaces or commas; each once, in its shortest form."""
    found = [ip_network(one) for one in text.replace(",", " ").split()]
    if not found:
        raise ValueError(text)
    return tuple(dict.fromkeys(str(one) for one in found))


def _policy(text: str) -> str:
    OriginPolicy.parse(text)
    return text


def _entrance(name: str) -> Callable[[ServiceSpec, Any], ServiceSpec]:
    return lambda spec, value: replace(spec, entrance=replace(spec.entrance, **{name: value}))


def _scaling(name: str) -> Callable[[ServiceSpec, Any], ServiceSpec]:
    return lambda spec, value: replace(spec, scaling=replace(spec.scaling, **{name: value}))


def _plain(name: str) -> Callable[[ServiceSpec, Any], ServiceSpec]:
    return lambda spec, value: replace(spec, **{name: value})


def _mounts(name: str) -> Callable[[ServiceSpec, Any], ServiceSpec]:
    return lambda spec, value: replace(spec, mounts=replace(spec.mounts, **{name: value}))


def _ports(text: str) -> tuple[int, ...]:
    ports = tuple(int(word) for word in text.split() if word.isascii() and len(word) <= 5)
    if not ports or len(ports) != len(text.split()) or not all(1 <= port <= 65535 for port in ports):
        raise ValueError(text)
    return ports


def _track(text: str) -> str:
    Track.parse(text)
    return text


_DEFAULT = Scaling()
_EXTENSIONS = {
    "homeport:scale-to-zero": _Extension("true or false", _switch, _scaling("to_zero"), _DEFAULT.to_zero),
    "homeport:idle-seconds": _Extension(
        f"a whole number of seconds from 1 to {_LONGEST}",
        lambda text: float(_seconds(text)),
        _scaling("idle_after"),
        _DEFAULT.idle_after,
    ),
    "homeport:freeze": _Extension("true or false", _switch, _scaling("freeze"), _DEFAULT.freeze),
    "homeport:track": _Extension(
        "semver, or semver:BEGIN with the beginning of the tags that are to be followed",
        _track,
        _plain("track"),
        None,
    ),
    "homeport:volumes": _Extension(
        "NAME:PATH, or several of these with spaces between", parse_volumes, _mounts("volumes"), ()
    ),
    "homeport:tmpfs": _Extension(
        "PATH or PATH:MIB, or several of these with spaces between", parse_tmpfs, _mounts("tmpfs"), ()
    ),
    "homeport:read-only": _Extension("true or false", _switch, _mounts("read_only"), False),
    "homeport:host-ports": _Extension(
        "TCP ports of the host from 1 to 65535, with spaces between", _ports, _plain("host_ports"), ()
    ),
    "homeport:policy": _Extension(
        "ISSUER:CLAIM=VALUE, as in token.actions.githubusercontent.com:repository_id=100200",
        _policy,
        _plain("origin"),
        None,
    ),
    "homeport:allow": _Extension(
        "addresses or networks as CIDR with spaces between, as in 192.0.2.0/24 2001:db8::/32",
        _networks,
        _entrance("allow"),
        Entrance().allow,
    ),
    "homeport:request-timeout": _Extension(
        f"a whole number of seconds from 1 to {_LONGEST_REQUEST}",
        lambda text: _seconds(text, _LONGEST_REQUEST),
        _entrance("timeout"),
        Entrance().timeout,
    ),
    "homeport:access-log": _Extension("true or false", _switch, _entrance("log"), Entrance().log),
}
KNOWN = (*_EXTENSIONS, ROLLBACK)
