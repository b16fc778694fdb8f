"""S3's API, path style, as an ASGI app: what apps, bucketlog, boto3 and `aws s3` need of it.

Of conditional creates (`If-None-Match: *`) exactly one wins: the store links the finished file into place.
"""

from __future__ import annotations

import asyncio
import errno
import sys
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import BinaryIO
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from homeport.aws.errors import ApiError
from homeport.credentials import Principal
from homeport.s3 import keys, objects, xml
from homeport.s3.body import read_document, received
from homeport.s3.buckets import Bucket, Buckets
from homeport.s3.copying import SOURCE, Source
from homeport.s3.listing import Page, Query
from homeport.s3.multipart import Multipart
from homeport.s3.objects import Object
from homeport.sigv4 import Chain

Authenticate = Callable[[Request], tuple[Principal, Chain]]
Permit = Callable[[Principal, str, str, str | None], bool]  # of an action on a bucket, or on a key in it

_OWNER = {"ID": "homeport", "DisplayName": "homeport"}
_STREAM = 1 << 20  # bytes of an object sent at a time
_MAX_DELETED = 1000  # keys of one DeleteObjects
# Names in a query that mean another thing than the bucket or the object, and what may come with them.
_SUBRESOURCES = {
    "location": frozenset[str](),
    "delete": frozenset[str](),
    "list-type": frozenset(
        {
            "prefix",
            "delimiter",
            "max-keys",
            "continuation-token",
            "start-after",
            "encoding-type",
            "fetch-owner",
        }
    ),
    "uploads": frozenset[str](),
    "uploadId": frozenset({"partNumber"}),
}
# What would have to be kept beside an object: refused rather than lost in silence.
_NOT_KEPT = (
    "x-amz-meta-",
    "x-amz-tagging",
    "x-amz-server-side-encryption",
    "x-amz-object-lock-",
    "x-amz-website-redirect-location",
    "x-amz-acl",
    "x-amz-grant-",
    "x-amz-storage-class",
    "x-amz-write-offset-bytes",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
)
# What asks for nothing but what is so anyway.
_AS_IT_IS = {
    "x-amz-acl": ("private", "bucket-owner-full-control"),
    "x-amz-storage-class": ("STANDARD",),
    "content-encoding": ("aws-chunked",),  # of the request, not of the object
}


# In IAM's words, by method; what is none of these reads a bucket, or writes an object.
_BUCKET_ACTIONS = {"PUT": "s3:CreateBucket", "DELETE": "s3:DeleteBucket", "POST": "s3:DeleteObject"}
_OBJECT_ACTIONS = {"GET": "s3:GetObject", "HEAD": "s3:GetObject", "DELETE": "s3:DeleteObject"}


class S3:
    """The app. `authenticate` says who signed a request and what its body's signatures go on from, or raises
    ApiError; `permit` says what they may do.
    """

    def __init__(
        self, buckets: Buckets, multipart: Multipart, authenticate: Authenticate, permit: Permit
    ) -> None:
        self._buckets = buckets
        self._multipart = multipart
        self._authenticate = authenticate
        self._permit = permit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        path = scope["raw_path"].decode("latin-1")
        try:
            response = await self._answer(request, path)
        except ApiError as error:
            response = xml.refusal(error, path)
        except ClientDisconnect:
            return
        except OSError as error:
            # What it says names paths of this machine: that is for the log.
            print(f"homeport: s3 {request.method} {path}: {error}", file=sys.stderr, flush=True)
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            why = (
                "the object store has no room: its disk is full"
                if full
                else "the object store failed; try again"
            )
            response = xml.refusal(ApiError("InternalError", why, 500), path)
        if request.method == "HEAD" and response.status_code >= 400:
            response = Response(status_code=response.status_code)
        await response(scope, receive, send)

    async def _answer(self, request: Request, path: str) -> Response:
        principal, chain = self._authenticate(request)
        name, key = keys.split(path)
        if not name and not key:
            return self._list_buckets(request, principal)
        action = _action(request, key)
        # Of several keys a role is asked about each by itself.
        by_key = principal.session is not None and not key and action == "s3:DeleteObject"
        if not by_key:
            self._require(principal, action, name, key or None)
        if not key:
            return await self._bucket(request, principal, name)
        return await self._object(request, principal, chain, name, key)

    def _require(self, principal: Principal, action: str, bucket: str, key: str | None) -> None:
        if not self._permit(principal, action, bucket, key):
            raise ApiError("AccessDenied", f"this key may not use bucket {bucket}", 403)

    # Buckets

    def _list_buckets(self, request: Request, principal: Principal) -> Response:
        if request.method != "GET":
            raise _not_supported(request)
        shown = [
            {"Name": bucket.name, "CreationDate": _timestamp(bucket.created_at)}
            for bucket in self._buckets.list()
            if self._permit(principal, "s3:ListBucket", bucket.name, None)
        ]
        return xml.document("ListAllMyBucketsResult", {"Owner": _OWNER, "Buckets": {"Bucket": shown}})

    async def _bucket(self, request: Request, principal: Principal, name: str) -> Response:
        match request.method, _subresource(request):
            case "PUT", "":
                await asyncio.to_thread(self._buckets.create, name)
                return Response(headers={"Location": f"/{name}"})
            case "HEAD", "":
                self._buckets.find(name)
                return Response()
            case "DELETE", "":
                await asyncio.to_thread(self._buckets.delete, name)
                return Response(status_code=204)
            case "GET", "location":
                self._buckets.find(name)
                return xml.document("LocationConstraint", {})
            case "GET", "list-type" if request.query_params["list-type"] == "2":
                return await self._list_objects(request, principal, name)
            case "POST", "delete":
                return await self._delete_objects(request, principal, self._buckets.find(name))
        raise _not_supported(request)

    async def _list_objects(self, request: Request, principal: Principal, name: str) -> Response:
        try:
            bucket = self._buckets.find(name)
        except ApiError as error:
            # A service's buckets are there as soon as somebody asks, only empty.
            if principal.is_root or error.code != "NoSuchBucket":
                raise
            bucket = self._buckets.create(name)
        query = Query.parse(request.query_params)
        page = await asyncio.to_thread(Page.read, bucket, query)
        return xml.document("ListBucketResult", page.to_xml(bucket, query))

    async def _delete_objects(self, request: Request, principal: Principal, bucket: Bucket) -> Response:
        wanted = xml.parse(await read_document(request), "Delete")
        entries = wanted.findall("Object")
        if not 1 <= len(entries) <= _MAX_DELETED:
            raise ApiError("MalformedXML", f"from 1 to {_MAX_DELETED} keys are deleted at once", 400)
        deleted: list[xml.Node] = []
        failed: list[xml.Node] = []
        for entry in entries:
            name = entry.findtext("Key", "")
            try:
                _refuse_particulars(entry)
                keys.check(name)
                self._require(principal, "s3:DeleteObject", bucket.name, name)
                await asyncio.to_thread(objects.remove, bucket.folder, name)
                deleted.append({"Key": name})
            except ApiError as error:
                failed.append({"Key": name, "Code": error.code, "Message": str(error)})
        quiet = wanted.findtext("Quiet") == "true"
        return xml.document("DeleteResult", {"Deleted": [] if quiet else deleted, "Error": failed})

    # Objects

    async def _object(
        self, request: Request, principal: Principal, chain: Chain, name: str, key: str
    ) -> Response:
        match request.method, _subresource(request):
            case "PUT", "" | "uploadId" if SOURCE in request.headers:
                return await self._copy(request, principal, self._writable(principal, name), key)
            case "POST" | "PUT" | "DELETE", "uploads" | "uploadId":
                return await self._in_parts(request, principal, chain, name, key)
            case "GET" | "HEAD", "":
                return await _get(request, self._buckets.find(name), key)
            case "PUT", "":
                return await self._put(request, chain, self._writable(principal, name), key)
            case "DELETE", "":
                _refuse_conditions(request)
                await asyncio.to_thread(objects.remove, self._buckets.find(name).folder, key)
                return Response(status_code=204)
        raise _not_supported(request)

    async def _copy(self, request: Request, principal: Principal, bucket: Bucket, key: str) -> Response:
        _refuse_metadata(request)
        source = Source.of(request)
        self._require(principal, "s3:GetObject", source.bucket, source.key)
        folder = self._buckets.find(source.bucket).folder
        create = _create_only(request)
        upload = request.query_params.get("uploadId")
        number = request.query_params.get("partNumber", "")

        def copy() -> str:
            with source.copied(folder, self._multipart.folder) as body:
                if upload is not None:
                    return self._multipart.add(upload, bucket.name, key, number, body)
                return objects.put(bucket.folder, key, body.path, create=create).etag

        etag = await asyncio.to_thread(copy)
        kind = "CopyObjectResult" if upload is None else "CopyPartResult"
        return xml.document(kind, {"ETag": etag, "LastModified": _timestamp(datetime.now(UTC))})

    async def _in_parts(
        self, request: Request, principal: Principal, chain: Chain, name: str, key: str
    ) -> Response:
        bucket = self._writable(principal, name)
        upload = request.query_params.get("uploadId")
        match request.method:
            case "POST" if upload is None:
                _refuse_metadata(request)
                content = {"Bucket": name, "Key": key, "UploadId": self._multipart.begin(name, key)}
                return xml.document("InitiateMultipartUploadResult", content)
            case "PUT" if upload is not None:
                return await self._upload_part(request, chain, upload, name, key)
            case "POST" if upload is not None:
                return await self._complete(request, upload, bucket, key)
            case "DELETE" if upload is not None:
                await asyncio.to_thread(self._multipart.end, upload, name, key)
                return Response(status_code=204)
        raise _not_supported(request)

    def _writable(self, principal: Principal, name: str) -> Bucket:
        """A service's bucket comes into being with its first write; the owner makes theirs on purpose."""
        return self._buckets.find(name) if principal.is_root else self._buckets.create(name)

    async def _put(self, request: Request, chain: Chain, bucket: Bucket, key: str) -> Response:
        _refuse_metadata(request)
        create = _create_only(request)
        async with received(request, self._multipart.folder, chain) as body:
            stored = await asyncio.to_thread(objects.put, bucket.folder, key, body.path, create=create)
        return Response(headers={"ETag": stored.etag})

    async def _upload_part(
        self, request: Request, chain: Chain, upload: str, name: str, key: str
    ) -> Response:
        number = request.query_params.get("partNumber", "")
        async with received(request, self._multipart.folder, chain) as body:
            etag = await asyncio.to_thread(self._multipart.add, upload, name, key, number, body)
        return Response(headers={"ETag": etag})

    async def _complete(self, request: Request, upload: str, bucket: Bucket, key: str) -> Response:
        listed = xml.parse(await read_document(request), "CompleteMultipartUpload")
        try:
            parts = [
                (int(node.findtext("PartNumber", "")), node.findtext("ETag", ""))
                for node in listed.iterfind("Part")
            ]
        except ValueError:
            raise ApiError("MalformedXML", "a PartNumber is no number", 400) from None
        create = _create_only(request)

        def complete() -> Object:
            with self._multipart.joined(upload, bucket.name, key, parts) as whole:
                stored = objects.put(bucket.folder, key, whole, create=create)
            self._multipart.end(upload, bucket.name, key)
            return stored

        stored = await asyncio.to_thread(complete)
        content = {
            "Location": f"/{bucket.name}/{quote(key)}",
            "Bucket": bucket.name,
            "Key": key,
            "ETag": stored.etag,
        }
        return xml.document("CompleteMultipartUploadResult", content)


async def _get(request: Request, bucket: Bucket, key: str) -> Response:
    found, file = await asyncio.to_thread(objects.open_object, bucket.folder, key)
    with ExitStack() as stack:
        stack.callback(file.close)
        headers = {
            "ETag": found.etag,
            "Last-Modified": format_datetime(found.modified, usegmt=True),
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream",
        }
        if not _modified(request, found):
            return Response(status_code=304, headers=headers)
        start, end = _range(request, found.size)
        status = 200
        if (start, end) != (0, found.size):
            status = 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{found.size}"
        headers["Content-Length"] = str(end - start)
        if request.method == "HEAD":
            return Response(status_code=status, headers=headers)
        file.seek(start)
        if end - start <= _STREAM:
            return Response(await asyncio.to_thread(file.read, end - start), status, headers)
        stack.pop_all()  # the stream closes it
        return StreamingResponse(_content(file, end - start), status, headers)


async def _content(file: BinaryIO, size: int) -> AsyncIterator[bytes]:
    with file:
        while size:
            chunk = await asyncio.to_thread(file.read, min(size, _STREAM))
            size -= len(chunk)
            yield chunk


def _create_only(request: Request) -> bool:
    """Whether the object must be a new one. Raises ApiError NotImplemented for other conditions."""
    condition = request.headers.get("if-none-match")
    if condition not in (None, "*") or "if-match" in request.headers:
        raise ApiError("NotImplemented", "of conditions of a write, only If-None-Match: * is supported", 501)
    return condition is not None


def _refuse_particulars(entry: ET.Element) -> None:
    # ETag, VersionId and the like: to pass over them would delete what was not meant.
    if any(node.tag != "Key" for node in entry):
        raise ApiError("NotImplemented", "an object is deleted by its key alone", 501)


def _refuse_conditions(request: Request) -> None:
    for name in request.headers:
        if name.startswith(("if-", "x-amz-if-")):
            raise ApiError(
                "NotImplemented", f"{name} is not supported: here deleting knows no condition", 501
            )


def _refuse_metadata(request: Request) -> None:
    for name, value in request.headers.items():
        if name.startswith(_NOT_KEPT) and value not in _AS_IT_IS.get(name, ()):
            raise ApiError("NotImplemented", f"{name} is not supported: only content is kept", 501)


def _modified(request: Request, found: Object) -> bool:
    """Whether a read is to be answered with content (RFC 9110 section 13.2.2).

    Raises ApiError PreconditionFailed when it is not to be answered at all.
    """
    modified = found.modified.replace(microsecond=0)
    wanted, unwanted = request.headers.get("if-match"), request.headers.get("if-none-match")
    if wanted is not None:
        holds = _names(wanted, found.etag)
    else:
        holds = modified <= _date(request, "if-unmodified-since", modified)
    if not holds:
        raise ApiError("PreconditionFailed", f"the object is {found.etag} now", 412)
    if unwanted is not None:
        return not _names(unwanted, found.etag)
    never = datetime.min.replace(tzinfo=UTC)
    return modified > _date(request, "if-modified-since", never)


def _date(request: Request, header: str, otherwise: datetime) -> datetime:
    try:
        date = parsedate_to_datetime(request.headers[header])
    except (KeyError, ValueError):
        return otherwise
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _names(condition: str, etag: str) -> bool:
    return condition.strip() == "*" or etag in [part.strip() for part in condition.split(",")]


def _range(request: Request, size: int) -> tuple[int, int]:
    """First byte and the one after the last (RFC 9110 section 14.2); the whole without a usable Range."""
    header = request.headers.get("range", "")
    first, dash, last = header.removeprefix("bytes=").partition("-")
    if not header.startswith("bytes=") or not dash or not (first + last).isdecimal():
        return 0, size
    if len(first + last) > 40:
        raise ApiError("InvalidArgument", "this Range is beyond any object", 400)
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last) + 1, size) if first and last else size
    if start >= end:
        raise ApiError("InvalidRange", f"the object has {size} bytes", 416)
    return start, end


def _timestamp(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _action(request: Request, key: str) -> str:
    """In IAM's words ("Actions defined by Amazon S3")."""
    if not key and "location" in request.query_params:
        return "s3:GetBucketLocation"
    if key and request.method == "DELETE" and "uploadId" in request.query_params:
        return "s3:AbortMultipartUpload"
    if key:
        return _OBJECT_ACTIONS.get(request.method, "s3:PutObject")
    return _BUCKET_ACTIONS.get(request.method, "s3:ListBucket")


def _subresource(request: Request) -> str:
    """What of a bucket or an object is meant: a name out of the query, or nothing for the thing itself.

    Raises ApiError NotImplemented for what is not known here: to take `?acl` for the object would be harm.
    """
    names = set(request.query_params) - {"x-id"}  # some SDKs add the operation's name for their logs
    for name, with_it in _SUBRESOURCES.items():
        if name in names and names <= with_it | {name}:
            return name
    if names:
        raise _not_supported(request)
    return ""


def _not_supported(request: Request) -> ApiError:
    names = ", ".join(sorted(request.query_params)) or "nothing"
    return ApiError("NotImplemented", f"{request.method} with {names} in the query is not supported", 501)
