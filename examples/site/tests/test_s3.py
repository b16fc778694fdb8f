"""The site over a real S3 server: SeaweedFS."""

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest
from obstore.store import S3Store

KEY = {"accessKey": "site", "secretKey": "not a secret"}
SERVERS = ("master", "volume", "filer", "s3")


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What the environment of a client of the server holds."""
    directory = tmp_path_factory.mktemp("s3")
    identity = {"name": "site", "credentials": [KEY], "actions": ["Admin"]}
    (directory / "s3.json").write_text(json.dumps({"identities": [identity]}))
    ports = _free_ports(2 * len(SERVERS))
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


def _free_ports(count: int) -> list[int]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


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
    deadline = time.monotonic() + 60
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
