"""What homeport attests of a push: which job it was, signed, beside the image."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from homeport.attestation import ENVELOPE, STATEMENT
from homeport.credentials import AccessKey
from homeport.place import arn

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'
DIGEST = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"


@pytest.fixture
def push(harbour: Any, trusted: Any, assume: Callable[..., Any]) -> Callable[..., None]:
    """Push a manifest to `shop`, as a new session of the role or as the owner."""
    harbour.client("ecr").create_repository(repositoryName="shop")
    allow = {
        "Effect": "Allow",
        "Action": ["ecr:GetAuthorizationToken", "ecr:PutImage"],
        "Resource": ["*", arn("ecr", "repository/shop")],
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": allow})
    harbour.client("iam").put_role_policy(RoleName="release", PolicyName="push", PolicyDocument=policy)

    def pushed(manifest: bytes, reference: str, *, as_owner: bool = False) -> None:
        ecr = harbour.client("ecr")
        if not as_owner:
            given = assume(trusted.token())["Credentials"]
            key = AccessKey(given["AccessKeyId"], given["SecretAccessKey"])
            ecr = harbour.client("ecr", key, given["SessionToken"])
        login = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
        headers = {"Authorization": f"Basic {login}", "Content-Type": INDEX}
        reply = harbour.send("PUT", f"/v2/shop/manifests/{reference}", headers, manifest)
        assert reply.status == 201, reply.body

    return pushed


@pytest.fixture
def read(harbour: Any) -> Callable[[str], Any]:
    """What the registry has there, for the owner."""
    login = base64.b64encode(f"{harbour.root.id}:{harbour.root.secret}".encode()).decode()

    def get(path: str) -> Any:
        return json.loads(harbour.send("GET", f"/v2/shop/{path}", {"Authorization": f"Basic {login}"}).body)

    return get


def test_a_push_of_a_job_is_attested_once_with_what_its_token_said(
    harbour: Any, push: Any, read: Any
) -> None:
    push(MANIFEST, "v1")
    push(MANIFEST, "latest")
    push(MANIFEST, "latest", as_owner=True)
    (referrer,) = read(f"referrers/{DIGEST}")["manifests"]
    assert referrer["artifactType"] == ENVELOPE
    assert referrer["annotations"] == {"in-toto.io/predicate-type": "https://slsa.dev/provenance/v1"}
    (layer,) = read(f"manifests/{referrer['digest']}")["layers"]
    envelope = read(f"blobs/{layer['digest']}")
    payload = base64.b64decode(envelope["payload"])
    said = json.loads(payload)
    assert said["subject"] == [{"name": "shop", "digest": {"sha256": DIGEST.removeprefix("sha256:")}}]
    origin = said["predicate"]["buildDefinition"]["externalParameters"]
    assert (origin["repository"], origin["repository_id"], origin["ref"]) == (
        "octo/shop",
        "100200",
        "refs/tags/shop-v1.0.0",
    )
    signature = base64.b64decode(envelope["signatures"][0]["sig"])
    signed = b"DSSEv1 %d %s %d %s" % (len(STATEMENT), STATEMENT.encode(), len(payload), payload)
    key = harbour.keyring.attestation_key.public_key()
    key.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
    with pytest.raises(InvalidSignature):
        key.verify(signature, signed + b" ", ec.ECDSA(hashes.SHA256()))


def test_the_owners_push_is_nobodys_release(push: Any, read: Any) -> None:
    push(MANIFEST, "v1", as_owner=True)
    assert read(f"referrers/{DIGEST}")["manifests"] == []


def test_what_is_about_an_image_is_not_attested_itself(push: Any, read: Any) -> None:
    subject = {"mediaType": INDEX, "digest": DIGEST, "size": len(MANIFEST)}
    about = json.dumps(json.loads(MANIFEST) | {"subject": subject, "artifactType": "x/y"}).encode()
    digest = f"sha256:{hashlib.sha256(about).hexdigest()}"
    push(about, digest)
    assert read(f"referrers/{digest}")["manifests"] == []


def test_the_key_is_the_data_directorys_own(harbour: Any) -> None:
    from homeport.credentials import Keyring  # noqa: PLC0415

    ours = harbour.keyring.attestation_key.private_numbers()
    assert Keyring.load(harbour.data).attestation_key.private_numbers() == ours
    other = Keyring(harbour.root, b"another master secret").attestation_key.private_numbers()
    assert other.private_value != ours.private_value
