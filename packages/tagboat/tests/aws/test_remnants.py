"""What the configuration names no more: shown by `plan`, removed by `apply`, data kept until named."""

import json

import pytest
from packages.tagboat.tests.aws.conftest import TARGETS, InterruptedHere

from tagboat.aws.apply import apply, read, remove
from tagboat.component import Component
from tagboat.targets.remnants import remnants
from tagboat.targets.target import Stack

OURS = {"tagboat:component": "shop", "tagboat:target": "production"}


def planned(aws):
    """What goes and what stays of what is not named any more, with the reason; and the exit code."""
    code, out, _ = aws.run("plan", "--json")
    changes = json.loads(out)
    return (
        {f"{one['kind']}/{one['name']}" for one in changes if one["action"] == "remove"},
        {f"{one['kind']}/{one['name']}": one["reason"] for one in changes if one["action"] == "stay"},
        code,
    )


def records(aws, zone):
    """What is in a zone beside what every zone has."""
    sets = aws.client("route53").list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    return {f"{one['Type']} {one['Name']}" for one in sets if one["Type"] not in ("NS", "SOA")}


def others(aws):
    """Things of another stage, of another component, and of nobody, which stay whatever happens."""
    logs, cloudfront = aws.client("logs"), aws.client("cloudfront")
    logs.create_log_group(logGroupName="staging", tags={**OURS, "tagboat:target": "staging"})
    logs.create_log_group(logGroupName="blog", tags={**OURS, "tagboat:component": "blog"})
    cloudfront.create_function(
        Name="by-hand", FunctionConfig={"Comment": "", "Runtime": "cloudfront-js-2.0"}, FunctionCode=b"1"
    )
    aws.client("iam").create_role(
        RoleName="staging-execution",
        AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": []}),
        Tags=[{"Key": key, "Value": value} for key, value in {**OURS, "tagboat:target": "staging"}.items()],
    )


def test_what_is_not_named_any_more_goes_and_data_stays(aws):
    aws.configure(TARGETS["lambda"])
    old, new = aws.zone(), aws.zone("emporium.example")
    aws.repository()
    aws.release()
    assert aws.run("apply")[0] == 0
    others(aws)
    aws.client("s3").delete_bucket_policy(Bucket="shop-uploads-1f3a")  # moto sees no condition in it
    aws.client("s3").put_object(Bucket="shop-uploads-1f3a", Key="uploads/1", Body=b"1")
    assert len(records(aws, old)) == 8

    aws.change('domain = "www.shop.example"\nredirects = ["shop.example"]', 'domain = "emporium.example"')
    aws.change('uploads-bucket = "shop-uploads-1f3a"\nuploads-path = "/uploads/*"\n', "")
    aws.change('UPLOADS_URL = "s3://shop-uploads-1f3a"\n', "")
    aws.change('budget = 10\nalert = "ops@shop.example"\n', "")
    going, staying, code = planned(aws)
    assert code == 2
    assert not aws.calls.changing
    hosts = ("www.shop.example", "shop.example")
    assert going == {
        "acm.certificate/www.shop.example",
        "budgets.budget/shop-whole-account",
        "cloudfront.origin-access-control/shop",
        *(f"route53.record/{kind} {host}" for kind in ("A", "AAAA", "CAA", "proof") for host in hosts),
    }
    assert staying == {
        "s3.bucket/shop-uploads-1f3a": "it holds data; --delete-data shop-uploads-1f3a takes it away"
    }
    cut_short_at_each_step(aws, len(going))
    assert records(aws, old) == set()
    assert len(records(aws, new)) == 4
    assert not aws.wire.budgets.budgets
    certificates = aws.client("acm", "us-east-1").list_certificates()["CertificateSummaryList"]
    assert [one["DomainName"] for one in certificates] == ["emporium.example"]
    nothing_more(aws)

    what_releases_goes_when_nobody_has_use_for_it(aws)
    data_goes_when_it_is_named(aws)
    one_kind_takes_the_place_of_another(aws)
    groups = aws.client("logs").describe_log_groups()["logGroups"]
    assert {one["logGroupName"] for one in groups} == {"/ecs/shop", "staging", "blog"}
    assert aws.client("iam").get_role(RoleName="staging-execution")
    assert aws.client("cloudfront").describe_function(Name="by-hand")


def cut_short_at_each_step(aws, count):
    """Killed after each change, `apply` goes on with what is left."""
    stack = Stack.of(Component.load(aws.directory), None)
    apply(stack.account, stack.resources, released=True, progress=lambda _: None)
    found = read(stack.account, stack.resources)
    aws.calls.allowed = 0
    interruptions = 0
    while True:
        aws.calls.clear()
        left = remnants(stack, found)
        removal = left.removal(data=frozenset(), content=False, waits=False)
        try:
            remove(stack.account, removal, left.found, lambda _: None)
            break
        except InterruptedHere:
            interruptions += 1
    aws.calls.allowed = None
    assert interruptions == count


def nothing_more(aws):
    code, out, _ = aws.run("apply")
    assert (code, out) == (0, "0 created, 0 changed\n")
    assert not aws.calls.changing
    going, _, code = planned(aws)
    assert (going, code) == (set(), 0)


def what_releases_goes_when_nobody_has_use_for_it(aws):
    """The role of the release jobs goes at once; what others trust, too, when they have let it go."""
    iam = aws.client("iam")
    trust = iam.get_role(RoleName="shop-release")["Role"]["AssumeRolePolicyDocument"]
    iam.create_role(RoleName="blog-release", AssumeRolePolicyDocument=json.dumps(trust))
    text = (aws.directory / "pyproject.toml").read_text()
    before, _, rest = text.partition("[tool.tagboat.ci]")
    (aws.directory / "pyproject.toml").write_text(before + rest[rest.index("[tool.tagboat.targets") :])
    going, staying, _ = planned(aws)
    provider = "iam.oidc-provider/token.actions.githubusercontent.com"
    assert going == {"iam.role/shop-release"}
    assert staying[provider] == "it holds the trust of the role blog-release"
    assert aws.run("apply")[1] == "0 created, 0 changed, 1 removed\n"
    iam.delete_role(RoleName="blog-release")
    assert aws.run("apply")[1] == "0 created, 0 changed, 1 removed\n"
    assert iam.list_open_id_connect_providers()["OpenIDConnectProviderList"] == []


def data_goes_when_it_is_named(aws):
    bucket = "shop-uploads-1f3a"
    code, _, err = aws.run("apply", "--delete-data", bucket)
    assert code == 0
    assert f"s3.bucket {bucket} is not in the configuration any more and stays: it is not empty" in err
    code, out, _ = aws.run("apply", "--delete-data", bucket, "--with-content")
    assert (code, out) == (0, "0 created, 0 changed, 1 removed\n")
    assert [one["Name"] for one in aws.client("s3").list_buckets()["Buckets"]] == ["shop-data-1f3a"]


def one_kind_takes_the_place_of_another(aws):
    """A function becomes containers: the old goes after the new is there."""
    aws.change('kind = "lambda"\nmin-instances = 1\n', 'kind = "ecs-express"\nplatform = "linux/amd64"\n')
    going, _, _ = planned(aws)
    assert going == {"lambda.function/shop", "logs.log-group//aws/lambda/shop"}
    code, out, err = aws.run("apply")
    assert code == 0, err
    assert out.endswith(", 2 removed\n")
    assert err.index("+ ecs.express-service shop") < err.index("- lambda.function shop")
    nothing_more(aws)


def test_the_old_stays_until_the_new_is_released(aws):
    aws.configure(TARGETS["apprunner"])
    aws.zone()
    aws.repository()
    aws.release()
    assert aws.run("apply")[0] == 0
    aws.change('kind = "apprunner"\nconcurrency = 50', 'kind = "apprunner"\nname = "emporium"')
    _, staying, _ = planned(aws)
    # App Runner's services are not in moto's list of tagged things; what is, stays.
    assert set(staying.values()) == {"what takes its place is not there yet"}
    assert "cloudfront.distribution/shop" in staying


@pytest.mark.usefixtures("without_homeport")
def test_a_machine_keeps_what_it_needs_and_old_names_go(aws):
    aws.configure(TARGETS["vm"])
    zone = aws.zone()
    assert aws.run("apply")[0] == 0
    aws.change('redirects = ["shop.example"]\n', "")
    going, staying, _ = planned(aws)
    assert (going, staying) == ({"route53.record/A shop.example", "route53.record/CAA shop.example"}, {})
    assert aws.run("apply")[1] == "0 created, 0 changed, 2 removed\n"
    assert records(aws, zone) == {
        f"{kind} {host}" for kind in ("A", "CAA") for host in ("www.shop.example.", "port.www.shop.example.")
    }
    aws.change('kind = "vm"', 'kind = "lambda"')
    aws.repository()
    aws.release()
    _, staying, _ = planned(aws)
    assert set(staying.values()) == {"what takes its place is not there yet"}  # the name leads to the machine
    there = aws.client("route53").list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    gone = [{"Action": "DELETE", "ResourceRecordSet": one} for one in there if one["Type"] == "A"]
    aws.client("route53").change_resource_record_sets(HostedZoneId=zone, ChangeBatch={"Changes": gone})
    _, staying, _ = planned(aws)
    assert staying == {
        "ec2.instance/shop": "it holds data; --delete-data shop takes it away",
        "ec2.address/shop": "it is part of ec2.instance/shop",
        **dict.fromkeys(
            ("ec2.security-group/shop", "iam.role/shop-instance", "iam.instance-profile/shop-instance"),
            "ec2.instance shop needs it",
        ),
    }
