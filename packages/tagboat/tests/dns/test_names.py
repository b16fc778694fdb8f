"""Names are asked at the servers that keep them; what records are to be, in every form, and who may sign."""

import dns.zone
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagboat.dns import DnsError, Names, Record
from tagboat.dns import names as names_module
from tagboat.dns.caa import AMAZON, LETS_ENCRYPT, Permission, permission
from tagboat.dns.record import quoted, table, unquoted, zone_file

SHOP = """
@ 300 A 192.0.2.1
www 3600 CNAME old.shop.test.
old 60 A 192.0.2.7
old 60 AAAA 2001:db8::7
long 60 TXT {}
""".format(" ".join(f'"{"x" * 200}"' for _ in range(20)))


@pytest.fixture
def names(zones):
    zones.zone("shop.test", SHOP)
    return Names.of_settings()


def test_a_name_is_asked_at_the_servers_of_the_closest_zone(zones, names):
    zone = names.zone("www.shop.test")
    assert (zone.name, [str(one) for one in zone.servers]) == (
        "shop.test",
        ["ns2.provider.test (127.0.0.2)", "ns3.provider.test (127.0.0.3)"],
    )
    zones.zone("deep.shop.test", "@ 60 A 192.0.2.9\n", ("127.0.0.3",))
    assert Names.of_settings().zone("a.b.deep.shop.test").name == "deep.shop.test"
    assert names.led("www.shop.test") == (Record("www.shop.test", "CNAME", "old.shop.test", 3600),)
    assert names.addresses("www.shop.test") == ("192.0.2.7", "2001:db8::7")
    assert names.led("nothing.shop.test") == ()
    with pytest.raises(DnsError, match=r"no zone of the public DNS has www\.nowhere\.test") as caught:
        names.zone("www.nowhere.test")
    assert "registered" in caught.value.hint


def test_what_a_cache_has_does_not_mislead(zones, names):
    zones.cached("www.shop.test", 1200, "CNAME", "older.shop.test.")
    assert [one.value for one in names.ask("www.shop.test", "A").records] == ["old.shop.test"]
    found = {server.address: answer.records for server, answer in names.everywhere("www.shop.test", "A")}
    assert found["127.0.0.1"] == (Record("www.shop.test", "CNAME", "older.shop.test", 1200),)
    assert (
        found["127.0.0.2"] == found["127.0.0.3"] == (Record("www.shop.test", "CNAME", "old.shop.test", 3600),)
    )


def test_servers_that_are_silent_or_lame_are_passed_over(zones, names, monkeypatch):
    del zones.zones["127.0.0.2"][next(name for name in zones.zones["127.0.0.2"] if "shop" in str(name))]
    answer = names.ask("www.shop.test", "A")
    assert (answer.server.address, answer.cached) == ("127.0.0.3", False)
    zones.silent.add("127.0.0.3")
    asked = names_module._asked

    def ask(server, *arguments, **more):
        """Those that answer may take their time."""
        monkeypatch.setattr(names_module, "_TIMEOUT", 0.05 if server.address in zones.silent else 60.0)
        return asked(server, *arguments, **more)

    monkeypatch.setattr(names_module, "_asked", ask)
    answer = names.ask("www.shop.test", "A")
    assert (answer.server.address, answer.cached) == ("127.0.0.1", True)
    zones.silent.add("127.0.0.1")
    with pytest.raises(DnsError, match="nor a resolver answers"):
        names.ask("www.shop.test", "A")


def test_a_long_answer_comes_by_tcp(names):
    (record,) = names.ask("long.shop.test", "TXT").records
    assert len(record.value) > 4000


@pytest.mark.parametrize("said", ["resolver.example", "127.0.0.1:x", "[::1", "1.1.1.1,"])
def test_a_resolver_is_named_by_its_address(monkeypatch, said):
    monkeypatch.setenv("TAGBOAT_RESOLVERS", said)
    with pytest.raises(DnsError, match="TAGBOAT_RESOLVERS"):
        Names.of_settings()


def test_resolvers_have_ports(monkeypatch):
    monkeypatch.setenv("TAGBOAT_RESOLVERS", "192.0.2.1, 192.0.2.2:5353,2001:db8::1,[2001:db8::2]:54")
    found = [(one.address, one.port) for one in Names.of_settings().resolvers]
    assert found == [("192.0.2.1", 53), ("192.0.2.2", 5353), ("2001:db8::1", 53), ("2001:db8::2", 54)]


@pytest.mark.parametrize(
    ("zone", "at", "amazon", "letsencrypt"),
    [
        ("", None, True, True),
        ('@ 60 CAA 0 issue "letsencrypt.org"', "shop.test", False, True),
        ('@ 60 CAA 0 issue "amazontrust.com"', "shop.test", True, False),
        ('@ 60 CAA 0 issue ";"', "shop.test", False, False),
        ('@ 60 CAA 0 issue " LetsEncrypt.org ; validationmethods=http-01"', "shop.test", False, True),
        ('@ 60 CAA 0 iodef "mailto:ops@shop.test"', "shop.test", True, True),
        ('@ 60 CAA 128 future "x"', "shop.test", False, False),
        ('@ 60 CAA 0 issue ";"\nwww 60 CAA 0 issue "amazon.com"', "www.shop.test", True, False),
        # An alias has the records of what it leads to.
        ('www 60 CNAME end.shop.test.\nend 60 CAA 0 issue "amazon.com"', "www.shop.test", True, False),
    ],
)
def test_who_may_sign_is_what_the_closest_name_says(zones, zone, at, amazon, letsencrypt):
    zones.zone("shop.test", f"@ 60 A 192.0.2.1\n{zone}\n")
    found = permission(Names.of_settings(), "www.shop.test")
    assert (found.at, found.allows(AMAZON), found.allows(LETS_ENCRYPT)) == (at, amazon, letsencrypt)
    if not amazon:
        assert found.described().startswith("CAA at shop.test lets ")


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters='"\\'), max_size=60))
def test_any_value_of_a_caa_record_is_read(value):
    issuers = Permission("shop.test", (Record("shop.test", "CAA", f'0 issue "{value}"', 60),)).issuers
    name = value.partition(";")[0].strip().lower()
    assert issuers == ({name} if name else set())


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=900))
def test_a_text_record_holds_any_text(text):
    assert unquoted(quoted(text)) == text
    zone = dns.zone.from_text(
        f"@ SOA a. b. 1 1 1 1 1\n@ NS a.\n{Record('t.shop.test', 'TXT', quoted(text), 60)}", "shop.test."
    )
    strings = zone.get_rdataset("t", "TXT")[0].strings
    assert b"".join(strings).decode() == text


def test_records_are_written_for_people_and_for_name_servers():
    records = [
        Record("_x.www.shop.test", "CNAME", "_y.acm-validations.aws", 300),
        Record("www.shop.test", "CNAME", "d1.cloudfront.net", 300),
        Record("shop.test", "ALIAS", "d1.cloudfront.net", 300),
        Record("shop.test", "CAA", '0 issue "amazon.com"', 300),
    ]
    assert table(records) == [
        "TYPE   NAME              TTL  VALUE",
        "CNAME  _x.www.shop.test  300  _y.acm-validations.aws",
        "CNAME  www.shop.test     300  d1.cloudfront.net",
        "ALIAS  shop.test         300  d1.cloudfront.net",
        'CAA    shop.test         300  0 issue "amazon.com"',
    ]
    head = "@ SOA a. b. 1 1 1 1 1\n@ NS a.\n"
    zone = dns.zone.from_text(head + "\n".join(zone_file(records)), "shop.test.", relativize=False)
    (target,) = zone.get_rdataset("www.shop.test.", "CNAME")
    assert target.to_text() == "d1.cloudfront.net."
