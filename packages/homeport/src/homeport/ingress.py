"""The names that the edge answers for beside the services' own: custom domains, redirects, certificates."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, Literal

import bucketlog
from homeport.authority import Authority
from homeport.certificates import Certificates, Issuer
from homeport.command import off_loop
from homeport.domains import Domain, Domains
from homeport.edge import Edge, Names
from homeport.errors import EdgeError
from homeport.hits import Hits, counts
from homeport.hosts import HostError, host_name, is_local
from homeport.layout import Layout
from homeport.model import (
    CustomDomain,
    CustomDomainStatus,
    Entrance,
    InvalidDomainError,
    Service,
    ServiceBusyError,
    ValidationRecord,
)
from homeport.redirects import Redirect, RedirectError, Redirects, Source
from homeport.traffic import Traffic

_MOST_DOMAINS: Final = 100  # of one service
_COUNT: Final = 5.0  # seconds between looks at the redirects' hits


class Ingress:
    """Between `load` and the end of `run`. `domain`: what the services' own names end in; `console`: the
    console's host; `services`: those
    that are not deleted, by ARN; `say` writes into a service's log.
    """

    def __init__(
        self,
        database: bucketlog.Connection,
        layout: Layout,
        authority: Authority,
        edge: Edge,
        issuer: Issuer | None,
        *,
        domain: str,
        console: str | None,
        services: Callable[[], Mapping[str, Service]],
        say: Callable[[Service, str], None],
    ) -> None:
        self._edge = edge
        self._domain = domain
        self._console = console
        self._services = services
        self._say = say
        self._domains = Domains(database)
        self._redirects = Redirects(database)
        self.traffic = Traffic()
        self._hits = Hits(layout.edge / "hits.json")
        self._thumbprint = None if issuer is None else issuer.thumbprint
        self._certificates = Certificates(
            layout.edge / "names", database, authority, issuer, changed=self._changed, failed=self._failed
        )
        self._lock = asyncio.Lock()  # of the names, as they are told to the edge

    def load(self) -> None:
        """Read everything. Blocks."""
        self._domains.load()
        self._redirects.load()
        self._certificates.load()
        self._hits.load()

    async def run(self) -> None:
        """Keep the names' certificates, count the redirects' hits. Ends only by cancellation."""
        self._want()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._certificates.run())
            tasks.create_task(self._count_on())

    def names(self) -> Names:
        """What the edge is to answer for now: of the domains, those that are ACTIVE."""
        services = self._services()
        domains = {
            name: services[domain.service_arn].id
            for domain in self._domains.all()
            for name in domain.names
            if domain.service_arn in services and self._certificates.has(name)
        }
        entrances = {
            service.id: service.spec.entrance
            for service in services.values()
            if service.spec.entrance != Entrance()
        }
        return Names(
            domains,
            self._redirects.all(),
            self._certificates.files(),
            self._thumbprint,
            entrances,
            self._console,
        )

    async def refresh(self, service: Service) -> None:
        """A service has come, or lets requests in in another way: let the edge know."""
        self._want()
        try:
            async with self._lock:
                await self._edge.follow(self.names())
        except EdgeError as error:
            self._say(service, f"The edge has not taken the change yet: {error}")

    # Custom domains

    async def associate(self, service: Service, name: str, *, www: bool) -> CustomDomain:
        """Raises ServiceBusyError, InvalidDomainError, DomainExistsError."""
        if service.deleted_at is not None:
            raise ServiceBusyError(f"the service {service.spec.name} is deleted")
        try:
            name = host_name(name)
        except HostError as error:
            hint = "; a wildcard cannot be proved over HTTP" if name.startswith("*.") else ""
            raise InvalidDomainError(f"{error}{hint}") from None
        if name == self._console:
            raise InvalidDomainError(f"{name} is the console's host")
        if self._domain in (name, name.partition(".")[2]):
            raise InvalidDomainError(f"{name} is, or may become, a service's own name: take one below it")
        if len(self._domains.of(service.arn)) >= _MOST_DOMAINS:
            raise InvalidDomainError(f"the service has {_MOST_DOMAINS} custom domains already")
        await self._sweep()
        domain = Domain(name, service.arn, www, datetime.now(UTC))
        await off_loop(self._domains.add, domain)
        for one in domain.names:  # whoever asks again has mended something
            await off_loop(self._certificates.forget, one)
        self._want()
        if any(self._certificates.has(name) for name in domain.names):  # of an earlier association
            await self._changed()
        return self._shown(domain, service, CustomDomainStatus.CREATING)

    async def disassociate(self, service: Service, name: str) -> CustomDomain:
        """Raises NoSuchDomainError."""
        domain = await off_loop(self._domains.remove, service.arn, name.removesuffix(".").lower())
        shown = self._shown(domain, service, CustomDomainStatus.DELETING)
        self._want()
        await self._changed()
        return shown

    def custom_domains(self, service: Service) -> list[CustomDomain]:
        """Oldest first."""
        return [self._shown(domain, service) for domain in self._domains.of(service.arn)]

    async def _sweep(self) -> None:
        """The names of deleted services are free again."""
        services = self._services()
        for domain in self._domains.all():
            if domain.service_arn not in services:
                await off_loop(self._domains.remove, domain.service_arn, domain.name)

    def _shown(
        self, domain: Domain, service: Service, status: CustomDomainStatus | None = None
    ) -> CustomDomain:
        reasons = [
            f"{name}: {failure.reason}"
            for name in domain.names
            if not self._certificates.has(name) and (failure := self._certificates.failure(name)) is not None
        ]
        if status is None:
            status = self._status(domain)
        host = service.url.partition(":")[0]
        return CustomDomain(
            name=domain.name,
            service_arn=domain.service_arn,
            www=domain.www,
            status=status,
            created_at=domain.created_at,
            reason="; ".join(reasons) or None,
            records=tuple(
                ValidationRecord(f"{name}.", host, self._validation(name)) for name in domain.names
            ),
        )

    def _status(self, domain: Domain) -> CustomDomainStatus:
        certificates = self._certificates
        if not all(certificates.has(name) for name in domain.names):
            return CustomDomainStatus.PENDING_CERTIFICATE_DNS_VALIDATION
        if any(certificates.binding(name) for name in domain.names):
            return CustomDomainStatus.BINDING_CERTIFICATE
        return CustomDomainStatus.ACTIVE

    def _validation(self, name: str) -> Literal["PENDING_VALIDATION", "SUCCESS", "FAILED"]:
        if self._certificates.has(name):
            return "SUCCESS"
        return "PENDING_VALIDATION" if self._certificates.failure(name) is None else "FAILED"

    # Redirects

    def redirects(self) -> list[Redirect]:
        """Oldest first."""
        return self._redirects.all()

    async def look(self) -> Traffic:
        """What has come until now."""
        await self._count()
        return self.traffic

    async def hits(self) -> dict[str, int]:
        """How often each redirect has answered, by its id."""
        await self._count()
        return {redirect.id: self._hits.of(redirect.id) for redirect in self._redirects.all()}

    async def add_redirect(self, redirect: Redirect) -> None:
        """Raises RedirectError, also where a service or the console would be served no more under a name of
        its own; one of just some paths may be. Returns when the edge answers with it.
        """
        self._require_unserved(redirect.source)
        await off_loop(self._redirects.add, redirect)
        self._want()
        await self._changed()

    async def remove_redirect(self, source: Source) -> Redirect:
        """Raises NoSuchRedirectError."""
        redirect = await off_loop(self._redirects.remove, source)
        self._hits.keep(one.id for one in self._redirects.all())
        self._want()
        await self._changed()
        return redirect

    def _require_unserved(self, source: Source) -> None:
        for name, server, remedy in self._served():
            if source.takes(name):
                raise RedirectError(
                    f"{source} would take {name} from {server}: {remedy}, or redirect only paths of it"
                )

    def _served(self) -> Iterator[tuple[str, str, str]]:
        """Each name that is served, by what, and how it comes free."""
        services = self._services()
        for service in services.values():
            server = f"the service {service.spec.name}"
            yield service.url.partition(":")[0], server, "delete that first"
        for domain in self._domains.all():
            if domain.service_arn in services:
                server = f"the service {services[domain.service_arn].spec.name}"
                for name in domain.names:
                    yield name, server, f"disassociate its domain {domain.name} first"
        if self._console is not None:
            yield self._console, "the console", "serve that at another --console host first"

    def certificate_error(self, host: str) -> str | None:
        """Why HTTPS does not work for the host of a redirect, None where it does."""
        if host.startswith("*."):
            return "no certificate can be had for a wildcard"
        if self._certificates.has(host):
            return None
        failure = self._certificates.failure(host)
        return "the certificate is being ordered" if failure is None else failure.reason

    async def _count_on(self) -> None:
        """Look often enough that a worker which ends takes little along that nobody has seen."""
        while True:
            await asyncio.sleep(_COUNT)
            await self._count()

    async def _count(self) -> None:
        with suppress(EdgeError, OSError):  # no edge, no hits; a full disk forgets some
            answers = await self._edge.statistics()
            self.traffic.observe(answers)
            self.traffic.keep({service.id for service in self._services().values()})
            if self._redirects.all() and self._hits.observe(counts(answers)):
                await off_loop(self._hits.save)

    # Certificates

    def expiries(self) -> dict[str, datetime]:
        """When the certificate of each name ends."""
        return self._certificates.expiries()

    def _want(self) -> None:
        services = self._services()
        own = {service.url.partition(":")[0] for service in services.values()}
        names = {
            name for domain in self._domains.all() if domain.service_arn in services for name in domain.names
        }
        hosts = {redirect.source.host for redirect in self._redirects.all()}
        names |= {host for host in hosts - own if not host.startswith("*.")}
        names |= {host for host in own if not is_local(host)}
        self._certificates.want(names | ({self._console} if self._console else set()))

    async def _changed(self) -> None:
        async with self._lock:
            await self._count()
            await self._edge.rename(self.names())

    def _failed(self, name: str, reason: str) -> None:
        services = self._services()
        named = {service.arn for service in services.values() if service.url.partition(":")[0] == name}
        named |= {domain.service_arn for domain in self._domains.all() if name in domain.names}
        for arn in named & services.keys():
            self._say(services[arn], f"No certificate for {name}: {reason}")
