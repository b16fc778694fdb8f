"""Certificates by ACME from pebble, Let's Encrypt's authority for tests, and its name server, on loopback."""

from __future__ import annotations

import asyncio
import http.client
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

import bucketlog
from homeport.acme import Acme
from homeport.authority import Authority
from homeport.certificates import Certificates
from homeport.edge import Names
from homeport.errors import CertificateError


@pytest.fixture(scope="module")
def pebble(shared_harbour: Any, open_pebble: Any) -> Iterator[Any]:
    """That the shared port has its certificates from."""
    made: Any = open_pebble(shared_harbour.http_port)
    shared_harbour.acme = made.directory
    before = os.environ.get("SSL_CERT_FILE")
    os.environ["SSL_CERT_FILE"] = str(made.trust)
    shared_harbour.kill()
    shared_harbour.start()
    yield made
    if before is None:
        del os.environ["SSL_CERT_FILE"]
    else:
        os.environ["SSL_CERT_FILE"] = before


@pytest.fixture(scope="module")
def web(shared_harbour: Any, pebble: Any, make_image: Any) -> str:
    shared_harbour.store(make_image())
    return str(shared_harbour.create("web"))


def visit(harbour: Any, pebble: Any, name: str, target: str = "/") -> tuple[int, str, bytes]:
    """Status, location or body, and certificate, over a chain that ends at pebble's root."""
    return visit_port(harbour.https_port, pebble, name, target)


def visit_port(port: int, pebble: Any, name: str, target: str = "/") -> tuple[int, str, bytes]:
    context = ssl.create_default_context(cadata=pebble.root())
    # Wrapped before it is connected: `wrap_socket` loses a connection that has been cut already.
    with context.wrap_socket(socket.socket(), server_hostname=name) as connection:
        connection.settimeout(60)
        connection.connect(("127.0.0.1", port))
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        certificate = connection.getpeercert(binary_form=True)
        assert certificate is not None
        return answer.status, answer.headers.get("Location") or answer.read().decode(), certificate


def domain(harbour: Any, arn: str, name: str) -> Any:
    return next(one for one in harbour.tell("custom_domains", arn=arn) if one["name"] == name)


def test_a_domain_and_its_www_are_served_with_certificates_that_outlive_a_crash(
    shared_harbour: Any, pebble: Any, web: str, eventually: Any
) -> None:
    shared_harbour.tell("associate_domain", arn=web, name="shop.example")
    eventually(lambda: domain(shared_harbour, web, "shop.example")["status"] == "ACTIVE", 60)
    status, text, certificate = visit(shared_harbour, pebble, "shop.example")
    assert (status, text) == (200, "1")
    assert visit(shared_harbour, pebble, "www.shop.example")[:2] == (200, "1")
    key = shared_harbour.data / "acme/account-key.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    account = key.read_bytes()

    shared_harbour.kill()
    shared_harbour.start()
    assert visit(shared_harbour, pebble, "shop.example") == (200, "1", certificate)
    shown = domain(shared_harbour, web, "shop.example")
    assert shown["status"] == "ACTIVE"
    # The account is known again, by its key alone.
    shared_harbour.tell("associate_domain", arn=web, name="again.example", www=False)
    eventually(lambda: domain(shared_harbour, web, "again.example")["status"] == "ACTIVE", 60)
    assert key.read_bytes() == account


def test_a_redirect_of_everything_swallows_no_challenge(
    shared_harbour: Any, pebble: Any, web: str, eventually: Any
) -> None:
    for source in ("old.example", "*.old.example"):
        shared_harbour.tell("add_redirect", source=source, target="https://shop.example/moved")
    try:
        # The wildcard leads every name away, and still each can be proved.
        shared_harbour.tell("associate_domain", arn=web, name="new.old.example", www=False)
        eventually(lambda: domain(shared_harbour, web, "new.old.example")["status"] == "ACTIVE", 60)

        def moved() -> bool:
            with suppress(OSError):
                return visit(shared_harbour, pebble, "old.example", "/a?b=1")[:2] == (
                    301,
                    "https://shop.example/moved/a?b=1",
                )
            return False

        eventually(moved, 60)
    finally:
        for source in ("old.example", "*.old.example"):
            shared_harbour.tell("remove_redirect", source=source)


def test_a_name_that_leads_elsewhere_waits_with_the_reason_until_it_is_asked_for_again(
    shared_harbour: Any, pebble: Any, web: str, eventually: Any
) -> None:
    pebble.lead("lost.example", "127.0.0.9")
    shared_harbour.tell("associate_domain", arn=web, name="lost.example", www=False)
    eventually(lambda: domain(shared_harbour, web, "lost.example")["reason"], 60)
    shown = domain(shared_harbour, web, "lost.example")
    assert shown["status"] == "PENDING_CERTIFICATE_DNS_VALIDATION"
    assert shown["records"][0]["status"] == "FAILED"
    assert any("No certificate for lost.example" in line for line in shared_harbour.events(web))
    # What else the service has goes on.
    assert shared_harbour.served("web") == "1"

    pebble.lead("lost.example", "127.0.0.1")
    shared_harbour.tell("disassociate_domain", arn=web, name="lost.example")
    shared_harbour.tell("associate_domain", arn=web, name="lost.example", www=False)
    eventually(lambda: domain(shared_harbour, web, "lost.example")["status"] == "ACTIVE", 60)
    assert domain(shared_harbour, web, "lost.example")["reason"] is None


@pytest.fixture
def store(tmp_path: Path) -> Iterator[bucketlog.Connection]:
    with bucketlog.connect(f"file://{tmp_path / 'db'}") as database:
        yield database


def test_a_certificate_is_renewed_before_its_end_and_by_another_authority_at_once(
    open_front: Any, open_pebble: Any, store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    front = open_front()
    brief, lasting = open_pebble(front.http_port, life=6), open_pebble(front.http_port)
    both = tmp_path / "both.pem"
    both.write_text(brief.trust.read_text() + lasting.trust.read_text())
    monkeypatch.setenv("SSL_CERT_FILE", str(both))
    folder = front.layout.edge / "names"

    async def serials(pebble: Any, count: int) -> list[tuple[int, str]]:
        """Of the first certificates that come, the last of which is then the edge's."""
        issuer = Acme(pebble.directory, tmp_path / "acme")
        seen: list[tuple[int, str]] = []
        enough = asyncio.Event()

        async def changed() -> None:
            file = certificates.path("shop.example")
            leaf = x509.load_pem_x509_certificate(file.read_bytes())
            seen.append((leaf.serial_number, leaf.issuer.rfc4514_string()))
            if len(seen) == count:
                enough.set()

        def failed(name: str, reason: str) -> None:
            raise AssertionError(f"{name}: {reason}")

        certificates = Certificates(
            folder, store, Authority(tmp_path), issuer, changed=changed, failed=failed
        )
        certificates.load()
        await front.edge.rename(Names(thumbprint=issuer.thumbprint))
        certificates.want(["shop.example"])
        running = asyncio.create_task(certificates.run())
        async with asyncio.timeout(120):
            await asyncio.wait([running, asyncio.create_task(enough.wait())], return_when="FIRST_COMPLETED")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return seen

    first, second = front.do(serials(brief, 2))
    assert first[0] != second[0]
    (third,) = front.do(serials(lasting, 1))
    assert third[1] != second[1]


def test_services_below_a_domain_of_ones_own_are_proved_too(
    open_homeport: Any, open_pebble: Any, make_image: Any, free_port: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    http_port = free_port()
    pebble = open_pebble(http_port)
    monkeypatch.setenv("SSL_CERT_FILE", str(pebble.trust))
    options = ("--http-port", str(http_port), "--domain", "apps.example", "--acme", pebble.directory)
    homeport = open_homeport(*options, "--address", "0.0.0.0", "--console", "admin.example")
    homeport.by_boto3("ecr", "CreateRepository", repositoryName="blog-1")
    homeport.push(make_image(VERSION="5"), "blog-1")
    arn = homeport.create("blog-1")
    port = homeport.addresses["https_port"]
    service = homeport.by_boto3("apprunner", "DescribeService", ServiceArn=arn)["Service"]
    assert service["ServiceUrl"] == f"blog-1.apps.example:{port}"

    def served(name: str, target: str = "/") -> tuple[int, str] | None:
        with suppress(OSError):
            return visit_port(port, pebble, name, target)[:2]
        return None

    homeport.until(lambda: served("blog-1.apps.example") == (200, "5"))
    homeport.until(lambda: served("admin.example") == (303, "/_homeport/console/"))
    refused = homeport.by_boto3
    with pytest.raises(Exception, match="or may become, a service's own name"):
        refused("apprunner", "AssociateCustomDomain", ServiceArn=arn, DomainName="other.apps.example")
    with pytest.raises(Exception, match="console"):
        refused("apprunner", "AssociateCustomDomain", ServiceArn=arn, DomainName="admin.example")


def test_an_authority_that_cannot_be_asked_is_a_reason(tmp_path: Path, free_port: Any) -> None:
    acme = Acme(f"https://localhost:{free_port()}/dir", tmp_path / "acme")
    with pytest.raises(CertificateError, match=r"https://localhost:\d+/dir: .*refused"):
        acme.issue("shop.example")
    (tmp_path / "acme/account-key.pem").write_text("nonsense")
    with pytest.raises(CertificateError, match="is no private key"):
        Acme("https://localhost/dir", tmp_path / "acme")
