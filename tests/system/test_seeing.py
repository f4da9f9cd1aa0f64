"""
Seeing what TCP does: conns --verbose and capture, against what others see of the same connections:
tshark, and packet sockets in the client's namespace. (Over a bad wire: test_flights.py)
"""
import collections
import ctypes
import json
import os
import re
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

import lab as L
import origin

GATEWAY = "10.1.0.2"
MIB = 1024 * 1024
ETH_P_ALL = 3


def configuration(lab, workers=1):
    return L.conf(L.machine(lab.tmp, "gateway", L.GATEWAY_PORTS, workers=workers),
                  clusters=[L.cluster("origin", "10.2.0.1:9000")],
                  route_configs=[L.routes("r", 'prefix = "/"; cluster = "origin"; timeout = "120s";')],
                  listeners=[L.listener("http", f"{GATEWAY}:80", L.chain("r", log=None))])


class Place:
    def __init__(self, bad_wire=None):
        self.lab = L.Lab(bad_wire=bad_wire)
        try:
            self.lab.origin()
            self.gw = self.lab.gateway(configuration(self.lab))
        except BaseException:
            self.lab.close()
            raise

    def again(self, workers=1):
        """Another daemon in the same place."""
        if self.gw.poll() is None:
            assert self.lab.stop(self.gw) == 0
        self.gw = self.lab.gateway(configuration(self.lab, workers))

    def json(self, *args):
        return self.lab.ctl_json(self.gw, *args)

    def text(self, *args):
        return self.lab.ctl(self.gw, *args).stdout

    def refused(self, *args, code=1):
        done = self.lab.ctl(self.gw, *args, check=False)
        assert (done.returncode, done.stdout) == (code, ""), done
        return done.stderr

    def conns(self, *args):
        return self.json("conns", *args)["connections"]

    def download(self, size, seed=3):
        file = self.lab.tmp / "body"
        done = self.lab.curl("--fail", f"http://{GATEWAY}/bytes/{size}?seed={seed}", "-o", file, seconds=90)
        assert done.returncode == 0, done.stderr
        assert L.sha256(file) == origin.digest(size, seed)

    def capture(self, *args, stdout=subprocess.PIPE):
        """`isthmusctl capture` in the background, once it captures."""
        p = subprocess.Popen([str(L.BUILD / "isthmusctl"), "--socket", str(self.gw.socket), "capture", *map(str, args)],
                             stdout=stdout, stderr=subprocess.PIPE)
        assert b"capturing on" in p.stderr.readline()
        return p

    def end(self, p, sig=signal.SIGINT):
        """Ends it as Ctrl-C would. (captured, dropped)"""
        if sig:
            p.send_signal(sig)
        _, err = p.communicate(timeout=30)
        assert p.returncode == 0, err
        return tuple(int(n) for n in re.match(rb"(\d+) packets captured\n(\d+) packets dropped\n", err).groups())


@pytest.fixture(scope="module")
def place():
    place = Place()
    yield place
    place.lab.close()


def tshark(file, *args):
    return L.sh("tshark", "-n", "-r", file, *args).stdout.splitlines()


def fields(file, *names, display=""):
    """The values of these fields, a tuple for each packet."""
    args = [a for n in names for a in ("-e", n)]
    lines = tshark(file, "-T", "fields", "-E", "separator=~", "-E", "occurrence=a", *args,
                   *(("-Y", display) if display else ()))
    return [tuple(line.split("~")) for line in lines]


class Sniffer(threading.Thread):
    """Every frame on the client's interface, as a packet socket there sees it."""

    def __init__(self):
        super().__init__(daemon=True)
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{L.CLIENT}") as there:
            assert libc.setns(there.fileno(), 0x40000000) == 0
            try:
                self.s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # nothing until it is bound
                self.s.bind(("c0", ETH_P_ALL))
            finally:
                libc.setns(home.fileno(), 0x40000000)
        self.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * MIB)
        self.s.settimeout(0.5)
        self.frames, self.ended = [], False
        self.start()

    def run(self):
        while not self.ended:
            try:
                self.frames.append(self.s.recv(65536))
            except TimeoutError:
                pass

    def stop(self):
        self.ended = True
        self.join()
        self.s.close()
        return self.frames


def tcp_port(frame, port):
    """Is it TCP over IPv4 from or to this port?"""
    return frame[12:14] == b"\x08\x00" and frame[23] == 6 and port in struct.unpack("!HH", frame[34:38])


def pcapng_frames(file):
    """(frame, wall-clock time, direction) of each packet, read without anybody's help."""
    data, at, found = file.read_bytes(), 0, []
    while at < len(data):
        kind, length = struct.unpack_from("<II", data, at)
        assert length % 4 == 0 and struct.unpack_from("<I", data, at + length - 4) == (length,)
        if kind == 6:
            _, high, low, captured, original = struct.unpack_from("<IIIII", data, at + 8)
            frame = data[at + 28:at + 28 + captured]
            options = at + 28 + (captured + 3) // 4 * 4
            code, size, flags = struct.unpack_from("<HHI", data, options)
            assert (code, size) == (2, 4)
            found.append((frame, (high << 32 | low) / 1e6, {1: "in", 2: "out"}[flags], original))
        at += length
    return found


# --- conns --verbose -----------------------------------------------------------------------------


def test_pooled_connections_are_told_with_the_same_detail(place):
    place.download(1000)
    row, = place.conns("--upstream")
    assert (row["cluster"], row["endpoint"], row["state"], row["requests"]) == ("origin", "10.2.0.1:9000", "idle", 1)
    verbose, = place.conns("--upstream", "--verbose", "10.2.0.1:9000")
    assert verbose["upstream_tcp"]["perf"]["data_segs_out"] == 1 and "upstream_tcp" not in row
    assert verbose["upstream_tcp"]["app"]["thru_octets_received"] == verbose["rx"] > 1000


def test_counters_of_connections_add_up_to_those_of_the_worker(place):
    place.again()  # or the last segments of those before would be among them
    before = place.lab.stats(place.gw)
    with L.connect(GATEWAY, 80) as a, L.connect(GATEWAY, 80) as b:
        for s in (a, b):
            s.sendall(b"GET /bytes/300000?seed=1 HTTP/1.1\r\nHost: a\r\n\r\n")
            got = 0
            while got < 300000:
                got += len(s.recv(65536))
        time.sleep(0.3)  # the last delayed ACKs
        after = place.lab.stats(place.gw)
        mine = [r["client_tcp"] for r in place.conns("--verbose")]
        mine += [r["upstream_tcp"] for r in place.conns("--upstream", "--verbose")]
        for counter, group, key in (("segs_in", "perf", "segs_in"), ("segs_out", "perf", "segs_out"),
                                    ("retrans_segs", "perf", "segs_retrans"),
                                    ("bytes_in", "app", "thru_octets_received")):
            assert after[f"tcp.{counter}"] - before[f"tcp.{counter}"] == sum(m[group][key] for m in mine), counter


# --- capture -------------------------------------------------------------------------------------


def test_a_capture_is_what_a_packet_socket_sees_at_the_other_end(place):
    file = place.lab.tmp / "c.pcapng"
    place.again()  # or connections of before would still be closing when the sniffer sees already
    sniffer = Sniffer()
    p = place.capture("down", "tcp port 80 and host 10.1.0.1", file)
    began = time.time()
    place.download(2 * MIB)
    place.lab.ns(L.CLIENT, "ping", "-c", "2", "-i", "0.1", GATEWAY)  # not to be in it
    time.sleep(0.3)
    captured, dropped = place.end(p)
    ended = time.time()
    there = [f for f in sniffer.stop() if tcp_port(f, 80)]
    here = pcapng_frames(file)
    assert dropped == 0 and captured == len(here) > 100
    assert collections.Counter(f for f, *_ in here) == collections.Counter(there)
    assert all(began - 1 <= t <= ended + 1 for _, t, *_ in here)
    assert [t for _, t, *_ in here] == sorted(t for _, t, *_ in here)
    ours = [d for f, _, d, _ in here if f[26:30] == socket.inet_aton(GATEWAY)]
    assert set(ours) == {"out"} and {d for f, _, d, _ in here} == {"in", "out"}
    assert len(tshark(file)) == captured
    assert {p[0] for p in fields(file, "frame.interface_name")} == {"down"}


@pytest.mark.parametrize("option, keeps", [
    (("--direction", "in"), lambda d, n: d == {"in"}),
    (("--direction=out",), lambda d, n: d == {"out"}),
])
def test_one_direction_alone(place, option, keeps):
    file = place.lab.tmp / "d.pcapng"
    p = place.capture("any", "tcp port 80", file, *option)
    place.download(10000)
    time.sleep(0.2)
    captured, _ = place.end(p)
    assert keeps({d for *_, d, _ in pcapng_frames(file)}, captured) and captured > 3


def test_it_ends_by_itself_after_so_many_or_so_long(place):
    file = place.lab.tmp / "n.pcapng"
    p = place.capture("any", "", file, "--count", 5, "--snaplen", 60)
    place.download(100000)
    assert place.end(p, sig=None)[0] == 5
    here = pcapng_frames(file)
    assert len(here) == 5 and all(len(f) <= 60 <= n for f, _, _, n in here if n > 60)
    assert {i[0] for i in fields(file, "frame.interface_name")} <= {"down", "up"}
    p = place.capture("any", "udp port 9", file, "--seconds", 1)
    assert place.end(p, sig=None) == (0, 0)


def test_tshark_reads_it_live(place):
    p = place.capture("down", "tcp port 80", "-", "--count", 30)
    t = subprocess.Popen(["tshark", "-n", "-r", "-", "-T", "fields", "-e", "tcp.dstport"], stdin=p.stdout,
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    p.stdout.close()
    place.download(MIB)
    out, _ = t.communicate(timeout=30)
    assert len(out.split()) == 30 and b"80" in out.split()
    assert p.wait(20) == 0


def test_a_reader_that_goes_away_takes_its_capture_along(place):
    p = place.capture("any", "", "-")
    p.stdout.close()
    place.download(MIB)
    _, err = p.communicate(timeout=20)
    assert p.returncode == 0 and b"packets captured" in err
    p = place.capture("any", "", place.lab.tmp / "k.pcapng")
    assert "another capture runs" in place.refused("capture", "any", "", place.lab.tmp / "l.pcapng")
    p.kill()
    p.wait()
    place.download(MIB)

    def free():
        done = place.lab.ctl(place.gw, "capture", "any", "", place.lab.tmp / "m.pcapng", "--seconds", "1", check=False)
        return done.returncode == 0
    L.wait_for("the capture of a killed client to end", free, 30, every=0.5)


def test_a_slow_reader_loses_packets_of_its_capture_and_nobody_else_any(place):
    before = place.lab.stats(place.gw)
    p = place.capture("any", "", "-")
    read = threading.Event()

    def read_slowly():
        while part := os.read(p.stdout.fileno(), 65536):
            time.sleep(0 if read.is_set() else 0.05)
    reader = threading.Thread(target=read_slowly, daemon=True)
    reader.start()
    place.download(60 * MIB, seed=9)
    p.send_signal(signal.SIGINT)
    read.set()
    reader.join(30)
    captured, dropped = (int(n) for n in re.findall(rb"(\d+) packets", p.stderr.read()))
    assert p.wait(10) == 0 and dropped > 1000 and captured > 100
    after = place.lab.stats(place.gw)
    assert after["port.tx_dropped"] == before["port.tx_dropped"]
    assert after["tcp.retrans_segs"] - before["tcp.retrans_segs"] < 100


@pytest.mark.parametrize("args, words", [
    (("down", "tcp port", "x"), "syntax error"),
    (("down", "no such thing at all", "x"), "syntax error"),
    (("nowhere", "", "x"), "there is no such port"),
    (("any", "", "x", "--direction", "up"), "in, out or both"),
    (("any", "", "x", "--count", "many"), "not a number"),
    (("any", ""), "it needs a file"),
    (("any", "", "/nowhere/x"), "No such file"),
    (("any", "ip6 protochain 6", "x"), "the filter is no program"),  # which libpcap makes a loop of
])
def test_what_cannot_be_captured_is_told(place, args, words):
    args = [str(place.lab.tmp / "x") if a == "x" else a for a in args]
    done = place.lab.ctl(place.gw, "capture", *args, check=False)
    assert done.returncode in (1, 2) and words in done.stderr, done
    assert place.json("status")["state"] == "running"


def test_programs_that_could_run_for_ever_or_read_anything_are_refused(place):
    import base64
    ja, ret = 0x05, 0x06

    def insn(code, jt, jf, k):
        return struct.pack("<HBBI", code, jt, jf, k & 0xffffffff)
    bad = {
        "back": insn(0x00, 0, 0, 0) + insn(ja, 0, 0, -2) + insn(ret, 0, 0, 1),
        "itself": insn(ja, 0, 0, -1) + insn(ret, 0, 0, 1),
        "beyond": insn(ja, 0, 0, 7) + insn(ret, 0, 0, 1),
        "no end": insn(0x00, 0, 0, 0),
        "memory": insn(0x60, 0, 0, 99) + insn(ret, 0, 0, 1),
        "by zero": insn(0x34, 0, 0, 0) + insn(ret, 0, 0, 1),
        "unknown": insn(0xffff, 0, 0, 0) + insn(ret, 0, 0, 1),
        "half": b"\x06\x00\x00",
        "long": insn(0x00, 0, 0, 0) * 2048 + insn(ret, 0, 0, 1),
    }
    for name, program in bad.items():
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(place.gw.socket))
            s.settimeout(10)
            args = {"port": "any", "program": base64.b64encode(program).decode()}
            s.sendall(json.dumps({"cmd": "capture", "args": args}).encode() + b"\n")
            answer = json.loads(s.makefile().readline())
        assert answer["ok"] is False and "filter" in answer["error"], (name, answer)
    place.download(10000)


def test_two_workers_are_captured_as_one(place):
    place.again(workers=2)
    file = place.lab.tmp / "w.pcapng"
    sniffer = Sniffer()
    p = place.capture("down", "tcp port 80", file)
    for i in range(16):
        place.download(20000, seed=i)
    time.sleep(0.3)
    captured, dropped = place.end(p)
    there = [f for f in sniffer.stop() if tcp_port(f, 80)]
    here = pcapng_frames(file)
    assert dropped == 0 and captured == len(here)
    assert collections.Counter(f for f, *_ in here) == collections.Counter(there)
    assert [t for _, t, *_ in here] == sorted(t for _, t, *_ in here)
    assert all(w["busy_percent"] > 0 for w in place.json("status")["workers"])


def test_a_capture_ends_with_a_drain(place):
    place.again()
    p = place.capture("any", "", place.lab.tmp / "s.pcapng")
    place.download(100000)
    assert place.lab.ctl(place.gw, "drain").returncode == 0
    captured, dropped = place.end(p, sig=None)
    assert captured == len(tshark(place.lab.tmp / "s.pcapng")) > 0
    assert "the daemon is draining" in place.refused("capture", "any", "", place.lab.tmp / "s.pcapng")


def test_a_capture_ends_with_the_daemon(place):
    place.again()
    p = place.capture("any", "", place.lab.tmp / "s.pcapng")
    place.download(100000)
    assert place.lab.stop(place.gw) == 0
    _, err = p.communicate(timeout=20)
    assert b"packets captured" in err
    assert len(tshark(place.lab.tmp / "s.pcapng")) > 0
