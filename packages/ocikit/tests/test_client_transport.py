"""Proxies and certificates from the environment."""

import http.server
import socket
import ssl
import threading
from contextlib import suppress

import pytest
from bench.serving import in_thread, over_tls
from hypothesis import given
from hypothesis import strategies as st

from ocikit import Credentials, Registry, RegistryError
from ocikit.client.transport import proxy_for

NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
TAGS = b'{"name": "app", "tags": ["a"]}'


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in (*NAMES, "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("url", "environ", "expected"),
    [
        ("https://r.example/", {}, None),
        ("https://r.example/", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ("https://r.example/", {"https_proxy": "http://p:1", "HTTPS_PROXY": "http://q"}, "http://p:1"),
        ("https://r.example/", {"HTTP_PROXY": "http://p:1"}, None),
        ("https://r.example/", {"ALL_PROXY": "p:1"}, "http://p:1"),
        ("http://r.example/", {"HTTP_PROXY": "http://p:1"}, "http://p:1"),
        ("http://r.example/", {"HTTP_PROXY": "http://p:1", "REQUEST_METHOD": "GET"}, None),
        ("http://localhost:5/", {"HTTP_PROXY": "http://p:1"}, None),
        ("http://127.0.0.1:5/", {"ALL_PROXY": "http://p:1"}, None),
        ("http://[::1]:5/", {"ALL_PROXY": "http://p:1"}, None),
    ],
)
def test_the_environment_names_the_proxy(url, environ, expected):
    assert proxy_for(url, environ) == expected


@pytest.mark.parametrize(
    ("host", "entries", "direct"),
    [
        ("r.example", "*", True),
        ("r.example", "r.example", True),
        ("r.example", "example", True),
        ("r.example", ".example", True),
        ("r.example", "*.example", True),
        ("r.example", "R.EXAMPLE", True),
        ("r.example", "other, r.example", True),
        ("r.example", "xample", False),
        ("r.example", "ar.example", False),
        ("r.example", "", False),
        ("r.example", ".", False),
        ("r.example:5000", "r.example:5000", True),
        ("r.example:5001", "r.example:5000", False),
        ("r.example:5000", "r.example", True),
        ("r.example", "r.example:443", True),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("10.1.2.3:5000", "10.1.2.3:5000", True),
        ("[fd00::1]", "fd00::/8", True),
        ("[fd00::1]:5000", "[fd00::1]:5000", True),
        ("[fd00::1]:5001", "[fd00::1]:5000", False),
        ("10.1.2.3", "3", False),
    ],
)
def test_some_hosts_are_spoken_to_directly(host, entries, direct):
    environ = {"HTTPS_PROXY": "http://p:1", "NO_PROXY": entries}
    assert (proxy_for(f"https://{host}/v2/", environ) is None) == direct


@given(entries=st.text())
def test_no_list_of_hosts_is_a_crash(entries):
    assert proxy_for("https://r.example/", {"HTTPS_PROXY": "p", "NO_PROXY": entries}) in (None, "http://p")


@pytest.mark.parametrize(
    "proxy", ["socks5://me:s3cret@p:1", "http://", "http://me:s3cret@p:port", "://s3cret"]
)
def test_a_proxy_that_is_none_is_said_without_its_password(environment, proxy):
    environment.setenv("HTTPS_PROXY", proxy)
    with Registry("r.example") as registry, pytest.raises(RegistryError, match="HTTPS_PROXY") as caught:
        registry.tags("app")
    assert "s3cret" not in str(caught.value)


def test_plain_http_goes_through_the_proxy_with_its_own_login(environment, fake):
    fake.answer = lambda _: (200, {}, TAGS)
    environment.setenv("http_proxy", f"http://me:s3%20cret@{fake.host}")
    with Registry("r.example", credentials=Credentials("u", "p"), insecure=True) as registry:
        assert registry.tags("app") == ["a"]
    (asked,) = fake.asked
    assert asked.path == "http://r.example/v2/app/tags/list"
    headers = {name.lower(): value for name, value in asked.headers.items()}
    assert headers["proxy-authorization"] == Credentials("me", "s3 cret").basic()
    assert "authorization" not in headers


@pytest.fixture
def secure(tmp_path, run):
    """A registry with a certificate for `r.example` of a CA of its own: the CA's file, and its port."""
    ca, key, request, certificate = (tmp_path / name for name in ("ca.pem", "key.pem", "r.csr", "r.pem"))
    new = ("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc")
    extension = tmp_path / "extension"
    extension.write_text("subjectAltName=DNS:r.example\nbasicConstraints=CA:FALSE\n")
    run(*new, "-x509", "-keyout", tmp_path / "ca-key.pem", "-out", ca, "-subj", "/CN=Our CA", "-days", "2")
    run(*new, "-keyout", key, "-out", request, "-subj", "/CN=r.example")
    signed = ("-CA", ca, "-CAkey", tmp_path / "ca-key.pem", "-CAcreateserial", "-days", "2")
    run("openssl", "x509", "-req", "-in", request, *signed, "-extfile", extension, "-out", certificate)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(TAGS)))
            self.end_headers()
            self.wfile.write(TAGS)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    over_tls(server, context)
    with in_thread(server):
        yield ca, server.server_port


@pytest.fixture
def tunnel(secure):
    """A proxy that leads to that registry whatever it is asked for: its host, and what was asked."""
    asked = []
    listening = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=connect, args=(client,), daemon=True).start()

    def connect(client):
        with client, suppress(OSError):
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                if not (data := client.recv(1)):
                    return
                head += data
            asked.append(head.decode())
            with socket.create_connection(("127.0.0.1", secure[1])) as server:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=copy, args=(server, client), daemon=True)
                back.start()
                copy(client, server)
                back.join()

    def copy(source, target):
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    threading.Thread(target=serve, daemon=True).start()
    yield f"127.0.0.1:{listening.getsockname()[1]}", asked
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()


def test_https_goes_through_a_tunnel_to_a_registry_with_a_ca_of_its_own(environment, secure, tunnel):
    host, asked = tunnel
    environment.setenv("HTTPS_PROXY", f"http://me:s3cret@{host}")
    environment.setenv("SSL_CERT_FILE", str(secure[0]))
    with Registry("r.example", credentials=Credentials("u", "p")) as registry:
        assert registry.tags("app") == ["a"]
    assert asked[0].startswith("CONNECT r.example:443 ")
    assert Credentials("me", "s3cret").basic() in asked[0]


def test_a_certificate_of_nobody_we_know_is_refused_once_and_says_what_to_do(environment, tunnel, pauses):
    environment.setenv("HTTPS_PROXY", f"http://{tunnel[0]}")
    with Registry("r.example") as registry, pytest.raises(RegistryError, match="SSL_CERT_FILE"):
        registry.tags("app")
    assert (len(tunnel[1]), pauses) == (1, [])


def test_a_certificate_for_another_host_is_refused(environment, secure, tunnel, pauses):
    environment.setenv("HTTPS_PROXY", f"http://{tunnel[0]}")
    environment.setenv("SSL_CERT_FILE", str(secure[0]))
    with Registry("other.example") as registry, pytest.raises(RegistryError, match="not trusted"):
        registry.tags("app")


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_certificates_that_cannot_be_read_are_named(environment, tmp_path, content, pauses):
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    environment.setenv("SSL_CERT_FILE", str(file))
    with Registry("localhost:9", insecure=False) as registry, pytest.raises(RegistryError) as caught:
        registry.tags("app")
    assert content is not None or "SSL_CERT_FILE" in str(caught.value)


def test_a_host_that_is_named_is_spoken_to_in_plain_http_and_no_other(fake, environment, pauses):
    """Through a proxy, which sees the scheme of what it is asked for."""
    fake.answer = lambda _: (200, {}, TAGS)
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        environment.setenv(name, f"http://{fake.host}")
    environment.setenv("OCIKIT_INSECURE_REGISTRIES", "other.example, r.example:5000")
    with Registry("r.example:5000") as registry:
        assert registry.tags("app") == ["a"]
    assert fake.asked[0].path == "http://r.example:5000/v2/app/tags/list"
    for host, insecure in (("r.example", None), ("r.example:5000", False)):
        with Registry(host, insecure=insecure) as registry, pytest.raises(RegistryError, match="https://"):
            registry.tags("app")
    assert len(fake.asked) == 1


def test_a_registry_without_tls_is_told_with_what_allows_it(fake, pauses):
    with Registry(fake.host, insecure=False) as registry, pytest.raises(RegistryError) as caught:
        registry.tags("app")
    assert str(caught.value).endswith(f"say so: OCIKIT_INSECURE_REGISTRIES={fake.host}")
    assert pauses == []
