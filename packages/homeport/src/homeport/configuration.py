"""HAProxy's configuration file and its maps, written from what the edge should do: pure text, no process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from homeport.hosts import is_local
from homeport.layout import Layout
from homeport.model import Entrance
from homeport.redirects import Redirect

_CONFIGURATION = """\
# Written by homeport; changes here are lost.
global
    user nobody
    group nogroup
    maxconn 4000
    hard-stop-after {longest}s
    stats socket {socket} mode 600 level admin expose-fd listeners
    crt-base {certificates}
    ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets
    ssl-default-bind-ciphers ECDHE+AESGCM:ECDHE+CHACHA20
    # What a browser sends is far below these; what comes up to them is somebody who tries.
    tune.bufsize 16384
    tune.maxrewrite 1024
    tune.http.maxhdr 100
    tune.h2.max-concurrent-streams 100

defaults
    mode http
    timeout connect 5s
    timeout http-request 10s
    timeout http-keep-alive 20s
    timeout client 120s
    timeout server 120s
    timeout queue 30s
    timeout tunnel 1h
    # A connection to an instance serves one request: none can be lost to an instance that closes an idle one.
    option http-server-close
    # After a reload the old worker answers one more request on each idle connection before it closes it.
    option idle-close-on-response
    # A browser opens connections before it needs them: one that is never used is closed without a word.
    option http-ignore-probes
    option redispatch 1
    retries 3
    balance leastconn

# How many connections an address has open: one client alone does not use up what all share.
backend clients
    stick-table type ipv6 size 100k expire 2m store conn_cur

frontend http
    bind {http}
    tcp-request connection track-sc0 src table clients
    tcp-request connection reject if {{ sc0_conn_cur gt {one_client} }}
{challenge}\
    http-request set-var(txn.host) req.hdr(host),host_only,lower
{redirects}\
    http-request set-var(txn.service) var(txn.host),map({hosts})
    http-request return status 421 {unknown} unless {{ var(txn.service) -m found }}{or_redirect}
    http-request redirect location https://%[var(txn.host)]{suffix}%[pathq] code 301 if METH_GET{no_redirect}
    http-request redirect location https://%[var(txn.host)]{suffix}%[pathq] code 308{if_no_redirect}
{use_redirect}\

frontend https
    bind {https} ssl crt-list {list} alpn h2,http/1.1
    tcp-request connection track-sc0 src table clients
    tcp-request connection reject if {{ sc0_conn_cur gt {one_client} }}
{access}\
    # HAProxy lets these through, and a server may read them in another way than it does.
    http-request deny deny_status 400 if HTTP_1.0 {{ req.hdr_cnt(transfer-encoding) gt 0 }}
    http-request deny deny_status 400 if {{ req.hdrs -m reg \\\\x00 }}
    http-request set-var(txn.host) req.hdr(host),host_only,lower
{hsts}\
{redirects}\
    http-request set-var(txn.service) var(txn.host),map({hosts})
    http-request return status 421 {unknown} unless {{ var(txn.service) -m found }}{or_redirect}
{logged}\
    http-request del-header forwarded
    http-request del-header x-real-ip
    # With underscores too: to WSGI, as to CGI before it, both are the same header.
    http-request del-header x-forwarded- -m beg
    http-request del-header x-forwarded_ -m beg
    http-request del-header x_forwarded- -m beg
    http-request del-header x_forwarded_ -m beg
    http-request set-header X-Forwarded-For %[src]
    http-request set-header X-Forwarded-Proto https
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request set-header X-Forwarded-Port {https_port}
{use_redirect}\
    use_backend %[var(txn.service)]
"""

# RFC 8555, section 8.3: the answer is the token and the account key's thumbprint, so nobody need be asked.
_CHALLENGE = """\
    http-request return status 200 content-type application/octet-stream lf-string \
%[path,field(4,/)].{thumbprint} if {{ path -m reg ^/\\.well-known/acme-challenge/[A-Za-z0-9_-]+$ }}
"""

# RFC 6797. A name that never leaves the machine is spared: its HTTPS is on a port that HTTP has not, and a
# browser that has once been told would ask the one for the other.
_HSTS = """\
    http-after-response set-header Strict-Transport-Security max-age=31536000 \
if !{ var(txn.host) -m end localhost } !{ res.hdr(strict-transport-security) -m found }
"""

# The client, the request without its query, the answer's status and bytes, milliseconds, and who asked.
_ACCESS = """\
    log {socket} len 4096 format raw local0
    log-format "%[var(txn.service)] %ci %{{+Q}}[var(txn.asking)] %ST %B %Ta %{{+Q}}[capture.req.hdr(0)]"
    http-request capture req.hdr(user-agent) len 256
    http-request set-var-fmt(txn.asking) "%[method] %[req.hdr(host)]%[path]"
    http-request set-log-level silent
"""
_LOGGED = "    http-request set-log-level info if {{ var(txn.service) -m str {services} }}\n"

_CONSOLE = """
backend console
    server one unix@{socket} maxconn 200
"""

ACTIVATOR: Final = "activator"  # its server in a service's backend
HELD: Final = 100  # requests of a service that its activator holds; what is more waits in the queue

CONSOLE: Final = "console"  # the backend of homeport's own pages, and its socket

_ONE_CLIENT: Final = 1000  # connections of one address, of the 4000 that there are

_MAPS: Final = ("hosts", "wildcards", "queries", "paths", "lower", "prefixes")
REDIRECT: Final = "redirect-"  # before the id of a redirect: its backend


@dataclass(frozen=True, slots=True)
class Server:
    """Where an instance takes requests, and how many at a time; with a limit of 0 none for now."""

    address: str
    port: int
    limit: int


@dataclass(slots=True)
class Route:
    """A service at the edge: its host name, and the instances that take its requests."""

    host: str
    servers: dict[str, Server] = field(default_factory=dict)

    @property
    def open(self) -> bool:
        """Whether an instance takes requests, so that none goes to the activator."""
        return any(server.limit for server in self.servers.values())


@dataclass(frozen=True, slots=True)
class Load:
    """What a service has to do: requests that are answered or wait now, and how many have come so far."""

    in_flight: int = 0
    requests: int = 0


@dataclass(frozen=True, slots=True)
class Binding:
    """Where the edge listens: an IP address, and the ports for HTTP and HTTPS."""

    address: str
    http_port: int
    https_port: int

    def at(self, port: int) -> str:
        """As HAProxy writes it; `::` is every address of both families."""
        return f":::{port} v4v6" if self.address == "::" else f"{self.address}:{port}"


@dataclass(frozen=True, slots=True)
class Names:
    """What the edge answers for beside the services' own hosts.

    `domains` are the services' ids by custom host name; `certificates` the files of such names' certificates;
    `thumbprint` is that of the ACME account's key, by which challenges are answered; `entrances` are the
    services that let requests in otherwise than by default, by id; `console` is the host of homeport's own
    pages.
    """

    domains: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    redirects: Sequence[Redirect] = ()
    certificates: Sequence[Path] = ()
    thumbprint: str | None = None
    entrances: Mapping[str, Entrance] = field(default_factory=lambda: MappingProxyType({}))
    console: str | None = None


def configuration(layout: Layout, binding: Binding, routes: Mapping[str, Route], names: Names) -> str:
    """HAProxy's configuration file; a backend is named by its service's id, a server by its instance's."""
    paths = {name: quoted(layout.edge / f"{name}.map") for name in _MAPS}
    redirects = bool(names.redirects)
    logged = [service for service in routes if names.entrances.get(service, Entrance()).log]
    found = "{ var(txn.redirect) -m found }"
    head = _CONFIGURATION.format(
        socket=quoted(layout.run / "edge.sock"),
        longest=max(entrance.timeout for entrance in (Entrance(), *names.entrances.values())),
        hosts=paths["hosts"],
        http=binding.at(binding.http_port),
        https=binding.at(binding.https_port),
        https_port=binding.https_port,
        list=quoted(layout.edge / "certificates.list"),
        certificates=quoted(layout.edge),
        hsts=_HSTS,
        access=_ACCESS.format(socket=quoted(layout.access_log)) if logged else "",
        logged=_LOGGED.format(services=" ".join(logged)) if logged else "",
        one_client=_ONE_CLIENT,
        challenge="" if names.thumbprint is None else _CHALLENGE.format(thumbprint=names.thumbprint),
        redirects=_lookups(paths) if redirects else "",
        or_redirect=f" or {found}" if redirects else "",
        no_redirect=f" !{found}" if redirects else "",
        if_no_redirect=f" if !{found}" if redirects else "",
        use_redirect=f"    use_backend %[var(txn.redirect)] if {found}\n" if redirects else "",
        unknown='content-type text/plain string "No service has this name.\\n"',
        suffix="" if binding.https_port == 443 else f":{binding.https_port}",
    )
    return "".join(
        (
            head,
            *(
                _backend(layout, service, route, names.entrances.get(service, Entrance()))
                for service, route in routes.items()
            ),
            *(_redirect(redirect) for redirect in names.redirects),
            "" if names.console is None else _CONSOLE.format(socket=quoted(layout.activator(CONSOLE))),
        )
    )


def certificate_list(layout: Layout, routes: Mapping[str, Route], names: Names) -> str:
    """The certificates by their paths below `crt-base`; the first is for a name that none has."""
    own = (service for service, route in routes.items() if is_local(route.host))
    files = ["default.pem", *(f"services/{service}.pem" for service in own)]
    files += [str(path.relative_to(layout.edge)) for path in names.certificates]
    return "".join(f"{file}\n" for file in files)


def maps(routes: Mapping[str, Route], names: Names) -> dict[str, str]:
    """The map files that the configuration names, by the beginning of their names."""
    hosts = {route.host: service for service, route in routes.items()}
    hosts |= {host: service for host, service in names.domains.items() if service in routes}
    if names.console is not None:
        hosts[names.console] = CONSOLE
    found: dict[str, dict[str, str]] = {name: {} for name in _MAPS}
    found["hosts"] = hosts
    for redirect in names.redirects:
        source, backend = redirect.source, f"{REDIRECT}{redirect.id}"
        key = f"{source.host}{source.path}"
        if source.host.startswith("*."):
            found["wildcards"][source.host[1:]] = source.host
        if source.prefix:
            found["prefixes"][key] = backend
        elif source.query is not None:
            found["queries"][f"{key}?{source.query}"] = backend
        else:
            found["paths"][key] = backend
            found["lower"].setdefault(key.lower(), backend)
    # HAProxy takes the first ending that fits: the longest has to be there first.
    found["wildcards"] = dict(sorted(found["wildcards"].items(), key=lambda item: len(item[0]), reverse=True))
    return {
        name: "".join(f"{key} {value}\n" for key, value in entries.items()) for name, entries in found.items()
    }


def _lookups(paths: Mapping[str, str]) -> str:
    """Which redirect answers: the host's own before that of a wildcard, and of each the narrowest."""
    lines = [f"set-var(txn.wildcard) var(txn.host),map_end({paths['wildcards']})"]
    unless = ""
    for name in ("host", "wildcard"):
        lines.append(f"set-var-fmt(txn.source) %[var(txn.{name})]%[path]")
        lines.append(f"set-var-fmt(txn.asked) %[var(txn.{name})]%[pathq]")
        for lookup in (
            f"var(txn.asked),map_str({paths['queries']})",
            f"var(txn.source),map_str({paths['paths']})",
            f"var(txn.source),lower,map_str({paths['lower']})",
            f"var(txn.source),map_beg({paths['prefixes']})",
        ):
            lines.append(f"set-var(txn.redirect) {lookup}{unless}")
            unless = " unless { var(txn.redirect) -m found }"
    return "".join(f"    http-request {line}\n" for line in lines)


def _backend(layout: Layout, service: str, route: Route, entrance: Entrance) -> str:
    lines = [f"\nbackend {service}"]
    if entrance.allow:
        lines.append(f"    http-request deny deny_status 403 unless {{ src {' '.join(entrance.allow)} }}")
    if entrance.timeout != Entrance().timeout:
        lines.append(f"    timeout server {entrance.timeout}s")
    for name, server in route.servers.items():
        state = f"maxconn {server.limit}" if server.limit else "disabled"
        lines.append(f"    server {name} {server.address}:{server.port} {state}")
    socket = quoted(layout.activator(service))
    lines.append(f"    server {ACTIVATOR} unix@{socket} maxconn {HELD}{' disabled' if route.open else ''}\n")
    return "\n".join(lines)


def _redirect(redirect: Redirect) -> str:
    base, begin, own, fragment = redirect.parts
    location = _literal(base) + ("" if begin is None else f"%[path,bytes({begin})]")
    end = _literal(f"#{fragment}") if fragment else ""
    asked = f"?{_literal(own)}" if own else ""
    before, code = "    http-request redirect location ", f" code {redirect.status}"
    lines = [f"\nbackend {REDIRECT}{redirect.id}\n"]
    if redirect.keep_query:
        # A question mark with nothing behind it stays, as it is part of what was asked for.
        kept = f"{asked}&%[query]" if own else "?%[query]"
        condition = "{ query -m len gt 0 }" if own else "{ query -m found }"
        lines.append(f'{before}"{location}{kept}{end}"{code} if {condition}\n')
    lines.append(f'{before}"{location}{asked}{end}"{code}\n')
    return "".join(lines)


def _literal(text: str) -> str:
    """For a log-format string in double quotes."""
    return text.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")


def quoted(path: Path) -> str:
    """A path as one word of the file."""
    text = str(path)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$") + '"'
