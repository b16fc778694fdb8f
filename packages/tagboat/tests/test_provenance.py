"""Provenance: what it says of a build, that it is the same again, who signed it, and what is refused."""

import base64
import json
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocikit import BytesBlob, Descriptor, Digest, InvalidDocumentError, Reference, Registry
from tagboat.component import Component
from tagboat.location import Location
from tagboat.supply.attestation import attach_provenance, check_attached_provenance
from tagboat.supply.bundle import check_bundle, sign_keyless
from tagboat.supply.envelope import ENVELOPE_TYPE, seal, unseal
from tagboat.supply.key import PrivateKey
from tagboat.supply.keyless import Identity, KeylessSigner, KeylessVerifier
from tagboat.supply.provenance import PREDICATE, check_release, provenance
from tagboat.supply.signature import SignatureError, sign
from tagboat.supply.statement import STATEMENT_TYPE, check_statement
from tagboat.supply.verification import verify

KEY = PrivateKey.make()
TYPE = "application/x-test"


@pytest.fixture(scope="module")
def key():
    return KEY


@pytest.fixture
def component(built):
    return Component.load(built.project.directory)


@pytest.fixture
def pushed(built, registry):
    """A client of a registry with the image, and where it is there."""
    reference = Reference(registry, "team/hail", "1.2.3")
    with Registry(registry) as client:
        client.push(built.build.image, reference)
        yield client, reference


def test_it_says_what_went_into_the_build(built, component):
    image = built.build.image
    statement = json.loads(provenance(component, image, Reference("registry.example", "team/hail", "1")))
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert statement["subject"] == [
        {"name": "registry.example/team/hail", "digest": {"sha256": image.digest.hex}}
    ]
    definition = statement["predicate"]["buildDefinition"]
    assert definition["externalParameters"]["component"] == {"name": "hail", "version": "1.2.3"}
    assert definition["externalParameters"]["lock"] == {
        "name": "requirements.lock",
        "digest": {"sha256": Digest.of(component.lock.read_bytes()).hex},
    }
    base, h11, jmespath = definition["resolvedDependencies"]
    assert base["name"].startswith("debian:bookworm")
    assert base["digest"]["sha256"]
    assert (h11["uri"], jmespath["uri"]) == ("pkg:pypi/h11@0.16.0", "pkg:pypi/jmespath@1.1.0")
    assert h11["annotations"]["hashes"] == [
        "sha256:4e35b956cf45792e4caa5885e69fba00bdbc6ffafbfa020300e549b208ee5ff1",
        "sha256:63cf8bbe7522de3bf65932fda1d9c2772064ffb3dae62d55932da54b31cb6c86",
    ]
    assert statement["predicate"]["runDetails"]["builder"]["id"] == "urn:tagboat:builder"


def test_a_locked_file_with_one_hash_has_it_as_its_digest_and_a_clean_tree_its_commit(
    built, component, tmp_path
):
    (tmp_path / "requirements.lock").write_text(
        "h11==0.16.0 --hash=sha256:00ff\nabsent==1 --hash=sha256:00\n"
    )
    image = built.build.image
    labels = {**image.config.config.labels, "org.opencontainers.image.revision": "0" * 40}
    image = image.with_config(replace(image.config.config, labels=labels))
    statement = json.loads(
        provenance(replace(component, directory=tmp_path), image, Reference("r.example", "a"))
    )
    _, source, h11 = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert source == {"uri": "git+https://git.example/hail", "digest": {"gitCommit": "0" * 40}}
    assert h11 == {"uri": "pkg:pypi/h11@0.16.0", "digest": {"sha256": "00ff"}}


def test_values_of_variables_stay_out_of_it(built, project, monkeypatch):
    project.configure('environment = { TOKEN = "$SECRET" }\n')
    monkeypatch.setenv("SECRET", "swordfish")
    statement = provenance(Component.load(project.directory), built.build.image, Reference("r.example", "a"))
    assert b'"TOKEN":"$SECRET"' in statement
    assert b"swordfish" not in statement


def test_the_same_build_attaches_the_same_once(pushed, built, component, key):
    client, reference = pushed
    first = attach_provenance(client, reference, built.build.image, component, key)
    assert attach_provenance(client, reference, built.build.image, component, key) == first
    (found,) = client.referrers(reference, ENVELOPE_TYPE)
    assert found.digest == first
    assert found.annotations["in-toto.io/predicate-type"] == "https://slsa.dev/provenance/v1"
    check_attached_provenance(client, reference, built.build.image.digest, key.public)


def test_openssl_accepts_the_signature_of_the_envelope(key, tmp_path):
    """The signed bytes are put together here as the protocol says, not by what made them."""
    envelope = json.loads(seal(b'{"a":1}', TYPE, key))
    (tmp_path / "signed").write_bytes(b'DSSEv1 18 application/x-test 7 {"a":1}')
    (tmp_path / "signature").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    _, public = key.write(tmp_path / "release", None)
    check = ["openssl", "dgst", "-sha256", "-verify", public, "-signature", tmp_path / "signature"]
    done = subprocess.run([*check, tmp_path / "signed"], capture_output=True, text=True, check=False)
    assert done.stdout == "Verified OK\n"


def test_without_a_key_the_statement_is_attached_as_it_is_and_proves_nothing(pushed, built, component, key):
    client, reference = pushed
    image = built.build.image
    attach_provenance(client, reference, image, component, None)
    (found,) = client.referrers(reference)
    assert found.artifact_type == STATEMENT_TYPE
    with pytest.raises(SignatureError, match="has no signed provenance"):
        check_attached_provenance(client, reference, image.digest, key.public)


def test_provenance_by_others_or_of_others_does_not_count(pushed, built, component, key):
    client, reference = pushed
    image = built.build.image
    attach_provenance(client, reference, image, component, PrivateKey.make())
    with pytest.raises(SignatureError, match="signed by another key"):
        check_attached_provenance(client, reference, image.digest, key.public)
    other = replace(image.config.config, user="7")
    about_other = provenance(component, image.with_config(other), reference)
    move(client, reference, image.digest, seal(about_other, STATEMENT_TYPE, key))
    with pytest.raises(SignatureError, match=r"it is about sha256:[0-9a-f]{64}"):
        check_attached_provenance(client, reference, image.digest, key.public)


def move(client: Registry, reference: Reference, subject: Digest, envelope: bytes) -> None:
    """Attach an envelope to an image that it is not about."""
    (found,) = client.referrers(reference, ENVELOPE_TYPE)
    manifest = client.manifest(reference.with_digest(found.digest))
    layer = Descriptor(ENVELOPE_TYPE, Digest.of(envelope), len(envelope))
    moved = replace(manifest, layers=(layer,))
    target = reference.with_digest(Digest.of(moved.to_bytes()))
    client.push_manifest(target, moved, {layer.digest: BytesBlob(envelope)})
    assert manifest.subject.digest == subject


def test_the_commands_attach_and_demand_it(tagboat, registry, project):
    tagboat("key", "release")
    name = f"{registry}/team/hail:1"
    assert tagboat("push", "--key", "release.key", name).returncode == 0
    verify = ("verify", "--key", "release.pub", "--provenance", name)
    missing = tagboat(*verify)
    assert missing.returncode == 1
    assert "FAILED  provenance by sha256:" in missing.stdout
    done = tagboat("push", "--provenance", "--key", "release.key", name)
    assert done.returncode == 0, done.stderr
    assert "signed provenance sha256:" in done.stderr
    verified = tagboat(*verify)
    assert verified.returncode == 0, verified.stdout
    keyless = tagboat("verify", "--provenance", name)
    assert keyless.returncode == 2
    assert "--provenance needs the --key" in keyless.stderr


def test_the_signature_and_the_provenance_are_two_things(pushed, built, component, key):
    client, reference = pushed
    sign(client, reference, key)
    with pytest.raises(SignatureError, match="has no signed provenance"):
        check_attached_provenance(client, reference, built.build.image.digest, key.public)


def test_an_envelope_of_another_type_is_refused(key):
    with pytest.raises(InvalidDocumentError, match="not a application/x-other"):
        unseal(seal(b"{}", TYPE, key), "application/x-other", key.public)


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_only_the_payload_that_was_sealed_comes_out(payload, other):
    sealed = seal(payload, TYPE, KEY)
    assert seal(payload, TYPE, KEY) == sealed
    assert unseal(sealed, TYPE, KEY.public) == payload
    document = json.loads(sealed)
    document["payload"] = base64.urlsafe_b64encode(other).decode()
    exchanged = unseal(json.dumps(document).encode(), TYPE, KEY.public)
    assert exchanged == (other if other == payload else None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
MEMBER = st.sampled_from(["payload", "payloadType", "signatures", "_type", "predicateType", "subject"])


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_what_is_no_envelope_or_statement_is_refused_and_nothing_else_happens(data):
    with pytest.raises(InvalidDocumentError):
        unseal(data, TYPE, KEY.public)
    with pytest.raises(InvalidDocumentError):
        check_statement(data, PREDICATE, Digest.of(b""))


@given(MEMBER, JSON | st.just([{"digest": None}]) | st.just([{"sig": 1}]))
def test_an_envelope_or_statement_with_a_member_exchanged_is_refused(member, value):
    envelope = json.loads(seal(b"{}", TYPE, KEY))
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": "https://slsa.dev/provenance/v1",
        "subject": [{"digest": {"sha256": Digest.of(b"").hex}}],
    }
    check_statement(json.dumps(statement).encode(), PREDICATE, Digest.of(b""))
    if member in statement:
        with pytest.raises(InvalidDocumentError):
            check_statement(json.dumps(statement | {member: value}).encode(), PREDICATE, Digest.of(b""))
        return
    try:
        payload = unseal(json.dumps(envelope | {member: value}).encode(), TYPE, KEY.public)
    except InvalidDocumentError:
        return
    assert payload is None


def test_provenance_can_be_signed_without_a_key(pushed, built, sigstore, issuer, monkeypatch):
    client, reference = pushed
    trust = sigstore.folder / "trust.json"
    trust.write_text(json.dumps(sigstore.trust_config()))
    monkeypatch.setenv("SIGSTORE_ID_TOKEN", issuer.token({"aud": "sigstore"}))
    image, signer = built.build.image, KeylessSigner(trust)
    attach_provenance(client, reference, image, Component.load(built.project.directory), signer)
    wanted = KeylessVerifier.of(trust, Identity("https://github.com/octo/shop/*", issuer.url))

    def look():
        return verify(Location.parse(str(reference)), None, None, wanted, attested=True)[-2:]

    signature, attested = look()
    assert "has no keyless signature" in signature.problem  # provenance is no signature, though it is signed
    assert (
        attested.what.startswith("keyless provenance by https://github.com/octo/shop/"),
        attested.problem,
    ) == (
        True,
        None,
    )
    sign_keyless(client, reference, signer)
    assert [check.problem for check in look()] == [None, None]
    other = KeylessVerifier.of(trust, Identity("https://github.com/octo/cart/*", issuer.url))
    with pytest.raises(SignatureError, match=r"1: signed by .*octo/shop/.*, not by .*octo/cart/"):
        check_bundle(client, reference, image.digest, other, PREDICATE)


def test_the_help_of_verify_needs_no_cryptography():
    code = (
        "import sys; from tagboat.cli import main\ntry: main(['verify', '--help'])\nexcept SystemExit: pass\n"
    )
    code += "print('cryptography' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


RELEASE = {"repository": "octo/shop", "ref": "refs/tags/v1", "ref_type": "tag"}


def pushed_by(said, kind="urn:homeport:push:1"):
    definition = {"buildType": kind, "externalParameters": said}
    return json.dumps({"predicate": {"buildDefinition": definition}}).encode()


def test_a_release_is_one_that_a_tag_of_the_repository_has_pushed():
    check_release(pushed_by(RELEASE), "octo/shop")
    check_release(pushed_by({"project_path": "team/shop", "ref_type": "tag"}), "team/shop")


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        (pushed_by(RELEASE | {"repository": "octo/cart"}), "pushed by octo/cart"),
        (pushed_by(RELEASE | {"repository": None}), "pushed by None"),
        (
            pushed_by(RELEASE | {"ref_type": "branch", "ref": "refs/heads/main"}),
            "refs/heads/main, which is no",
        ),
        (pushed_by({}), "pushed by None"),
        (pushed_by(RELEASE, "urn:tagboat:build:1"), "does not say who"),
        (pushed_by(7), "not SLSA"),
        (b"{}", "not SLSA"),
        (b"[" * 100_000, "not SLSA"),
    ],
)
def test_what_is_no_release_of_the_repository_is_told_why(statement, reason):
    with pytest.raises(InvalidDocumentError, match=reason):
        check_release(statement, "octo/shop")
