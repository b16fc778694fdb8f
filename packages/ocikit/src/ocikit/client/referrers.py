"""What refers to a manifest: the registry's list, or an index under a tag where it keeps none.

Distribution specification 1.1, "Listing Referrers" and "Referrers Tag Schema".
"""

from __future__ import annotations

import random
import re
import time
from urllib.parse import urlencode

from ocikit.client.answer import Answer
from ocikit.client.session import Session
from ocikit.digest import Digest
from ocikit.errors import InvalidDocumentError, RegistryError, RegistryNotFoundError
from ocikit.manifest import OCI_INDEX, Descriptor, Index, Manifest

# Who loses the race for the tag tries again after up to so many seconds, more with each loss.
_RACES = 24
_PAUSE = 0.02


def list_referrers(
    session: Session, repository: str, subject: Digest, artifact_type: str | None
) -> tuple[Descriptor, ...]:
    """Descriptors of the manifests about `subject`. Raises RegistryError."""
    try:
        found = _listed(session, repository, subject, artifact_type)
    except RegistryNotFoundError:
        # Not implemented there; whoever pushes a referrer keeps the index under the tag.
        found = _tagged(session, repository, subject)[0].manifests
    return tuple(entry for entry in found if artifact_type in (None, entry.artifact_type))


def keep_referrer(session: Session, repository: str, subject: Digest, referrer: Descriptor) -> None:
    """Put a manifest into the index under its subject's tag, for a registry without the list."""
    _change(session, repository, subject, referrer.digest, (referrer,))


def forget_referrer(session: Session, repository: str, subject: Digest, referrer: Digest) -> None:
    """Take a manifest out of that index."""
    _change(session, repository, subject, referrer, ())


def has_list(session: Session, repository: str, subject: Digest) -> bool:
    """Whether the registry keeps the list itself."""
    try:
        session.request("GET", _url(session, repository, subject), repository)
    except RegistryNotFoundError:
        return False
    return True


def describe(raw: bytes, digest: Digest, manifest: Manifest | Index) -> Descriptor:
    """The descriptor under which a manifest is listed."""
    artifact_type = manifest.artifact_type
    if isinstance(manifest, Manifest) and not artifact_type:
        artifact_type = manifest.config.media_type
    return Descriptor(
        manifest.media_type, digest, len(raw), manifest.annotations, artifact_type=artifact_type
    )


def referrers_tag(subject: Digest) -> str:
    """`sha256-…`, cut and cleaned as the schema says."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", f"{subject.algorithm[:32]}-{subject.hex[:64]}")


def _url(session: Session, repository: str, subject: Digest) -> str:
    return f"{session.base}/{repository}/referrers/{subject}"


def _listed(
    session: Session, repository: str, subject: Digest, artifact_type: str | None
) -> tuple[Descriptor, ...]:
    url = _url(session, repository, subject)
    if artifact_type:
        url = f"{url}?{urlencode({'artifactType': artifact_type})}"
    found: dict[Digest, Descriptor] = {}
    for answer in session.pages(url, repository, {"Accept": OCI_INDEX}):
        found |= {entry.digest: entry for entry in _index(answer, subject).manifests}
    return tuple(found.values())


def _tagged(session: Session, repository: str, subject: Digest) -> tuple[Index, dict[str, str]]:
    """The index under the tag, and on what condition it may be replaced."""
    try:
        answer = session.request(
            "GET", _tag_url(session, repository, subject), repository, headers={"Accept": OCI_INDEX}
        )
    except RegistryNotFoundError:
        return Index(()), {"If-None-Match": "*"}
    etag = answer.headers.get("ETag")
    return _index(answer, subject), {"If-Match": etag} if etag else {}


def _tag_url(session: Session, repository: str, subject: Digest) -> str:
    return f"{session.base}/{repository}/manifests/{referrers_tag(subject)}"


def _index(answer: Answer, subject: Digest) -> Index:
    try:
        return Index.parse(answer.data)
    except InvalidDocumentError as error:
        raise RegistryError(f"the referrers of {subject} are no index: {error}") from error


def _change(
    session: Session, repository: str, subject: Digest, name: Digest, instead: tuple[Descriptor, ...]
) -> None:
    for attempt in range(_RACES):
        index, condition = _tagged(session, repository, subject)
        others = tuple(entry for entry in index.manifests if entry.digest != name)
        if (*others, *instead) == index.manifests:
            return
        raw = Index((*others, *instead)).to_bytes()
        try:
            session.request(
                "PUT",
                _tag_url(session, repository, subject),
                repository,
                body=raw,
                headers={"Content-Type": OCI_INDEX, **condition},
            )
        except RegistryError as error:
            # Somebody else was faster: with their change in it, once more.
            if error.status != 412 or attempt + 1 == _RACES:
                raise
            time.sleep(random.uniform(0, _PAUSE * (attempt + 1)))  # noqa: S311 -- jitter
        else:
            return
