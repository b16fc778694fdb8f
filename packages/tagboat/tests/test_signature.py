"""Signing and verifying: what holds, what is told when it does not, and what openssl says of it."""

import base64
import json
import stat
import subprocess
import sys
import tarfile
from dataclasses import replace
from types import MappingProxyType

import pytest
import urllib3
from hypothesis import given
from hypothesis import strategies as st

from ocikit import (
    BytesBlob,
    ContainerConfig,
    Digest,
    History,
    Image,
    InvalidDocumentError,
    LayerWriter,
    Layout,
    Platform,
    Reference,
    Registry,
    write_docker_archive,
)
from tagboat.index import push_images
from tagboat.supply.key import KeyFileError, PrivateKey, PublicKey
from tagboat.supply.payload import Payload
from tagboat.supply.signature import SignatureError, check_signature, sign, signature_tag

ANNOTATION = "dev.cosignproject.cosign/signature"


@pytest.fixture(scope="module")
def key():
    return PrivateKey.make()


@pytest.fixture
def make(tmp_path):
    """Makes an image of one file."""

    def image(content: bytes) -> Image:
        with LayerWriter(tmp_path / f"{len(content)}.tar.gz") as writer:
            writer.file("etc/motd", content)
            made = Image.empty(Platform.host()).append(writer.finish(), History(created_by="test"))
        return made.with_config(ContainerConfig(user="1"))

    return image


@pytest.fixture
def pushed(make, registry):
    """The reference of an image in a registry, its digest with it."""
    reference = Reference(registry, "team/hail", "1.2.3")
    with Registry(registry) as client:
        return replace(reference, digest=client.push(make(b"Ahoy"), reference))


@pytest.fixture
def client(registry):
    with Registry(registry) as opened:
        yield opened


@pytest.fixture
def command(tmp_path):
    def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "tagboat", *map(str, arguments)],
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)} | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def signed_parts(client: Registry, reference: Reference) -> tuple[bytes, bytes]:
    """Payload and signature as whoever fetches them by the specification alone finds them."""
    manifest = client.manifest(signature_tag(reference, reference.digest))
    assert manifest.layers[0].media_type == "application/vnd.dev.cosign.simplesigning.v1+json"
    with client.open_blob(reference.repository, manifest.layers[0]) as blob:
        return blob.read(), base64.b64decode(manifest.layers[0].annotations[ANNOTATION])


def test_openssl_accepts_the_signature_of_the_payload(client, pushed, key, tmp_path):
    sign(client, pushed, key)
    payload, signature = signed_parts(client, pushed)
    (tmp_path / "payload").write_bytes(payload)
    (tmp_path / "signature").write_bytes(signature)
    _, public = key.write(tmp_path / "release", None)
    check = ["openssl", "dgst", "-sha256", "-verify", public, "-signature", tmp_path / "signature"]
    done = subprocess.run([*check, tmp_path / "payload"], capture_output=True, text=True, check=False)
    assert done.stdout == "Verified OK\n"
    assert json.loads(payload)["critical"]["image"]["docker-manifest-digest"] == str(pushed.digest)
    assert payload == (
        b'{"critical":{"identity":{"docker-reference":"%s/team/hail"},"image":{"docker-manifest-digest":"%s"},'
        b'"type":"cosign container image signature"},"optional":null}'
        % (pushed.registry.encode(), str(pushed.digest).encode())
    )


def test_a_signature_that_openssl_made_with_its_own_key_is_accepted(client, pushed, tmp_path):
    make = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", tmp_path / "sec1.key"]
    subprocess.run(make, check=True)
    key = PrivateKey.read(tmp_path / "sec1.key", None)
    (tmp_path / "payload").write_bytes(b"text")
    done = subprocess.run(
        ["openssl", "dgst", "-sha256", "-sign", tmp_path / "sec1.key", tmp_path / "payload"],
        capture_output=True,
        check=True,
    )
    assert key.public.accepts(done.stdout, b"text")
    assert not key.public.accepts(done.stdout, b"texts")


def test_the_same_key_signs_once_and_another_one_beside_it(client, pushed, key):
    other = PrivateKey.make()
    assert sign(client, pushed, key) == (pushed.digest, True)
    assert sign(client, pushed, key) == (pushed.digest, False)
    assert sign(client, pushed, other) == (pushed.digest, True)
    assert len(client.manifest(signature_tag(pushed, pushed.digest)).layers) == 2
    for one in (key, other):
        assert check_signature(client, pushed, pushed.digest, one.public) == f"{pushed.registry}/team/hail"


def test_an_unsigned_image_and_one_signed_by_others_are_told_apart(client, pushed, key):
    with pytest.raises(SignatureError, match=r"has no signature: nothing is at .*\.sig$"):
        check_signature(client, pushed, pushed.digest, key.public)
    sign(client, pushed, PrivateKey.make())
    with pytest.raises(SignatureError, match="has 1 signature, none by the key sha256:"):
        check_signature(client, pushed, pushed.digest, key.public)


def test_a_signature_of_another_image_does_not_hold_at_this_one(client, pushed, make, key):
    other = client.push(make(b"Ahoy there"), pushed.with_tag("2"))
    sign(client, pushed.with_digest(other), key)
    moved = client.manifest(signature_tag(pushed, other))
    client.push_manifest(signature_tag(pushed, pushed.digest), moved)
    with pytest.raises(SignatureError, match=f"1 signature by the key, not of it: it signs {other}"):
        check_signature(client, pushed, pushed.digest, key.public)


@pytest.mark.parametrize("text", ["", "no base64", base64.b64encode(b"no DER").decode()])
def test_a_broken_signature_signs_nothing(client, pushed, key, text):
    sign(client, pushed, key)
    target = signature_tag(pushed, pushed.digest)
    manifest = client.manifest(target)
    layer = replace(manifest.layers[0], annotations=MappingProxyType({ANNOTATION: text}))
    client.push_manifest(target, replace(manifest, layers=(layer,)))
    with pytest.raises(SignatureError):
        check_signature(client, pushed, pushed.digest, key.public)


def test_what_cannot_be_read_does_not_hide_a_good_signature(client, pushed, key):
    sign(client, pushed, key)
    target = signature_tag(pushed, pushed.digest)
    manifest = client.manifest(target)
    (good,) = manifest.layers
    lost = replace(good, digest=Digest.of(b"lost"), size=4)
    unsigned = replace(good, annotations=MappingProxyType({}))
    mixed = replace(manifest, layers=(lost, unsigned, good))
    client.push_manifest(target, mixed, {lost.digest: BytesBlob(b"lost")})
    blob = f"http://{pushed.registry}/v2/team/hail/blobs/{lost.digest}"
    assert urllib3.request("DELETE", blob).status == 202
    assert check_signature(client, pushed, pushed.digest, key.public)
    client.push_manifest(target, replace(manifest, layers=(unsigned,)))
    with pytest.raises(SignatureError, match="cannot be read as one"):
        check_signature(client, pushed, pushed.digest, key.public)
    assert sign(client, pushed, key) == (pushed.digest, True)
    assert check_signature(client, pushed, pushed.digest, key.public)


def test_a_pair_is_written_once_and_only_the_owner_reads_the_key(command, tmp_path):
    done = command("key", "release")
    assert (done.returncode, done.stdout) == (0, "release.key\nrelease.pub\n")
    before = (tmp_path / "release.key").read_bytes()
    assert stat.S_IMODE((tmp_path / "release.key").stat().st_mode) == 0o600
    again = command("key", "release")
    assert again.returncode == 1
    assert "release.pub is there already" in again.stderr
    (tmp_path / "release.pub").unlink()
    assert "release.key is there already" in command("key", "release").stderr
    assert (tmp_path / "release.key").read_bytes() == before
    assert ". is a folder" in command("key", ".").stderr


def test_a_password_locks_the_key(tmp_path, key):
    private, public = key.write(tmp_path / "release", "open sesame")
    assert PrivateKey.read(private, "open sesame").public.identity == PublicKey.read(public).identity
    with pytest.raises(KeyFileError, match=r"is encrypted$") as error:
        PrivateKey.read(private, None)
    assert error.value.hint == "set TAGBOAT_KEY_PASSWORD to its password"
    with pytest.raises(KeyFileError, match="another password") as error:
        PrivateKey.read(private, "open barley")
    assert "barley" not in str(error.value)


@pytest.mark.parametrize("form", [("pkcs8", "-topk8"), ("ec", "-aes256")])
def test_what_openssl_has_encrypted_is_read_unless_it_is_cut_off(tmp_path, key, form):
    private, _ = key.write(tmp_path / "release", None)
    locked = tmp_path / "locked.key"
    command = ["openssl", *form, "-in", private, "-passout", "pass:open sesame", "-out", locked]
    subprocess.run(command, check=True, capture_output=True)
    assert PrivateKey.read(locked, "open sesame").public.identity == key.public.identity
    locked.write_bytes(locked.read_bytes()[:200])
    with pytest.raises(KeyFileError, match="cut off"):
        PrivateKey.read(locked, "open sesame")


def test_a_password_may_be_any_bytes_but_not_any_number_of_them(tmp_path, key):
    private, _ = key.write(tmp_path / "release", "\udcff\u00e9" * 100)
    assert PrivateKey.read(private, "\udcff\u00e9" * 100).public.identity == key.public.identity
    with pytest.raises(KeyFileError, match="more than 1023 bytes"):
        key.write(tmp_path / "other", "x" * 1024)
    assert not (tmp_path / "other.key").exists()


def test_a_password_that_is_not_needed_does_no_harm(tmp_path, key):
    private, _ = key.write(tmp_path / "release", None)
    assert PrivateKey.read(private, "whatever").public.identity == key.public.identity


def test_what_is_no_key_is_refused(tmp_path, key):
    private, public = key.write(tmp_path / "release", None)
    with pytest.raises(KeyFileError, match="is a private key"):
        PublicKey.read(private)
    with pytest.raises(KeyFileError, match="no private key"):
        PrivateKey.read(public, None)
    with pytest.raises(KeyFileError, match="cannot be read: No such file"):
        PublicKey.read(tmp_path / "absent")
    for file in (private, public):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(KeyFileError, match="cannot be used"):
        PrivateKey.read(private, None)
    with pytest.raises(KeyFileError, match="cut off"):
        PublicKey.read(public)


@pytest.mark.parametrize("algorithm", ["ED25519", "EC -pkeyopt ec_paramgen_curve:P-384"])
def test_a_key_of_another_kind_is_refused(tmp_path, algorithm):
    file = tmp_path / "other.key"
    subprocess.run(
        ["openssl", "genpkey", "-out", file, "-algorithm", *algorithm.split()],
        check=True,
        capture_output=True,
    )
    with pytest.raises(KeyFileError, match="not a key on the curve P-256"):
        PrivateKey.read(file, None)


def test_the_commands_sign_and_verify_in_a_registry(command, pushed):
    password = {"TAGBOAT_KEY_PASSWORD": "open sesame"}
    command("key", "release", **password)
    name = f"{pushed.registry}/team/hail:1.2.3"
    unsigned = command("verify", "--key", "release.pub", name)
    assert unsigned.returncode == 1
    assert "FAILED  signature by the key sha256:" in unsigned.stdout
    assert f"{name}: 1 of 4 checks failed" in unsigned.stderr
    locked = command("sign", "--key", "release.key", name)
    assert (locked.returncode, locked.stdout) == (1, "")
    done = command("sign", "--key", "release.key", name, **password)
    assert (done.returncode, done.stdout) == (0, f"{pushed.registry}/team/hail@{pushed.digest}\n")
    assert "already" in command("sign", "--key", "release.key", name, **password).stderr
    verified = command("verify", "--key", "release.pub", name)
    assert verified.returncode == 0, verified.stdout
    assert verified.stdout.splitlines()[0] == f"ok      manifest {pushed.digest}"
    assert verified.stdout.endswith(f", as {pushed.registry}/team/hail\n")


def test_push_signs_what_it_has_pushed_and_says_so_of_a_wrong_key_before_it_builds(
    command, tagboat, registry, tmp_path
):
    command("key", "release")
    name = f"{registry}/team/shop:1.4.0"
    key = str(tmp_path / "release.key")
    for _ in range(2):  # the second time there is nothing to do
        done = tagboat("push", "--key", key, name)
        assert done.returncode == 0, done.stderr
    pinned = done.stdout.strip()
    with Registry(registry) as client:
        reference = Reference.parse(pinned)
        assert len(client.manifest(signature_tag(reference, reference.digest)).layers) == 1
    verified = command("verify", "--key", "release.pub", pinned)
    assert verified.returncode == 0, verified.stdout
    refused = tagboat("push", "--key", str(tmp_path / "release.pub"), name)
    assert refused.returncode == 1
    assert refused.stderr.startswith("tagboat: ")
    assert "no private key in PEM form" in refused.stderr


def test_a_signed_index_holds_for_the_image_of_each_platform(command, client, make, key, tmp_path):
    reference = Reference(client.host, "team/hail", "2")
    images = [with_platform(make(b"Ahoy" * size), name) for size, name in ((1, "amd64"), (2, "arm64"))]
    index = push_images(client, images, reference).digest
    key.write(tmp_path / "release", None)
    assert sign(client, reference, key) == (index, True)
    for image in images:
        platform = str(image.config.platform)
        done = command("verify", "--key", "release.pub", "--platform", platform, reference)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"ok      manifest {image.digest}\n" in done.stdout
    alone = command("verify", "--key", "release.pub", reference.with_digest(images[0].digest))
    assert alone.returncode == 1
    assert f"{images[0].digest} has no signature" in alone.stdout


def with_platform(image: Image, architecture: str) -> Image:
    return Image(replace(image.config, platform=Platform("linux", architecture)), image.layers)


def test_a_tampered_blob_of_a_layout_is_named(command, make, tmp_path):
    image = make(b"Ahoy")
    Layout(tmp_path / "image").write(image)
    assert command("verify", "oci:image").returncode == 0
    layer = image.layers[0].descriptor.digest
    blob = tmp_path / "image" / "blobs" / layer.path
    good = blob.read_bytes()
    blob.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    done = command("verify", "oci:image")
    assert done.returncode == 1
    assert f"FAILED  layer {layer}: " in done.stdout
    told = command("verify", "--json", "oci:image")
    wrong = [check for check in json.loads(told.stdout) if check["problem"]]
    assert (told.returncode, [check["what"] for check in wrong]) == (1, [f"layer {layer}"])
    blob.unlink()
    assert f"FAILED  layer {layer}: " in command("verify", "oci:image").stdout


def test_a_tampered_manifest_or_configuration_of_a_layout_is_told(command, make, tmp_path):
    image = make(b"Ahoy")
    Layout(tmp_path / "image").write(image)
    for digest in (image.manifest.config.digest, image.digest):
        blob = tmp_path / "image" / "blobs" / digest.path
        blob.write_bytes(blob.read_bytes().replace(b"sha256", b"sha265", 1))
        done = command("verify", "oci:image")
        assert done.returncode == 1
        assert "FAILED  manifest and configuration: " in done.stdout
        assert str(digest) in done.stdout


def test_a_layer_of_an_archive_must_have_the_diff_id_of_its_configuration(command, make, tmp_path):
    write_docker_archive(make(b"Ahoy"), tmp_path / "good.tar", ["hail:1"])
    layer = make(b"Ahoy").layers[0].descriptor.digest
    done = command("verify", "tar:good.tar")
    assert (done.returncode, done.stdout) == (0, f"ok      layer {layer}\n")
    write_docker_archive(make(b"Ahoy, pirate"), tmp_path / "other.tar", ["hail:1"])
    with tarfile.open(tmp_path / "good.tar") as good, tarfile.open(tmp_path / "other.tar") as other:
        (layer,) = (entry for entry in other if entry.name.endswith(".gz"))
        with tarfile.open(tmp_path / "bad.tar", "w") as bad:
            for entry in good:
                source, found = (other, layer) if entry.name.endswith(".gz") else (good, entry)
                member = tarfile.TarInfo(entry.name)
                member.size = found.size
                bad.addfile(member, source.extractfile(found))
    done = command("verify", "tar:bad.tar")
    assert done.returncode == 1
    assert "not what diff ID sha256:" in done.stdout


def test_a_layer_of_zstd_must_have_the_diff_id_of_its_configuration(command, tmp_path):
    with LayerWriter(tmp_path / "layer", compression="zstd") as writer:
        writer.file("greeting", b"Ahoy")
        layer = writer.finish()
    image = Image.empty(Platform.host()).append(layer, History(created_by="test"))
    Layout(tmp_path / "good").write(image)
    assert command("verify", "oci:good").returncode == 0
    other = Image.empty(Platform.host()).append(
        replace(layer, diff_id=Digest.of(b"other")), History(created_by="test")
    )
    Layout(tmp_path / "bad").write(other)
    done = command("verify", "oci:bad")
    assert done.returncode == 1
    assert "not what diff ID sha256:" in done.stdout


def test_a_key_is_of_no_use_outside_of_registries(command, tmp_path):
    command("key", "release")
    done = command("verify", "--key", "release.pub", "oci:image")
    assert done.returncode == 2
    assert "oci:image has no signatures" in done.stderr


def test_an_image_that_is_not_there_can_neither_be_signed_nor_verified(command, registry):
    command("key", "release")
    for arguments in (("sign", "--key", "release.key"), ("verify",)):
        done = command(*arguments, f"{registry}/team/hail:9")
        assert done.returncode == 1
        assert f"{registry}/team/hail:9 is not there" in done.stderr


@given(st.binary(min_size=32, max_size=32), st.text())
def test_a_payload_reads_back_as_it_was(content, repository):
    payload = Payload(Digest("sha256", content.hex()), repository)
    assert Payload.parse(payload.to_bytes()) == payload


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_what_is_no_payload_is_refused_and_nothing_else_happens(data):
    with pytest.raises(InvalidDocumentError, match="signature payload"):
        Payload.parse(data)


@given(
    st.sampled_from([(), ("critical",), ("critical", "identity"), ("critical", "image")]),
    st.sampled_from(
        ["critical", "type", "identity", "image", "docker-reference", "docker-manifest-digest", "x"]
    ),
    JSON,
)
def test_a_payload_with_a_member_exchanged_is_refused_or_says_what_it_says(path, member, value):
    document = json.loads(Payload(Digest.of(b""), "a/b").to_bytes())
    inner = document
    for name in path:
        inner = inner[name]
    inner[member] = value
    try:
        payload = Payload.parse(json.dumps(document).encode())
    except InvalidDocumentError:
        return
    assert payload.digest == Digest.of(b"")
    # Only these say nothing that matters: the name itself, and what is outside of the critical part.
    assert path == () or member == "docker-reference"
