"""A domain whose zone somebody else keeps: everything is made that can be, and the records are asked for."""

import json

import dns.zone
import pytest
from packages.tagboat.tests.aws.conftest import TARGETS

PROOF = "_d930b28be6c5927595552b219965053e"
PROVED = "_c9edd76ee4a0e2a74388032f3861cc50.ykybfrwcxw.acm-validations.aws"
LEAN = """kind = "lambda"
region = "ap-southeast-1"
domain = "www.shop.test"
redirects = ["shop.test"]
"""
OLD = "www 3600 A 127.0.0.1\n@ 3600 A 127.0.0.1\n"
PROOFS = f"{PROOF} 300 CNAME {PROVED}.\n{PROOF}.www 300 CNAME {PROVED}.\n"


def elsewhere(target):
    """A target under a domain whose zone is on loopback."""
    return target.replace("shop.example", "shop.test")


@pytest.fixture
def kept(aws, zones, monkeypatch):
    """A complete component with a release, and its zone as it was before; nothing listens where it leads."""
    monkeypatch.setattr("tagboat.dns.end.HTTPS", 9)
    zones.zone("shop.test", OLD)
    aws.repository()
    aws.release()
    return zones


def changes(aws, command="plan"):
    code, out, _ = aws.run(command, "--json")
    listed = json.loads(out)
    return {
        f"{one['kind']}/{one['name']}": one for one in (listed["drift"] if command == "drift" else listed)
    }, code


@pytest.mark.parametrize("kind", ["ecs-express", "apprunner"])
def test_every_target_with_a_distribution_asks_for_the_same(aws, kept, kind):
    aws.configure(elsewhere(TARGETS[kind]))
    planned, code = changes(aws)
    asked = {key: one["action"] for key, one in planned.items() if one["kind"] == "dns.record"}
    assert (code, asked) == (
        2,
        {
            "dns.record/CAA www.shop.test": "keep",
            "dns.record/CAA shop.test": "keep",
            "dns.record/proof www.shop.test": "ask",
            "dns.record/proof shop.test": "ask",
            "dns.record/name www.shop.test": "wait",
            "dns.record/name shop.test": "wait",
        },
    )


def test_records_are_asked_for_step_by_step_and_each_apply_goes_on(aws, kept):
    aws.configure(LEAN)
    planned, code = changes(aws)
    assert code == 2
    assert planned["dns.record/proof www.shop.test"]["action"] == "ask"
    assert planned["acm.validation/www.shop.test"]["reason"] == "records in the DNS"
    assert "dns.record/CAA www.shop.test" in planned

    code, out, err = aws.run("apply")
    assert code == 35
    assert out.partition("\n")[2] == (
        "\nto be made where the DNS of shop.test is kept (ns2.provider.test, ns3.provider.test):\n\n"
        "  TYPE   NAME                                             TTL  VALUE\n"
        f"  CNAME  {PROOF}.www.shop.test  300  {PROVED}\n"
        f"  CNAME  {PROOF}.shop.test      300  {PROVED}\n"
    )
    assert "tagboat: waiting for these records: 2 records are to be made in the DNS; 4 resources wait" in err
    assert not any(call.operation == "CreateDistributionWithTags" for call in aws.calls)
    code, out, _ = aws.run("apply")
    assert (code, out.partition("\n")[0]) == (35, "0 created, 0 changed")
    assert not aws.calls.changing

    _, zone, _ = aws.run("export", "zone", "--target", "production")
    kept.zone("shop.test", OLD + zone)
    code, out, _ = aws.run("apply", "--json")
    (host,) = [
        one["DomainName"]
        for one in aws.client("cloudfront").list_distributions()["DistributionList"]["Items"]
    ]
    assert code == 35
    assert json.loads(out)["records"] == [
        {"name": "www.shop.test", "type": "CNAME", "ttl": 300, "value": host},
        {"name": "shop.test", "type": "ALIAS", "ttl": 300, "value": host},
    ]
    code, out, _ = aws.run("plan")
    assert code == 2
    assert '    values: ["A 127.0.0.1"] -> ["' in out
    assert "shop.test is the zone's own name: a CNAME may not stand there" in out
    drifted, code = changes(aws, "drift")
    assert (code, {one["action"] for one in drifted.values()}) == (2, {"ask"})

    addresses = f"{host}. 60 A 127.0.0.9\n"
    kept.zone("cloudfront.net", addresses)
    kept.zone("shop.test", PROOFS + f"www 60 CNAME {host}.\n@ 60 A 127.0.0.9\n")
    code, out, _ = aws.run("apply")
    assert (code, out) == (0, "0 created, 0 changed\n")
    assert not aws.calls.changing
    assert aws.run("drift")[0] == aws.run("plan")[0] == 0

    code, out, _ = aws.run("destroy", "--yes")
    assert code == 0
    assert "= dns.record name www.shop.test  (stays: it is taken away where its DNS is kept)" in out
    assert not aws.client("cloudfront").list_distributions()["DistributionList"].get("Items")


@pytest.mark.usefixtures("without_homeport")
def test_a_machine_is_led_to_by_addresses_and_the_authority_has_to_be_let(aws, kept):
    aws.configure(elsewhere(TARGETS["vm"]))
    kept.zone("shop.test", OLD + '@ 60 CAA 0 issue "digicert.com"\n')
    code, out, _ = aws.run("apply", "--json")
    assert code == 35
    (address,) = [one["PublicIp"] for one in aws.client("ec2").describe_addresses()["Addresses"]]
    assert json.loads(out)["records"] == [
        {"name": "shop.test", "type": "CAA", "ttl": 300, "value": '0 issue "letsencrypt.org"'},
        {"name": "www.shop.test", "type": "A", "ttl": 300, "value": address},
        {"name": "shop.test", "type": "A", "ttl": 300, "value": address},
        {"name": "port.www.shop.test", "type": "A", "ttl": 300, "value": address},
    ]
    planned, _ = changes(aws)
    assert planned["dns.record/CAA www.shop.test"]["differences"] == [
        {"path": "values", "before": '["digicert.com"]', "after": '["letsencrypt.org"]'}
    ]
    _, zone, _ = aws.run("export", "zone")
    dns.zone.from_text(f"@ SOA a. b. 1 1 1 1 1\n@ NS a.\n{zone}", "shop.test.", relativize=False)
    kept.zone("shop.test", '@ 60 CAA 0 issue "digicert.com"\n' + zone)
    assert aws.run("apply")[:2] == (0, "0 created, 0 changed\n")
    assert not aws.calls.changing


def test_a_name_that_is_in_no_zone_at_all_is_told(aws, kept):
    aws.configure(TARGETS["vm"].replace("shop.example", "nowhere.test"))
    code, _, err = aws.run("plan")
    assert code == 1
    assert "no hosted zone of Route 53 in this account has www.nowhere.test, and elsewhere: no zone" in err


@pytest.mark.usefixtures("without_homeport")
def test_a_part_of_the_zone_may_be_the_accounts(aws, kept):
    """`www.shop.test` is a zone of the account's, named by an NS record where the rest is kept."""
    aws.configure(elsewhere(TARGETS["vm"]))
    aws.zone("www.shop.test")
    code, out, _ = aws.run("apply", "--json")
    assert code == 35
    assert [one["name"] for one in json.loads(out)["records"]] == ["shop.test"]
    assert aws.run("plan")[1].count("> dns.record") == 1


def doctor(aws):
    _, out, _ = aws.run("doctor", "--json")
    return {one["name"]: one for one in json.loads(out)["findings"]}


def test_the_doctor_says_what_is_there_and_what_should_be(aws, kept):
    aws.configure(LEAN)
    kept.zone("shop.test", OLD + '@ 60 CAA 0 issue "digicert.com"\n')
    assert aws.run("apply")[0] == 35
    kept.zone("shop.test", OLD + PROOFS.splitlines()[0] + '\n@ 60 CAA 0 issue "digicert.com"\n')
    found = doctor(aws)
    assert found["record proof shop.test"]["state"] == "ok"
    proof = found["record proof www.shop.test"]
    assert (proof["state"], proof["found"]) == ("warning", "nothing, at ns2.provider.test, ns3.provider.test")
    assert proof["advice"] == f"make the record {PROOF}.www.shop.test. 300 IN CNAME {PROVED}."
    caa = found["record CAA shop.test"]
    assert (caa["state"], caa["found"]) == (
        "failed",
        'CAA at shop.test lets digicert.com sign, and not "amazon.com"',
    )
    assert caa["advice"] == 'make the record shop.test. 300 IN CAA 0 issue "amazon.com"'

    aws.zone("shop.test")  # a zone that nobody was told of
    found = doctor(aws)
    assert found["zone of www.shop.test"]["state"] == "failed"
    assert (
        "the public DNS goes by ns2.provider.test, ns3.provider.test"
        in found["zone of www.shop.test"]["found"]
    )
