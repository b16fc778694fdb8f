"""The application of the test image: a small HTTP server whose behaviour the environment sets."""

import json
import os
import signal
import socket
import sys
import threading
import time
from base64 import b64encode
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

VERSION = os.environ.get("VERSION", "1")
IDENTITY = os.urandom(4).hex()
hoard = []
working = []
released = threading.Event()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path in ("/stream", "/echo"):
            getattr(self, url.path.strip("/"))(query)
            return
        status, body = getattr(self, "get_" + url.path.strip("/").replace("/", "_"), self.get_)(query)
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def stream(self, query):
        """A piece every 50 ms until `echo` is told to release, without a length said before."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while not released.wait(0.05):
            self.wfile.write(f"{len(VERSION) + 1:x}\r\n{VERSION}\n\r\n".encode())
        self.wfile.write(b"0\r\n\r\n")

    def echo(self, query):
        """A WebSocket as far as a proxy sees one (RFC 6455, section 4.2.2); then lines that come back."""
        accept = sha1(self.headers["Sec-WebSocket-Key"].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11")  # noqa: S324
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", b64encode(accept.digest()).decode())
        self.end_headers()
        for line in self.rfile:
            if line == b"release\n":
                released.set()
            self.wfile.write(f"{VERSION} ".encode() + line)
        self.close_connection = True

    def get_(self, query):
        return 200, VERSION

    def get_healthz(self, query):
        return (500, "ill") if os.environ.get("MODE") == "ill" or hoard == ["ill"] else (200, "well")

    def get_sicken(self, query):
        hoard[:] = ["ill"]
        return 200, ""

    def get_env(self, query):
        return 200, json.dumps(dict(os.environ))

    def get_headers(self, query):
        return 200, json.dumps(dict(self.headers))

    def get_self(self, query):
        status = Path("/proc/self/status").read_text()
        return 200, json.dumps({"uid": os.getuid(), "gid": os.getgid(), "pid": os.getpid(), "status": status})

    def get_slow(self, query):
        time.sleep(float(query["seconds"]))
        return 200, VERSION

    def get_hold(self, query):
        released.wait()
        return 200, VERSION

    def get_work(self, query):
        """Who answers, and how many requests it was answering as this one came."""
        working.append(None)
        count = len(working)
        time.sleep(float(query["seconds"]))
        working.pop()
        return 200, f"{IDENTITY} {count}"

    def get_say(self, query):
        print(query["text"], flush=True)
        return 200, ""

    def get_eat(self, query):
        hoard.append(b"x" * (int(query["mib"]) << 20))
        return 200, ""

    def get_spawn(self, query):
        """As many threads as there may be; they end with the process."""
        threading.stack_size(64 << 10)
        count = 0
        try:
            while count < 5000:
                threading.Thread(target=threading.Event().wait, daemon=True).start()
                count += 1
        except RuntimeError:
            pass
        return 200, str(count)

    def get_burn(self, query):
        """A process that takes all the CPU it gets."""
        if os.fork() == 0:
            while True:
                pass
        return 200, ""

    def get_breed(self, query):
        """A process that takes too much memory."""
        if os.fork() == 0:
            hoard.append(b"x" * (1 << 30))
        return 200, ""

    def get_fill(self, query):
        with Path("/tmp/fill").open("wb") as file:  # noqa: S108
            for _ in range(int(query["mib"])):
                file.write(b"x" * (1 << 20))
        return 200, ""

    def get_exit(self, query):
        os._exit(int(query["code"]))

    def get_write(self, query):
        try:
            Path(query["path"]).write_text("x")
        except OSError as error:
            return 200, type(error).__name__
        return 200, "written"

    def get_read(self, query):
        try:
            return 200, Path(query["path"]).read_text()
        except OSError as error:
            return 200, type(error).__name__

    def get_connect(self, query):
        try:
            socket.create_connection((query["host"], int(query["port"])), 5).close()
        except OSError as error:
            return 200, type(error).__name__
        return 200, "connected"

    def log_message(self, *args):
        pass


def main():
    mode = os.environ.get("MODE")
    print(f"version {VERSION} starts, mode {mode}", flush=True)
    if mode == "exits":
        print("cannot find the database", file=sys.stderr, flush=True)
        sys.exit(3)
    if mode == "hangs":
        time.sleep(3600)
    while mode == "waits" and not Path("/tmp/go").exists():  # noqa: S108
        time.sleep(0.02)
    time.sleep(float(os.environ.get("START_DELAY", "0")))
    ThreadingHTTPServer.request_queue_size = 128
    server = ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler)
    server.daemon_threads = False
    stop = threading.Thread(target=server.shutdown)
    signal.signal(signal.SIGTERM, lambda *_: stop.start())
    server.serve_forever(0.05)
    server.server_close()
    print("stopped well", flush=True)


main()
