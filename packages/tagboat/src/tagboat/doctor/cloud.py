"""The cloud that the AWS settings mean: whether it is there, what time it has, and whom it takes us for."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, build_opener

from botocore.exceptions import NoCredentialsError

from tagboat.advice import SETTINGS
from tagboat.aws.account import Account
from tagboat.aws.kinds.budgets import require_cost_tag
from tagboat.aws.resource import COMPONENT_TAG
from tagboat.cloud import Cloud, CloudError, NoServiceError
from tagboat.component import Component
from tagboat.config import Target
from tagboat.doctor.domains import Associated, domains
from tagboat.doctor.finding import Finding, State, found
from tagboat.doctor.records import permissions, records
from tagboat.errors import TagboatError
from tagboat.identity import session
from tagboat.runtime.apprunner import AppRunner
from tagboat.runtime.choice import runtime_of
from tagboat.runtime.runtime import Runtime
from tagboat.targets.target import named_target
from tagboat.tls import trusting

_TIMEOUT = 5.0  # seconds, of one connection
_SLOW, _WRONG = 30.0, 300.0  # seconds of difference that are told, and that AWS refuses
_STATES: dict[str, State] = {"RUNNING": "ok", "OPERATION_IN_PROGRESS": "warning"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the cloud answers."""

    host: str
    port: int
    secure: bool
    named: bool  # by AWS_ENDPOINT_URL: a homeport, or another that speaks AWS's protocols

    @classmethod
    def of_settings(cls, region: str | None) -> Endpoint | Finding:
        """Of the variables of this shell, and of AWS in that region; a finding where they name none."""
        url = os.environ.get("AWS_ENDPOINT_URL")
        if not url:
            try:
                region = region or session().region_name
            except TagboatError as error:
                return Finding.of("endpoint", error)
            if not region:
                return Finding("endpoint", "failed", "no cloud is named", f"export AWS_REGION=…; {SETTINGS}")
            suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
            return cls(f"sts.{region}.{suffix}", 443, secure=True, named=False)
        try:
            parts = urlsplit(url)
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:
            parts, port = urlsplit(""), 0
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return Finding(
                "endpoint", "failed", f"AWS_ENDPOINT_URL is {url!r}, no address of a web service", SETTINGS
            )
        return cls(parts.hostname, port, secure=parts.scheme == "https", named=True)

    @property
    def on_loopback(self) -> bool:
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.secure else 'http'}://{host}:{self.port}"

    def date(self) -> datetime | None:
        """What time it says it is, asked as AWS's clients ask, by the proxy that the environment names.

        Raises OSError and HTTPException when it does not answer.
        """
        opener = build_opener(_NoRedirects, HTTPSHandler(context=trusting()))
        try:
            with opener.open(f"{self}/", timeout=_TIMEOUT) as answer:
                said = answer.headers["Date"]
        except HTTPError as error:  # it does answer
            said = error.headers["Date"]
            error.close()
        except URLError as error:
            raise error.reason if isinstance(error.reason, OSError) else error from None
        try:
            return parsedate_to_datetime(said) if said else None
        except ValueError:
            return None


class _NoRedirects(HTTPRedirectHandler):
    """AWS sends browsers elsewhere."""

    def redirect_request(self, *_: object) -> None:
        return None


def cloud(component: Component | None, target: str | None = None) -> Iterator[Finding]:
    """Each thing that a deployment needs, in the order in which it needs them."""
    place: Target | None = None
    if component is not None and (component.config.targets or target is not None):
        try:
            place = named_target(component, target)
        except TagboatError as error:
            yield Finding.of("target", error)
            component = None
    region = place.region if place else None
    endpoint = Endpoint.of_settings(region)
    if isinstance(endpoint, Finding):
        yield endpoint
        yield Finding("credentials", "skipped", "without an endpoint there is nobody to ask")
        return
    there, findings = _reached(endpoint)
    yield from findings
    if not there:
        yield Finding("credentials", "skipped", "the endpoint does not answer")
        return
    yield from _credentials(component, place)


def _reached(endpoint: Endpoint) -> tuple[bool, list[Finding]]:
    try:
        asked = time.time()
        date = endpoint.date()
        here = (asked + time.time()) / 2
    except ssl.SSLCertVerificationError as error:
        problem = f"{endpoint}: its certificate is not trusted: {error.verify_message}"
        advice = "export HOMEPORT_CA=… if it is a homeport's, or have its certificate renewed"
        return False, [Finding("endpoint", "failed", problem, advice)]
    except socket.gaierror as error:
        problem = f"{endpoint}: {endpoint.host} is not known to DNS: {error.strerror}"
        return False, [Finding("endpoint", "failed", problem, "check the name, and /etc/resolv.conf")]
    except (OSError, http.client.HTTPException) as error:
        advice = "start it (`homeport serve`), or name another" if endpoint.named else "check the network"
        return False, [Finding("endpoint", "failed", f"{endpoint} does not answer: {error}", advice)]
    findings = [Finding("endpoint", "ok", str(endpoint))]
    if not endpoint.secure and not endpoint.on_loopback:
        findings = [
            Finding(
                "endpoint", "warning", f"{endpoint}: whoever is on the way can read it", "use HTTPS there"
            )
        ]
    return True, [*findings, _clock(date, here)]


def _clock(date: datetime | None, here: float) -> Finding:
    if date is None:
        return Finding("clock", "skipped", "the endpoint does not say what time it is")
    # The header has whole seconds, cut off.
    ahead = here - date.replace(tzinfo=date.tzinfo or UTC).timestamp() - 0.5
    if abs(ahead) < _SLOW:
        return Finding("clock", "ok", f"within {max(1, round(abs(ahead)))} s of the endpoint's")
    return Finding(
        "clock",
        "failed" if abs(ahead) > _WRONG else "warning",
        f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the endpoint's; "
        f"signatures are refused from {_WRONG:.0f} s on",
        "set it: `timedatectl set-ntp true`",
    )


def _credentials(component: Component | None, target: Target | None) -> Iterator[Finding]:
    try:
        cloud = Cloud(target.region if target else None)
        identity = cloud.identity()
    except TagboatError as error:
        yield Finding("credentials", "failed", str(error), _advice(error))
        return
    yield Finding("credentials", "ok", identity)
    if component is None:
        return
    try:
        name = component.config.repository
        repository = cloud.existing_repository(name)
    except TagboatError as error:
        yield Finding("registry", "failed", str(error), _advice(error))
        return
    yield Finding("registry", "ok", repository or f"there is no repository {name} yet: a release makes it")
    if target is not None and target.domain is not None and target.kind != "homeport":  # it says so itself
        yield from records(component, target)
    yield from _service(component, target)
    if target is not None and target.budget is not None and target.budget_scope == "component":
        yield from found("budget", lambda: _cost_tag(target))


def _cost_tag(target: Target) -> str:
    require_cost_tag(Account(target.region))
    return f"costs are kept apart by the tag {COMPONENT_TAG}"


def _service(component: Component, target: Target | None) -> Iterator[Finding]:
    try:
        runtime = runtime_of(component, target.key if target else None)
        state = runtime.state()
    except NoServiceError as error:
        yield Finding("service", "ok", f"{error} yet: a release makes it")
        return
    except TagboatError as error:
        yield Finding("service", "failed", str(error), _advice(error))
        return
    yield _state(runtime.service, state.state)
    associated = list(_associated(runtime))
    yield from domains(state.url.removeprefix("https://"), associated)
    yield from permissions(
        [name for one in associated if one.domain["Status"].lower() != "active" for name in one.names]
    )


def _associated(runtime: Runtime) -> Iterator[Associated]:
    """Those that App Runner's API has of the service, if we may ask: a role that deploys need not."""
    if not isinstance(runtime, AppRunner):
        return
    with suppress(CloudError):
        service = runtime.cloud.existing_service(runtime.service)
        target, found = runtime.cloud.custom_domains(service["ServiceArn"])
        for domain in found:
            yield Associated(domain, target)


def _state(name: str, state: str) -> Finding:
    advice = None if state == "RUNNING" else "`tagboat logs --events` says why, `tagboat logs` what it wrote"
    if state == "PAUSED":
        advice = "`aws apprunner resume-service`"
    return Finding("service", _STATES.get(state, "failed"), f"{name} is {state}", advice)


def _advice(error: TagboatError) -> str | None:
    cause = error.__cause__
    if isinstance(cause, NoCredentialsError) and "AWS_ROLE_ARN" in os.environ:
        return (
            "AWS_ROLE_ARN names a role, but no identity token is here: in CI, the job needs `id-token: write`"
        )
    return error.hint or SETTINGS
