"""
TCP against Linux over bad wires: every byte, and how fast beside Linux against Linux.

    client (Linux)  c0 --- badwire --- gw0  gateway: Linux, then isthmusd  gw1 --- m0  mesh (Linux)

For each wire the client sends to and receives from a server: first one that listens in the
gateway's namespace, so that Linux talks to Linux; then one in the mesh, behind isthmusd as a TCP
proxy, so that our TCP is the other end of the bad wire. A table with both is printed.

By default a few wires and a few MiB, which must arrive intact: figures of a shared machine are no
test. ISTHMUS_MATRIX=full takes every wire, with 64 MiB both ways, several at a time, and holds the
throughput against 0.9 of Linux's.
"""
import concurrent.futures
import ctypes
import hashlib
import os
import random
import socket
import threading
import time

import pytest

import lab as L

FULL = os.environ.get("ISTHMUS_MATRIX") == "full"
LOSS = (0, 0.1, 1, 5)
DELAY = (0, 20, 100)  # ms, there and back
REORDER = (0, 25)
WIRES = ([(loss, delay, reorder) for loss in LOSS for delay in DELAY for reorder in REORDER] if FULL
         else [(0, 0, 0), (0, 100, 0), (1, 20, 0), (1, 20, 25), (0, 20, 25)])
SIZE = 64 << 20 if FULL else 4 << 20
AT_ONCE = 6 if FULL else 1
TRIES = 3 if FULL else 1  # the median counts: loss is a matter of luck
DATA = random.Random(7).randbytes(SIZE)
WANT = hashlib.sha256(DATA).digest()


def in_namespace(name, fn):
    """What @fn returns in a thread that lives in the namespace."""
    libc = ctypes.CDLL(None, use_errno=True)

    def body():
        with open(f"/run/netns/{name}") as there:
            if libc.setns(there.fileno(), 0x40000000) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        return fn()
    with concurrent.futures.ThreadPoolExecutor(1) as one:
        return one.submit(body).result()


class World:
    """The namespaces of one wire, and what runs in them."""

    def __init__(self, tag, loss, delay, reorder):
        self.names = {n: f"{L.PREFIX}-{tag}{n}" for n in ("client", "wire", "gateway", "mesh")}
        self.tmp = L.tempfile.mkdtemp(prefix="isthmus-")
        self.procs = []
        for name in self.names.values():
            L.sh("ip", "netns", "add", name)
            L.sh("ip", "-n", name, "link", "set", "lo", "up")
            L.sh("ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv4.tcp_congestion_control=cubic")
        self.veth("client", "c0", "wire", "w0")
        self.veth("wire", "w1", "gateway", "gw0")
        self.veth("gateway", "gw1", "mesh", "m0")
        self.addr("client", "10.1.0.1/24", "c0")
        self.addr("mesh", "10.2.0.1/24", "m0")
        badwire = ["--loss", loss, "--reorder", reorder, "--delay", delay / 2, "--seed", 11, "--limit", 20000]
        self.start("wire", L.BUILD / "tests/lib/badwire", "w0", "w1", *badwire)

    def veth(self, a, a_dev, b, b_dev):
        L.sh("ip", "link", "add", a_dev, "netns", self.names[a], "type", "veth", "peer", "name", b_dev, "netns",
             self.names[b])
        for ns, dev in ((a, a_dev), (b, b_dev)):
            L.sh("ip", "netns", "exec", self.names[ns], "sysctl", "-qw", f"net.ipv6.conf.{dev}.disable_ipv6=1")
            L.sh("ip", "-n", self.names[ns], "link", "set", dev, "up")
            L.sh("ip", "netns", "exec", self.names[ns], "ethtool", "-K", dev, "tx", "off", "rx", "off", "gso", "off",
                 "tso", "off", "gro", "off", check=False)

    def addr(self, ns, addr, dev, how="add"):
        L.sh("ip", "-n", self.names[ns], "addr", how, addr, "dev", dev)

    def start(self, ns, *args):
        log = open(f"{self.tmp}/{ns}.log", "ab")
        p = L.subprocess.Popen(["ip", "netns", "exec", self.names[ns], *map(str, args)], stdout=log, stderr=log)
        self.procs.append(p)
        return p

    def serve(self, ns, address):
        """Listens; each connection begins with "u" or "d" and is then an upload or a download of SIZE bytes."""
        def listen():
            s = socket.create_server((address, 7000), backlog=16)
            s.settimeout(600)
            return s
        server = in_namespace(self.names[ns], listen)

        def body():
            while True:
                try:
                    s, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=self.handle, args=(s,), daemon=True).start()
        threading.Thread(target=body, daemon=True).start()
        return server

    @staticmethod
    def handle(s):
        with s:
            if s.recv(1) == b"u":
                s.sendall(receive(s))
            else:
                s.sendall(DATA)
                s.shutdown(socket.SHUT_WR)
                s.recv(1)

    def gateway(self):
        path = f"{self.tmp}/gateway.conf"
        with open(path, "w") as f:
            f.write(f'''machine = {{
  hugepages = true; memory = "160MiB"; packets = 24576;
  ports = ( {{ name = "down"; device = "af_packet"; interface = "gw0"; addresses = [ "10.1.0.2/24" ]; }},
            {{ name = "up"; device = "af_packet"; interface = "gw1"; addresses = [ "10.2.0.2/24" ]; }} );
  tcp = {{ receive_buffer_max = "6MiB"; send_buffer_max = "8MiB"; }};
}};
control = {{ socket = "{self.tmp}/gateway.sock"; drain_time = "1s"; }};
clusters = ( {{ name = "mesh"; endpoints = [ "10.2.0.1:7000" ]; }} );
listeners = ( {{ name = "tcp"; address = "10.1.0.2:7000"; filter_chains = ( {{ name = "tcp"; tcp = {{ cluster = "mesh"; idle_timeout = "0s"; }}; }} ); }} );
''')
        p = self.start("gateway", L.BUILD / "isthmusd", "-c", path)
        L.wait_for("isthmusd", lambda: ": running" in open(f"{self.tmp}/gateway.log").read() or p.poll() is not None, 60)
        assert p.poll() is None, open(f"{self.tmp}/gateway.log").read()[-3000:]
        return p

    def close(self):
        for p in reversed(self.procs):
            p.terminate()
            p.wait(20)
        for name in self.names.values():
            L.sh("ip", "netns", "del", name, check=False)
        L.shutil.rmtree(self.tmp, ignore_errors=True)


def receive(s):
    h, left = hashlib.sha256(), SIZE
    buf = bytearray(1 << 20)
    while left > 0:
        n = s.recv_into(buf, min(left, len(buf)))
        if n == 0:
            break
        h.update(memoryview(buf)[:n])
        left -= n
    return h.digest()


def transfer(world, how):
    """Seconds. Both ends compare what has arrived with what was sent."""
    def body():
        s = socket.create_connection(("10.1.0.2", 7000), timeout=3600)
        with s:
            start = time.monotonic()
            s.sendall(how.encode())
            if how == "u":
                s.sendall(DATA)
                got = b""
                while len(got) < 32:
                    part = s.recv(32)
                    assert part, "the connection ended"
                    got += part
            else:
                got = receive(s)
            seconds = time.monotonic() - start
            assert got == WANT, "not what was sent"
            return seconds
    return in_namespace(world.names["client"], body)


def median(values):
    return sorted(values)[len(values) // 2]


def measure(i, wire):
    world = World(f"x{i}", *wire)
    try:
        world.addr("gateway", "10.1.0.2/24", "gw0")
        server = world.serve("gateway", "10.1.0.2")
        linux = {how: median([transfer(world, how) for _ in range(TRIES)]) for how in "ud"}
        server.close()
        world.addr("gateway", "10.1.0.2/24", "gw0", "del")
        server = world.serve("mesh", "10.2.0.1")
        world.gateway()
        ours = {how: median([transfer(world, how) for _ in range(TRIES)]) for how in "ud"}
        server.close()
        return linux, ours
    finally:
        world.close()


def test_every_byte_arrives_over_every_wire():
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        results = list(pool.map(measure, range(len(WIRES)), WIRES))
    print(f"\n{SIZE >> 20} MiB; MB/s to and from Linux | isthmusd, by wire")
    slow = []
    for (loss, delay, reorder), (linux, ours) in zip(WIRES, results):
        rate = {(who, how): SIZE / 1e6 / seconds[how] for who, seconds in (("l", linux), ("i", ours)) for how in "ud"}
        print(f"loss {loss:>4} %  delay {delay:>3} ms  reordered {reorder:>2} %  up {rate['l', 'u']:9.2f} | "
              f"{rate['i', 'u']:9.2f}  down {rate['l', 'd']:9.2f} | {rate['i', 'd']:9.2f}")
        slow += [(loss, delay, reorder, how) for how in "ud" if rate["i", how] < 0.9 * rate["l", how]]
    assert not (FULL and slow), slow
