"""`tagboat plan`, `apply`, `drift` and `destroy` on a complete stack, against moto's server."""

import json

import pytest
from packages.tagboat.tests.aws.conftest import TARGETS, InterruptedHere

from tagboat.aws.apply import apply, plan_removal, read, remove
from tagboat.aws.policy import allow, document
from tagboat.aws.resource import refs
from tagboat.component import Component
from tagboat.targets.remnants import remnants
from tagboat.targets.target import Stack

LAMBDA = TARGETS["lambda"]


def actions(aws, *arguments):
    """What `plan` says, by the key of the resource; and its exit code."""
    code, out, _ = aws.run("plan", "--json", *arguments)
    return {f"{one['kind']}/{one['name']}": one for one in json.loads(out)}, code


def complete(aws):
    """The complete stack of a released component, applied."""
    aws.configure(LAMBDA)
    aws.zone()
    aws.repository()
    aws.release()
    code, _, err = aws.run("apply")
    assert code == 0, err


def test_an_empty_account_becomes_what_the_configuration_says(aws):
    aws.configure(LAMBDA)
    aws.zone()
    planned, code = actions(aws)
    assert code == 2
    assert not aws.calls.changing
    assert planned["s3.bucket/shop-data-1f3a"]["action"] == "create"
    assert planned["lambda.function/shop"]["action"] == "wait"
    assert planned["cloudfront.distribution/shop"]["action"] == "wait"

    code, out, err = aws.run("apply")
    assert code == 0
    assert out == "18 created, 0 changed\n"
    assert "11 wait for the first release: `tagboat deploy` makes them" in err
    assert (
        "releases from octo/shop: set AWS_ROLE_ARN=arn:aws:iam::123456789012:role/shop-release and "
        "AWS_REGION=ap-southeast-1 in its environment production"
    ) in err
    planned, code = actions(aws)
    assert (code, {one["action"] for one in planned.values()}) == (0, {"keep", "wait"})

    aws.release()
    code, out, _ = aws.run("apply")
    assert (code, out) == (0, "11 created, 0 changed\n")
    planned, code = actions(aws)
    assert (code, {one["action"] for one in planned.values()}) == (0, {"keep"})
    assert len({one["kind"] for one in planned.values()}) >= 15

    code, out, _ = aws.run("apply")
    assert (code, out) == (0, "0 created, 0 changed\n")
    assert not aws.calls.changing
    assert aws.run("drift")[0] == 0


def test_an_apply_that_is_cut_short_at_any_step_is_taken_up_again(aws):
    aws.configure(LAMBDA)
    aws.zone()
    aws.repository()
    aws.release()
    stack = Stack.of(Component.load(aws.directory), None)
    aws.calls.allowed = 0  # each run is killed as soon as its first change is made, and the next one goes on
    interruptions = 0
    for last in stack.resources:  # one after the other with what it needs: to read all each time takes long
        needed = with_needs(last, stack.resources)
        while True:
            aws.calls.clear()
            try:
                apply(stack.account, needed, released=True, progress=lambda _: None)
                break
            except InterruptedHere:
                interruptions += 1
    done = apply(stack.account, stack.resources, released=True, progress=lambda _: None)
    assert (done.created, done.updated) == (0, 0)
    assert interruptions >= 40
    planned, code = actions(aws)
    assert (code, {one["action"] for one in planned.values()}) == (0, {"keep"})
    # Nothing was made twice.
    assert len(aws.client("cloudfront").list_distributions()["DistributionList"]["Items"]) == 1
    assert len(aws.client("acm", "us-east-1").list_certificates()["CertificateSummaryList"]) == 1
    assert (
        len(aws.client("cloudfront").list_origin_access_controls()["OriginAccessControlList"]["Items"]) == 1
    )


MINIMAL = """
region = "ap-southeast-1"
data-bucket = "shop-data-1f3a"
"""
DESTROYED = {
    "lambda": TARGETS["lambda"],
    "ecs-express": f'kind = "ecs-express"\nplatform = "linux/amd64"{MINIMAL}',
    "apprunner": f'kind = "apprunner"\nconcurrency = 50{MINIMAL}',
    "vm": 'kind = "vm"\nregion = "ap-southeast-1"\ndomain = "www.shop.example"\n',
}


@pytest.mark.parametrize(
    ("kind", "steps"), [("lambda", 31), ("ecs-express", 15), ("apprunner", 12), ("vm", 14)]
)
@pytest.mark.usefixtures("without_homeport")
def test_a_destroy_that_is_cut_short_at_any_step_is_taken_up_again(aws, kind, steps):
    aws.configure(DESTROYED[kind])
    if kind in ("lambda", "vm"):
        aws.zone()
    if kind != "vm":
        aws.repository()
        aws.release()
    assert aws.run("apply")[0] == 0
    if kind != "vm":
        aws.client("s3").delete_bucket_policy(Bucket="shop-data-1f3a")  # moto sees no condition in it
        aws.client("s3").put_object(Bucket="shop-data-1f3a", Key="log/1", Body=b"commit")
    stack = Stack.of(Component.load(aws.directory), None)
    found = read(stack.account, stack.resources)
    data = frozenset(one.name for one in stack.resources if one.data)
    aws.calls.allowed = 0  # killed as soon as a change is made
    interruptions = 0
    while True:
        aws.calls.clear()
        removal = plan_removal(stack.resources, found, data=data, content=True)
        touched = []
        try:
            remove(stack.account, removal, found, touched.append)
            break
        except InterruptedHere:
            interruptions += 1
        # What else a run begun anew would read is as it was: to read all each time takes long.
        again = [one for one in stack.resources if f"- {one.kind} {one.name}" in touched]
        for one in again:
            found.update(read(stack.account, with_refs(one, stack.resources)))
    aws.calls.allowed = None
    assert interruptions >= steps
    assert {one for one in read(stack.account, stack.resources).values() if one is not None} == set()
    assert remnants(stack, {}).resources == ()
    assert aws.run("destroy", "--yes")[1] == "0 removed, 0 kept\n"
    assert not aws.calls.changing


def with_refs(resource, resources):
    """A resource and what it refers to, in order."""
    wanted = {resource.key, *(ref.resource for ref in refs(resource.settings))}
    return [one for one in resources if one.key in wanted]


def with_needs(last, resources):
    """A resource and all that it needs, in order."""
    wanted = {last.key}
    for resource in reversed(resources):
        if resource.key in wanted:
            wanted.update(resource.needs)
    return [resource for resource in resources if resource.key in wanted]


def test_what_was_changed_by_hand_is_put_back_and_destroy_keeps_data(aws):
    complete(aws)
    s3, lambda_ = aws.client("s3"), aws.client("lambda")
    s3.put_bucket_versioning(Bucket="shop-data-1f3a", VersioningConfiguration={"Status": "Suspended"})
    s3.delete_public_access_block(Bucket="shop-uploads-1f3a")
    lambda_.update_function_configuration(
        FunctionName="shop", MemorySize=128, Environment={"Variables": {"LOG": "secret-1"}}
    )
    version = lambda_.publish_version(FunctionName="shop")["Version"]
    lambda_.update_alias(FunctionName="shop", Name="live", FunctionVersion=version)
    aws.client("iam").put_role_policy(
        RoleName="shop-release",
        PolicyName="more",
        PolicyDocument=json.dumps(document(allow(["s3:GetObject"], ["arn:aws:s3:::shop-data-1f3a/*"]))),
    )
    aws.client("logs").create_log_group(
        logGroupName="stray", tags={"tagboat:component": "shop", "tagboat:target": "production"}
    )
    code, out, err = aws.run("drift")
    assert code == 2
    assert not aws.calls.changing
    assert "~ s3.bucket shop-data-1f3a\n    versioning: false -> true\n" in out
    assert "~ s3.bucket shop-uploads-1f3a\n    public: true -> false\n" in out
    assert "    memory: 128 -> 512\n" in out
    assert "    environment.LOG: (not shown) -> (not shown)\n" in out
    assert "secret-1" not in out + err
    assert "    policies.more: " in out
    assert "? arn:aws:logs:ap-southeast-1:123456789012:log-group:stray" in out

    code, out, _ = aws.run("apply")
    assert (code, out) == (0, "0 created, 4 changed, 1 removed\n")
    served = lambda_.get_function_configuration(FunctionName="shop", Qualifier="live")
    assert (served["MemorySize"], served["Environment"]["Variables"]["LOG"]) == (512, "info")
    assert aws.run("drift")[0] == 0
    data_stays_until_it_is_named(aws)


def data_stays_until_it_is_named(aws):
    """`destroy` keeps data until it is named, and what is not empty even then."""
    aws.client("s3").delete_bucket_policy(Bucket="shop-data-1f3a")  # moto sees no condition in it
    aws.client("s3").put_object(Bucket="shop-data-1f3a", Key="log/1", Body=b"commit")
    assert aws.run("apply")[1] == "1 created, 0 changed\n"
    trust = aws.client("iam").get_role(RoleName="shop-release")["Role"]["AssumeRolePolicyDocument"]
    aws.client("iam").create_role(  # of another component, which trusts the same issuer
        RoleName="other-release",
        AssumeRolePolicyDocument=json.dumps(trust),
    )
    assert aws.run("destroy", "--delete-data", "what")[0] == 2
    code, out, _ = aws.run("destroy", "--yes", "--delete-data", "shop-data-1f3a")
    assert code == 0
    assert "= s3.bucket shop-data-1f3a  (stays: it is not empty (objects); --with-content" in out
    assert "= s3.bucket shop-uploads-1f3a  (stays: it holds data; --delete-data shop-uploads-1f3a" in out
    assert "= s3.bucket-policy shop-data-1f3a  (stays: it is part of s3.bucket/shop-data-1f3a)" in out
    assert "= ecr.repository shop  (stays: it holds 1 images)" in out
    assert "(stays: it holds the trust of the role other-release)" in out
    (kept,) = aws.client("s3").list_objects_v2(Bucket="shop-data-1f3a")["Contents"]
    assert kept["Key"] == "log/1"
    with pytest.raises(aws.client("lambda").exceptions.ResourceNotFoundException):
        aws.client("lambda").get_function(FunctionName="shop")

    everything = ["--with-content"]
    for name in ("shop", "shop-data-1f3a", "shop-uploads-1f3a"):
        everything += ["--delete-data", name]
    assert aws.run("destroy", "--yes", *everything)[0] == 0
    planned, _ = actions(aws)
    left = {key for key, one in planned.items() if one["action"] not in ("create", "wait")}
    assert left == {"iam.oidc-provider/token.actions.githubusercontent.com"}


def test_what_belongs_to_others_is_left_alone_until_it_is_adopted(aws):
    aws.configure(LAMBDA)
    aws.zone()
    place = {"LocationConstraint": "ap-southeast-1"}
    aws.client("s3").create_bucket(Bucket="shop-data-1f3a", CreateBucketConfiguration=place)
    theirs = {"Comment": "theirs", "Runtime": "cloudfront-js-2.0"}
    aws.client("cloudfront").create_function(Name="shop", FunctionConfig=theirs, FunctionCode=b"theirs")
    planned, code = actions(aws)
    assert code == 1
    assert planned["s3.bucket/shop-data-1f3a"]["action"] == "foreign"
    assert planned["cloudfront.function/shop"]["owner"] == "nobody"
    code, _, err = aws.run("apply")
    assert code == 1
    assert "s3.bucket shop-data-1f3a is there and belongs to nobody: nothing is changed" in err
    assert "--adopt s3.bucket/shop-data-1f3a" in err
    assert not aws.calls.changing

    code, _, err = aws.run("apply", "--adopt", "s3.bucket/shop-data-1f3a")
    assert (code, aws.calls.changing) == (1, [])
    assert "cloudfront.function shop is there and belongs to nobody" in err
    adopted = ("--adopt", "s3.bucket/shop-data-1f3a", "--adopt", "cloudfront.function/shop")
    assert aws.run("apply", *adopted)[0] == 0
    code = aws.client("cloudfront").get_function(Name="shop", Stage="LIVE")["FunctionCode"].read()
    assert b"www.shop.example" in code
    tags = aws.client("s3").get_bucket_tagging(Bucket="shop-data-1f3a")["TagSet"]
    assert {"Key": "tagboat:component", "Value": "shop"} in tags
    assert actions(aws)[1] == 0


@pytest.mark.parametrize("kind", [kind for kind in TARGETS if kind not in ("lambda", "vm")])
def test_every_target_is_made_changed_nowhere_and_taken_away(aws, kind):
    aws.configure(TARGETS[kind])
    aws.zone()
    aws.repository()
    aws.release()
    code, _, err = aws.run("apply")
    assert code == 0, err
    code, out, _ = aws.run("apply")
    assert (code, out) == (0, "0 created, 0 changed\n")
    assert not aws.calls.changing

    code, out, _ = aws.run("destroy")
    assert code == 2
    assert not aws.calls.changing
    holding = ("shop", "shop-data-1f3a", "shop-uploads-1f3a")
    data = [option for name in holding for option in ("--delete-data", name)]
    code, out, err = aws.run("destroy", "--yes", "--with-content", *data)
    assert code == 0, err
    assert "kept" in out
    planned, code = actions(aws)
    assert {one["action"] for one in planned.values()} <= {"create", "wait"}, planned
