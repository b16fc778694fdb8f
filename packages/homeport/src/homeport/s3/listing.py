"""ListObjectsV2: keys in order, in pages, folded at a delimiter."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import obstore

from homeport.aws.errors import ApiError
from homeport.s3.buckets import Bucket
from homeport.s3.xml import Node

_MAX_KEYS = 1000


@dataclass(slots=True)
class Listing:
    """One page of a bucket's keys."""

    bucket: str
    prefix: str
    delimiter: str
    max_keys: int
    encode: bool
    contents: list[dict[str, Any]] = field(default_factory=list)
    common: list[str] = field(default_factory=list)
    truncated: bool = False
    last: str = ""

    @classmethod
    async def of(cls, bucket: Bucket, query: Mapping[str, str]) -> Listing:
        """The page that the query asks for. Reads the whole folder below the prefix: keys come unordered."""
        listing = cls(
            bucket.name,
            query.get("prefix", ""),
            query.get("delimiter", ""),
            _count(query.get("max-keys", str(_MAX_KEYS))),
            query.get("encoding-type") == "url",
        )
        start = _place(query.get("continuation-token")) or query.get("start-after", "")
        folder = listing.prefix.rpartition("/")[0]
        found = [
            entry
            async for batch in obstore.list(bucket.store, folder or None)
            for entry in batch
            if entry["path"].startswith(listing.prefix) and entry["path"] > start
        ]
        for entry in sorted(found, key=lambda entry: entry["path"]):
            if not listing.take(entry, start):
                break
        return listing

    def take(self, entry: Any, start: str) -> bool:
        """Add a key, or the common prefix that stands for it; False when the page is full before it."""
        key = entry["path"]
        rest = key[len(self.prefix) :]
        if self.delimiter and self.delimiter in rest:
            common = self.prefix + rest[: rest.index(self.delimiter) + len(self.delimiter)]
            if (self.common and self.common[-1] == common) or start.startswith(common):
                self.last = key
                return True
            if self._full():
                return False
            self.common.append(common)
        else:
            if self._full():
                return False
            self.contents.append(entry)
        self.last = key
        return True

    def to_xml(self) -> dict[str, Node]:
        def shown(text: str) -> str:
            return quote(text, safe="/") if self.encode else text

        content: dict[str, Node] = {
            "Name": self.bucket,
            "Prefix": shown(self.prefix),
            "MaxKeys": self.max_keys,
            "KeyCount": len(self.contents) + len(self.common),
            "IsTruncated": self.truncated,
            "Contents": [
                {
                    "Key": shown(entry["path"]),
                    "LastModified": entry["last_modified"].strftime("%Y-%m-%dT%H:%M:%S.000Z"),
                    "ETag": f'"{str(entry["e_tag"]).strip(chr(34))}"',
                    "Size": entry["size"],
                    "StorageClass": "STANDARD",
                }
                for entry in self.contents
            ],
            "CommonPrefixes": [{"Prefix": shown(prefix)} for prefix in self.common],
        }
        if self.delimiter:
            content["Delimiter"] = shown(self.delimiter)
        if self.encode:
            content["EncodingType"] = "url"
        if self.truncated:
            content["NextContinuationToken"] = base64.urlsafe_b64encode(self.last.encode()).decode()
        return content

    def _full(self) -> bool:
        if len(self.contents) + len(self.common) < self.max_keys:
            return False
        self.truncated = True
        return True


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal():
        raise ApiError("InvalidArgument", "max-keys is no number", 400)
    return min(int(text), _MAX_KEYS)


def _place(token: str | None) -> str:
    if token is None:
        return ""
    try:
        return base64.urlsafe_b64decode(token.encode()).decode()
    except (binascii.Error, ValueError):
        raise ApiError("InvalidArgument", "the continuation token was not given out here", 400) from None
