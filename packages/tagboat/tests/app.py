"""A small app to release. It says its greeting and its version, and stops when it is told to."""

SOURCE = """\
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = f"{os.environ['GREETING']} from {VERSION}".encode()
        self.send_response(200)
        self.send_header("X-Version", VERSION)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    print("listening", flush=True)
    ThreadingHTTPServer(("", 8000), App).serve_forever()
"""
"""The module of the app; whoever writes it puts VERSION before it, and sets GREETING where it runs."""
