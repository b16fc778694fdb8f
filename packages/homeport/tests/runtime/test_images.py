"""Which image a reference means: one that is there, in the repository that it names."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from bench.serving import in_thread
from obstore.store import LocalStore
from packages.homeport.tests.runtime.conftest import store_image

from homeport.errors import ImageError
from homeport.images import Images
from homeport.layout import Layout
from ocikit import History, Image, LayerWriter, Platform
from ocikit.registry import Storage

OWN = "127.0.0.1:5000"


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(LocalStore(tmp_path / "registry", mkdir=True))


@pytest.fixture
def images(storage: Storage, tmp_path: Path) -> Images:
    layout = Layout(tmp_path / "data")
    for folder in (layout.images, layout.layers):
        folder.mkdir(parents=True)
    return Images(layout, storage, [OWN])


@pytest.fixture
def digest(storage: Storage, tmp_path: Path) -> str:
    """Of an image that a push has left in the repository `secret`."""
    with LayerWriter(tmp_path / "layer.tar.gz") as writer:
        writer.file("app.py", b"print()")
        layer = writer.finish()
    image = Image.empty(Platform.host()).append(layer, History(created_by="the tests"))
    return store_image(storage, image, "secret", "latest")


def test_a_digest_names_an_image_of_its_repository_alone(images: Images, digest: str) -> None:
    """Not one of another's that is on this machine because that one runs."""
    images.pull(f"{OWN}/secret", digest)
    assert images.resolve(f"{OWN}/secret@{digest}") == images.resolve(f"{OWN}/secret:latest") == digest
    with pytest.raises(ImageError, match="there is no image"):
        images.resolve(f"{OWN}/shop@{digest}")


def test_another_registry_has_to_show_the_image_that_it_names(images: Images, digest: str) -> None:
    class Boaster(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("Docker-Content-Digest", digest)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer((OWN.partition(":")[0], 0), Boaster)
    with in_thread(server):
        host = f"localhost:{server.server_port}"
        for reference in (f"{host}/shop:latest", f"{host}/shop@{digest}"):
            with pytest.raises(ImageError, match="there is no image"):
                images.resolve(reference)


@pytest.fixture
def start_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], None]:
    """As if the machine had been: it has another boot's id."""

    def start() -> None:
        boot = tmp_path / f"boot-{secrets.token_hex(4)}"
        boot.write_text(boot.name)
        monkeypatch.setattr("homeport.images._BOOT", boot)

    return start


def test_a_layer_that_a_power_failure_may_have_cut_short_is_unpacked_again(
    images: Images, digest: str, start_anew: Callable[[], None]
) -> None:
    file = images.pull(f"{OWN}/secret", digest).layers[0] / "app.py"
    file.write_bytes(b"")  # as file systems leave what was not on the disk yet
    start_anew()
    assert images.local(digest) is None
    images.pull(f"{OWN}/secret", digest)
    assert file.read_bytes() == b"print()"
    assert images.local(digest) is not None
    images.settle()
    start_anew()
    assert images.local(digest) is not None
    images.keep([digest])
    assert images.local(digest) is not None


def test_an_image_whose_configuration_is_damaged_is_pulled_again(
    images: Images, digest: str, tmp_path: Path
) -> None:
    images.pull(f"{OWN}/secret", digest)
    (configuration,) = (tmp_path / "data/images").iterdir()
    configuration.write_bytes(b"")
    assert images.local(digest) is None
    images.pull(f"{OWN}/secret", digest)
    assert images.local(digest) is not None


def test_nothing_stays_of_what_is_kept_no_longer(images: Images, digest: str, tmp_path: Path) -> None:
    images.pull(f"{OWN}/secret", digest)
    images.keep([])
    assert not [*(tmp_path / "data/images").iterdir(), *(tmp_path / "data/layers").iterdir()]
