"""tests/lib/badwire.c does to frames what it says, at the rates it says.

Two namespaces with a third between them, where badwire relays:

    left l0 <-> wa (wire) wb <-> r0 right

Bounds are four standard deviations or wider, and the seed is fixed: what passes once, passes.
Needs root, iproute2 and ethtool.
"""

import ctypes
import glob
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

CLONE_NEWNET = 0x40000000
LEFT, RIGHT = "10.77.0.1", "10.77.0.2"
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
libc = ctypes.CDLL(None, use_errno=True)


def find_badwire():
    build = os.environ.get("ISTHMUS_BUILD")
    dirs = [build] if build else sorted(glob.glob(os.path.join(ROOT, "build*")))
    for d in dirs:
        path = os.path.join(d, "tests", "lib", "badwire")
        if os.access(path, os.X_OK):
            return path
    return None


BADWIRE = find_badwire()

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces"),
    pytest.mark.skipif(BADWIRE is None, reason="badwire is not built"),
    pytest.mark.skipif(shutil.which("ip") is None or shutil.which("ethtool") is None,
                       reason="needs iproute2 and ethtool"),
]


def sh(*args):
    return subprocess.run(args, check=True, capture_output=True, text=True).stdout


class Namespace:
    def __init__(self, name):
        self.name = name
        sh("ip", "netns", "add", name)
        self.sh("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1",
                "net.ipv6.conf.default.disable_ipv6=1")

    def sh(self, *args):
        return sh("ip", "netns", "exec", self.name, *args)

    def socket(self, kind, family=socket.AF_INET):
        """A socket of this namespace; the thread itself comes back."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        try:
            if libc.setns(there, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
            try:
                return socket.socket(family, kind)
            finally:
                libc.setns(home, CLONE_NEWNET)
        finally:
            os.close(home)
            os.close(there)

    def delete(self):
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True)


class Cable:
    def __init__(self):
        tag = f"isthmus-bw{os.getpid()}"
        self.spaces = []
        self.process = None
        try:
            for name in ("left", "wire", "right"):
                self.spaces.append(Namespace(f"{tag}-{name}"))
            self.left, self.wire, self.right = self.spaces
            self.join(self.left, "l0", "wa", LEFT)
            self.join(self.right, "r0", "wb", RIGHT)
            # No ARP: every frame on the wire is one of the test's, so a seed means the same fate.
            self.left.sh("ip", "neigh", "replace", RIGHT, "lladdr", self.mac(self.right, "r0"),
                         "dev", "l0")
            self.right.sh("ip", "neigh", "replace", LEFT, "lladdr", self.mac(self.left, "l0"),
                          "dev", "r0")
        except Exception:
            self.close()
            raise

    def join(self, space, end, wire_end, addr):
        self.wire.sh("ip", "link", "add", wire_end, "type", "veth", "peer", "name", end, "netns",
                     space.name)
        space.sh("ip", "addr", "add", f"{addr}/24", "dev", end)
        for s, dev in ((space, end), (self.wire, wire_end)):
            s.sh("ip", "link", "set", dev, "up")
            s.sh("ethtool", "-K", dev, "tx", "off", "tso", "off", "gso", "off", "gro", "off")

    @staticmethod
    def mac(space, dev):
        return re.search(r"link/ether (\S+)", space.sh("ip", "link", "show", dev)).group(1)

    def start(self, *options):
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", self.wire.name, BADWIRE, "wa", "wb", *map(str, options)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n", self.process.stderr.read()

    def read_counters(self):
        both = {}
        for _ in range(2):
            name, *pairs = self.process.stdout.readline().split()
            both[name] = {k: int(v) for k, v in (p.split("=") for p in pairs)}
        return both["ab"], both["ba"]

    def counters(self):
        self.process.send_signal(signal.SIGUSR1)
        return self.read_counters()

    def stop(self):
        """Counters of both directions, at the end."""
        self.process.terminate()
        both = self.read_counters()
        assert self.process.wait(5) == 0
        self.complaints = self.process.stderr.read()
        self.process = None
        return both

    def udp(self):
        sender, receiver = self.left.socket(socket.SOCK_DGRAM), self.right.socket(socket.SOCK_DGRAM)
        receiver.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
        receiver.bind((RIGHT, 9))
        sender.connect((RIGHT, 9))
        return sender, receiver

    def close(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        for s in self.spaces:
            s.delete()


@pytest.fixture
def cable():
    c = Cable()
    try:
        yield c
    finally:
        c.close()


def send_numbers(cable, n, size=200, quiet_s=0.3, pace=50):
    """Sends n numbered datagrams; returns (number, seconds after it was sent) in order of arrival."""
    sender, receiver = cable.udp()
    sent_at, got = {}, []
    receiver.settimeout(quiet_s)

    def receive():
        while True:
            try:
                data = receiver.recv(65536)
            except socket.timeout:
                if len(sent_at) == n:
                    return
                continue
            now = time.monotonic()
            number = int(data[:8])
            got.append((number, now - sent_at[number]))

    with sender, receiver:
        thread = threading.Thread(target=receive)
        thread.start()
        for i in range(n):
            sent_at[i] = time.monotonic()
            sender.send(b"%08d" % i + b"x" * (size - 8))
            if i % pace == pace - 1:
                time.sleep(0.001)  # a rate, so that no queue of the kernel is full
        thread.join()
    return got


def near(count, n, share, sigmas=4):
    sigma = (n * share * (1 - share)) ** 0.5
    return abs(count - n * share) <= sigmas * sigma


def numbers(got):
    return [number for number, _ in got]


def test_a_good_wire_loses_and_changes_nothing(cable):
    cable.start()
    got = send_numbers(cable, 5000)
    ab, ba = cable.stop()
    assert numbers(got) == list(range(5000))
    assert ab["received"] == ab["sent"] == 5000
    assert sum(ab.values()) == 10000  # nothing else was counted
    assert ba["received"] == 0


def test_loss_is_what_was_asked_for(cable):
    cable.start("--loss", 10, "--seed", 3)
    got = send_numbers(cable, 5000)
    ab, _ = cable.stop()
    assert near(ab["lost"], 5000, 0.10)
    assert len(got) == ab["sent"] == 5000 - ab["lost"]
    assert numbers(got) == sorted(numbers(got))


def test_the_same_seed_loses_the_same_frames(cable):
    fates = []
    for seed in (7, 7, 8):
        cable.start("--loss", 20, "--seed", seed)
        fates.append(numbers(send_numbers(cable, 1000)))
        cable.stop()
    assert fates[0] == fates[1] != fates[2]


def test_bursts_are_long_and_the_overall_loss_the_same(cable):
    n = 20000
    cable.start("--loss", 10, "--burst", 8, "--seed", 5)
    got = set(numbers(send_numbers(cable, n, size=64)))
    cable.stop()
    lost = [i not in got for i in range(n)]
    n_bursts = sum(1 for i in range(n) if lost[i] and (i == 0 or not lost[i - 1]))
    # 250 bursts of a mean of 8 are expected; both vary by about an eighth at two sigmas.
    assert 6.5 < sum(lost) / n_bursts < 9.5
    assert 0.07 < sum(lost) / n < 0.13


def test_one_direction_alone(cable):
    cable.start("--loss-ba", 100)
    assert len(send_numbers(cable, 500)) == 500
    ab, ba = cable.stop()
    assert ab["lost"] == 0
    cable.start("--loss-ab", 100)
    assert send_numbers(cable, 500) == []
    ab, ba = cable.stop()
    assert ab["lost"] == 500


def test_delay_is_kept_in_both_directions(cable):
    cable.start("--delay-ab", 20, "--delay-ba", 5)
    rtts = [float(t) for t in
            re.findall(r"time=([\d.]+)", cable.left.sh("ping", "-c", "20", "-i", "0.02", RIGHT))]
    cable.stop()
    assert len(rtts) == 20
    assert min(rtts) >= 25
    assert sorted(rtts)[10] < 29


def test_jitter_spreads_evenly_and_overtakes(cable):
    cable.start("--delay", 20, "--jitter", 10, "--seed", 4)
    got = send_numbers(cable, 1000, pace=5)
    cable.stop()
    assert len(got) == 1000
    ms = sorted(1000 * delay for _, delay in got)
    assert ms[0] >= 10
    assert 10 <= ms[50] <= 13  # a twentieth of 20 ms above the least
    assert 18.5 < ms[500] < 23.5
    assert numbers(got) != sorted(numbers(got))


def test_reordered_frames_skip_the_delay(cable):
    cable.start("--delay", 30, "--reorder", 25, "--seed", 9)
    got = send_numbers(cable, 2000, pace=5)
    ab, _ = cable.stop()
    early = [number for number, delay in got if delay < 0.025]
    assert len(got) == 2000
    assert near(ab["reordered"], 2000, 0.25)
    assert abs(len(early) - ab["reordered"]) < 20  # a busy machine may hold one up
    late = [number for number, delay in got if delay >= 0.030]
    assert late == sorted(late)


def test_duplicates_arrive_twice(cable):
    cable.start("--duplicate", 10, "--seed", 6)
    got = numbers(send_numbers(cable, 5000))
    ab, _ = cable.stop()
    assert near(ab["duplicated"], 5000, 0.10)
    assert len(got) == ab["sent"] == 5000 + ab["duplicated"]
    assert sorted(set(got)) == list(range(5000))


def test_a_corrupt_frame_differs_in_one_bit(cable):
    cable.start("--corrupt", 20, "--seed", 2)
    got = send_numbers(cable, 5000)
    ab, _ = cable.stop()
    assert near(ab["corrupted"], 5000, 0.20)
    assert ab["sent"] == 5000
    # The receiver's checksums find every single bit, but for those that no checksum covers
    # (none in IPv4 and UDP, except a bit that makes it another protocol, and is lost too).
    assert len(got) == 5000 - ab["corrupted"]


def test_the_line_has_a_rate_and_a_queue(cable):
    cable.start("--rate", 10, "--limit", 200)
    got = send_numbers(cable, 500, size=1000, pace=500)
    ab, _ = cable.stop()
    frame = 1000 + 28 + 14
    assert 200 <= len(got) <= 260  # the queue, and what left it meanwhile
    assert ab["queue_full"] == 500 - len(got)
    longest = max(delay for _, delay in got)
    assert 0.9 < longest / (200 * frame * 8 / 10e6) < 1.3


def test_a_frame_meant_for_a_nic_to_cut_is_refused_loudly(cable):
    cable.left.sh("ethtool", "-K", "l0", "tx", "on", "sg", "on", "tso", "on", "gso", "on")
    cable.start()
    server, client = cable.right.socket(socket.SOCK_STREAM), cable.left.socket(socket.SOCK_STREAM)
    with server, client:
        server.bind((RIGHT, 80))
        server.listen()
        client.settimeout(1)
        try:
            client.connect((RIGHT, 80))
            client.sendall(b"x" * 100000)
        except OSError:
            pass
        end = time.monotonic() + 5
        while cable.counters()[0]["half_summed"] + cable.counters()[0]["too_long"] == 0:
            assert time.monotonic() < end
        cable.stop()
    assert "ethtool -K" in cable.complaints


def test_vlan_tags_pass(cable):
    """The kernel takes tags out of frames on the way in: badwire puts them back."""
    sent = bytes(6) + bytes(6) + bytes.fromhex("8100" "a005" "88b5") + b"tagged".ljust(60)
    sender = cable.left.socket(socket.SOCK_RAW, socket.AF_PACKET)
    receiver = cable.right.socket(socket.SOCK_RAW, socket.AF_PACKET)
    with sender, receiver:
        sender.bind(("l0", 0))
        receiver.setsockopt(263, 8, 1)  # SOL_PACKET, PACKET_AUXDATA
        receiver.bind(("r0", 3))  # ETH_P_ALL
        receiver.settimeout(1)
        cable.start()
        sender.send(sent)
        frame, control, _, _ = receiver.recvmsg(2000, 100)
        cable.stop()
    _, _, _, _, _, tci, tpid = struct.unpack("IIIHHHH", control[0][2][:20])
    assert (tpid, tci) == (0x8100, 0xa005)
    assert frame == sent[:12] + sent[16:]


def test_fast_enough_for_a_gigabit(cable):
    """TCP in full frames, without losses of our own. The bound is low for the sake of busy
    machines: an idle one does several times as much."""
    cable.start()
    server, client = cable.right.socket(socket.SOCK_STREAM), cable.left.socket(socket.SOCK_STREAM)
    server.bind((RIGHT, 80))
    server.listen()
    n_bytes = [0]

    def receive():
        conn, _ = server.accept()
        with conn:
            while True:
                data = conn.recv(1 << 20)
                if not data:
                    return
                n_bytes[0] += len(data)

    with server, client:
        thread = threading.Thread(target=receive)
        thread.start()
        client.connect((RIGHT, 80))
        start = time.monotonic()
        while time.monotonic() - start < 2:
            client.sendall(b"x" * 65536)
        client.shutdown(socket.SHUT_WR)
        thread.join()
        seconds = time.monotonic() - start
    ab, ba = cable.stop()
    rate = n_bytes[0] * 8 / seconds / 1e6
    print(f"{rate:.0f} Mbit/s, {ab['received'] / seconds:.0f} frames/s")
    for d in (ab, ba):
        assert d["missed"] == d["queue_full"] == d["device_full"] == 0
    assert rate > 150


def test_usage_is_told(cable):
    for args in ([], ["wa"], ["wa", "wb", "--loss", "101"], ["wa", "wb", "--loss", "x"],
                 ["wa", "wb", "--nonsense", "1"]):
        p = subprocess.run([BADWIRE, *args], capture_output=True, text=True)
        assert p.returncode == 2
        assert p.stderr
    p = subprocess.run([BADWIRE, "no-such-if", "wb"], capture_output=True, text=True)
    assert p.returncode == 1 and "no-such-if" in p.stderr
    p = subprocess.run(["ip", "netns", "exec", cable.wire.name, BADWIRE, "wa", "wb", "--reorder",
                        "5"], capture_output=True, text=True)
    assert p.returncode == 1 and "needs a --delay" in p.stderr
