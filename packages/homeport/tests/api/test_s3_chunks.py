"""Uploads in chunks: as SDKs send them, signed one by one or not, with fields at their end."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import os
import zlib
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from botocore.auth import S3SigV4Auth
from botocore.httpchecksum import AwsChunkedWrapper, Crc32Checksum
from hypothesis import given
from hypothesis import strategies as st

from homeport.aws.errors import ApiError
from homeport.s3.chunks import Encoded
from homeport.sigv4 import Call, Chain, Claim

_SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
_SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

# The examples of AWS's documentation.
_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
_STAMP, _SCOPE = "20130524T000000Z", "20130524/us-east-1/s3/aws4_request"
_PLAIN = (
    "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
    "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
    "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
    "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
)
_WITH_TRAILER = (
    "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
    "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
    "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
    "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
)


def _example(mode: str, seed: str, length: int, trailer: str = "") -> Encoded:
    call = Call("PUT", "/", "", [("X-Amz-Date", _STAMP)])
    claim = Claim("AKIAIOSFODNN7EXAMPLE", "20130524", "us-east-1", "s3", (), seed)
    headers = {"x-amz-content-sha256": mode, "x-amz-decoded-content-length": str(length)}
    if trailer:
        headers["x-amz-trailer"] = trailer
    return Encoded(headers, Chain(call, claim, _SECRET))


def _sign(kind: str, context: tuple[str, str, str], previous: str, signed: str) -> str:
    """As the documentation says it; `context` is the secret, the time and the scope."""
    secret, stamp, scope = context
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    text = "\n".join([f"AWS4-HMAC-SHA256-{kind}", stamp, scope, previous, signed])
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _encode(
    pieces: Sequence[bytes], context: tuple[str, str, str], seed: str, trailer: str = ""
) -> tuple[bytes, list[str]]:
    """The body, and the signatures in it."""
    empty = hashlib.sha256().hexdigest()
    body, signatures = b"", [seed]
    for piece in [*pieces, b""]:
        signed = f"{empty}\n{hashlib.sha256(piece).hexdigest()}"
        signatures.append(_sign("PAYLOAD", context, signatures[-1], signed))
        body += f"{len(piece):x};chunk-signature={signatures[-1]}\r\n".encode()
        body += piece + b"\r\n" if piece else b""
    if trailer:
        signed = hashlib.sha256(f"{trailer}\n".encode()).hexdigest()
        signatures.append(_sign("TRAILER", context, signatures[-1], signed))
        body += f"{trailer}\r\nx-amz-trailer-signature:{signatures[-1]}\r\n".encode()
    return body + b"\r\n", signatures


def _decoded(encoded: Encoded, body: bytes, cuts: Sequence[int] = ()) -> bytes:
    places = [0, *sorted(cuts), len(body)]
    content = b"".join(piece for start, end in pairwise(places) for piece in encoded.decode(body[start:end]))
    encoded.finish()
    return content


@pytest.mark.parametrize(
    ("mode", "trailer", "expected"),
    [(_SIGNED, "", _PLAIN), (_SIGNED_TRAILER, "x-amz-checksum-crc32c:sOO8/Q==", _WITH_TRAILER)],
)
def test_the_examples_of_the_documentation_are_believed(
    mode: str, trailer: str, expected: tuple[str, ...]
) -> None:
    pieces = [b"a" * 65536, b"a" * 1024]
    body, signatures = _encode(pieces, (_SECRET, _STAMP, _SCOPE), expected[0], trailer)
    assert tuple(signatures[:4]) == expected
    encoded = _example(mode, expected[0], 66560, trailer.partition(":")[0])
    assert _decoded(encoded, body) == b"".join(pieces)


_pieces = st.lists(st.binary(min_size=1, max_size=300), max_size=5)


@given(_pieces, st.booleans(), st.lists(st.integers(0, 2500), max_size=8))
def test_a_body_is_the_same_however_it_is_cut_on_the_way(
    pieces: list[bytes], trailing: bool, cuts: list[int]
) -> None:
    mode, trailer = (_SIGNED_TRAILER, "x-amz-checksum-crc32c:AAAAAA==") if trailing else (_SIGNED, "")
    body, _ = _encode(pieces, (_SECRET, _STAMP, _SCOPE), "0" * 64, trailer)
    content = b"".join(pieces)
    encoded = _example(mode, "0" * 64, len(content), trailer.partition(":")[0])
    assert _decoded(encoded, body, [min(cut, len(body)) for cut in cuts]) == content


@given(_pieces, st.data())
def test_no_byte_of_a_signed_body_can_change_what_is_read(pieces: list[bytes], data: st.DataObject) -> None:
    trailer = "x-amz-checksum-crc32c:AAAAAA=="
    body, _ = _encode(pieces, (_SECRET, _STAMP, _SCOPE), "0" * 64, trailer)
    place, bit = data.draw(st.integers(0, len(body) - 1)), data.draw(st.integers(0, 7))
    changed = bytearray(body)
    changed[place] ^= 1 << bit
    content = b"".join(pieces)
    encoded = _example(_SIGNED_TRAILER, "0" * 64, len(content), "x-amz-checksum-crc32c")
    try:
        read = b"".join(encoded.decode(bytes(changed)))
        fields = encoded.finish()
    except ApiError:
        return
    # Of framing, the case of a digit or a blank may change: what it says stays.
    assert (read, fields) == (content, {"x-amz-checksum-crc32c": "AAAAAA=="})


@given(_pieces, st.data())
def test_a_body_that_is_cut_off_is_refused(pieces: list[bytes], data: st.DataObject) -> None:
    trailer = "x-amz-checksum-crc32c:AAAAAA=="
    body, _ = _encode(pieces, (_SECRET, _STAMP, _SCOPE), "0" * 64, trailer)
    kept = data.draw(st.integers(0, len(body) - len("\r\n\r\n") - 1))
    encoded = _example(_SIGNED_TRAILER, "0" * 64, sum(map(len, pieces)), "x-amz-checksum-crc32c")
    with pytest.raises(ApiError):
        _decoded(encoded, body[:kept])


@given(st.binary(max_size=400), st.sampled_from([_SIGNED, _SIGNED_TRAILER, _UNSIGNED_TRAILER]))
def test_whatever_comes_it_is_read_or_refused(body: bytes, mode: str) -> None:
    encoded = _example(mode, "0" * 64, 5)
    with suppress(ApiError):
        assert len(_decoded(encoded, body)) == 5


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"hello", "IncompleteBody"),
        (b"5\r\nhello\r\n", "IncompleteBody"),
        (b"5\r\nhello0\r\n\r\n", "IncompleteBody"),
        (b"4\r\nhell\r\n0\r\n\r\n", "IncompleteBody"),
        (b"6\r\nhello!\r\n0\r\n\r\n", "IncompleteBody"),
        (b"-5\r\nhello\r\n0\r\n\r\n", "IncompleteBody"),
        (b"5 \r\nhello\r\n0\r\n\r\n", "IncompleteBody"),
        (b"5\nhello\r\n0\r\n\r\n", "IncompleteBody"),
        (b"f" * 17 + b"\r\n", "IncompleteBody"),
        (b"5" * 1000, "IncompleteBody"),
        (b"5;chunk-signature=" + b"0" * 64 + b"\r\nhello\r\n0\r\n\r\n", "IncompleteBody"),
        (b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:" + b"A" * 5000, "IncompleteBody"),
        (b"5\r\nhello\r\n0\r\n5\r\nworld\r\n0\r\n\r\n", "MalformedTrailerError"),
        (b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", "MalformedTrailerError"),
    ],
)
def test_a_body_that_is_not_in_chunks_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(ApiError) as caught:
        _decoded(_example(_UNSIGNED_TRAILER, "0" * 64, 5), body)
    assert caught.value.code == code


# Over the wire


def _put(
    harbour: Any,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    body: Any,
    *,
    target: str = "/box/a",
    **headers: str,
) -> Any:
    """A PUT whose headers botocore signs for this mode; `body` may depend on that signature."""
    monkeypatch.setattr(S3SigV4Auth, "payload", lambda _signer, _request: mode)
    sent = {"Content-Encoding": "aws-chunked"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    signed = harbour.sign("s3", "PUT", target, headers=sent)
    monkeypatch.undo()
    if callable(body):
        authorization = signed["Authorization"]
        scope = authorization.partition("Credential=")[2].partition(",")[0].partition("/")[2]
        context = (harbour.root.secret, signed["X-Amz-Date"], scope)
        body = body(context, authorization.rpartition("Signature=")[2])
    return harbour.send("PUT", target, signed, body)


def _crc32(content: bytes) -> str:
    return base64.b64encode(zlib.crc32(content).to_bytes(4, "big")).decode()


def _content(s3: Any, key: str = "a") -> bytes:
    return bytes(s3.get_object(Bucket="box", Key=key)["Body"].read())


@pytest.mark.parametrize("size", [0, 1, 65536, 3 << 20])
def test_what_botocore_puts_in_chunks_is_stored_whole(
    harbour: Any, s3: Any, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    content = os.urandom(size)
    body = AwsChunkedWrapper(io.BytesIO(content), Crc32Checksum, "x-amz-checksum-crc32").read()
    length = str(size)
    reply = _put(
        harbour,
        monkeypatch,
        _UNSIGNED_TRAILER,
        body,
        x_amz_trailer="x-amz-checksum-crc32",
        x_amz_decoded_content_length=length,
    )
    assert reply.status == 200
    assert _content(s3) == content


def test_a_wrong_checksum_after_the_body_is_refused(
    harbour: Any, s3: Any, monkeypatch: pytest.MonkeyPatch, error_of: Any
) -> None:
    body = f"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:{_crc32(b'other')}\r\n\r\n".encode()
    names = {"x_amz_trailer": "x-amz-checksum-crc32", "x_amz_decoded_content_length": "5"}
    reply = _put(harbour, monkeypatch, _UNSIGNED_TRAILER, body, **names)
    assert (reply.status, b"BadDigest" in reply.body) == (400, True)
    assert error_of(s3.get_object, Bucket="box", Key="a") == "NoSuchKey"


@pytest.mark.parametrize("mode", [_SIGNED, _SIGNED_TRAILER])
def test_chunks_signed_one_by_one_are_stored_whole(
    harbour: Any, s3: Any, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    content = os.urandom(200_000)
    pieces = [content[:65536], content[65536:131072], content[131072:]]
    announced = {"x_amz_trailer": "x-amz-checksum-crc32"} if mode == _SIGNED_TRAILER else {}
    trailer = f"x-amz-checksum-crc32:{_crc32(content)}" if announced else ""
    reply = _put(
        harbour,
        monkeypatch,
        mode,
        lambda context, seed: _encode(pieces, context, seed, trailer)[0],
        x_amz_decoded_content_length=str(len(content)),
        **announced,
    )
    assert reply.status == 200
    assert _content(s3) == content


def test_a_part_can_be_in_chunks(harbour: Any, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = s3.create_multipart_upload(Bucket="box", Key="a")["UploadId"]
    reply = _put(
        harbour,
        monkeypatch,
        _SIGNED,
        lambda context, seed: _encode([b"hello"], context, seed)[0],
        target=f"/box/a?partNumber=1&uploadId={upload}",
        x_amz_decoded_content_length="5",
    )
    parts = {"Parts": [{"PartNumber": 1, "ETag": reply.headers["etag"]}]}
    s3.complete_multipart_upload(Bucket="box", Key="a", UploadId=upload, MultipartUpload=parts)
    assert _content(s3) == b"hello"


def test_a_chunk_signed_with_another_secret_is_not_stored(
    harbour: Any, s3: Any, monkeypatch: pytest.MonkeyPatch, error_of: Any
) -> None:
    reply = _put(
        harbour,
        monkeypatch,
        _SIGNED,
        lambda context, seed: _encode([b"hello"], ("another", *context[1:]), seed)[0],
        x_amz_decoded_content_length="5",
    )
    assert (reply.status, b"SignatureDoesNotMatch" in reply.body) == (403, True)
    assert error_of(s3.get_object, Bucket="box", Key="a") == "NoSuchKey"
    assert not list((harbour.data / "buckets-uploads").iterdir())


@pytest.mark.parametrize("length", ["", "-1", "five", "9" * 17])
def test_the_length_of_the_content_must_be_said(
    harbour: Any, s3: Any, monkeypatch: pytest.MonkeyPatch, length: str
) -> None:
    said = {"x_amz_decoded_content_length": length} if length else {}
    reply = _put(harbour, monkeypatch, _UNSIGNED_TRAILER, b"5\r\nhello\r\n0\r\n\r\n", **said)
    assert (reply.status, b"MissingContentLength" in reply.body) == (411, True)
