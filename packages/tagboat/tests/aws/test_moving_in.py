"""The page on moving in: its commands about targets, in its order, against moto's server."""

import re
from pathlib import Path

PAGE = (Path(__file__).parents[4] / "docs" / "moving-in.md").read_text()
WITHOUT, WITH = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def commands(name):
    (block,) = re.findall(rf"^```sh {name}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    lines = [line.partition("#")[0].split() for line in block.splitlines()]
    assert {line[0] for line in lines} == {"tagboat"}
    return [line[1:] for line in lines]


def test_a_site_moves_to_aws_and_gets_its_name_in_the_end(aws):
    aws.configure(WITHOUT.partition("\n")[2])
    (plan, *planning), (apply, *applying) = commands("before")
    assert aws.run(plan, *planning)[0] == 2
    assert aws.run(apply, *applying)[0] == 0
    aws.release()
    assert aws.run(apply, *applying)[0] == 0
    assert aws.run(plan, *planning)[0] == 0
    assert aws.client("lambda").get_function_url_config(FunctionName="shop", Qualifier="live")["FunctionUrl"]

    zone = aws.zone()
    aws.client("route53").change_resource_record_sets(
        HostedZoneId=zone,
        ChangeBatch={
            "Changes": [
                {
                    "Action": "CREATE",
                    "ResourceRecordSet": {
                        "Name": "www.shop.example",
                        "Type": "A",
                        "TTL": 60,
                        "ResourceRecords": [{"Value": "192.0.2.7"}],
                    },
                }
            ]
        },
    )
    aws.configure(WITHOUT.partition("\n")[2] + WITH)
    (plan, *planning), (apply, *applying) = commands("after")
    code, out, _ = aws.run(plan, *planning)
    assert code == 2
    assert "192.0.2.7" in out
    assert aws.run(apply, *applying)[0] == 0
    changed = [call.operation for call in aws.calls.changing]
    records = [number for number, name in enumerate(changed) if name == "ChangeResourceRecordSets"]
    assert records[-1] == len(changed) - 1
    assert changed.index("RequestCertificate") < changed.index("CreateDistributionWithTags") < records[-1]
    (record,) = [
        one
        for one in aws.client("route53").list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
        if (one["Name"], one["Type"]) == ("www.shop.example.", "A")
    ]
    assert record["AliasTarget"]["DNSName"].rstrip(".").endswith(".cloudfront.net")
