"""The registry and its client against nonsense: a refusal that says what is wrong, and never a crash."""

import asyncio
import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore

from ocikit import BytesBlob, Descriptor, Digest, Index, Manifest, OcikitError, Platform, Reference, Registry
from ocikit.registry import create_app

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONTENT = b"content"
NAME = str(Digest.of(CONTENT))


class Asgi:
    """Asks an app without a server in between, so that nothing cleans the question up."""

    def __init__(self):
        self.app = create_app(MemoryStore(), authorize=lambda *_: None)

    async def ask(self, method, path, query="", headers=(), parts=(b"",)):
        waiting, sent = list(parts), []

        async def receive():
            if not waiting:
                await asyncio.Event().wait()  # the client stays, and says no more
            part = waiting.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(waiting)}

        async def send(message):
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode("utf-8", "surrogatepass"),
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
        }
        await self.app(scope, receive, send)
        answered = dict(sent[0]["headers"])
        body = b"".join(message.get("body", b"") for message in sent[1:])
        return sent[0]["status"], {name.decode(): value.decode() for name, value in answered.items()}, body


WORDS = st.one_of(
    st.sampled_from(
        ["", "app", "a/b", "latest", NAME, "sha512:" + "0" * 128, "sha256:", "..", "%2e", "_blobs"]
    ),
    st.text(max_size=20),
)
PATHS = st.builds(
    str.format,
    st.sampled_from(
        [
            "/v2/{}/blobs/{}",
            "/v2/{}/manifests/{}",
            "/v2/{}/referrers/{}",
            "/v2/{}/tags/list",
            "/v2/{}/blobs/uploads/{}",
            "/v2/{}/blobs/uploads/" + "0" * 32,
            "/v2/{}{}",
            "{}{}",
        ]
    ),
    WORDS,
    WORDS,
)
QUERIES = st.lists(
    st.tuples(
        st.sampled_from(["digest", "mount", "from", "n", "last", "artifactType", "tag", "digest-algorithm"]),
        WORDS,
    ).map("=".join),
    max_size=3,
).map("&".join)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "Range",
                "Content-Range",
                "Content-Type",
                "If-Match",
                "If-None-Match",
                "If-Range",
                "Authorization",
            ]
        ),
        st.one_of(
            st.sampled_from(
                ["bytes=0-1", "bytes=-", "0-6", "6-0", MANIFEST, INDEX, "*", "Basic x", "Bearer x"]
            ),
            st.text(st.characters(max_codepoint=255), max_size=20),
        ),
    ),
    max_size=3,
)
JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.text(max_size=10), st.just(NAME), st.just(MANIFEST)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["schemaVersion", "mediaType", "config", "layers", "manifests", "digest", "size", "subject"]
            ),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=12,
)
BODIES = st.one_of(st.binary(max_size=50), JSON.map(lambda value: json.dumps(value).encode()))


@settings(max_examples=300)
@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "\xe9"]),
    path=PATHS,
    query=QUERIES,
    headers=HEADERS,
    body=BODIES,
)
def test_whatever_is_asked_is_answered_or_refused_in_the_protocols_form(method, path, query, headers, body):
    status, answered, said = asyncio.run(Asgi().ask(method, path, query, headers, (body,)))
    assert 200 <= status < 500
    if status >= 400:
        (error,) = json.loads(said)["errors"]
        assert error["code"].replace("_", "").isupper()
        assert error["message"]
        assert answered["content-type"] == "application/json"


def _descriptor(**more):
    return {"mediaType": "x", "digest": NAME, "size": len(CONTENT)} | more


def _manifest(**more):
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": _descriptor(), "layers": []} | more
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 100_000,
        b'{"schemaVersion": 2, "config": ' + b'{"a":' * 50_000,
        _manifest(schemaVersion=True),
        _manifest(schemaVersion="2"),
        _manifest(config=None),
        _manifest(layers={}),
        _manifest(layers=[None]),
        _manifest(manifests=[]),
        _manifest(config=_descriptor(size=-1)),
        _manifest(config=_descriptor(size=1e400)),
        _manifest(config=_descriptor(size="7")),
        _manifest(config=_descriptor(digest="sha256:../../../etc/passwd")),
        _manifest(subject=[]),
        _manifest(subject=_descriptor(digest=NAME.upper())),
        _manifest(annotations={"a": 1}),
        _manifest(mediaType=INDEX),
        '{"schemaVersion": 2}'.encode("utf-16"),
        b"",
    ],
)
def test_a_manifest_that_is_none_is_refused_and_nothing_of_it_is_kept(data):
    async def run():
        asgi = Asgi()
        await asgi.ask("POST", "/v2/app/blobs/uploads/", f"digest={NAME}", (), (CONTENT,))
        status, _, said = await asgi.ask(
            "PUT", "/v2/app/manifests/a", "", [("Content-Type", MANIFEST)], (data,)
        )
        assert (status, json.loads(said)["errors"][0]["code"]) == (400, "MANIFEST_INVALID")
        assert json.loads((await asgi.ask("GET", "/v2/app/tags/list"))[2])["tags"] == []

    asyncio.run(run())


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["patch", "streamed", "open", "ask"]),
        st.integers(-5, 5),  # where a chunk says it belongs, from where it does
        st.integers(-2, 2),  # how long it says it is, from how long it is
        st.binary(min_size=1, max_size=30),
    ),
    max_size=12,
)


@given(steps=STEPS, algorithm=st.sampled_from(["sha256", "sha512"]))
def test_an_upload_holds_what_was_accepted_in_order_and_nothing_else(steps, algorithm):
    async def run():
        asgi, kept = Asgi(), b""
        _, headers, _ = await asgi.ask("POST", "/v2/app/blobs/uploads/", f"digest-algorithm={algorithm}")
        place = headers["location"]
        for kind, shift, stretch, data in steps:
            start, said = max(0, len(kept) + shift), max(1, len(data) + stretch)
            sent = [] if kind == "open" else [("Content-Range", f"{start}-{start + said - 1}")]
            if kind == "patch":
                sent.append(("Content-Length", str(len(data))))
            if kind != "ask":
                parts = (data[:1], data[1:]) if kind == "streamed" else (data,)
                status, _, _ = await asgi.ask("PATCH", place, "", sent, parts)
                right = kind == "open" or (start == len(kept) and said == len(data))
                assert status == 202 if right else status in (400, 416)
                kept += data * right
            _, headers, _ = await asgi.ask("GET", place)
            assert headers["range"] == f"0-{max(0, len(kept) - 1)}"
        digest = Digest(algorithm, _hash(algorithm, kept))
        status, headers, _ = await asgi.ask("PUT", place, f"digest={digest}")
        assert (status, headers["docker-content-digest"]) == (201, str(digest))
        assert (await asgi.ask("GET", f"/v2/app/blobs/{digest}"))[2] == kept

    asyncio.run(run())


def _hash(algorithm, data):
    hashed = Digest(algorithm, "0" * {"sha256": 64, "sha512": 128}[algorithm]).hasher()
    hashed.update(data)
    return hashed.hexdigest()


ANSWERS = st.lists(
    st.tuples(
        st.sampled_from(
            [200, 201, 202, 204, 206, 301, 304, 307, 400, 401, 404, 409, 412, 416, 429, 500, 299]
        ),
        st.dictionaries(
            st.sampled_from(
                [
                    "Location",
                    "Content-Type",
                    "Docker-Content-Digest",
                    "WWW-Authenticate",
                    "Link",
                    "Range",
                    "Retry-After",
                    "OCI-Subject",
                    "OCI-Chunk-Min-Length",
                    "ETag",
                ]
            ),
            st.one_of(
                st.sampled_from(
                    [
                        NAME,
                        MANIFEST,
                        INDEX,
                        "/v2/app/blobs/uploads/1",
                        "//[",
                        "0-3",
                        "Basic x",
                        '<?x>; rel="next"',
                    ]
                ),
                st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20),
            ),
            max_size=4,
        ),
        st.one_of(BODIES, st.just(_manifest()), st.just(CONTENT)),
    ),
    min_size=1,
    max_size=12,
)
CALLS = (
    lambda registry, reference: registry.digest(reference),
    lambda registry, reference: registry.tags(reference.repository),
    lambda registry, reference: registry.manifest(reference),
    lambda registry, reference: registry.image(reference, Platform.parse("linux/amd64")),
    lambda registry, reference: registry.referrers(reference.with_digest(Digest.parse(NAME))),
    lambda registry, reference: registry.tag(reference, "b"),
    lambda registry, reference: registry.delete(reference.with_digest(Digest.parse(NAME))),
    lambda registry, reference: registry.push_manifest(
        reference,
        Manifest(Descriptor("x", Digest.parse(NAME), len(CONTENT)), (), subject=SUBJECT),
        {Digest.parse(NAME): BytesBlob(CONTENT)},
    ),
    lambda registry, reference: registry.push_manifest(reference, Index((), subject=SUBJECT)),
)
SUBJECT = Descriptor(MANIFEST, Digest.of(b"subject"), 7)


@settings(max_examples=150)
@given(answers=ANSWERS, call=st.sampled_from(CALLS))
def test_whatever_a_registry_answers_the_client_raises_errors_of_ours(fake, pauses, answers, call):
    remaining = list(answers)

    def answer(_):
        status, headers, body = remaining.pop(0) if len(remaining) > 1 else remaining[0]
        return status, headers, b"" if status in (204, 304) else body

    fake.answer = answer
    with Registry(fake.host) as registry, suppress(OcikitError):
        call(registry, Reference(fake.host, "app", "a"))
