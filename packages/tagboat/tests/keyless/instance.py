"""A sigstore of one's own on loopback: Fulcio, two kinds of Rekor and a time stamping authority, that speak
their protocols as the public ones do, and tests can make them lie.

Fulcio: POST /api/v2/signingCert (fulcio.proto). Rekor: POST /api/v1/log/entries (its openapi.yaml), and
/api/v2/log/entries (rekor_service.proto of rekor-tiles). Time stamps: RFC 3161, made by openssl.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import rekor_types
import urllib3
from bench.serving import in_thread
from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier
from sigstore_models.common.v1 import HashAlgorithm, HashOutput
from sigstore_models.rekor.v2.entry import CreateEntryRequest, Entry, Spec
from sigstore_models.rekor.v2.hashedrekord import HashedRekordLogEntryV002

_SHA256 = ec.ECDSA(hashes.SHA256())
_SCTS = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")  # RFC 6962, section 3.3
_TSA = """[tsa]
default_tsa = here
[here]
serial = {folder}/serial
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
ess_cert_id_alg = sha256
"""


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


class Refused(Exception):  # noqa: N818  it is an answer
    """What a service answers to a request that it does not take."""


@dataclass
class Authority:
    """A root, and below it the certificate with whose key things are signed."""

    name: str
    usage: ObjectIdentifier | None = None  # of what is signed by the lower key itself, which is then no CA
    root_key: ec.EllipticCurvePrivateKey = field(default_factory=new_key)
    key: ec.EllipticCurvePrivateKey = field(default_factory=new_key)

    def __post_init__(self) -> None:
        self.root = self._certificate(f"{self.name} root", self.root_key, None)
        self.certificate = self._certificate(self.name, self.key, self.usage)

    def _certificate(
        self, name: str, key: ec.EllipticCurvePrivateKey, usage: ObjectIdentifier | None
    ) -> x509.Certificate:
        subject, issuer = (
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one)]) for one in (name, f"{self.name} root")
        )
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=30))
            .not_valid_after(now + timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=usage is None, path_length=None), critical=True)
            .add_extension(key_usage(ca=usage is None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(identifier(self.root_key), critical=False)
        )
        if usage is not None:
            made = made.add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
        return made.sign(self.root_key, hashes.SHA256())

    @property
    def trusted(self) -> dict[str, Any]:
        chain = [{"rawBytes": b64(one.public_bytes(Encoding.DER))} for one in (self.certificate, self.root)]
        subject = {"organization": "test", "commonName": self.name}
        return {"subject": subject, "certChain": {"certificates": chain}, "validFor": since(30)}


def key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False)


def identifier(key: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def since(days: int) -> dict[str, str]:
    return {"start": f"{datetime.now(UTC) - timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"}


def leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\0" + data).digest()


def root(hashed: list[bytes]) -> bytes:
    """RFC 6962, section 2.1."""
    if len(hashed) == 1:
        return hashed[0]
    half = 1 << (len(hashed) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + root(hashed[:half]) + root(hashed[half:])).digest()


def path(index: int, hashed: list[bytes]) -> list[bytes]:
    """RFC 6962, section 2.1.1."""
    if len(hashed) == 1:
        return []
    half = 1 << (len(hashed) - 1).bit_length() - 1
    if index < half:
        return [*path(index, hashed[:half]), root(hashed[half:])]
    return [*path(index - half, hashed[half:]), root(hashed[:half])]


@dataclass
class Instance:
    """The services, all at one URL, and what they do: `issuer` is whose tokens Fulcio takes.

    `authority` certifies, `ct_key` signs that a certificate is logged, `log_key` the log of signatures, whose
    clock is `late`. What is trusted are those that were there at first.
    """

    folder: Path
    issuer: str
    url: str = ""
    rekor: int = 1  # the version of its API
    late: timedelta = timedelta()
    asleep: float = 0  # seconds before the log answers
    lifetime: timedelta = timedelta(minutes=10)
    authority: Authority = field(default_factory=lambda: Authority("fulcio"))
    stamper: Authority = field(default_factory=lambda: Authority("tsa", ExtendedKeyUsageOID.TIME_STAMPING))
    ct_key: ec.EllipticCurvePrivateKey = field(default_factory=new_key)
    log_key: ec.EllipticCurvePrivateKey = field(default_factory=new_key)
    leaves: list[bytes] = field(default_factory=lambda: [leaf(b"%d" % number) for number in range(5)])

    def __post_init__(self) -> None:
        (self.folder / "tsa.cnf").write_text(_TSA.format(folder=self.folder))
        (self.folder / "tsa.pem").write_bytes(self.stamper.certificate.public_bytes(Encoding.PEM))
        pem = self.stamper.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (self.folder / "tsa.key").write_bytes(pem)

    def trust_config(self) -> dict[str, Any]:
        """What clients are told, as sigstore's `ClientTrustConfig` in JSON."""
        kind = "application/vnd.dev.sigstore."

        def log(key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
            public = {"rawBytes": b64(spki(key)), "keyDetails": "PKIX_ECDSA_P256_SHA_256"}
            identity = {"keyId": b64(hashlib.sha256(spki(key)).digest())}
            log = {"baseUrl": self.url, "hashAlgorithm": "SHA2_256", "logId": identity}
            return log | {"publicKey": public | {"validFor": since(30)}}

        def service(version: int, url: str = self.url) -> list[dict[str, Any]]:
            return [{"url": url, "majorApiVersion": version, "validFor": since(30), "operator": "test"}]

        return {
            "mediaType": f"{kind}clienttrustconfig.v0.1+json",
            "trustedRoot": {
                "mediaType": f"{kind}trustedroot+json;version=0.1",
                "tlogs": [log(self.log_key)],
                "certificateAuthorities": [self.authority.trusted],
                "ctlogs": [log(self.ct_key)],
                "timestampAuthorities": [self.stamper.trusted],
            },
            "signingConfig": {
                "mediaType": f"{kind}signingconfig.v0.2+json",
                "caUrls": service(1),
                "rekorTlogUrls": service(self.rekor),
                "rekorTlogConfig": {"selector": "ANY"},
                "tsaUrls": service(1, f"{self.url}/timestamp") if self.rekor == 2 else [],
                "tsaConfig": {"selector": "ANY"},
            },
        }

    def certify(self, asked: dict[str, str], token: str) -> dict[str, Any]:
        """What Fulcio does: see who asks, and that they have the key."""
        request = x509.load_pem_x509_csr(base64.b64decode(asked["certificateSigningRequest"]))
        if not request.is_signature_valid:
            raise Refused("the request is not signed with its own key")
        claims = self._claims(token)
        now = datetime.now(UTC).replace(microsecond=0)
        workflow = claims.get("job_workflow_ref") or claims.get("workflow_ref")
        name: x509.GeneralName = (
            x509.UniformResourceIdentifier(f"https://github.com/{workflow}")
            if workflow
            else x509.RFC822Name(claims["email"])
        )
        fulcio, issuer = "1.3.6.1.4.1.57264.1", claims["iss"]
        said = {
            "8": issuer,
            "12": f"https://github.com/{claims.get('repository')}",
            "14": claims.get("ref", ""),
        }
        own = [(one, asn1.encode_der(text)) for one, text in said.items()]
        builder = (
            x509.CertificateBuilder(
                self.authority.certificate.subject,
                x509.Name([]),
                request.public_key(),
                x509.random_serial_number(),
            )
            .not_valid_before(now)
            .not_valid_after(now + self.lifetime)
            .add_extension(key_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(identifier(self.authority.key), critical=False)
            .add_extension(x509.SubjectAlternativeName([name]), critical=True)
        )
        for number, value in [("1", issuer.encode()), *own]:
            extension = x509.UnrecognizedExtension(ObjectIdentifier(f"{fulcio}.{number}"), value)
            builder = builder.add_extension(extension, critical=False)
        unlogged = builder.sign(self.authority.key, hashes.SHA256()).tbs_certificate_bytes
        scts = x509.UnrecognizedExtension(_SCTS, asn1.encode_der(self._timestamps(unlogged)))
        certificate = builder.add_extension(scts, critical=False).sign(self.authority.key, hashes.SHA256())
        chain = [certificate, self.authority.certificate, self.authority.root]
        pems = [one.public_bytes(Encoding.PEM).decode() for one in chain]
        return {"signedCertificateEmbeddedSct": {"chain": {"certificates": pems}}}

    def _claims(self, token: str) -> dict[str, Any]:
        """By the discovery of OpenID Connect."""
        found = urllib3.request("GET", f"{self.issuer}/.well-known/openid-configuration").json()
        keys = urllib3.request("GET", found["jwks_uri"]).json()
        try:
            kid = jwt.get_unverified_header(token)["kid"]
            key = jwt.PyJWKSet.from_dict(keys)[kid].key
            claims: dict[str, Any] = jwt.decode(
                token, key, ["RS256", "ES256"], audience="sigstore", issuer=found["issuer"]
            )
        except (jwt.PyJWTError, KeyError) as error:
            raise Refused(f"There was an error processing the identity token: {error}") from error
        return claims

    def _timestamps(self, unlogged: bytes) -> bytes:
        """The list of one signed certificate timestamp of a certificate to be (RFC 6962, section 3.2)."""
        at = struct.pack(">Q", int(time.time() * 1000))
        issuer = hashlib.sha256(spki(self.authority.key)).digest()
        entry = issuer + struct.pack(">I", len(unlogged))[1:] + unlogged
        signature = self.ct_key.sign(b"\0\0" + at + b"\0\1" + entry + b"\0\0", _SHA256)
        log = hashlib.sha256(spki(self.ct_key)).digest()
        sct = b"\0" + log + at + b"\0\0\4\3" + struct.pack(">H", len(signature)) + signature
        return struct.pack(">HH", len(sct) + 2, len(sct)) + sct

    def log_dsse(self, asked: dict[str, Any]) -> dict[str, Any]:
        """What Rekor v1 does with an envelope: `kind` is `dsse`."""
        proposed = rekor_types.Dsse.model_validate(asked).spec.root.proposed_content
        envelope = json.loads(proposed.envelope)
        pem = base64.b64decode(proposed.verifiers[0])
        payload = base64.b64decode(envelope["payload"])
        kind, (signature,) = envelope["payloadType"], envelope["signatures"]
        signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)
        key = x509.load_pem_x509_certificate(pem).public_key()
        key.verify(base64.b64decode(signature["sig"]), signed, _SHA256)

        def hashed(data: bytes) -> dict[str, str]:
            return {"algorithm": "sha256", "value": hashlib.sha256(data).hexdigest()}

        time.sleep(self.asleep)
        spec = {
            "envelopeHash": hashed(proposed.envelope.encode()),
            "payloadHash": hashed(payload),
            "signatures": [{"signature": signature["sig"], "verifier": b64(pem)}],
        }
        body = canonical({"apiVersion": "0.0.1", "kind": "dsse", "spec": spec})
        index, hashes_, tree = self._grow(body)
        identity = hashlib.sha256(spki(self.log_key)).hexdigest()
        at = int((datetime.now(UTC) + self.late).timestamp())
        entry = {"body": b64(body), "integratedTime": at, "logID": identity, "logIndex": index + 1000}
        proof = {
            "checkpoint": self.checkpoint(),
            "hashes": [one.hex() for one in hashes_],
            "logIndex": index,
            "rootHash": tree.hex(),
            "treeSize": len(self.leaves),
        }
        promise = b64(self.log_key.sign(canonical(entry), _SHA256))
        verification = {"inclusionProof": proof, "signedEntryTimestamp": promise}
        return {leaf(body).hex(): entry | {"verification": verification}}

    def log_hashed(self, asked: dict[str, Any]) -> dict[str, Any]:
        """What Rekor v2 does, which knows no other kind of entry, and keeps no time."""
        request = CreateEntryRequest.model_validate_json(json.dumps(asked)).hashed_rekord_request_v002
        certificate = x509.load_der_x509_certificate(request.signature.verifier.x509_certificate.raw_bytes)
        certificate.public_key().verify(
            request.signature.content, request.digest, ec.ECDSA(Prehashed(hashes.SHA256()))
        )
        data = HashOutput(algorithm=HashAlgorithm.SHA2_256, digest=b64(request.digest))
        spec = Spec(hashed_rekord_v002=HashedRekordLogEntryV002(data=data, signature=request.signature))
        body = Entry(kind="hashedrekord", api_version="0.0.2", spec=spec).to_json().encode()
        index, hashes_, tree = self._grow(body)
        return {
            "logIndex": str(index),
            "logId": {"keyId": b64(hashlib.sha256(spki(self.log_key)).digest())},
            "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
            "inclusionProof": {
                "logIndex": str(index),
                "rootHash": b64(tree),
                "treeSize": str(len(self.leaves)),
                "hashes": [b64(one) for one in hashes_],
                "checkpoint": {"envelope": self.checkpoint()},
            },
            "canonicalizedBody": b64(body),
        }

    def _grow(self, body: bytes) -> tuple[int, list[bytes], bytes]:
        """The new leaf's index, its path of inclusion, and the root of the tree."""
        self.leaves.append(leaf(body))
        index = len(self.leaves) - 1
        return index, path(index, self.leaves), root(self.leaves)

    def checkpoint(self) -> str:
        """A signed note (transparency-dev/formats, log/README.md), in the name of the log's host."""
        host = self.url[7:]
        note = f"{host} - 1\n{len(self.leaves)}\n{b64(root(self.leaves))}\n"
        signed = hashlib.sha256(spki(self.log_key)).digest()[:4] + self.log_key.sign(note.encode(), _SHA256)
        return f"{note}\n\N{EM DASH} {host} {b64(signed)}\n"

    def stamp(self, query: bytes) -> bytes:
        (self.folder / "query").write_bytes(query)
        command = "openssl ts -reply -config tsa.cnf -queryfile query -signer tsa.pem -inkey tsa.key"
        return subprocess.run(command.split(), cwd=self.folder, check=True, capture_output=True).stdout


def canonical(document: dict[str, Any]) -> bytes:
    """RFC 8785, for what has no numbers but small ones."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


class _Answers(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        here: Instance = self.server.instance  # type: ignore[attr-defined]
        data = self.rfile.read(int(self.headers["Content-Length"]))
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        try:
            if self.path == "/timestamp":
                self._answer(200, here.stamp(data), "application/timestamp-reply")
                return
            asked = json.loads(data)
            answer = {
                "/api/v2/signingCert": lambda: here.certify(asked, token),
                "/api/v1/log/entries": lambda: here.log_dsse(asked),
                "/api/v2/log/entries": lambda: here.log_hashed(asked),
            }[self.path]()
            self._answer(201, json.dumps(answer).encode())
        except Refused as reason:
            self._answer(400, json.dumps({"code": 3, "message": str(reason), "details": []}).encode())

    def _answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def running(folder: Path, issuer: str, **settings: Any) -> Iterator[Instance]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    made = Instance(folder, issuer, f"http://127.0.0.1:{server.server_port}", **settings)
    server.instance = made  # type: ignore[attr-defined]
    with in_thread(server):
        yield made
