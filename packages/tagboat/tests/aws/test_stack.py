"""What CloudFormation makes of an exported template is what `apply` makes: in fresh accounts, read back by
AWS's own calls.

What is not compared: which image is served, by tag in a template and by digest in `apply`; the names that
CloudFormation gives to statements of a function's policy; tags of instance profiles, which it cannot give;
and the records that prove a certificate, which it makes itself.
"""

import json
import re

import pytest
from packages.tagboat.tests.aws.conftest import TARGETS
from packages.tagboat.tests.aws.stack import Stack

from tagboat.aws.apply import read
from tagboat.component import Component
from tagboat.targets import target

REGIONS = {"lambda": "us-east-1"}  # where the certificate is the stack's, too
# What stands in front is the same for all: that of the others is enough.
KINDS = TARGETS | {
    "ecs-express": """
kind = "ecs-express"
region = "ap-southeast-1"
platform = "linux/amd64"
data-bucket = "shop-data-1f3a"
""",
}
# Each way to look at an account, and what of the answer there is one of for each thing.
LOOKS = [
    ("iam", "get_account_authorization_details", {"Filter": ["Role"]}, "RoleDetailList"),
    ("ec2", "describe_security_groups", {}, "SecurityGroups"),
    ("ec2", "describe_instances", {}, "Reservations"),
    ("ec2", "describe_volumes", {}, "Volumes"),
    ("ec2", "describe_addresses", {}, "Addresses"),
    ("logs", "describe_log_groups", {}, "logGroups"),
    ("ecr", "describe_repositories", {}, "repositories"),
    ("acm", "list_certificates", {}, "CertificateSummaryList"),
    ("lambda", "list_functions", {"FunctionVersion": "ALL"}, "Functions"),
]
# What is another one for each thing that is made, and what the head of this file names.
MOMENTS = {
    "AttachTime", "CallerReference", "ClientToken", "CodeSha256", "Concurrency", "CreateDate", "CreateTime",
    "CreatedAt", "CreatedTime", "CreationTime", "ETag", "Image", "ImageIdentifier", "ImageUri",
    "InstanceProfileId", "InstanceProfileList", "IssuedAt", "KmsKeyId", "LastModified", "LastModifiedTime",
    "LaunchTime", "NetworkInterfaces", "NotAfter", "NotBefore", "OwnerId", "PrivateDnsName",
    "PrivateIpAddress", "PublicDnsName", "ReservationId", "ResolvedImageUri", "ResponseMetadata",
    "RevisionId", "RoleId", "RoleLastUsed", "Sid", "UpdatedAt", "VolumeId", "createdAt", "creationTime",
    "currentDeployment", "image", "lastEvaluatedAt", "updatedAt",
}  # fmt: skip
ANEW = re.compile(r"\b(eni|iip-assoc|subnet|vpc)-[0-9a-f]{17}\b")


def configured(aws, kind):
    """The exported template of a component with a target of this kind, and what there is of its stack."""
    region = REGIONS.get(kind, "ap-southeast-1")
    aws.configure(KINDS[kind].replace("ap-southeast-1", region))
    code, out, _ = aws.run("export", "cloudformation")
    assert code == 0
    return json.loads(out), region


def state(aws, region):
    """All that there is, in a form in which two accounts can be compared: things are called by their keys."""
    stack = target.Stack.of(Component.load(aws.directory), None)
    found = read(stack.account, stack.resources)
    names = {
        value: f"<{key}.{name}>"
        for key, there in found.items()
        if there is not None
        for name, value in there.attributes.items()
        if value and name not in ("status", "etag")
    }
    documents = [
        (operation, one)
        for service, operation, arguments, member in LOOKS
        for one in getattr(aws.client(service, region), operation)(**arguments)[member]
        if one.get("GroupName") != "default"
    ]
    documents += settings(aws, region, stack, found)
    named = re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True))))
    text = ANEW.sub(r"\1", named.sub(lambda match: names[match[0]], json.dumps(documents, default=str)))
    return {json.dumps(plain(document), sort_keys=True) for document in json.loads(text)}


def settings(aws, region, stack, found):
    """What has to be asked for each thing."""
    for one in stack.resources:
        there = found[one.key]
        if there is None:
            continue
        service, _, kind = one.kind.partition(".")
        client = aws.client(service, region) if service not in ("acm", "dns") else None
        if one.kind == "s3.bucket":
            for what in (
                "bucket_versioning", "bucket_encryption", "bucket_ownership_controls", "bucket_policy",
                "bucket_tagging", "bucket_lifecycle_configuration", "public_access_block",
            ):  # fmt: skip
                yield one.key, getattr(client, f"get_{what}")(Bucket=one.name)
        elif one.kind == "ecr.repository":
            yield client.get_lifecycle_policy(repositoryName=one.name)
            if "policy" in one.settings:
                yield client.get_repository_policy(repositoryName=one.name)
        elif one.kind == "lambda.function":
            yield from of_function(client, one.name)
        elif service == "cloudfront":
            yield from of_front(client, kind.replace("-", "_"), one.name, there.attributes.get("id"))
        elif one.kind == "route53.record":
            yield client.list_resource_record_sets(HostedZoneId=there.attributes["zone"])
        elif one.kind == "iam.oidc-provider":
            yield client.get_open_id_connect_provider(OpenIDConnectProviderArn=there.attributes["arn"])
    yield "budgets", aws.wire.budgets.budgets
    yield "ecs", aws.wire.express.services
    yield "apprunner", list(aws.wire.apprunner.services.values()), aws.wire.apprunner.tags
    yield "scaling", aws.wire.apprunner.scaling


def of_function(client, name):
    qualified = {"FunctionName": name, "Qualifier": "live"}
    yield client.get_function(**qualified)
    yield client.get_alias(FunctionName=name, Name="live")
    yield client.get_function_url_config(**qualified)
    yield json.loads(client.get_policy(**qualified)["Policy"])
    yield client.get_function_concurrency(FunctionName=name)
    yield client.get_provisioned_concurrency_config(**qualified)


def of_front(client, kind, name, identity):
    if kind == "function":
        yield client.get_function(Name=name)["FunctionCode"].read().decode()
        yield client.describe_function(Name=name, Stage="LIVE")
    elif kind == "distribution":
        yield client.get_distribution_config(Id=identity)
    else:
        yield getattr(client, f"get_{kind}")(Id=identity)


def plain(value):
    """Without what comes with each thing anew; tags and records in one order."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items() if name not in MOMENTS}
    if isinstance(value, list):
        done = [plain(one) for one in value]
        unordered = all(isinstance(one, dict) and {"Key", "Type", "CidrIp"} & one.keys() for one in done)
        return sorted(done, key=json.dumps) if unordered else done
    return value


def actions(aws):
    code, out, err = aws.run("plan", "--json")
    assert code in (0, 2), err
    return {one["action"]: one for one in json.loads(out)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("without_homeport")
def test_a_stack_is_what_apply_makes(aws, kind):
    template, region = configured(aws, kind)
    parameters = prepared(aws, template)
    made = Stack(template, aws.client, region)
    made.update(**parameters)
    if kind != "vm":
        require_nothing_to_do(aws)
        aws.release(region=region)
        made.update(**parameters, Release="latest")
    require_nothing_to_do(aws)
    of_stack = state(aws, region)

    aws.begin_anew()
    aws.zone()
    if kind != "vm":
        aws.repository(region)
        aws.release(region=region)
    code, _, err = aws.run("apply")
    assert code == 0, err
    differing = of_stack ^ state(aws, region)
    assert not differing, "\n".join(sorted(differing))


def require_nothing_to_do(aws):
    """All that can be there is as the configuration says, and nothing else is."""
    code, out, err = aws.run("drift")
    assert (code, out) == (0, ""), err


def prepared(aws, template):
    """Make what the stack takes to be there, as its parameters' descriptions say, and give the parameters."""
    zone = aws.zone().rpartition("/")[2]
    parameters = {"HostedZone": zone} if "HostedZone" in template["Parameters"] else {}
    tags = [{"Key": "tagboat:component", "Value": "shop"}, {"Key": "tagboat:target", "Value": "production"}]
    if "Certificate" in template["Parameters"]:
        hosts = ["www.shop.example", "shop.example"]
        properties = {
            "DomainName": hosts[0],
            "SubjectAlternativeNames": hosts,
            "ValidationMethod": "DNS",
            "DomainValidationOptions": [{"DomainName": host, "HostedZoneId": zone} for host in hosts],
            "Tags": tags,
        }
        resource = {"Type": "AWS::CertificateManager::Certificate", "Properties": properties}
        of_certificate = Stack({"Parameters": {}, "Resources": {"It": resource}}, aws.client, "us-east-1")
        of_certificate.update()
        parameters["Certificate"] = of_certificate.ref("It")
    if "SsmRootKeyHomeportShop" in template["Parameters"]:
        value = json.dumps({"access_key_id": "HPROOT1", "secret_access_key": "secret"})
        aws.client("ssm").put_parameter(Name="/homeport/shop", Type="SecureString", Value=value, Tags=tags)
    return parameters
