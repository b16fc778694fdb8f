"""Provenance that goes with an image: what homeport has seen of a push, signed with its own key.

An in-toto statement (v1) with SLSA provenance (v1) in a DSSE envelope, as an OCI referrer of the image. It
says which job has pushed it, by the claims of that job's identity token: whoever has the public key can hold
an image against that, wherever it was copied to. Equal pushes make equal statements.
"""

from __future__ import annotations

import base64
import json
import tempfile
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from homeport.command import off_loop
from homeport.sessions import Session
from ocikit import Descriptor, Digest, Index, InvalidDocumentError, Manifest
from ocikit.manifest import INDEXES, OCI_MANIFEST
from ocikit.registry import Storage
from ocikit.registry.storage import StoredManifest

ENVELOPE: Final = "application/vnd.dsse.envelope.v1+json"
STATEMENT: Final = "application/vnd.in-toto+json"
_PREDICATE: Final = "https://slsa.dev/provenance/v1"
_EMPTY: Final = b"{}"
_EMPTY_TYPE: Final = "application/vnd.oci.empty.v1+json"


class Attestor:
    """Attaches what it attests in the registry's own store."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, storage: Storage) -> None:
        self._key = key
        self._storage = storage

    async def attest(self, repository: str, digest: Digest, session: Session) -> None:
        """That this session has pushed this manifest, if that is an image or an index of images."""
        subject = await self._storage.find_manifest(repository, str(digest))
        if subject is None or not _is_image(subject):
            return
        envelope = self._sealed(statement(repository, digest, session))
        layer = Descriptor(ENVELOPE, Digest.of(envelope), len(envelope))
        manifest = Manifest(
            config=Descriptor(_EMPTY_TYPE, Digest.of(_EMPTY), len(_EMPTY)),
            layers=(layer,),
            subject=Descriptor(subject.media_type, digest, len(subject.data)),
            artifact_type=ENVELOPE,
            annotations={"in-toto.io/predicate-type": _PREDICATE},
        )
        data = manifest.to_bytes()
        stored = StoredManifest(Digest.of(data), OCI_MANIFEST, data)
        referrer = Descriptor(
            OCI_MANIFEST, stored.digest, len(data), manifest.annotations, artifact_type=ENVELOPE
        )
        async with self._storage.holds.hold(stored.digest, layer.digest, Digest.of(_EMPTY)):
            for content in (envelope, _EMPTY):
                await self._add_blob(repository, content)
            await self._storage.add_manifest(repository, stored)
            await self._storage.add_referrer(repository, digest, referrer)

    async def _add_blob(self, repository: str, content: bytes) -> None:
        path = await off_loop(_written, self._storage.folder, content)
        try:
            await self._storage.add_blob(repository, Digest.of(content), path)
        finally:
            await off_loop(path.unlink, missing_ok=True)  # a store that is a folder has moved it

    def _sealed(self, payload: bytes) -> bytes:
        """DSSE 1.0: the signature is over type and payload, each with its length."""
        signed = b"DSSEv1 %d %s %d %s" % (len(STATEMENT), STATEMENT.encode(), len(payload), payload)
        signature = self._key.sign(signed, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        document = {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": STATEMENT,
            "signatures": [{"sig": base64.b64encode(signature).decode()}],
        }
        return json.dumps(document, separators=(",", ":")).encode()


def public_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def statement(repository: str, digest: Digest, session: Session) -> bytes:
    """What is said of the image: the claims of who has pushed it, and the commit that they are of."""
    origin = dict(session.origin)
    source = origin.get("repository") or origin.get("project_path")
    commit = origin.get("sha")
    predicate: dict[str, Any] = {
        "buildDefinition": {
            "buildType": "urn:homeport:push:1",
            "externalParameters": origin,
            "resolvedDependencies": [{"name": source, "digest": {"gitCommit": commit}}] if commit else [],
        },
        "runDetails": {"builder": {"id": origin.get("iss", ""), "version": {"subject": session.subject}}},
    }
    document = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": repository, "digest": {digest.algorithm: digest.hex}}],
        "predicateType": _PREDICATE,
        "predicate": predicate,
    }
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def _written(folder: Path | None, content: bytes) -> Path:
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".attestation-", delete=False) as file:
        file.write(content)
    return Path(file.name)


def _is_image(stored: StoredManifest) -> bool:
    """Not what is about an image."""
    kind = Index if stored.media_type in INDEXES else Manifest
    try:
        manifest = kind.parse(stored.data)
    except InvalidDocumentError:
        return False
    return manifest.subject is None and not manifest.artifact_type
