"""A name moves to a target: the steps as they are printed, in a zone of somebody else's and in Route 53."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packages.tagboat.tests.aws.conftest import NEW_END, OLD_END
from packages.tagboat.tests.aws.test_elsewhere import LEAN, PROOFS

from tagboat.aws.account import Account
from tagboat.component import Component
from tagboat.cutover import Cutover, CutoverError, End, go_back, move
from tagboat.cutover.note import Note, note_of, read_note
from tagboat.cutover.state import Watched, is_ours, leading_sets, records_of
from tagboat.cutover.steps import rendered
from tagboat.dns import Record
from tagboat.dns.end import Seen
from tagboat.runtime.choice import runtime_of

GOLDEN = Path(__file__).parent / "golden"
ROUTE53 = ("ns-2048.awsdns-64.com", "ns-2049.awsdns-65.net")


def golden(name, out, *, port, host="d0.cloudfront.net"):
    """Hold what is printed against the file, with what differs by the day and the run left out."""
    said = out.replace(host, "d0.cloudfront.net").replace(f":{port}", ":53")
    said = re.sub(r"\d{4}-\d\d-\d\d( \d\d:\d\d UTC)?", "(time)", said)
    file = GOLDEN / f"cutover-{name}.txt"
    assert said == file.read_text()


def distribution(aws, zones):
    """The host of the distribution, which the public DNS knows from then on."""
    (one,) = aws.client("cloudfront").list_distributions()["DistributionList"]["Items"]
    zones.zone("cloudfront.net", f"{one['DomainName']}. 60 A {NEW_END}\n")
    return one["DomainName"]


def test_a_name_of_a_zone_elsewhere_moves_by_the_steps(aws, zones, ends):
    ends("www.shop.test")
    old = f"www 3600 CNAME shop-1.elb.amazonaws.com.\n@ 60 A {OLD_END}\n"
    zones.zone("elb.amazonaws.com", f"shop-1 60 A {OLD_END}\n")
    zones.zone("shop.test", PROOFS + old)
    aws.configure(LEAN)
    assert aws.run("cutover", "other.shop.test")[0] == 2
    code, _, err = aws.run("cutover", "www.shop.test")
    assert (code, "`tagboat apply` first" in err) == (1, True)
    aws.repository()
    aws.release()
    assert aws.run("apply")[0] == 35
    host = distribution(aws, zones)

    assert ".lambda-url." in served_at(aws)  # whoever looks at the name sees what was before
    zones.cached("www.shop.test", 1200, "CNAME", "shop-1.elb.amazonaws.com.")
    code, before, err = aws.run("cutover", "www.shop.test")
    assert (code, "www.shop.test has not moved" in err) == (35, True)
    golden("elsewhere-before", before, port=zones.port, host=host)
    code, apex, _ = aws.run("cutover", "shop.test")
    assert "1. " + host + " answers for shop.test (now)" in apex  # its certificate here is for www alone
    assert f"make       ; shop.test. 300 IN ALIAS {host}." in apex
    code, _, err = aws.run("cutover", "www.shop.test", "--yes")
    assert (code, "is not kept in this account's Route 53, but at ns2.provider.test" in err) == (1, True)

    # Made as it was printed, with all that is printed.
    take, make = re.findall(r"^   (?:take away|make) +(www.*)$", before, re.MULTILINE)[:2]
    assert take == "www.shop.test. 3600 IN CNAME shop-1.elb.amazonaws.com."
    zones.zone("shop.test", f"{PROOFS}{make}\n@ 60 A {OLD_END}\n")
    code, out, err = aws.run("cutover", "www.shop.test")
    assert (code, "some caches do not know it yet" in err) == (35, True)
    golden("elsewhere-moved", out, port=zones.port, host=host)
    zones.cache.clear()
    code, out, _ = aws.run("cutover", "www.shop.test", "--json")
    said = json.loads(out)
    assert (code, said["moved"], said["settled"]) == (0, True, True)
    assert {one["side"] for one in said["watched"]} == {"new"}
    assert served_at(aws) == "https://www.shop.test"


def served_at(aws):
    """Where `deploy` says that it is served, and CI looks whether it is well."""
    return runtime_of(Component.load(aws.directory), None).state().url


def publish(aws, zones, zone, name="shop.test"):
    """Let name servers have what Route 53 has: an alias as the addresses of what it leads to."""
    text = ""
    for one in aws.client("route53").list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]:
        if one["Type"] in ("NS", "SOA") or one["Name"].startswith("_"):
            continue
        values = [value["Value"] for value in one.get("ResourceRecords", [])]
        values = [f"{value}." if one["Type"] == "CNAME" else value for value in values]
        if "AliasTarget" in one:
            values = [NEW_END] if one["Type"] == "A" else []
        text += "".join(f"{one['Name']} {one.get('TTL', 60)} {one['Type']} {value}\n" for value in values)
    for server, address in zip(ROUTE53, ("127.0.0.2", "127.0.0.3"), strict=True):
        zones.zone(server.partition(".")[2], f"{server}. 300 A {address}\n")
    zones.zone(name, text, names=ROUTE53)


def long_ago(aws, zone, name):
    """Let the time to live have been lowered many years ago."""
    note = sets(aws, zone)[f"_tagboat.{name}.", "TXT"]
    value = note["ResourceRecords"][0]["Value"]
    earlier = re.sub(r'lowered\\":\\"\d{4}', r'lowered\\":\\"2001', value)
    assert earlier != value
    note["ResourceRecords"] = [{"Value": earlier}]
    change = {"Changes": [{"Action": "UPSERT", "ResourceRecordSet": note}]}
    aws.client("route53").change_resource_record_sets(HostedZoneId=zone, ChangeBatch=change)


def sets(aws, zone):
    found = aws.client("route53").list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    return {
        (one["Name"], one["Type"]): one
        for one in found
        if "shop" in one["Name"] and one["Type"] not in ("NS", "SOA")
    }


def test_a_name_in_route_53_is_moved_and_moved_back(aws, zones, ends, monkeypatch):
    ends("www.shop.test")
    zone = aws.zone("shop.test")
    old = {"Name": "www.shop.test.", "Type": "CNAME", "TTL": 3600}
    old["ResourceRecords"] = [{"Value": "shop-1.elb.amazonaws.com"}]
    change = {
        "Changes": [{"Action": "UPSERT", "ResourceRecordSet": old}]
    }  # what was created, moto lets not again
    aws.client("route53").change_resource_record_sets(HostedZoneId=zone, ChangeBatch=change)
    zones.zone("elb.amazonaws.com", f"shop-1 60 A {OLD_END}\n")
    aws.configure(LEAN.replace('redirects = ["shop.test"]\n', ""))
    aws.repository()
    aws.release()
    code, _, err = aws.run("apply")
    assert (code, "www.shop.test leads elsewhere" in err) == (35, True)
    host = distribution(aws, zones)
    before = sets(aws, zone)
    assert before["www.shop.test.", "CNAME"] == old  # and no address was made beside it
    assert ("www.shop.test.", "AAAA") not in before
    zones.zone("shop.test", "www 3600 CNAME shop-1.elb.amazonaws.com.\n")
    code, _, err = aws.run("cutover", "www.shop.test", "--yes")
    assert (code, "is not kept in this account's Route 53" in err) == (1, True)  # though there is such a zone

    publish(aws, zones, zone)
    code, out, _ = aws.run("cutover", "www.shop.test")
    assert code == 35
    golden("route53-before", out, port=zones.port, host=host)
    assert not aws.calls.changing
    assert aws.run("cutover", "www.shop.test", "--back")[0] == 2
    code, _, err = aws.run("cutover", "www.shop.test", "--back", "--yes")
    assert (code, "nothing is kept" in err) == (1, True)

    code, out, _ = aws.run("cutover", "www.shop.test", "--yes")
    assert (code, "the time to live of www.shop.test is 60 s" in out) == (35, True)
    assert sets(aws, zone)["www.shop.test.", "CNAME"]["TTL"] == 60
    code, _, err = aws.run("cutover", "www.shop.test", "--yes")
    assert (code, "from before its time to live was lowered until" in err) == (1, True)
    assert not aws.calls.changing
    long_ago(aws, zone, "www.shop.test")

    with monkeypatch.context() as ill:
        ill.setattr("tagboat.dns.end.HTTPS", 9)
        code, _, err = aws.run("cutover", "www.shop.test", "--yes")
    assert (code, "the new end does not answer for www.shop.test: 127.0.0.9: it does not" in err) == (1, True)
    assert not aws.calls.changing
    moved(aws, zones, zone, host, old)


def moved(aws, zones, zone, host, old):
    assert aws.run("cutover", "www.shop.test", "--yes")[:2] == (
        0,
        f"www.shop.test leads to {host}; `--back` puts back what was there\n",
    )
    assert len([call for call in aws.calls.changing if call.operation == "ChangeResourceRecordSets"]) == 1
    there = sets(aws, zone)
    assert ("www.shop.test.", "CNAME") not in there
    assert there["www.shop.test.", "A"]["AliasTarget"]["DNSName"].rstrip(".") == host
    publish(aws, zones, zone)
    code, out, _ = aws.run("cutover", "www.shop.test")
    assert code == 0
    golden("route53-moved", out, port=zones.port, host=host)
    # CAA, which could not stand beside the CNAME.
    assert aws.run("apply")[:2] == (0, "1 created, 0 changed\n")
    assert aws.run("plan")[0] == 0
    assert "leads to" in aws.run("cutover", "www.shop.test", "--yes")[1]
    assert not aws.calls.changing

    code, out, err = aws.run("cutover", "www.shop.test", "--back", "--yes")
    assert (code, out, err) == (0, "www.shop.test is what it was before\n", "")
    there = sets(aws, zone)
    assert there["www.shop.test.", "CNAME"] == old
    assert [key for key in there if "_tagboat" in key[0] or key[1] in ("A", "AAAA", "CAA")] == []


@given(
    st.lists(
        st.fixed_dictionaries(
            {"Name": st.just("www.shop.test."), "Type": st.sampled_from(["A", "CNAME", "HTTPS"])},
            optional={
                "TTL": st.integers(0, 1 << 31),
                "SetIdentifier": st.text(max_size=20),
                "ResourceRecords": st.lists(
                    st.fixed_dictionaries({"Value": st.text(max_size=40)}), max_size=3
                ),
            },
        ),
        max_size=4,
    ),
    st.integers(0, 1 << 31),
    st.datetimes(timezones=st.just(UTC)),
)
def test_what_is_kept_is_read_again(kept, ttl, at):
    at = at.replace(microsecond=0)
    note = Note(tuple(kept), ttl, lowered=at)
    value = note.record_set("www.shop.test")["ResourceRecords"][0]["Value"]
    assert value.isascii()
    assert read_note(value) == note


AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ENDS = {
    "to-vm": Cutover(
        "www.shop.test",
        End("192.0.2.9", "target production, vm", "/healthz", acme=True),
        "shop.test",
        ("ns1.provider.test",),
        (Record("www.shop.test", "CNAME", "shop-1.elb.amazonaws.com", 60),),
        (Record("www.shop.test", "A", "192.0.2.9", 300),),
        moved=False,
        answers=(Seen("192.0.2.9", "it has no certificate for www.shop.test (UNRECOGNIZED_NAME)"),),
        watched=(Watched("ns1.provider.test (192.0.2.53)", "silent"),),
        now=AT,
        forbidden="CAA at shop.test lets amazon.com sign",
    ),
    "app-runner-to-homeport": Cutover(
        "shop.test",
        End("shop.apps.shop.test", "service shop of a homeport", "/", acme=True),
        "shop.test",
        ("ns1.provider.test",),
        (
            Record("shop.test", "A", "192.0.2.1", 86400),
            Record("shop.test", "HTTPS", "1 . ipv4hint=192.0.2.1", 300),
        ),
        (Record("shop.test", "A", "192.0.2.9", 300), Record("shop.test", "AAAA", "2001:db8::9", 300)),
        moved=False,
        answers=(
            Seen(
                "192.0.2.9",
                "its certificate is not one for shop.test that is trusted: expired",
            ),
            Seen("2001:db8::9", "it does not answer: timed out", reached=False),
        ),
        watched=(),
        now=AT,
    ),
    "from-app-runner": Cutover(
        "www.shop.test",
        End("d1.cloudfront.net", "target production, lambda", "/", acme=False),
        "shop.test",
        ("ns1.provider.test",),
        (Record("www.shop.test", "CNAME", "d1.cloudfront.net", 300),),
        (Record("www.shop.test", "CNAME", "d1.cloudfront.net", 300),),
        moved=True,
        answers=(Seen("192.0.2.9", None, 301, "https://shop.test/", "c0ffee", AT),),
        watched=(
            Watched("9.9.9.9", "old", (Record("www.shop.test", "CNAME", "a1.awsapprunner.com", 90),), 90),
        ),
        now=AT,
    ),
}


@pytest.mark.parametrize("name", ENDS)
def test_the_steps_of_other_ends_are_printed(name):
    golden(name, "\n".join(rendered(ENDS[name])) + "\n", port=53)


def test_weighted_addresses_make_way_for_a_machine_and_come_back(aws):
    """All of what was there goes and comes in one change each, whatever Route 53 has made of it."""
    zone = aws.zone("shop.test")
    old = [
        {
            "Name": "www.shop.test.",
            "Type": "A",
            "SetIdentifier": name,
            "Weight": 50,
            "TTL": 60,
            "ResourceRecords": [{"Value": address}],
        }
        for name, address in (("one", "192.0.2.1"), ("two", "192.0.2.2"))
    ]
    changes = [{"Action": "UPSERT", "ResourceRecordSet": one} for one in old]
    aws.client("route53").change_resource_record_sets(HostedZoneId=zone, ChangeBatch={"Changes": changes})
    account = Account(None)
    end = End("192.0.2.9", "target production, vm", "/", acme=True, account=account, hosted=zone)

    def looked():
        found = leading_sets(account, zone, "www.shop.test")
        return Cutover(
            "www.shop.test",
            end,
            "shop.test",
            ROUTE53,
            records_of("www.shop.test", found),
            (),
            moved=all(is_ours(end, one) for one in found),
            answers=(Seen("192.0.2.9", None, 200, None, "c0ffee", AT),),
            watched=(),
            now=AT,
            note=note_of(account, zone, "www.shop.test"),
            sets=found,
        )

    move(looked())
    there = looked()
    assert [record.short for record in there.there] == ["A 192.0.2.9"]
    assert [record.short for record in there.old] == ["A 192.0.2.1", "A 192.0.2.2"]
    go_back(there)
    assert list(leading_sets(account, zone, "www.shop.test")) == old
    with pytest.raises(CutoverError, match="nothing is kept"):
        go_back(looked())
    end = replace(end, value="192.0.2.10")  # what was created, moto lets not be created again
    move(looked())
    by_hand = {"Name": "www.shop.test.", "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": "192.0.2.3"}]}
    change = {"Changes": [{"Action": "UPSERT", "ResourceRecordSet": by_hand}]}
    aws.client("route53").change_resource_record_sets(HostedZoneId=zone, ChangeBatch=change)
    with pytest.raises(CutoverError, match=r"has been changed since it was moved: it is A 192\.0\.2\.3"):
        go_back(looked())
