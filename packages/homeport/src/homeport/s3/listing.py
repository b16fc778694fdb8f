"""ListObjectsV2: keys in order, in pages, folded at a delimiter."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from homeport.aws.errors import ApiError
from homeport.s3.buckets import Bucket
from homeport.s3.keys import is_path
from homeport.s3.objects import Object, walk
from homeport.s3.xml import Node

_MAX_KEYS = 1000


@dataclass(frozen=True, slots=True)
class Query:
    """What a page is asked for by."""

    prefix: str
    delimiter: str
    after: str
    max_keys: int
    encode: bool

    @classmethod
    def parse(cls, parameters: Mapping[str, str]) -> Query:
        """Raises ApiError InvalidArgument."""
        return cls(
            parameters.get("prefix", ""),
            parameters.get("delimiter", ""),
            _place(parameters.get("continuation-token")) or parameters.get("start-after", ""),
            _count(parameters.get("max-keys", str(_MAX_KEYS))),
            parameters.get("encoding-type") == "url",
        )


@dataclass(slots=True)
class Page:
    """One page of a bucket's keys."""

    contents: list[Object] = field(default_factory=list)
    common: list[str] = field(default_factory=list)
    truncated: bool = False
    last: str = ""

    @classmethod
    def read(cls, bucket: Bucket, query: Query) -> Page:
        """Reads the folders on the way to the page, and of a folder always every name."""
        page = cls()
        for entry in _folded(bucket, query) if query.max_keys else ():
            if len(page.contents) + len(page.common) == query.max_keys:
                page.truncated = True
                break
            if isinstance(entry, str):
                page.common.append(entry)
                page.last = entry
            else:
                page.contents.append(entry)
                page.last = entry.key
        return page

    def to_xml(self, bucket: Bucket, query: Query) -> dict[str, Node]:
        def shown(text: str) -> str:
            return quote(text, safe="/") if query.encode else text

        content: dict[str, Node] = {
            "Name": bucket.name,
            "Prefix": shown(query.prefix),
            "MaxKeys": query.max_keys,
            "KeyCount": len(self.contents) + len(self.common),
            "IsTruncated": self.truncated,
            "Contents": [
                {
                    "Key": shown(entry.key),
                    "LastModified": entry.modified.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
                    "ETag": entry.etag,
                    "Size": entry.size,
                    "StorageClass": "STANDARD",
                }
                for entry in self.contents
            ],
            "CommonPrefixes": [{"Prefix": shown(prefix)} for prefix in self.common],
        }
        if query.delimiter:
            content["Delimiter"] = shown(query.delimiter)
        if query.encode:
            content["EncodingType"] = "url"
        if self.truncated:
            content["NextContinuationToken"] = base64.urlsafe_b64encode(self.last.encode()).decode()
        return content


def _folded(bucket: Bucket, query: Query) -> Iterator[Object | str]:
    folder, slash, _ = query.prefix.rpartition("/")
    if slash and not is_path(folder):
        return  # no key begins like this
    fold = query.delimiter == "/"
    last = ""
    for entry in walk(bucket.folder, query.prefix, query.after, fold=fold):
        if isinstance(entry, str) or fold or not query.delimiter:
            yield entry
            continue
        rest = entry.key[len(query.prefix) :]
        head, delimiter, _ = rest.partition(query.delimiter)
        common = query.prefix + head + delimiter
        if not delimiter:
            yield entry
        elif common != last and not query.after.startswith(common):
            last = common
            yield common


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise ApiError("InvalidArgument", "max-keys is no number", 400)
    return min(int(text), _MAX_KEYS)


def _place(token: str | None) -> str:
    if token is None:
        return ""
    try:
        return base64.b64decode(token.encode(), b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise ApiError("InvalidArgument", "the continuation token was not given out here", 400) from None
