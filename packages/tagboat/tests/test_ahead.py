"""Layers that are sent while others are being made."""

import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ocikit import History, Image, LayerWriter, Platform, Reference, Registry
from tagboat.ahead import Ahead


@pytest.fixture
def layers(tmp_path):
    made = []
    for number in range(3):
        with LayerWriter(tmp_path / str(number)) as writer:
            writer.file("random", os.urandom(1000))
            made.append(writer.finish())
    return made


def test_what_went_ahead_is_there_when_the_image_comes(registry, layers):
    reference, sent = Reference(registry, "team/shop", "1"), []
    with Ahead(reference, lambda name, count: sent.append((name, count))) as ahead:
        for layer in layers:
            ahead.send(layer)
        ahead.wait()
        assert {name for name, _ in sent} == {str(layer.descriptor.digest) for layer in layers}
        sent.clear()
        image = Image.empty(Platform.host())
        for layer in layers:
            image = image.append(layer, History())
        ahead.registry.push(image, reference, progress=lambda name, _: sent.append(name))
    assert set(sent) == {str(image.manifest.config.digest)}
    with Registry(registry) as client:
        assert client.image(reference).digest == image.digest


def test_what_a_name_stood_for_ahead_is_asked_again_before_nothing_is_pushed(registry, layers):
    reference = Reference(registry, "team/shop", "1")
    image, other = (Image.empty(Platform.host()).append(layer, History()) for layer in layers[:2])
    with Registry(registry) as client:
        client.push(image, reference)
        with Ahead(reference, lambda *_: None) as ahead:
            ahead.wait()
            assert ahead.registry.push(image, reference) == image.digest
        with Ahead(reference, lambda *_: None) as ahead:
            ahead.wait()
            client.push(other, reference)  # somebody else was here meanwhile
            ahead.registry.push(image, reference)
        assert client.digest(reference) == image.digest


@pytest.fixture
def refusing():
    """The host of a registry that lets nobody push, and what it was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            asked.append(self.path)
            self.send_response(403)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_HEAD  # noqa: N815

        def do_GET(self):
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


def test_after_a_refusal_no_more_is_sent_and_the_push_says_why(refusing, layers):
    host, asked = refusing
    with Ahead(Reference(host, "team/shop", "1"), lambda *_: None) as ahead:
        ahead.send(layers[0])
        while not ahead._failed:
            threading.Event().wait(0.01)
        before = len(asked)
        for layer in layers[1:]:
            ahead.send(layer)
        ahead.wait()
    assert len(asked) == before


def test_a_build_that_fails_waits_for_nothing(registry, layers):
    def build(ahead):
        ahead.send(layers[0])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Ahead(Reference(registry, "a", "1"), lambda *_: None) as ahead:
        build(ahead)
