"""
TCP against Linux over bad wires: every byte, and how fast beside Linux against Linux.

    client (Linux)  c0 --- badwire --- gw0  gateway: Linux, or isthmusd  gw1 --- m0  mesh (Linux)

Each wire is there twice: once Linux is the other end of it, with HAProxy as a TCP proxy to a server
in the mesh; once our TCP is, with isthmusd in the same place. So both have the same to do, which
counts where the processor decides. A table with both is printed.

Where the wire decides, isthmusd's port on it is af_xdp, and the kernel carries every packet to it.
Where the processor decides, that would measure the kernel twice: the wire ends in a memif there, as
the cable of a machine whose NIC is the gateway's own. The other side of it is the kernel's always.

By default a few wires and a few MiB, which must arrive intact: figures of a shared machine are no
test. ISTHMUS_MATRIX=full takes every wire in both families, with 64 MiB both ways, and holds the
throughput against 0.9 of Linux's; full:0 or full:20,100 those with these delays. Where the wire
decides, not the processor, many run at once; the others run alone, Linux and we in turn, and where there
is no delay the median of several counts. Where the wire decides, chance decides, too: of a tenth of a
percent a transfer sees 50 losses. So each transfer has a wire of its own, with the same seed: the n-th
packet that is sent that way meets the same fate, whoever sends it, and both see the same losses. Reordering needs something to
overtake in: a millisecond, where there is no delay.
"""
import concurrent.futures
import contextlib
import ctypes
import hashlib
import ipaddress
import os
import random
import socket
import threading
import time

import lab as L

FULL, _, DELAYS = os.environ.get("ISTHMUS_MATRIX", "").partition(":")
LOSS = (0, 0.1, 1, 5)
DELAY = tuple(map(int, DELAYS.split(","))) if DELAYS else (0, 20, 100)  # ms, there and back
REORDER = (0, 25)
WIRES = ([(loss, delay, reorder, family) for delay in reversed(DELAY) for loss in reversed(LOSS)
          for reorder in REORDER for family in (4, 6)] if FULL
         else [(0, 0, 0, 4), (0, 0, 0, 6), (0, 100, 0, 4), (1, 20, 0, 4), (1, 20, 25, 4), (1, 20, 25, 6),
               (0, 20, 25, 4)])
SIZE = 64 << 20 if FULL else 4 << 20
AT_ONCE = 6 if FULL else 1  # wires, each there four times
TRIES = 5 if FULL else 1
DATA = random.Random(7).randbytes(SIZE)
WANT = hashlib.sha256(DATA).digest()
CUBIC = (socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
NETS = {4: ("10.1.0.{}", "10.2.0.{}", 24), 6: ("fd00:1::{}", "fd00:2::{}", 64)}


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

    def __init__(self, tag, loss, delay, reorder, family, memif=False):
        self.names = {n: f"{L.PREFIX}-{tag}{n}" for n in ("client", "wire", "gateway", "mesh")}
        self.tmp = L.tempfile.mkdtemp(prefix="isthmus-")
        self.procs, self.servers = [], []
        self.family = socket.AF_INET if family == 4 else socket.AF_INET6
        near, far, self.prefix = NETS[family]
        self.client, self.edge, self.inner, self.mesh = near.format(1), near.format(2), far.format(2), far.format(1)
        for name in self.names.values():
            L.sh("ip", "netns", "add", name)
            L.sh("ip", "-n", name, "link", "set", "lo", "up")
        self.veth("client", "c0", "wire", "w0")
        self.veth("wire", "w1", "gateway", "gw0")
        self.veth("gateway", "gw1", "mesh", "m0")
        self.addr("client", self.client, "c0")
        self.addr("mesh", self.mesh, "m0")
        if reorder > 0:
            delay = max(delay, 1)  # something to overtake in
        badwire = ["--loss", loss, "--reorder", reorder, "--delay", delay / 2, "--seed", 11, "--limit", 20000]
        self.memif = f"{self.tmp}/wire.memif" if memif else None
        self.start("wire", L.BUILD / "tests/lib/badwire", "w0", f"memif:{self.memif}" if memif else "w1", *badwire)

    def veth(self, a, a_dev, b, b_dev):
        L.sh("ip", "link", "add", a_dev, "netns", self.names[a], "type", "veth", "peer", "name", b_dev, "netns",
             self.names[b])
        for ns, dev in ((a, a_dev), (b, b_dev)):
            settings = {f"ipv6.conf.{dev}.accept_ra": 0, f"ipv6.conf.{dev}.router_solicitations": 0,
                        f"ipv6.conf.{dev}.addr_gen_mode": 1,  # nothing but what the test sends
                        # three may be lost
                        f"ipv4.neigh.{dev}.mcast_solicit": 20, f"ipv6.neigh.{dev}.mcast_solicit": 20}
            for name, value in settings.items():
                L.sh("ip", "netns", "exec", self.names[ns], "sysctl", "-qw", f"net.{name}={value}")
            L.sh("ip", "-n", self.names[ns], "link", "set", dev, "up")
            L.sh("ip", "netns", "exec", self.names[ns], "ethtool", "-K", dev, "tx", "off", "rx", "off", "gso", "off",
                 "tso", "off", "gro", "off", check=False)

    def addr(self, ns, addr, dev):
        nodad = ["nodad"] if self.family == socket.AF_INET6 else []
        L.sh("ip", "-n", self.names[ns], "addr", "add", f"{addr}/{self.prefix}", "dev", dev, *nodad)

    def start(self, ns, *args):
        log = open(f"{self.tmp}/{ns}.log", "ab")
        p = L.subprocess.Popen(["ip", "netns", "exec", self.names[ns], *map(str, args)], stdout=log, stderr=log)
        self.procs.append(p)
        return p

    def serve(self, ns, address):
        """Listens; each connection begins with "u" or "d" and is then an upload or a download of SIZE bytes."""
        def listen():
            s = socket.create_server((address, 7000), family=self.family, backlog=16)
            s.setsockopt(*CUBIC)
            return s
        server = in_namespace(self.names[ns], listen)
        self.servers.append(server)

        def body():
            while True:
                try:
                    s, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=self.handle, args=(s,), daemon=True).start()
        threading.Thread(target=body, daemon=True).start()

    @staticmethod
    def handle(s):
        with s:
            if s.recv(1) == b"u":
                s.sendall(receive(s))
            else:
                s.sendall(DATA)
                s.shutdown(socket.SHUT_WR)
                s.recv(1)

    def at(self, address):
        return f"[{address}]:7000" if self.family == socket.AF_INET6 else f"{address}:7000"

    def linux(self):
        # HAProxy cannot choose, and what is the default here may not be CUBIC.
        cubic = ["metric", 256 if self.family == socket.AF_INET6 else 0, "congctl", "cubic"]
        for address, dev in ((self.edge, "gw0"), (self.inner, "gw1")):
            self.addr("gateway", address, dev)
            net = ipaddress.ip_interface(f"{address}/{self.prefix}").network
            L.sh("ip", "-n", self.names["gateway"], "route", "replace", net, "dev", dev, *cubic)
        path = f"{self.tmp}/haproxy.cfg"
        with open(path, "w") as f:
            f.write(f'''
global
    nbthread 1
    tune.bufsize 65536
defaults
    mode tcp
    timeout connect 10s
    timeout client 1h
    timeout server 1h
listen mesh
    bind {self.at(self.edge)}
    server mesh {self.at(self.mesh)}
''')
        p = self.start("gateway", "haproxy", "-db", "-f", path)
        L.wait_for("haproxy", lambda: p.poll() is not None or ":7000" in L.sh(
            "ip", "netns", "exec", self.names["gateway"], "ss", "-Hltn").stdout, 20)
        assert p.poll() is None, open(f"{self.tmp}/gateway.log").read()[-3000:]

    def down_device(self):
        if self.memif is None:
            return 'device = "af_xdp"; interface = "gw0";'
        L.wait_for("badwire", lambda: os.path.exists(self.memif), 20)
        return f'device = "memif"; socket = "{self.memif}"; rx_descriptors = 16384;'

    def gateway(self):
        path = f"{self.tmp}/gateway.conf"
        with open(path, "w") as f:
            f.write(f'''machine = {{
  hugepages = false; memory = "192MiB"; packets = 24576;
  ports = (
    {{ name = "down"; {self.down_device()} duplicate_probes = 0;
       addresses = [ "{self.edge}/{self.prefix}" ]; }},
    {{ name = "up"; device = "af_xdp"; interface = "gw1"; duplicate_probes = 0;
       addresses = [ "{self.inner}/{self.prefix}" ]; }} );
  tcp = {{ receive_buffer_max = "6MiB"; send_buffer_max = "8MiB"; }};
}};
control = {{ socket = "{self.tmp}/gateway.sock"; drain_time = "1s"; }};
clusters = ( {{ name = "mesh"; endpoints = [ "{self.at(self.mesh)}" ]; }} );
listeners = ( {{ name = "tcp"; address = "{self.at(self.edge)}"; filter_chains = ( {{
  name = "tcp"; tcp = {{ cluster = "mesh"; idle_timeout = "0s"; }}; }} ); }} );
''')
        p = self.start("gateway", L.BUILD / "isthmusd", "-c", path)
        L.wait_for("isthmusd", lambda: ": running" in open(f"{self.tmp}/gateway.log").read() or p.poll() is not None, 60)
        assert p.poll() is None, open(f"{self.tmp}/gateway.log").read()[-3000:]

    def close(self):
        for server in self.servers:
            server.close()
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
        s = socket.create_connection((world.edge, 7000), timeout=3600)
        s.setsockopt(*CUBIC)
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


def world_of(tag, wire, linux, memif=False):
    world = World(tag, *wire, memif=memif)
    try:
        world.serve("mesh", world.mesh)
        if linux:
            world.linux()
        else:
            world.gateway()
        return world
    except BaseException:
        world.close()
        raise


def measure(tag, wire):
    """MB/s up and down of Linux, and of isthmusd; all at once, each over a wire of its own."""
    def rate(linux, how):
        world = world_of(tag + ("l" if linux else "i") + how, wire, linux)
        try:
            return SIZE / 1e6 / transfer(world, how)
        finally:
            world.close()
    with concurrent.futures.ThreadPoolExecutor(4) as each:
        up, down = (each.map(rate, (True, False), how * 2) for how in "ud")
        return list(zip(up, down))


def measure_fast(tag, wire):
    """The same, one transfer at a time, in turn: what the machine does meanwhile, it does to both."""
    tries = TRIES if wire[1] == 0 else 1
    with contextlib.ExitStack() as worlds:
        both = []
        for linux in (True, False):
            both.append(world_of(tag + ("l" if linux else "i"), wire, linux, memif=not linux))
            worlds.callback(both[-1].close)
        seconds = {(world, how): [] for world in both for how in "ud"}
        for how in "ud":
            for _ in range(tries):
                for world in both:
                    seconds[world, how].append(transfer(world, how))
        return [[SIZE / 1e6 / median(seconds[world, how]) for how in "ud"] for world in both]


def is_fast(wire):
    """Does the processor decide, and not the wire?"""
    loss, delay, reorder, _ = wire
    return (loss == 0 and reorder == 0) or (delay == 0 and loss < (1 if reorder > 0 else 5))


def line(wire, linux, ours):
    loss, delay, reorder, family = wire
    return (f"IPv{family}  loss {loss:>4} %  delay {delay:>3} ms  reordered {reorder:>2} %  "
            f"up {linux[0]:8.2f} | {ours[0]:8.2f}  down {linux[1]:8.2f} | {ours[1]:8.2f}")


def measure_all(told):
    """By wire: what Linux does, and what we do. A long run tells each wire when it is done."""
    result = {}

    def do(job):
        i, wire = job
        result[wire] = (measure_fast if is_fast(wire) else measure)(f"x{i}", wire)
        if FULL:
            told(line(wire, *result[wire]))
    for alone in (False, True):
        mine = [(i, wire) for i, wire in enumerate(WIRES) if is_fast(wire) == alone]
        with concurrent.futures.ThreadPoolExecutor(1 if alone else AT_ONCE) as pool:
            list(pool.map(do, mine))
    return result


def test_every_byte_arrives_over_every_wire(capsys):
    def told(text):
        with capsys.disabled():
            print(text, flush=True)
    rates, slow = measure_all(lambda text: told("done: " + text)), []
    told(f"\n{SIZE >> 20} MiB; MB/s to and from Linux | isthmusd, by wire")
    for wire in WIRES:
        linux, ours = rates[wire]
        told(line(wire, linux, ours))
        slow += [(wire, how) for how, l, o in zip("ud", linux, ours) if o < 0.9 * l]
    assert not (FULL and slow), slow
