"""
Clients that read slowly: slow.py ADDRESS PORT HOST PATH NUMBER BYTES_PER_SECOND. Says "reading" when all have asked.

Each takes a few KiB ten times a second, and its kernel buffers little, so the rest waits with whoever
sends it. One that has its whole body asks again.
"""
import select
import socket
import ssl
import sys
import time

TURN = 0.1  # seconds
BUFFER = 16384


class Client:
    def __init__(self, context, address, host, path):
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        raw.settimeout(20)
        raw.connect(address)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = context.wrap_socket(raw, server_hostname=host)
        self.sock.setblocking(False)
        self.request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        self.left = 0

    def ask(self):
        self.sock.send(self.request)
        self.left = None

    def read(self, most):
        """So many bytes of the answer, if they are there."""
        while most > 0 and self.left != 0:
            try:
                part = self.sock.recv(most)
            except (ssl.SSLWantReadError, BlockingIOError):
                return
            assert part, "the connection ended"
            most -= len(part)
            self.count(part)
        if self.left == 0:
            self.ask()

    def count(self, part):
        if self.left is None:  # the header comes in one piece: it is short
            head, _, part = part.partition(b"\r\n\r\n")
            length = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
            assert head.startswith(b"HTTP/1.1 200") and length, head
            self.left = int(length[0].split(b":")[1])
        self.left -= len(part)


def main(address, port, host, path, number, rate):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    clients = [Client(context, (address, int(port)), host, path) for _ in range(int(number))]
    for c in clients:
        c.ask()
    print("reading", flush=True)
    most, due = int(int(rate) * TURN), time.monotonic()
    while True:
        for c in clients:
            c.read(most)
        due += TURN
        select.select([], [], [], max(0.0, due - time.monotonic()))


main(*sys.argv[1:])
