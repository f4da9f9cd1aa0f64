"""
A slow reader slows the writer down: the gateway holds little in between, and nothing is lost.

Both ends are sockets of ours, so what the gateway holds is exact: the bytes that it acknowledged
to the writer, less those that reached the reader's kernel.
"""
import array
import fcntl
import hashlib
import socket
import ssl
import termios
import threading

import pytest

import lab as L
import origin

GATEWAY = "10.1.0.2"
MIB = 1024 * 1024
SIZE, SEED = 2 * MIB if L.BAD_WIRE else 100 * MIB, 5  # either is many times what may be held
STILL = 2 if L.BAD_WIRE else 1  # seconds without a byte: longer than a retransmission, or two, takes
MOST_HELD = 256 * 1024
LITTLE = 16 * 1024  # of buffer in the peers' kernels
DIGEST = origin.digest(SIZE, SEED)


def ioctl(s, what):
    n = array.array("i", [0])
    fcntl.ioctl(s.fileno(), what, n)
    return n[0]


class Writer(threading.Thread):
    """Writes the body; acked() is how much of it the gateway took."""

    def __init__(self, s):
        super().__init__(daemon=True)
        self.s, self.pushed = s, 0

    def run(self):
        for part in origin.parts(SIZE, SEED):
            for at in range(0, len(part), LITTLE):
                self.s.sendall(part[at:at + LITTLE])
                self.pushed += LITTLE

    def acked(self):
        # Meanwhile one more piece may be partly in: that is why pushed counts only whole ones.
        return self.pushed - ioctl(self.s, termios.TIOCOUTQ)


class Reader:
    """Reads the body, when told to."""

    def __init__(self, s, head=b""):
        self.s, self.n, self.hash = s, len(head), hashlib.sha256(head)

    def there(self):
        return self.n + ioctl(self.s, termios.FIONREAD)

    def read_rest(self):
        while self.n < SIZE:
            part = self.s.recv(1 << 18)
            assert part, f"closed after {self.n} bytes"
            self.n += len(part)
            self.hash.update(part)
        assert self.n == SIZE and self.hash.hexdigest() == DIGEST


def read_head(s):
    data = b""
    while b"\r\n\r\n" not in data:
        part = s.recv(4096)
        assert part
        data += part
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


class Place:
    def __init__(self):
        self.lab = lab = L.Lab()
        try:
            lab.certs.ca("root")
            web = lab.certs.issue("web", dns=[L.HOST])
            self.gw = lab.gateway(L.conf(
                L.machine(lab.tmp, "gateway", L.GATEWAY_PORTS),
                secrets=[L.secret("web", web)],
                clusters=[L.cluster("peer", "10.2.0.1:9000")],
                route_configs=[L.routes("r", 'prefix = "/"; cluster = "peer"; timeout = "0s";')],
                listeners=[L.listener("http", f"{GATEWAY}:80", L.chain("r", log=None)),
                           L.listener("tcp", f"{GATEWAY}:81", '{ tcp = { cluster = "peer"; }; }'),
                           L.listener("https", f"{GATEWAY}:443", L.chain(
                               "r", tls='mode = "simple"; secret = "web";', log=None))]))
        except BaseException:
            lab.close()
            raise
        self.server = L.socket_in(L.MESH)
        self.server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for which in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            self.server.setsockopt(socket.SOL_SOCKET, which, LITTLE)
        self.server.bind(("10.2.0.1", 9000))
        self.server.listen()
        self.server.settimeout(10)

    def client(self, kind):
        s = L.socket_in(L.CLIENT)
        for which in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            s.setsockopt(socket.SOL_SOCKET, which, LITTLE)
        s.settimeout(60)
        s.connect((GATEWAY, {"http": 80, "tcp": 81, "https": 443}[kind]))
        if kind == "https":
            context = ssl.create_default_context(cafile=self.lab.certs.dir / "root.pem")
            s = context.wrap_socket(s, server_hostname=L.HOST)
        return s

    def accept(self):
        s, _ = self.server.accept()
        s.settimeout(60)
        return s


@pytest.fixture(scope="module")
def place():
    place = Place()
    yield place
    place.server.close()
    place.lab.close()


def check_held(writer, reader):
    """Waits until nothing moves any more; then looks at what lies in between."""
    L.wait_for("the first bytes", lambda: writer.acked() > 0)
    L.wait_still("the writer to be stopped", writer.acked, STILL, 20)
    assert writer.acked() < SIZE
    held = writer.acked() - reader.there()
    assert held <= MOST_HELD, f"the gateway holds {held} bytes"


@pytest.mark.parametrize("kind", ["http", "https", "tcp"])
def test_a_client_that_does_not_read_stops_the_origin(place, kind):
    client = place.client(kind)
    client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    peer = place.accept()
    read_head(peer)
    peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % SIZE)
    writer = Writer(peer)
    writer.start()
    reader = Reader(client)
    check_held(writer, reader)
    _, rest = read_head(client)
    reader = Reader(client, rest)
    reader.read_rest()
    writer.join(10)
    client.close()
    peer.close()
    place.lab.wait_home(place.gw)


@pytest.mark.parametrize("kind", ["http", "https", "tcp"])
def test_an_origin_that_does_not_read_stops_the_client(place, kind):
    client = place.client(kind)
    client.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % SIZE)
    writer = Writer(client)
    writer.start()
    peer = place.accept()
    _, rest = read_head(peer)
    reader = Reader(peer, rest)
    check_held(writer, reader)
    reader.read_rest()
    writer.join(10)
    peer.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert read_head(client)[0].startswith(b"HTTP/1.1 204 ")
    client.close()
    peer.close()
    place.lab.wait_home(place.gw)
