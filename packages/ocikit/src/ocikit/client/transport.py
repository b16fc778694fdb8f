"""Connections, as the environment wants them: through proxies, and trusting its certificates.

`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in small letters too, mean what they mean to curl and
Go; `SSL_CERT_FILE` and `SSL_CERT_DIR` replace the system's certificates, as OpenSSL has it.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.util import make_headers
from urllib3.util.ssl_ import create_urllib3_context

from ocikit.client.address import is_loopback, origin
from ocikit.errors import RegistryError


class Transport:
    """Pools of connections, made when they are needed."""

    def __init__(self, maxsize: int) -> None:
        self._maxsize = maxsize
        self._pools: dict[tuple[str, str | None], urllib3.PoolManager] = {}

    def pool(self, url: str) -> urllib3.PoolManager:
        """The pool for a URL. Raises RegistryError where the environment makes no sense."""
        key = urlsplit(url).scheme, proxy_for(url, os.environ)
        if key not in self._pools:
            self._pools[key] = self._make(*key)
        return self._pools[key]

    def clear(self) -> None:
        for pool in self._pools.values():
            pool.clear()

    def _make(self, scheme: str, proxy: str | None) -> urllib3.PoolManager:
        context = _trust() if scheme == "https" or (proxy or "").startswith("https:") else None
        timeout = urllib3.Timeout(connect=10, read=120)
        if proxy is None:
            return urllib3.PoolManager(
                maxsize=self._maxsize, timeout=timeout, retries=False, ssl_context=context
            )
        parts = urlsplit(proxy)
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else None
        return urllib3.ProxyManager(
            f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}",
            proxy_headers=make_headers(proxy_basic_auth=login) if login else None,
            proxy_ssl_context=context,
            maxsize=self._maxsize,
            timeout=timeout,
            retries=False,
            ssl_context=context,
        )


def proxy_for(url: str, environ: Mapping[str, str]) -> str | None:
    """The proxy that the environment names for a URL; never one for this machine itself.

    Raises RegistryError for one that is neither HTTP nor HTTPS.
    """
    scheme, host, port = origin(url)
    found = ""
    for name in (f"{scheme}_proxy", "all_proxy"):
        # A web server's CGI sets HTTP_PROXY from a request's header `Proxy` (httpoxy).
        shout = "" if name == "http_proxy" and "REQUEST_METHOD" in environ else environ.get(name.upper(), "")
        found = found or environ.get(name) or shout
    direct = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    literal = f"[{host}]" if ":" in host else host
    if not found or is_loopback(literal) or _listed(host, port, direct):
        return None
    proxy = found if "://" in found else f"http://{found}"
    try:
        kind, name, _ = origin(proxy)
    except ValueError:
        kind = name = ""
    if kind not in ("http", "https") or not name:
        # Its value may hold a password.
        raise RegistryError(
            f"the proxy that the environment names for {scheme} is no http:// or https:// URL; "
            f"correct {scheme.upper()}_PROXY"
        )
    return proxy


def _listed(host: str, port: int | None, entries: str) -> bool:
    """Whether NO_PROXY has the host: by `*`, a domain above it, an address or a network; any with a port."""
    for entry in entries.lower().replace(",", " ").split():
        if entry == "*":
            return True
        name, colon, number = entry.rpartition(":")
        if colon and number.isdecimal() and (":" not in name or name.endswith("]")):
            if int(number) != port:
                continue
        else:
            name = entry
        if _within(host, name.strip("[]")):
            return True
    return False


def _within(host: str, name: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        domain = name.removeprefix("*").removeprefix(".")
        return bool(domain) and (host == domain or host.endswith(f".{domain}"))
    try:
        return address in ip_network(name, strict=False)
    except ValueError:
        return False


def _trust() -> ssl.SSLContext:
    """One for all connections: reading the certificates takes longer than a request."""
    file = os.environ.get("SSL_CERT_FILE")
    if file and not Path(file).is_file():
        # OpenSSL says nothing and trusts nobody.
        raise RegistryError(f"SSL_CERT_FILE is {file}, which is not there; correct it or unset it")
    context = create_urllib3_context()
    try:
        context.load_default_certs()
    except ssl.SSLError as error:
        raise RegistryError(f"the certificates to trust cannot be read: {error.reason}") from error
    return context
