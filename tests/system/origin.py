"""
An origin server that tells what it got: for tests of bodies and of bad manners.

    GET  /bytes/N[?seed=S][&chunked=1]   N pseudo-random bytes
    PUT|POST /digest                     {"sha256": ..., "bytes": ..., "trailers": {...}} of the body
    GET  /headers                        the request's header fields, as a JSON list
    GET  /slow/SECONDS                   answers after a while
    GET  /never, /stall                  never answers; stops within its answer, after "half"
    GET  /cut, /garbage, /close, /reset  a broken-off body, no HTTP, a close, a RST instead of an answer
"""
import hashlib
import json
import random
import socket
import struct
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

PART = 64 * 1024


def parts(n, seed):
    """Always the same bytes for the same numbers, without holding them all."""
    block = random.Random(seed).randbytes(PART)
    at = 0
    while at < n:
        part = block[:min(PART, n - at)]
        yield part
        at += len(part)


def digest(n, seed):
    h = hashlib.sha256()
    for part in parts(n, seed):
        h.update(part)
    return h.hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 300

    def log_message(self, *args):
        pass

    def answer(self, body, status=200, kind="application/json"):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        url = urlparse(self.path)
        query = parse_qs(url.query)
        what, _, arg = url.path[1:].partition("/")
        if what == "bytes":
            self.send_bytes(int(arg), int(query.get("seed", ["1"])[0]), "chunked" in query)
        elif what == "headers":
            self.answer(json.dumps(self.headers.items()).encode())
        elif what == "slow":
            time.sleep(float(arg))
            self.answer(b"late")
        elif what == "never":
            print(self.path, flush=True)  # for who waits until the request is here
            time.sleep(3600)
        elif what == "stall":
            self.send_part(b"half")
            time.sleep(3600)
        elif what == "cut":
            self.send_part(b"half")
            self.close_connection = True
        elif what == "garbage":
            self.wfile.write(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
            self.close_connection = True
        elif what == "close":
            self.close_connection = True
        elif what == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
        else:
            self.answer(b"origin\n", kind="text/plain")

    do_HEAD = do_GET

    def send_part(self, part):
        self.send_response(200)
        self.send_header("content-length", "1000")
        self.end_headers()
        self.wfile.write(part)

    def send_bytes(self, n, seed, chunked):
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked") if chunked else self.send_header("content-length", str(n))
        self.end_headers()
        if self.command == "HEAD":
            return
        for part in parts(n, seed):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part) if chunked else part)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def body(self):
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                if size == 0:
                    return
                while size > 0:
                    part = self.rfile.read(min(PART, size))
                    size -= len(part)
                    yield part
                self.rfile.readline()
        else:
            left = int(self.headers.get("content-length", "0"))
            while left > 0:
                part = self.rfile.read(min(PART, left))
                if not part:
                    return
                left -= len(part)
                yield part

    def do_POST(self):
        h, n, trailers = hashlib.sha256(), 0, {}
        for part in self.body():
            h.update(part)
            n += len(part)
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            while (line := self.rfile.readline().strip()):
                name, _, value = line.partition(b":")
                trailers[name.decode().lower()] = value.strip().decode()
        self.answer(json.dumps({"sha256": h.hexdigest(), "bytes": n, "trailers": trailers}).encode())

    do_PUT = do_POST


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024


if __name__ == "__main__":
    Server((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
