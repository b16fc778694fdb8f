"""Custom domains, from the call to the certificate that a browser sees."""

from __future__ import annotations

import ssl
from typing import Any

import pytest


@pytest.fixture(scope="module")
def served(shared_harbour: Any, make_image: Any) -> tuple[Any, str]:
    shared_harbour.store(make_image())
    return shared_harbour, shared_harbour.create("web")


def only(harbour: Any, arn: str) -> dict[str, Any]:
    (domain,) = harbour.tell("custom_domains", arn=arn)
    return domain


@pytest.fixture
def domain(served: Any, eventually: Any) -> Any:
    """shop.web.localhost and its www, ACTIVE; gone again after the test."""
    harbour, arn = served
    harbour.tell("associate_domain", arn=arn, name="Shop.web.localhost.")
    eventually(lambda: only(harbour, arn)["status"] == "ACTIVE")
    yield "shop.web.localhost"
    harbour.tell("disassociate_domain", arn=arn, name="shop.web.localhost")


def test_a_domain_is_created_and_becomes_active_with_its_www(served: Any, domain: str) -> None:
    harbour, arn = served
    shown = only(harbour, arn)
    assert shown["name"] == domain
    assert shown["www"] is True
    assert shown["reason"] is None
    assert [(record["name"], record["value"], record["status"]) for record in shown["records"]] == [
        ("shop.web.localhost.", "web.localhost", "SUCCESS"),
        ("www.shop.web.localhost.", "web.localhost", "SUCCESS"),
    ]


@pytest.mark.parametrize("name", ["shop.web", "www.shop.web"])
def test_an_active_domain_is_served_with_a_certificate_of_its_own(
    served: Any, domain: str, name: str
) -> None:
    harbour, _ = served
    assert harbour.served(name) == "1"  # the client verifies name and chain


def test_the_service_keeps_its_own_name_and_learns_by_which_it_was_asked(served: Any, domain: str) -> None:
    harbour, _ = served
    assert harbour.served("web") == "1"
    headers = harbour.get("/headers", name="shop.web").json()
    assert headers["x-forwarded-host"] == f"{domain}:{harbour.https_port}"


def test_a_disassociated_domain_is_misdirected_and_its_certificate_gone(served: Any, eventually: Any) -> None:
    harbour, arn = served
    harbour.tell("associate_domain", arn=arn, name="gone.web.localhost", www=False)
    eventually(lambda: harbour.served("gone.web") == "1")
    ended = harbour.tell("disassociate_domain", arn=arn, name="gone.web.localhost")
    assert ended["status"] == "DELETING"
    assert harbour.tell("custom_domains", arn=arn) == []
    with pytest.raises(ssl.SSLCertVerificationError):
        harbour.get("/", name="gone.web")
    assert harbour.get("/", headers={"Host": "gone.web.localhost"}).status == 421
    assert not (harbour.layout.edge / "names" / "gone.web.localhost.pem").exists()


def test_a_name_leads_to_one_service_only(served: Any, domain: str) -> None:
    harbour, _ = served
    other = harbour.create("other")
    for taken in (domain, f"www.{domain}"):
        with pytest.raises(AssertionError, match="DomainExistsError"):
            harbour.tell("associate_domain", arn=other, name=taken, www=False)
    with pytest.raises(AssertionError, match="NoSuchDomainError"):
        harbour.tell("disassociate_domain", arn=other, name=domain)
    harbour.tell("delete_service", arn=other)
    harbour.ended(other)


@pytest.mark.parametrize(
    "name",
    ["", "nodots", "*.example.com", "127.0.0.1", "a b.example", "x.localhost", "münchen.example", "-a.b"],
)
def test_what_is_no_name_that_a_service_can_have_is_refused(served: Any, name: str) -> None:
    harbour, arn = served
    with pytest.raises(AssertionError, match="InvalidDomainError"):
        harbour.tell("associate_domain", arn=arn, name=name)
    assert harbour.tell("custom_domains", arn=arn) == []


@pytest.mark.parametrize(
    ("source", "name", "remedy"),
    [
        ("web.localhost", "web.localhost", "delete that first"),
        ("shop.web.localhost/*", "shop.web.localhost", "disassociate its domain shop.web.localhost first"),
        ("www.shop.web.localhost", "www.shop.web.localhost", "disassociate its domain shop.web.localhost"),
        ("*.shop.web.localhost", "www.shop.web.localhost", "disassociate its domain shop.web.localhost"),
    ],
)
def test_a_redirect_takes_no_name_from_a_service(
    served: Any, domain: str, source: str, name: str, remedy: str
) -> None:
    harbour, _ = served
    with pytest.raises(AssertionError, match="RedirectError") as refused:
        harbour.tell("add_redirect", source=source, target="https://elsewhere.example")
    assert f"would take {name} from the service web: {remedy}" in str(refused.value)
    assert harbour.served(name.removesuffix(".localhost")) == "1"


def test_a_redirect_of_a_path_may_be_at_a_name_that_is_served(served: Any, domain: str) -> None:
    harbour, _ = served
    harbour.tell("add_redirect", source=f"{domain}/old/*", target="https://elsewhere.example")
    assert harbour.get("/old/x", name="shop.web").status == 301
    assert harbour.served("shop.web") == "1"
    harbour.tell("remove_redirect", source=f"{domain}/old/*")


def test_without_an_authority_for_it_a_name_waits_and_says_why(served: Any, eventually: Any) -> None:
    harbour, arn = served
    harbour.tell("associate_domain", arn=arn, name="shop.example", www=False)
    eventually(lambda: only(harbour, arn)["reason"] is not None)
    shown = only(harbour, arn)
    assert shown["status"] == "PENDING_CERTIFICATE_DNS_VALIDATION"
    assert "--acme" in shown["reason"]
    assert shown["records"][0]["status"] == "FAILED"
    assert any("No certificate for shop.example" in line for line in harbour.events(arn))
    harbour.tell("disassociate_domain", arn=arn, name="shop.example")


def test_domains_outlive_a_crash_and_end_with_their_service(served: Any, eventually: Any) -> None:
    harbour, _ = served
    arn = harbour.create("brief")
    harbour.tell("associate_domain", arn=arn, name="my.brief.localhost", www=False)
    eventually(lambda: harbour.served("my.brief") == "1")
    harbour.kill()
    harbour.start()
    assert harbour.served("my.brief") == "1"
    assert only(harbour, arn)["status"] == "ACTIVE"
    harbour.tell("delete_service", arn=arn)
    harbour.ended(arn)
    assert harbour.get("/", headers={"Host": "my.brief.localhost"}).status == 421
    again = harbour.create("heir")
    harbour.tell("associate_domain", arn=again, name="my.brief.localhost", www=False)
    eventually(lambda: harbour.served("my.brief") == "1")
