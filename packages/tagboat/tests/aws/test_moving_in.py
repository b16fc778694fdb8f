"""The page on moving in: its commands about targets, in its order, against moto's server."""

import re
from pathlib import Path

from packages.tagboat.tests.aws.conftest import NEW_END, OLD_END
from packages.tagboat.tests.aws.test_cutover import distribution, long_ago, publish, sets

PAGE = (Path(__file__).parents[4] / "docs" / "moving-in.md").read_text()
WITHOUT, WITH = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def commands(name):
    (block,) = re.findall(rf"^```sh {name}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    lines = [line.partition("#")[0].split() for line in block.splitlines()]
    assert {line[0] for line in lines} == {"tagboat"}
    return [line[1:] for line in lines]


def test_a_site_moves_to_aws_and_gets_its_name_in_the_end(aws, zones, ends):
    aws.configure(WITHOUT.partition("\n")[2])
    (plan, *planning), (apply, *applying) = commands("before")
    assert aws.run(plan, *planning)[0] == 2
    assert aws.run(apply, *applying)[0] == 0
    aws.release()
    assert aws.run(apply, *applying)[0] == 0
    assert aws.run(plan, *planning)[0] == 0
    assert aws.client("lambda").get_function_url_config(FunctionName="shop", Qualifier="live")["FunctionUrl"]

    zone = aws.zone()
    old = {"Name": "www.shop.example.", "Type": "A", "TTL": 300, "ResourceRecords": [{"Value": OLD_END}]}
    change = {"Changes": [{"Action": "UPSERT", "ResourceRecordSet": old}]}
    aws.client("route53").change_resource_record_sets(HostedZoneId=zone, ChangeBatch=change)
    aws.configure(WITHOUT.partition("\n")[2] + WITH)
    (plan, *planning), (apply, *applying) = commands("after")
    code, out, _ = aws.run(plan, *planning)
    assert code == 2
    assert f'alias: "{OLD_END}" -> ' in out
    code, _, err = aws.run(apply, *applying)
    assert (code, "`tagboat cutover www.shop.example` moves it" in err) == (35, True)
    changed = [call.operation for call in aws.calls.changing]
    assert changed.index("RequestCertificate") < changed.index("CreateDistributionWithTags")
    assert sets(aws, zone)["www.shop.example.", "A"] == old  # who has asked for nothing has lost nothing

    host = distribution(aws, zones)
    publish(aws, zones, zone, "shop.example")
    ends("www.shop.example")
    look, lower, move, see, back = commands("cutover")
    code, out, _ = aws.run(*look)
    assert (code, f"make       www.shop.example. 300 IN A ALIAS {host}" in out) == (35, True)
    assert aws.run(*lower)[0] == 35
    long_ago(aws, zone, "www.shop.example")
    assert aws.run(*move)[0] == 0
    publish(aws, zones, zone, "shop.example")
    code, out, _ = aws.run(*see)
    assert (code, f"A {NEW_END} (new)" in out) == (0, True)
    assert aws.run("plan")[0] == 0
    assert aws.run(*back)[0] == 0
    assert sets(aws, zone)["www.shop.example.", "A"] == old
