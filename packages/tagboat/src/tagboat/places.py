"""Which repository of a registry has had which layer: from there the others of that registry can have it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_MOST = 1000  # layers of a registry that are remembered, the latest


@dataclass(frozen=True, slots=True)
class Places:
    """What was pushed to one registry. It may be gone from there by now: a registry that cannot mount a layer
    is sent it."""

    file: Path
    known: Mapping[str, str]
    """The repository that had a layer last, by the layer's digest."""

    @classmethod
    def of(cls, cache: Path, host: str) -> Places:
        file = cache / "places" / f"{hashlib.sha256(host.encode()).hexdigest()}.json"
        try:
            found = json.loads(file.read_bytes())
        except (OSError, ValueError):  # none yet, or cut off by a machine that lost power
            found = {}
        texts = isinstance(found, dict) and all(isinstance(place, str) for place in found.values())
        return cls(file, found if texts else {})

    def remember(self, repository: str, digests: Iterable[str]) -> None:
        """Keep that the repository has these layers."""
        news = {digest: repository for digest in digests if self.known.get(digest) != repository}
        if not news:
            return
        kept = [(digest, place) for digest, place in self.known.items() if digest not in news]
        with suppress(OSError):  # a disk that is full now makes no push undone
            self.file.parent.mkdir(parents=True, exist_ok=True)
            new = self.file.with_name(f"{self.file.name}.{os.getpid()}")
            new.write_text(json.dumps(dict([*kept, *news.items()][-_MOST:])))
            new.replace(self.file)
