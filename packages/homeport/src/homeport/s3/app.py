"""S3's API, path style, as an ASGI app: what apps, bucketlog, boto3 and `aws s3` need of it.

Of conditional creates (`If-None-Match: *`) exactly one wins: the store links the finished file into place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from email.utils import format_datetime
from typing import Any
from urllib.parse import quote, unquote

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, InvalidPathError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from homeport.aws.errors import ApiError
from homeport.credentials import Principal
from homeport.s3 import xml
from homeport.s3.body import chunks, read_body, read_document
from homeport.s3.buckets import Bucket, Buckets
from homeport.s3.listing import Listing
from homeport.s3.multipart import Multipart

Authenticate = Callable[[Request], Principal]

_OWNER = {"ID": "homeport", "DisplayName": "homeport"}
_STREAM = 1 << 20  # bytes of an object sent at a time


class S3:
    """The app. `authenticate` says who signed a request, or raises ApiError."""

    def __init__(self, buckets: Buckets, multipart: Multipart, authenticate: Authenticate) -> None:
        self._buckets = buckets
        self._multipart = multipart
        self._authenticate = authenticate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        path = unquote(scope["raw_path"].decode("latin-1"))
        try:
            response = await self._answer(request, path)
        except ApiError as error:
            response = xml.refusal(error, path)
        except InvalidPathError:
            response = xml.refusal(ApiError("InvalidArgument", "this key cannot be kept here", 400), path)
        except ClientDisconnect:
            return
        except BaseError as error:
            print(f"homeport: s3 {request.method} {path}: {error}", flush=True)
            response = xml.refusal(ApiError("InternalError", "the object store failed; try again", 500), path)
        if request.method == "HEAD" and response.status_code >= 400:
            response = Response(status_code=response.status_code)
        await response(scope, receive, send)

    async def _answer(self, request: Request, path: str) -> Response:
        principal = self._authenticate(request)
        name, _, key = path.lstrip("/").partition("/")
        if not name:
            return self._list_buckets(request, principal)
        if not principal.may_use_bucket(name):
            raise ApiError("AccessDenied", f"this key may not use bucket {name}", 403)
        if not key:
            return await self._bucket(request, principal, name)
        return await self._object(request, principal, name, key)

    # Buckets

    def _list_buckets(self, request: Request, principal: Principal) -> Response:
        if request.method != "GET":
            raise _not_allowed(request)
        shown = [
            {"Name": bucket.name, "CreationDate": _timestamp(bucket.created_at)}
            for bucket in self._buckets.list()
            if principal.may_use_bucket(bucket.name)
        ]
        return xml.document("ListAllMyBucketsResult", {"Owner": _OWNER, "Buckets": {"Bucket": shown}})

    async def _bucket(self, request: Request, principal: Principal, name: str) -> Response:
        query = request.query_params
        match request.method:
            case "PUT" if not query:
                self._buckets.create(name)
                return Response(headers={"Location": f"/{name}"})
            case "HEAD":
                self._buckets.find(name)
                return Response()
            case "DELETE" if not query:
                self._buckets.delete(name)
                return Response(status_code=204)
            case "GET" if "location" in query:
                self._buckets.find(name)
                return xml.document("LocationConstraint", {})
            case "GET" if query.get("list-type") == "2":
                return await self._list_objects(request, principal, name)
            case "POST" if "delete" in query:
                return await self._delete_objects(request, self._buckets.find(name))
        raise _not_allowed(request)

    async def _list_objects(self, request: Request, principal: Principal, name: str) -> Response:
        try:
            bucket = self._buckets.find(name)
        except ApiError as error:
            # A service's buckets are there as soon as somebody asks, only empty.
            if principal.is_root or error.code != "NoSuchBucket":
                raise
            bucket = self._buckets.create(name)
        listing = await Listing.of(bucket, request.query_params)
        return xml.document("ListBucketResult", listing.to_xml())

    async def _delete_objects(self, request: Request, bucket: Bucket) -> Response:
        wanted = xml.parse(await read_document(request), "Delete")
        keys = [node.text or "" for node in wanted.iterfind("Object/Key")]
        for key in keys:
            await _delete(bucket, key)
        quiet = wanted.findtext("Quiet") == "true"
        return xml.document("DeleteResult", {} if quiet else {"Deleted": [{"Key": key} for key in keys]})

    # Objects

    async def _object(self, request: Request, principal: Principal, name: str, key: str) -> Response:
        query = request.query_params
        if "x-amz-copy-source" in request.headers:
            raise ApiError("NotImplemented", "copying is not supported", 501)
        if "uploads" in query or "uploadId" in query:
            return await self._in_parts(request, principal, name, key)
        match request.method:
            case "GET" | "HEAD":
                return await _get(request, self._buckets.find(name), key)
            case "PUT":
                return await self._put(request, self._writable(principal, name), key)
            case "DELETE":
                await _delete(self._buckets.find(name), key)
                return Response(status_code=204)
        raise _not_allowed(request)

    async def _in_parts(self, request: Request, principal: Principal, name: str, key: str) -> Response:
        bucket = self._writable(principal, name)
        upload = request.query_params.get("uploadId")
        match request.method:
            case "POST" if upload is None:
                content = {"Bucket": name, "Key": key, "UploadId": self._multipart.begin(name, key)}
                return xml.document("InitiateMultipartUploadResult", content)
            case "PUT" if upload is not None:
                return await self._upload_part(request, upload, name, key)
            case "POST" if upload is not None:
                return await self._complete(request, upload, bucket, key)
            case "DELETE" if upload is not None:
                await asyncio.to_thread(self._multipart.end, upload, name, key)
                return Response(status_code=204)
        raise _not_allowed(request)

    def _writable(self, principal: Principal, name: str) -> Bucket:
        """A service's bucket comes into being with its first write; the owner makes theirs on purpose."""
        return self._buckets.find(name) if principal.is_root else self._buckets.create(name)

    async def _put(self, request: Request, bucket: Bucket, key: str) -> Response:
        condition = request.headers.get("if-none-match")
        if condition not in (None, "*") or "if-match" in request.headers:
            raise ApiError("NotImplemented", "of conditions, only If-None-Match: * is supported", 501)
        body = await read_body(request)
        with body.file:
            etag = await _store(bucket, key, body.content, create=condition is not None)
        return Response(headers={"ETag": etag})

    async def _upload_part(self, request: Request, upload: str, name: str, key: str) -> Response:
        number = request.query_params.get("partNumber", "")
        body = await read_body(request)
        with body.file:
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
        whole, etag = await asyncio.to_thread(self._multipart.join, upload, bucket.name, key, parts)
        await _store(bucket, key, whole, create=request.headers.get("if-none-match") == "*")
        await asyncio.to_thread(self._multipart.end, upload, bucket.name, key)
        content = {
            "Location": f"/{bucket.name}/{quote(key)}",
            "Bucket": bucket.name,
            "Key": key,
            "ETag": etag,
        }
        return xml.document("CompleteMultipartUploadResult", content)


async def _get(request: Request, bucket: Bucket, key: str) -> Response:
    try:
        meta = await obstore.head_async(bucket.store, key)
    except FileNotFoundError:
        raise ApiError("NoSuchKey", f"bucket {bucket.name} has no such key", 404) from None
    size = meta["size"]
    etag = _etag(meta)
    headers = {
        "ETag": etag,
        "Last-Modified": format_datetime(meta["last_modified"], usegmt=True),
        "Accept-Ranges": "bytes",
        "Content-Type": "application/octet-stream",
    }
    _require_match(request, etag)
    if "if-none-match" in request.headers and _names(request.headers["if-none-match"], etag):
        return Response(status_code=304, headers=headers)
    start, end = _range(request, size)
    status = 200
    if (start, end) != (0, size):
        status = 206
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    headers["Content-Length"] = str(end - start)
    if request.method == "HEAD" or start == end:
        return Response(status_code=status, headers=headers)
    result = await obstore.get_async(bucket.store, key, options={"range": (start, end)})
    return StreamingResponse(chunks(result.stream(min_chunk_size=_STREAM)), status, headers)


async def _store(bucket: Bucket, key: str, content: Any, *, create: bool) -> str:
    mode: Any = "create" if create else "overwrite"
    try:
        done = await obstore.put_async(bucket.store, key, content, mode=mode, use_multipart=False)
    except AlreadyExistsError:
        message = "an object of this key is there already"
        raise ApiError("PreconditionFailed", message, 412) from None
    return _etag(done)


async def _delete(bucket: Bucket, key: str) -> None:
    try:
        await obstore.delete_async(bucket.store, key)
    except FileNotFoundError:
        return  # S3 deletes what is not there without complaint


def _require_match(request: Request, etag: str) -> None:
    wanted = request.headers.get("if-match")
    if wanted is not None and not _names(wanted, etag):
        raise ApiError("PreconditionFailed", f"the object is {etag} now", 412)


def _names(condition: str, etag: str) -> bool:
    return condition.strip() == "*" or etag in [part.strip() for part in condition.split(",")]


def _etag(meta: Any) -> str:
    etag = str(meta["e_tag"])
    return etag if etag.startswith('"') else f'"{etag}"'


def _range(request: Request, size: int) -> tuple[int, int]:
    """First byte and the one after the last (RFC 9110 section 14.2); the whole without a usable Range."""
    header = request.headers.get("range", "")
    first, dash, last = header.removeprefix("bytes=").partition("-")
    if not header.startswith("bytes=") or not dash or not (first + last).isdecimal():
        return 0, size
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last) + 1, size) if first and last else size
    if start >= end:
        raise ApiError("InvalidRange", f"the object has {size} bytes", 416)
    return start, end


def _timestamp(when: Any) -> str:
    return str(when.strftime("%Y-%m-%dT%H:%M:%S.000Z"))


def _not_allowed(request: Request) -> ApiError:
    return ApiError("MethodNotAllowed", f"{request.method} with this query is not supported", 405)
