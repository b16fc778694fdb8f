"""The site over a real S3 server: SeaweedFS."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest
from bench.chaos.faults import Rates
from bench.chaos.proxy import FaultProxy
from bench.ports import free_port
from obstore.store import S3Store

from company_site.database import STALENESS

KEY = {"accessKey": "site", "secretKey": "not a secret"}
SERVERS = ("master", "volume", "filer", "s3")


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What the environment of a client of the server holds."""
    directory = tmp_path_factory.mktemp("s3")
    identity = {"name": "site", "credentials": [KEY], "actions": ["Admin"]}
    (directory / "s3.json").write_text(json.dumps({"identities": [identity]}))
    ports = [free_port() for _ in range(2 * len(SERVERS))]
    options = [f"-{name}.port={ports.pop()}" for name in SERVERS]
    endpoint = f"http://127.0.0.1:{options[-1].rpartition('=')[2]}"
    options += [f"-{name}.port.grpc={ports.pop()}" for name in SERVERS]
    command = [
        *(str(Path(sys.executable).with_name("weed")), "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(f"-dir={directory}", "-s3", f"-s3.config={directory / 's3.json'}", "-s3.iam=false"),
        *("-s3.port.iceberg=0", "-s3.port.lance=0", "-volume.max=40", "-master.volumeSizeLimitMB=64"),
        *("-master.telemetry=false", f"-filer.localSocket={directory / 'filer.sock'}", *options),
    ]
    with (directory / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=directory)
    try:
        _wait_until_writable(endpoint, process)
        yield {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": KEY["accessKey"],
            "AWS_SECRET_ACCESS_KEY": KEY["secretKey"],
            "AWS_REGION": "local-1",
            "AWS_ALLOW_HTTP": "true",
        }
    finally:
        process.kill()
        process.wait()
        for grpc in options[len(SERVERS) :]:
            for left in Path("/tmp").glob(f"seaweedfs-*-grpc-{grpc.rpartition('=')[2]}.sock"):  # noqa: S108
                left.unlink()


def _wait_until_writable(endpoint: str, process: subprocess.Popen) -> None:
    store = S3Store(
        "site-uploads",
        endpoint=endpoint,
        access_key_id=KEY["accessKey"],
        secret_access_key=KEY["secretKey"],
        region="local-1",
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )
    deadline = time.monotonic() + 120
    while True:
        try:
            obstore.put(store, "probe", b"x")
        except obstore.exceptions.BaseError:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return


def test_two_instances_share_posts_and_images_in_buckets(start_site, s3, picture):
    urls = {"DATABASE_URL": "s3://site-data/db", "UPLOADS_URL": "s3://site-uploads"}
    one, other = start_site(**s3, **urls), start_site(**s3, **urls)
    author = one.as_user("author")
    elsewhere = other.client()
    elsewhere.cookies = author.cookies
    assert "<em>bucket</em>" in elsewhere.get(author.write("In a bucket", "In a *bucket*.")).text
    for _ in range(2):
        page = author.follow(author.upload("/uploads", picture((300, 200))))
    (address,) = set(re.findall(r'src="(/uploads/[^"]+)"', page.text))
    image = elsewhere.get(address)
    assert (image.status, image.headers["Content-Type"]) == (200, "image/webp")
    assert elsewhere.get("/uploads/" + "0" * 40 + "-1x1.webp").status == 404
    # A narrower version is made by whichever instance is asked first, and is there for all.
    narrow = address.replace(".webp", "-300.avif")
    answers = [client.get(narrow) for client in (elsewhere, author)]
    assert [answer.headers["Content-Type"] for answer in answers] == ["image/avif"] * 2
    assert answers[0].body == answers[1].body


def test_a_site_moves_from_one_place_in_a_bucket_to_another(start_site, s3, tmp_path, picture):
    old = {"DATABASE_URL": "s3://site-data/old", "UPLOADS_URL": "s3://site-uploads/old"}
    new = {"DATABASE_URL": "s3://site-data/new", "UPLOADS_URL": "s3://site-uploads/new"}
    site = start_site(**s3, **old)
    author = site.as_user("author")
    answer = author.upload("/uploads", picture((90, 60)), headers={"Accept": "application/json"})
    path = json.loads(answer.text)["path"]
    author.write("Moved", f"![A pier]({path})")
    assert site.stop() == 0
    for command, urls in (("export", old), ("import", new)):
        done = subprocess.run(
            [sys.executable, "-m", "company_site", command, str(tmp_path / "site.zip")],
            env=site.environment | os.environ | s3 | urls,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert (done.returncode, done.stderr) == (0, ""), done
    moved = start_site(**s3, **new).client()
    assert "A pier" in moved.get("/posts/moved").text
    assert moved.get(path).status == 200


class Counter(FaultProxy):
    """A proxy without faults that remembers what was asked of the bucket."""

    def __init__(self, upstream: str) -> None:
        super().__init__(upstream, Rates(), seed=0)
        self.asked: list[tuple[str, str]] = []

    def forward(self, request):
        self.asked.append((request.method, request.path))
        return super().forward(request)

    def puts(self, part: str) -> int:
        return sum(method == "PUT" and part in path for method, path in self.asked)


def test_a_commit_is_one_put_and_a_page_that_is_kept_asks_nothing(start_site, s3):
    with Counter(s3["AWS_ENDPOINT_URL"]) as bucket:
        urls = {"DATABASE_URL": "s3://counted-data/db", "UPLOADS_URL": "s3://counted-uploads"}
        site = start_site(**{**s3, "AWS_ENDPOINT_URL": bucket.endpoint, **urls})
        author = site.as_user("author")
        before = bucket.puts("/log/")
        for number in range(5):
            author.write(f"Number {number}")
        assert bucket.puts("/log/") - before == 5

        visitor = site.client()
        paths = ("/", "/posts", "/posts/number-3", "/tags/design", "/feed.atom")
        for path in paths:
            assert visitor.get(path).status == 200
        bucket.asked.clear()
        began = time.monotonic()
        for _ in range(60):
            for path in paths:
                visitor.get(path)
        looks = (time.monotonic() - began) / STALENESS + 2
        # What is asked is whether there is something new, by the clock, and one look may have been under way;
        # nothing by the three hundred views.
        assert sum("/log/" in path for _, path in bucket.asked) <= looks
        assert not any(method == "GET" and "/log/" not in path for method, path in bucket.asked)
