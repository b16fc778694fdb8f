"""Signatures without a key: that they are where and what cosign's are, and which do not hold, and why."""

import base64
import json
import subprocess
import sys
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packages.tagboat.tests.keyless.instance import Authority, new_key
from sigstore import dsse
from sigstore.models import Bundle, ClientTrustConfig
from sigstore.oidc import IdentityToken
from sigstore.sign import SigningContext
from sigstore.verify import Verifier, policy

from ocikit import ContainerConfig, Digest, Image, InvalidDocumentError, Platform, Reference, Registry
from tagboat.cli import main
from tagboat.supply.attachment import Document, attach, read_attached
from tagboat.supply.bundle import BUNDLE_TYPE, SIGNATURE, check_bundle, sign_keyless
from tagboat.supply.key import PrivateKey
from tagboat.supply.keyless import Identity, KeylessError, KeylessSigner, KeylessVerifier
from tagboat.supply.signature import SignatureError, sign
from tagboat.supply.statement import statement

NAME = "https://github.com/octo/shop/.github/workflows/release-shop.yml@refs/tags/shop-v1.0.0"
DIGEST = Digest.of(b"Ahoy")
SAID = statement("registry.example/team/hail", DIGEST, SIGNATURE, {})


@pytest.fixture
def job(issuer, monkeypatch):
    """This is a job at GitHub that may have a token."""
    monkeypatch.delenv("SIGSTORE_ID_TOKEN", raising=False)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{issuer.url}/token?api-version=2")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", issuer.bearer)


@pytest.fixture
def trust(sigstore, tmp_path):
    """The file with what is trusted."""
    file = tmp_path / "trust.json"
    file.write_text(json.dumps(sigstore.trust_config()))
    return file


@pytest.fixture
def verifier(trust, issuer):
    return KeylessVerifier.of(trust, Identity(NAME, issuer.url))


@pytest.fixture
def sealed(sigstore, issuer):
    """Makes a bundle as the services are now, whatever others trust: the library is told that it is right."""

    def seal(said=SAID, **claims) -> bytes:
        config = ClientTrustConfig.from_json(json.dumps(sigstore.trust_config()))
        token = IdentityToken(issuer.token({"aud": "sigstore"} | claims))
        with SigningContext.from_trust_config(config).signer(token) as signer:
            return signer.sign_dsse(dsse.Statement(said)).to_json().encode()

    return seal


@pytest.fixture
def pushed(registry):
    """A client of a registry with an image."""
    reference = Reference(registry, "team/hail", "1.2.3")
    image = Image.empty(Platform.host()).with_config(ContainerConfig(user="1"))
    with Registry(registry) as client:
        yield client, reference.with_digest(client.push(image, reference))


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize("rekor", [1, 2])
def test_an_image_is_signed_as_cosign_does_and_sigstores_own_tool_accepts_it(
    sigstore, rekor, issuer, pushed, tmp_path
):
    sigstore.rekor = rekor
    trust = tmp_path / "trust.json"
    trust.write_text(json.dumps(sigstore.trust_config()))
    client, reference = pushed
    digest, signed = sign_keyless(client, reference.with_digest(reference.digest), KeylessSigner(trust))
    assert (digest, str(signed.identity)) == (reference.digest, f"{NAME} ({issuer.url})")
    (found,) = client.referrers(reference)
    assert found.artifact_type == BUNDLE_TYPE == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert found.annotations.keys() == {
        "org.opencontainers.image.created",
        "dev.sigstore.bundle.content",
        "dev.sigstore.bundle.predicateType",
    }
    assert found.annotations["dev.sigstore.bundle.predicateType"] == "https://sigstore.dev/cosign/sign/v1"
    manifest = client.manifest(reference.with_digest(found.digest))
    assert manifest.config.media_type == "application/vnd.oci.empty.v1+json"
    assert [layer.media_type for layer in manifest.layers] == [BUNDLE_TYPE]

    data = read_attached(client, reference, found.digest)
    kind = {1: ("dsse", "0.0.1"), 2: ("hashedrekord", "0.0.2")}[rekor]
    (entry,) = json.loads(data)["verificationMaterial"]["tlogEntries"]
    assert (entry["kindVersion"]["kind"], entry["kindVersion"]["version"]) == kind
    root = ClientTrustConfig.from_json(trust.read_text()).trusted_root
    wanted = policy.AllOf(
        [policy.Identity(identity=NAME, issuer=issuer.url), policy.OIDCIssuerV2(issuer.url)]
    )
    kind, payload = Verifier(trusted_root=root).verify_dsse(Bundle.from_json(data), wanted)
    assert kind == "application/vnd.in-toto+json"
    assert json.loads(payload) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": f"{reference.registry}/team/hail", "digest": {"sha256": digest.hex}}],
        "predicateType": "https://sigstore.dev/cosign/sign/v1",
        "predicate": {},
    }
    (tmp_path / "bundle.json").write_bytes(data)
    tool = [sys.executable, "-m", "sigstore", "--trust-config", trust, "verify", "identity"]
    tool += ["--cert-identity", NAME, "--cert-oidc-issuer", issuer.url, "--bundle", tmp_path / "bundle.json"]
    done = subprocess.run([*tool, str(digest)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_bundle_of_another_image_does_not_hold_and_hides_none_that_does(pushed, sealed, verifier):
    client, reference = pushed
    with pytest.raises(SignatureError, match=r"has no keyless signature$"):
        check_bundle(client, reference, reference.digest, verifier, SIGNATURE)

    def put(data):
        attach(client, reference, client.descriptor(reference), Document(BUNDLE_TYPE, data, {}))

    put(sealed())  # whole, but of another image
    put(sealed(statement("x", reference.digest, "https://slsa.dev/provenance/v1", {})))
    put(b"{}")
    put(b"\xff")
    with pytest.raises(SignatureError) as refused:
        check_bundle(client, reference, reference.digest, verifier, SIGNATURE)
    assert f"it is about {DIGEST}" in str(refused.value)
    assert "https://slsa.dev/provenance/v1'), not https://sigstore.dev" in str(refused.value)
    assert str(refused.value).count("it is no bundle of certificate, signature and log entry") == 2
    put(sealed(statement("x", reference.digest, SIGNATURE, {})))
    assert check_bundle(client, reference, reference.digest, verifier, SIGNATURE).identity.name == NAME


@pytest.mark.parametrize("name", [NAME, f"{NAME[:-5]}*", "https://github.com/octo/*@refs/tags/*"])
def test_an_identity_is_asked_for_by_its_name_or_with_stars_in_it(trust, sealed, issuer, name):
    signed = KeylessVerifier.of(trust, Identity(name, issuer.url)).unseal(sealed())
    assert (signed.statement, signed.identity) == (SAID, Identity(NAME, issuer.url))


@pytest.mark.parametrize("name", [NAME[:-1], f"{NAME}*0", "https://github.com/octo/", ".*", "*/other/*"])
def test_who_has_signed_instead_is_told(trust, sealed, issuer, name):
    with pytest.raises(InvalidDocumentError) as refused:
        KeylessVerifier.of(trust, Identity(name, issuer.url)).unseal(sealed())
    assert str(refused.value) == f"signed by {NAME} ({issuer.url}), not by {name} ({issuer.url})"


def test_the_same_name_of_another_issuer_is_somebody_else(trust, sealed, issuer):
    with pytest.raises(InvalidDocumentError, match=r"signed by .*127\.0\.0\.1.*, not by .*evil"):
        KeylessVerifier.of(trust, Identity(NAME, "https://evil.example")).unseal(sealed())
    mail = sealed(workflow_ref=None, email="ann@git.example")
    found = KeylessVerifier.of(trust, Identity("ann@git.example", issuer.url)).unseal(mail)
    assert found.identity.name == "ann@git.example"


LIES = {
    "another authority": ({"authority": Authority("fulcio")}, "of no authority that is trusted here"),
    "no log of certificates": ({"ct_key": new_key()}, "SCT verify failed"),
    "another log": ({"log_key": new_key()}, "invalid log entry: checkpoint: invalid signature"),
    "logged when the certificate was over": ({"late": timedelta(hours=1)}, "good from .* it was signed at"),
    "logged before there was one": ({"late": timedelta(hours=-1)}, "good from .* it was signed at"),
}


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize("lie", LIES)
def test_what_a_service_made_that_is_not_trusted_holds_nowhere(sigstore, trust, sealed, verifier, lie):
    assert verifier.unseal(sealed())
    lies, reason = LIES[lie]
    for name, value in lies.items():
        setattr(sigstore, name, value)
    with pytest.raises(InvalidDocumentError, match=reason):
        verifier.unseal(sealed())
    with pytest.raises(KeylessError, match=r"sigstore has not signed it|sigstore's answer does not hold"):
        KeylessSigner(trust).seal(SAID)  # which thus is attached to nothing


def entry(document):
    return document["verificationMaterial"]["tlogEntries"][0]


def proof(document):
    return entry(document)["inclusionProof"]


def changed(text: str) -> str:
    """Base64 of something else of the same length."""
    data = bytearray(base64.b64decode(text))
    data[-1] ^= 1
    return base64.b64encode(data).decode()


def payload(document, other):
    document["dsseEnvelope"]["payload"] = base64.b64encode(
        SAID.replace(DIGEST.hex.encode(), b"0" * 64)
    ).decode()


def kind(document, other):
    document["dsseEnvelope"]["payloadType"] = "application/json"


def signature(document, other):
    document["dsseEnvelope"]["signatures"] = other["dsseEnvelope"]["signatures"]


def unlogged(document, other):
    document["verificationMaterial"]["tlogEntries"] = []


def twice(document, other):
    document["verificationMaterial"]["tlogEntries"] *= 2


def unproven(document, other):
    del entry(document)["inclusionProof"]


def no_checkpoint(document, other):
    del proof(document)["checkpoint"]


def no_promise(document, other):
    del entry(document)["inclusionPromise"]


def forged_proof(document, other):
    proof(document)["hashes"][0] = changed(proof(document)["hashes"][0])


def short_proof(document, other):
    proof(document)["hashes"].pop()


def forged_root(document, other):
    """A tree that has the entry alone, to which the log has never put its name."""
    body = base64.b64decode(entry(document)["canonicalizedBody"])
    root = base64.b64encode(bytes.fromhex(Digest.of(b"\0" + body).hex)).decode()
    lines = proof(document)["checkpoint"]["envelope"].splitlines(keepends=True)
    lines[1:3] = ["1\n", f"{root}\n"]
    proof(document).update(logIndex="0", treeSize="1", rootHash=root, hashes=[])
    proof(document)["checkpoint"]["envelope"] = "".join(lines)


def old_checkpoint(document, other):
    proof(other)["checkpoint"], proof(document)["checkpoint"] = (
        proof(document)["checkpoint"],
        proof(other)["checkpoint"],
    )


def moved_in_time(document, other):
    entry(document)["integratedTime"] = str(int(entry(document)["integratedTime"]) + 1)


def anothers_entry(document, other):
    document["verificationMaterial"]["tlogEntries"] = other["verificationMaterial"]["tlogEntries"]


def anothers_certificate(document, other):
    document["verificationMaterial"]["certificate"] = other["verificationMaterial"]["certificate"]


TAMPERED = {
    payload: "DSSE: invalid signature",
    kind: "DSSE: invalid signature",
    signature: "DSSE: invalid signature",
    unlogged: "no bundle of certificate, signature and log entry: expected exactly one log entry",
    twice: "expected exactly one log entry",
    unproven: "no bundle of certificate, signature and log entry: .*inclusionProof Field required",
    no_checkpoint: "must contain inclusion proof, with checkpoint",
    no_promise: "must contain an inclusion promise or signed timestamp",
    forged_proof: "inclusion proof contains invalid root hash",
    short_proof: "inclusion proof has wrong size",
    forged_root: "checkpoint: invalid signature",
    old_checkpoint: "invalid root hash",
    moved_in_time: "SET: invalid inclusion promise",
    anothers_entry: "log entry signatures do not match",
    anothers_certificate: "DSSE: invalid signature",
}


def test_a_bundle_in_which_anything_was_exchanged_does_not_hold(sealed, verifier):
    whole, other = sealed(), json.loads(sealed())
    assert verifier.unseal(whole)
    for tamper, reason in TAMPERED.items():
        document = json.loads(whole)
        tamper(document, json.loads(json.dumps(other)))
        with pytest.raises(InvalidDocumentError, match=reason):
            verifier.unseal(json.dumps(document).encode())


def test_a_stamp_of_the_time_is_needed_where_the_log_keeps_none(sigstore, sealed, issuer, tmp_path):
    sigstore.rekor = 2
    (tmp_path / "trust.json").write_text(json.dumps(sigstore.trust_config()))
    verifier = KeylessVerifier.of(tmp_path / "trust.json", Identity(NAME, issuer.url))
    document, other = json.loads(sealed()), json.loads(sealed())
    document["verificationMaterial"]["timestampVerificationData"] = other["verificationMaterial"][
        "timestampVerificationData"
    ]
    with pytest.raises(InvalidDocumentError, match="not enough sources of verified time"):
        verifier.unseal(json.dumps(document).encode())
    del document["verificationMaterial"]["timestampVerificationData"]
    with pytest.raises(InvalidDocumentError, match="inclusion promise or signed timestamp"):
        verifier.unseal(json.dumps(document).encode())


PARTS = st.recursive(
    st.none() | st.integers() | st.text(max_size=5) | st.binary(max_size=5).map(lambda b: b.hex()),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
)


def places(document, at=()):
    """The way to every member of a document."""
    yield at
    members = document.items() if isinstance(document, dict) else enumerate(document)
    for name, value in members if isinstance(document, dict | list) else ():
        yield from places(value, (*at, name))


def test_whatever_is_exchanged_nothing_else_happens_than_that_it_is_refused(sealed, verifier):
    whole = json.loads(sealed())

    @settings(max_examples=60)
    @given(st.sampled_from(list(places(whole))[1:]), PARTS)
    def exchanged(place, value):
        document = json.loads(json.dumps(whole))
        inner = document
        for name in place[:-1]:
            inner = inner[name]
        inner[place[-1]] = value
        try:
            signed = verifier.unseal(json.dumps(document).encode())
        except InvalidDocumentError:
            return
        assert (signed.statement, signed.identity) == (SAID, verifier.wanted)

    exchanged()


@pytest.mark.usefixtures("job")
def test_the_commands_sign_and_verify_and_tell_the_kinds_apart(pushed, trust, issuer, tmp_path, capsys):
    client, reference = pushed
    name = f"{reference.registry}/team/hail@{reference.digest}"
    private, public = PrivateKey.make().write(tmp_path / "release", None)
    asked = ["--identity", NAME, "--issuer", issuer.url, "--trust-config", str(trust)]

    def run(*arguments):
        code = main([*map(str, arguments)])
        return code, *capsys.readouterr()

    assert run("sign", "--keyless", "--trust-config", trust, name) == (
        0,
        f"{name}\n",
        f"tagboat: signed by {NAME} ({issuer.url}), certified {certified(client, reference)}\n",
    )
    assert issuer.given[0] not in str(client.referrers(reference))
    code, said, _ = run("verify", *asked, name)
    assert code == 0
    assert f"\nok      keyless signature by {NAME} ({issuer.url}), certified " in said
    code, said, _ = run("verify", "--key", public, name)
    assert code == 1
    assert "has no signature: nothing is at" in said
    assert "; it has 1 without a key, which --identity and --issuer check" in said
    asked[1] = "*/octo/cart/*"
    code, said, _ = run("verify", *asked, name)
    assert code == 1
    assert f"but 1: signed by {NAME} ({issuer.url}), not by */octo/cart/* ({issuer.url})\n" in said
    sign(client, reference, PrivateKey.read(private, None))
    assert "it has signatures by keys, which --key checks" in run("verify", *asked, name)[1]
    asked[1] = "https://github.com/octo/shop/*"
    code, said, _ = run("verify", "--key", public, *asked, name)
    assert code == 0
    kinds = [line.split(" by ")[0] for line in said.splitlines() if " by " in line]
    assert kinds == ["ok      signature", "ok      keyless signature"]


@pytest.mark.usefixtures("job")
def test_a_token_that_was_over_before_the_build_was_is_asked_for_again(trust, issuer):
    signer = KeylessSigner(trust)
    signer.seal(SAID)
    assert len(issuer.given) == 1
    signer._token._exp = 0
    signer.seal(SAID)
    assert len(issuer.given) == 2


@pytest.mark.usefixtures("job")
def test_a_service_that_does_not_answer_is_not_waited_for_for_ever(trust, sigstore, monkeypatch):
    monkeypatch.setattr("tagboat.supply.keyless._PATIENCE", 0.2)
    sigstore.asleep = 0.6
    with pytest.raises(KeylessError, match=r"sigstore has not signed it: .*Read timed out"):
        KeylessSigner(trust).seal(SAID)


def certified(client, reference):
    (found,) = client.referrers(reference)
    certificate = Bundle.from_json(read_attached(client, reference, found.digest)).signing_certificate
    return f"{certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}"


def test_options_that_do_not_go_together_are_refused(capsys, trust):
    image = "registry.example/team/hail:1"
    for arguments, reason in [
        (["verify", "--identity", NAME, image], "--identity and --issuer go together"),
        (["verify", "--issuer", "https://x", image], "--identity and --issuer go together"),
        (["verify", "--trust-config", str(trust), image], "add --identity"),
        (["verify", "--provenance", image], "needs the --key or the --identity"),
        (["sign", "--key", "k", "--trust-config", str(trust), image], "add --keyless"),
    ]:
        assert main(arguments) == 2
        assert reason in capsys.readouterr().err


def test_without_an_identity_or_with_one_that_is_not_taken_nothing_is_signed(
    trust, issuer, sigstore, signing_keys, monkeypatch
):
    for name in ("GITHUB_ACTIONS", "GITLAB_CI", "CIRCLECI", "BUILDKITE", "SIGSTORE_ID_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(KeylessError, match="nobody says who signs") as error:
        KeylessSigner(trust)
    assert "SIGSTORE_ID_TOKEN" in error.value.hint
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.delenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", raising=False)
    with pytest.raises(KeylessError, match="missing or insufficient OIDC token permissions") as error:
        KeylessSigner(trust)
    assert "`id-token: write`" in error.value.hint
    ours = {"aud": "sigstore"}
    for token, reason in [
        (issuer.token(), "malformed or missing claims: Audience doesn't match"),
        (issuer.token(ours | {"exp": 1}), "Signature has expired"),
        ("x", "malformed"),
    ]:
        monkeypatch.setenv("SIGSTORE_ID_TOKEN", token)
        with pytest.raises(KeylessError, match=reason) as error:
            KeylessSigner(trust)
    monkeypatch.setenv("SIGSTORE_ID_TOKEN", issuer.token(ours, key=signing_keys["stranger"]))
    refused = (
        f"{sigstore.url}/api/v2/signingCert answers 400: .*There was an error processing the identity token"
    )
    with pytest.raises(KeylessError, match=refused):
        KeylessSigner(trust).seal(SAID)


def test_a_trust_configuration_that_cannot_be_used_is_told(tmp_path):
    with pytest.raises(KeylessError, match="cannot be read: No such file"):
        KeylessSigner(tmp_path / "none.json")
    for text in ("", "{}", "[]"):
        (tmp_path / "some.json").write_text(text)
        with pytest.raises(KeylessError, match=r"some\.json is no trust configuration of sigstore"):
            KeylessSigner(tmp_path / "some.json")


def test_without_the_library_it_is_said_how_to_get_it():
    code = "import sys; sys.modules['sigstore'] = None; from tagboat.cli import main\n"
    code += "sys.exit(main(['sign', '--keyless', 'registry.example/team/hail:1']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "tagboat: signatures without a key need a package that is not here: sigstore",
        "  pip install 'tagboat[keyless]'",
    ]
