"""What a role lets its sessions do, and how that ends: each call is checked against the role as it is now."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from homeport.audit import FOLDER, read_calls
from homeport.credentials import AccessKey, Principal
from homeport.errors import DeploymentError
from homeport.origins import OriginPolicy, Origins
from homeport.place import arn
from homeport.serve import Addresses

MANIFEST = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'
INDEX = "application/vnd.oci.image.index.v1+json"


def allow(actions: list[str], *resources: str, effect: str = "Allow") -> dict[str, Any]:
    return {"Effect": effect, "Action": actions, "Resource": list(resources)}


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


RELEASE = document(
    allow(["ecr:GetAuthorizationToken", "apprunner:ListServices"], "*"),
    allow(["ecr:*"], arn("ecr", "repository/shop")),
    allow(["apprunner:*"], arn("apprunner", "service/shop/*")),
    allow(["logs:FilterLogEvents"], arn("logs", "log-group:/aws/apprunner/shop/*")),
)


@pytest.fixture
def iam(harbour: Any) -> Any:
    return harbour.client("iam")


@pytest.fixture
def session(harbour: Any, trusted: Any, assume: Callable[..., Any], iam: Any) -> Callable[[str], Any]:
    """Clients of a session of the role `release`, which may do what a release of `shop` needs."""
    iam.put_role_policy(RoleName="release", PolicyName="release", PolicyDocument=RELEASE)
    given = assume(trusted.token())["Credentials"]
    key = AccessKey(given["AccessKeyId"], given["SecretAccessKey"])
    for name in ("shop", "other"):
        harbour.client("ecr").create_repository(repositoryName=name)

    def client(service: str, token: str = given["SessionToken"]) -> Any:
        return harbour.client(service, key, token)

    return client


def password(ecr: Any) -> str:
    token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    return base64.b64decode(token).decode().removeprefix("AWS:")


def pushed(harbour: Any, repository: str, token: str) -> tuple[int, str]:
    """What a push with a registry's token is answered: the status, and what it says."""
    login = base64.b64encode(f"AWS:{token}".encode()).decode()
    headers = {"Authorization": f"Basic {login}", "Content-Type": INDEX}
    reply = harbour.send("PUT", f"/v2/{repository}/manifests/v1", headers, MANIFEST)
    return reply.status, reply.body.decode()


def image(name: str, host: str) -> dict[str, Any]:
    return {"ImageRepository": {"ImageIdentifier": f"{host}/{name}:latest", "ImageRepositoryType": "ECR"}}


def test_a_session_is_known_by_its_role_and_name(session: Any) -> None:
    identity = session("sts").get_caller_identity()
    assert identity["Arn"] == "arn:aws:sts::000000000000:assumed-role/release/octo.shop-7"
    assert identity["UserId"].endswith(":octo.shop-7")


def test_a_role_may_deploy_its_service_and_no_other(harbour: Any, session: Any, error_of: Any) -> None:
    client = session("apprunner")
    made = client.create_service(ServiceName="shop", SourceConfiguration=image("shop", harbour.host))[
        "Service"
    ]
    harbour.controller.finish(made["ServiceArn"])
    client.start_deployment(ServiceArn=made["ServiceArn"])
    assert [one["ServiceName"] for one in client.list_services()["ServiceSummaryList"]] == ["shop"]
    session("logs").filter_log_events(logGroupName=f"/aws/apprunner/shop/{made['ServiceId']}/application")
    other, _ = harbour.service_key("other")
    for call in (client.start_deployment, client.delete_service, client.describe_service):
        assert error_of(call, ServiceArn=other) == "AccessDeniedException"
    assert (
        error_of(client.create_service, ServiceName="shop2", SourceConfiguration=image("shop", harbour.host))
        == "AccessDeniedException"
    )


@pytest.mark.parametrize("host", [None, "localhost", "docker.io"])
def test_its_service_may_run_only_images_that_the_role_may_read(
    harbour: Any, session: Any, error_of: Any, host: str | None
) -> None:
    name = f"{host}:{harbour.host.rpartition(':')[2]}" if host else harbour.host
    assert (
        error_of(
            session("apprunner").create_service,
            ServiceName="shop",
            SourceConfiguration=image("other", name),
        )
        == "AccessDeniedException"
    )


def test_its_service_may_have_only_secrets_that_the_role_may_read(
    harbour: Any, session: Any, iam: Any, error_of: Any
) -> None:
    """Whoever has an image of theirs run with a secret can read it."""
    client = session("apprunner")

    def source(*secrets: str) -> dict[str, Any]:
        made = image("shop", harbour.host)
        variables = {f"VARIABLE{number}": secret for number, secret in enumerate(secrets)}
        made["ImageRepository"]["ImageConfiguration"] = {"RuntimeEnvironmentSecrets": variables}
        return made

    ours = "arn:aws:secretsmanager:::secret:shop/db:password::"
    assert (
        error_of(client.create_service, ServiceName="shop", SourceConfiguration=source(ours))
        == "AccessDeniedException"
    )
    may = allow(["secretsmanager:GetSecretValue"], arn("secretsmanager", "secret:shop/*"))
    iam.put_role_policy(RoleName="release", PolicyName="secrets", PolicyDocument=document(may))
    made = client.create_service(ServiceName="shop", SourceConfiguration=source(ours, "/shop/mail"))
    arn_of = made["Service"]["ServiceArn"]
    harbour.controller.finish(arn_of)
    for other in ("other/db", "arn:aws:ssm:local-1:000000000000:parameter/other/db", "arn:aws:s3:::x"):
        update = {"ServiceArn": arn_of, "SourceConfiguration": source(ours, other)}
        assert error_of(client.update_service, **update) == "AccessDeniedException"
    client.update_service(ServiceArn=arn_of, SourceConfiguration=source())


def test_a_new_service_is_given_tags_that_act_only_by_who_may_tag_it(
    harbour: Any, session: Any, iam: Any, error_of: Any
) -> None:
    """Else who may delete a service and make it again could take away its policy."""
    untagged = allow(["apprunner:TagResource"], "*", effect="Deny")
    iam.put_role_policy(RoleName="release", PolicyName="no-tags", PolicyDocument=document(untagged))
    create = session("apprunner").create_service
    new = {"ServiceName": "shop", "SourceConfiguration": image("shop", harbour.host)}
    ports = {"Key": "homeport:host-ports", "Value": "5432"}
    assert error_of(create, **new, Tags=[ports]) == "AccessDeniedException"
    create(**new, Tags=[{"Key": "team", "Value": "web"}])


def test_a_role_may_push_to_its_repository_and_no_other(harbour: Any, session: Any) -> None:
    token = password(session("ecr"))
    assert pushed(harbour, "shop", token)[0] == 201
    status, said = pushed(harbour, "other", token)
    assert status == 403
    assert f"may not call ecr:PutImage on {arn('ecr', 'repository/other')}" in said


def test_what_nobody_allowed_is_denied_whatever_the_service(
    harbour: Any, session: Any, error_of: Any
) -> None:
    assert error_of(session("ecr").describe_repositories) == "AccessDeniedException"
    assert error_of(session("ecr").describe_repositories, repositoryNames=["shop", "other"]) == (
        "AccessDeniedException"
    )
    assert error_of(session("iam").list_roles) == "AccessDeniedException"
    assert session("s3").list_buckets()["Buckets"] == []
    assert error_of(session("s3").create_bucket, Bucket="shop") == "AccessDenied"


def test_a_role_that_may_do_everything_still_gives_nobody_a_role(
    session: Any, iam: Any, error_of: Any
) -> None:
    iam.put_role_policy(RoleName="release", PolicyName="all", PolicyDocument=document(allow(["*"], "*")))
    session("ecr").describe_repositories()
    assert error_of(session("iam").delete_role, RoleName="release") == "AccessDeniedException"


def test_sessions_are_revoked_at_once_as_aws_does_it(
    harbour: Any, trusted: Any, session: Any, assume: Callable[..., Any], error_of: Any
) -> None:
    client, iam = session("ecr"), harbour.client("iam")
    token = password(client)
    statement = allow(["*"], "*", effect="Deny")
    statement["Condition"] = {"DateLessThan": {"aws:TokenIssueTime": datetime.now(UTC).isoformat()}}
    iam.put_role_policy(
        RoleName="release", PolicyName="AWSRevokeOlderSessions", PolicyDocument=document(statement)
    )
    assert error_of(client.get_authorization_token) == "AccessDeniedException"
    assert pushed(harbour, "shop", token)[0] == 403
    revoked = int(time.time())
    while int(time.time()) == revoked:  # a session is as old as its second
        time.sleep(0.01)
    given = assume(trusted.token())["Credentials"]
    key = AccessKey(given["AccessKeyId"], given["SecretAccessKey"])
    harbour.client("ecr", key, given["SessionToken"]).get_authorization_token()


def test_a_session_ends_with_its_role_even_if_another_gets_its_name(
    harbour: Any, trusted: Any, session: Any, iam: Any, error_of: Any
) -> None:
    client = session("ecr")
    token = password(client)
    trust = iam.get_role(RoleName="release")["Role"]["AssumeRolePolicyDocument"]
    iam.delete_role_policy(RoleName="release", PolicyName="release")
    iam.delete_role(RoleName="release")
    assert error_of(client.get_authorization_token) == "UnrecognizedClientException"
    iam.create_role(RoleName="release", AssumeRolePolicyDocument=json.dumps(trust))
    iam.put_role_policy(RoleName="release", PolicyName="release", PolicyDocument=RELEASE)
    assert error_of(client.get_authorization_token) == "UnrecognizedClientException"
    assert pushed(harbour, "shop", token)[0] == 401


def test_a_session_that_has_ended_is_told_so(harbour: Any, trusted: Any, iam: Any, error_of: Any) -> None:
    role = iam.get_role(RoleName="release")["Role"]
    old = harbour.keyring.sessions.begin(
        role="release",
        role_id=role["RoleId"],
        name="old",
        subject="x",
        origin={},
        now=datetime.now(UTC) - timedelta(hours=1),
        lifetime=timedelta(minutes=59),
    )
    client = harbour.client("ecr", AccessKey(old.session.key, old.secret), old.token)
    assert error_of(client.get_authorization_token) == "ExpiredTokenException"
    assert pushed(harbour, "shop", harbour.keyring.sessions.registry_token(old.session))[0] == 401


def test_a_session_token_that_was_changed_or_left_out_is_worth_nothing(
    harbour: Any, session: Any, error_of: Any
) -> None:
    given = session("ecr")._request_signer._credentials
    text, _, seal = given.token.rpartition(".")
    facts = json.loads(base64.urlsafe_b64decode(text)) | {"ends": 9_999_999_999}
    longer = base64.urlsafe_b64encode(json.dumps(facts).encode()).decode()
    as_registry = harbour.keyring.sessions.registry_token(harbour.keyring.sessions.read(given.token))
    for token in (f"{longer}.{seal}", "x", f"{text}.", as_registry):
        assert error_of(session("ecr", token).get_authorization_token) == "UnrecognizedClientException"
    key = AccessKey(given.access_key, given.secret_key)
    assert error_of(harbour.client("ecr", key).get_authorization_token) == "UnrecognizedClientException"
    assert pushed(harbour, "shop", given.token)[0] == 401


def test_roles_and_used_tokens_outlive_a_restart(
    harbour: Any, trusted: Any, assume: Callable[..., Any], tmp_path: Any
) -> None:
    from homeport.roles import Roles  # noqa: PLC0415

    assume(trusted.token())
    again = Roles(harbour.database)
    assert [one.name for one in again.roles()] == ["release"]
    assert again.audiences(trusted.url) == ("sts.amazonaws.com",)
    assert len(again._used) == 1


def test_the_trail_names_role_and_session(harbour: Any, session: Any, error_of: Any) -> None:
    error_of(
        session("apprunner").create_service, ServiceName="evil", SourceConfiguration=image("x", harbour.host)
    )
    pushed(harbour, "shop", password(session("ecr")))
    asyncio.run(harbour.trail.write())
    who = "role/release/octo.shop-7"
    calls = [
        call
        for call in read_calls(harbour.data / FOLDER, datetime(2020, 1, 1, tzinfo=UTC))
        if call.who == who
    ]
    said = {call.operation: call for call in calls}
    taken = said["sts:AssumeRoleWithWebIdentity"]
    assert "role/release" in taken.about
    assert "repo:octo/shop:environment:production" in taken.about
    assert said["apprunner:CreateService"].result == "AccessDeniedException"
    assert (said["registry:PutManifest"].about, said["registry:PutManifest"].result) == ("shop:v1", "OK")


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ({"AssumeRolePolicyDocument": "{"}, "MalformedPolicyDocument"),
        ({"AssumeRolePolicyDocument": document()}, None),
        ({"Path": "/team/"}, "InvalidInput"),
        ({"MaxSessionDuration": 7200}, "InvalidInput"),
        ({"Tags": [{"Key": "a", "Value": "b"}]}, "InvalidInput"),
        ({"PermissionsBoundary": "arn:aws:iam::aws:policy/x"}, "InvalidInput"),
        ({"RoleName": "release"}, "EntityAlreadyExists"),
        ({"RoleName": "re lease"}, "ValidationError"),
    ],
)
def test_what_homeport_has_no_use_for_is_refused_by_name(
    trusted: Any, iam: Any, call: dict[str, Any], expected: str | None
) -> None:
    arguments = {"RoleName": "new", "AssumeRolePolicyDocument": document()} | call
    if expected is None:
        assert iam.create_role(**arguments)["Role"]["MaxSessionDuration"] == 3600
        return
    with pytest.raises(ClientError) as caught:
        iam.create_role(**arguments)
    assert caught.value.response["Error"]["Code"] == expected


def test_a_provider_is_https_or_of_this_machine_and_there_once(harbour: Any, iam: Any, error_of: Any) -> None:
    make = iam.create_open_id_connect_provider
    for url in (
        "http://token.example",
        "https://a.example?x=1",
        "ftp://a.example",
        "https://a.example/",
        "x",
    ):
        assert error_of(make, Url=url) == "InvalidInput"
    assert error_of(make, Url="https://a.example", ThumbprintList=["0" * 40]) == "InvalidInput"
    made = make(Url="https://a.example/org", ClientIDList=["one"])["OpenIDConnectProviderArn"]
    assert made == "arn:aws:iam::000000000000:oidc-provider/a.example/org"
    assert error_of(make, Url="https://a.example/org") == "EntityAlreadyExists"
    iam.add_client_id_to_open_id_connect_provider(OpenIDConnectProviderArn=made, ClientID="two")
    iam.remove_client_id_from_open_id_connect_provider(OpenIDConnectProviderArn=made, ClientID="one")
    shown = iam.get_open_id_connect_provider(OpenIDConnectProviderArn=made)
    assert (shown["Url"], shown["ClientIDList"]) == ("https://a.example/org", ["two"])
    iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=made)
    assert iam.list_open_id_connect_providers()["OpenIDConnectProviderList"] == []


def test_a_role_is_read_as_it_was_written(iam: Any, trusted: Any, session: Any, error_of: Any) -> None:
    (role,) = iam.list_roles()["Roles"]
    assert role == iam.get_role(RoleName="release")["Role"]
    policy = iam.get_role_policy(RoleName="release", PolicyName="release")
    assert policy["PolicyDocument"] == json.loads(RELEASE)
    assert iam.list_role_policies(RoleName="release")["PolicyNames"] == ["release"]
    assert iam.list_attached_role_policies(RoleName="release")["AttachedPolicies"] == []
    assert error_of(iam.delete_role, RoleName="release") == "DeleteConflict"
    iam.update_assume_role_policy(RoleName="release", PolicyDocument=document())
    assert iam.get_role(RoleName="release")["Role"]["AssumeRolePolicyDocument"]["Statement"] == []
    assert error_of(iam.get_role, RoleName="none") == "NoSuchEntity"
    assert error_of(iam.get_role_policy, RoleName="release", PolicyName="none") == "NoSuchEntity"
    assert error_of(iam.delete_role_policy, RoleName="release", PolicyName="none") == "NoSuchEntity"


@pytest.fixture
def homeport(harbour: Any) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command, told where this harbour is."""
    Addresses(harbour.endpoint, harbour.host, 0, 0, os.getpid()).write(harbour.data)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "homeport", "role", *arguments, "--data", harbour.data],
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_the_owner_lists_revokes_and_removes_a_role(session: Any, homeport: Any, error_of: Any) -> None:
    listed = homeport("ls")
    assert listed.stdout.startswith("release\n")
    assert ":repository_id = 100200\n" in listed.stdout
    assert ":ref like refs/tags/shop-v*\n" in listed.stdout
    (role,) = json.loads(homeport("ls", "--json").stdout)
    assert role["Policies"] == {"release": json.loads(RELEASE)}
    session("ecr").get_authorization_token()
    assert homeport("revoke", "release").returncode == 0
    assert error_of(session("ecr").get_authorization_token) == "AccessDeniedException"
    assert homeport("rm", "release").returncode == 0
    assert error_of(session("ecr").get_authorization_token) == "UnrecognizedClientException"
    assert homeport("ls").stdout == ""
    gone = homeport("revoke", "release")
    assert (gone.returncode, gone.stderr) == (1, "homeport: there is no role release\n")


def test_whose_job_has_pushed_an_image_is_known(harbour: Any, session: Any) -> None:
    origins = Origins(harbour.database)
    digest = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"
    owner, _ = harbour.keyring.registry_token(Principal(), datetime.now(UTC))
    pushed(harbour, "shop", owner)
    assert origins.of(digest) == []
    pushed(harbour, "shop", password(session("ecr")))
    pushed(harbour, "shop", password(session("ecr")))
    (origin,) = origins.of(digest)
    assert origin["repository"] == "octo/shop"
    assert (origin["ref"], origin["ref_type"], origin["actor"]) == ("refs/tags/shop-v1.0.0", "tag", "mona")


def test_an_image_that_is_put_by_the_api_has_an_origin_too(harbour: Any, session: Any) -> None:
    manifest = MANIFEST.decode().replace("[]", "[ ]")
    put = session("ecr").put_image(
        repositoryName="shop", imageManifest=manifest, imageManifestMediaType=INDEX, imageTag="v2"
    )
    (origin,) = Origins(harbour.database).of(put["image"]["imageId"]["imageDigest"])
    assert origin["repository_id"] == "100200"


ORIGIN = {"iss": "https://token.example", "repository_id": "1", "ref": "refs/tags/v1", "ref_type": "tag"}


@pytest.mark.parametrize(
    ("change", "admitted"),
    [
        ({}, True),
        ({"iss": "https://evil.example"}, False),
        ({"iss": ""}, False),
        ({"repository_id": "2"}, False),
        ({"repository_id": "10"}, False),
        ({"ref_type": "branch", "ref": "refs/heads/main"}, False),
        ({"ref_type": ""}, False),
    ],
)
def test_a_policy_admits_tags_of_one_repository_by_one_issuer(change: dict[str, str], admitted: bool) -> None:
    policy = OriginPolicy.parse("token.example:repository_id=1")
    assert policy.admits(ORIGIN | change) is admitted
    assert not policy.admits({})


def test_what_a_policy_does_not_admit_is_told_with_where_it_comes_from(harbour: Any, session: Any) -> None:
    origins, host = Origins(harbour.database), "token.example"
    pushed(harbour, "shop", password(session("ecr")))
    digest = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"
    origins.require(None, "sha256:0")
    with pytest.raises(DeploymentError, match="pushed by octo/shop at refs/tags/shop-v1"):
        origins.require(f"{host}:repository_id=7", digest)
    with pytest.raises(DeploymentError, match="pushed by nobody who took a role"):
        origins.require(f"{host}:repository_id=7", "sha256:0")


@pytest.mark.parametrize(
    "text", ["", "octo/shop", "token.example:sub=x", "repository_id=1", "a:repository_id="]
)
def test_a_policy_that_is_none_is_refused(harbour: Any, text: str, error_of: Any) -> None:
    made, _ = harbour.service_key("blog")
    call = harbour.client("apprunner").tag_resource
    tags = [{"Key": "homeport:policy", "Value": text}]
    assert error_of(call, ResourceArn=made, Tags=tags) == "InvalidRequestException"
    assert harbour.controller.service(made).spec.origin is None


def test_a_policy_is_a_tag_of_the_service(harbour: Any) -> None:
    made, _ = harbour.service_key("blog")
    client, policy = harbour.client("apprunner"), "token.example:repository_id=1"
    client.tag_resource(ResourceArn=made, Tags=[{"Key": "homeport:policy", "Value": policy}])
    harbour.controller.finish(made)
    assert harbour.controller.service(made).spec.origin == policy
    client.untag_resource(ResourceArn=made, TagKeys=["homeport:policy"])
    assert harbour.controller.service(made).spec.origin is None
