"""
Segments by hand, in the manner of packetdrill: a peer whose every segment the test writes.

Sequence numbers count from 0 for each side's SYN, as in tests/lib/peer.h:

    peer = Peer(wire, port)          a client of ours at 10.9.0.64 or beyond
    peer.tx("S", 0)                  SYN
    peer.rx("SA", 0, 1)              the next segment of the agent must be this one
"""
import itertools
import select
import socket
import struct
import time

from agentlab import AGENT_NS, MAC, OURS, PEER_NS, ns, within

FLAGS = "FSRPAUEC"
_hosts = itertools.cycle(range(64, 127))
_ports = itertools.count(20000)


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


class Segment:
    def __init__(self, ip):
        header = (ip[0] & 15) * 4
        self.tos = ip[1]
        self.src, self.dst = socket.inet_ntoa(ip[12:16]), socket.inet_ntoa(ip[16:20])
        tcp = ip[header:struct.unpack_from("!H", ip, 2)[0]]
        (self.sport, self.dport, self.seq, self.ack, off, flags, self.wnd) = struct.unpack_from("!HHIIBBH", tcp)
        self.flags = "".join(f for i, f in enumerate(FLAGS) if flags >> i & 1)
        self.data = tcp[(off >> 4) * 4:]
        self.good = checksum(ip[12:20] + struct.pack("!HH", 6, len(tcp)) + tcp) == 0
        self.mss = self.wscale = self.ts = None
        self.sack_ok, self.sacks = False, []
        self._options(tcp[20:(off >> 4) * 4])

    def _options(self, o):
        while o and o[0] != 0:
            if o[0] == 1:
                o = o[1:]
                continue
            kind, n = o[0], o[1]
            if kind == 2:
                self.mss = struct.unpack("!H", o[2:4])[0]
            elif kind == 3:
                self.wscale = o[2]
            elif kind == 4:
                self.sack_ok = True
            elif kind == 5:
                self.sacks = [struct.unpack_from("!II", o, 2 + 8 * i) for i in range((n - 2) // 8)]
            elif kind == 8:
                self.ts = struct.unpack("!II", o[2:10])
            o = o[n:]

    def __repr__(self):
        return f"{self.flags} seq {self.seq} ack {self.ack} len {len(self.data)} wnd {self.wnd}"


class Wire:
    """A packet socket on pe0."""

    def __init__(self):
        self.sock = within(PEER_NS, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)))
        self.sock.bind(("pe0", 0x0800))
        self.to = bytes.fromhex(ns(AGENT_NS, "cat", "/sys/class/net/ag0/address").stdout.strip().replace(":", ""))
        self.mine = bytes.fromhex(MAC.replace(":", ""))

    def tx(self, ip):
        self.sock.send(self.to + self.mine + b"\x08\x00" + ip)

    def rx(self, deadline):
        """The next TCP segment from the agent, or None."""
        while True:
            left = deadline - time.monotonic()
            if not select.select([self.sock], [], [], max(left, 0))[0]:
                return None
            frame, where = self.sock.recvfrom(4096)
            if where[2] == socket.PACKET_OUTGOING or frame[14 + 9] != 6:
                continue
            s = Segment(frame[14:])
            s.at = time.monotonic()
            return s

    def close(self):
        self.sock.close()


class Peer:
    def __init__(self, wire, port, host=None, address=OURS, mss=1460, wnd=65535, wscale=None, sack=False, ts=None,
                 sport=None):
        self.wire, self.address, self.port = wire, address, port
        self.host = host or f"10.9.0.{next(_hosts)}"
        self.sport = sport or next(_ports)
        self.iss, self.their_iss = 0x7fffff00, None
        self.mss, self.wnd, self.wscale, self.sack, self.ts = mss, wnd, wscale, sack, ts
        self.last = None

    # --- sending

    def _syn_options(self):
        o = struct.pack("!BBH", 2, 4, self.mss)
        if self.sack:
            o += b"\x04\x02\x01\x01"
        if self.wscale is not None:
            o += bytes([1, 3, 3, self.wscale])
        return o

    def tx(self, flags, seq, ack=0, data=b"", wnd=None, options=b"", tos=0, bad=False):
        if "S" in flags:
            options += self._syn_options()
        if self.ts is not None:
            echo = self.last.ts[0] if self.last is not None and self.last.ts else 0
            options += b"\x01\x01" + struct.pack("!BBII", 8, 10, self.ts, echo)
        bits = sum(1 << FLAGS.index(f) for f in flags)
        head = struct.pack("!HHIIBBHHH", self.sport, self.port, (self.iss + seq) & 0xffffffff,
                           (ack + (self.their_iss or 0)) & 0xffffffff if "A" in flags else 0,
                           (20 + len(options)) // 4 << 4, bits, self.wnd if wnd is None else wnd, 0, 0)
        tcp = head + options + data
        ends = socket.inet_aton(self.host) + socket.inet_aton(self.address)
        total = checksum(ends + struct.pack("!HH", 6, len(tcp)) + tcp) ^ (1 if bad else 0)
        tcp = tcp[:16] + struct.pack("!H", total) + tcp[18:]
        ip = struct.pack("!BBHHHBBH", 0x45, tos, 20 + len(tcp), 0, 0x4000, 64, 6, 0) + ends
        ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
        self.wire.tx(ip + tcp)

    def tx_sack(self, ack, *blocks, wnd=None):
        o = b"\x01\x01" + struct.pack("!BB", 5, 2 + 8 * len(blocks))
        o += b"".join(struct.pack("!II", *((self.their_iss + x) & 0xffffffff for x in b)) for b in blocks)
        self.tx("A", 1, ack, options=o, wnd=wnd)

    # --- receiving

    def next(self, seconds=2.0):
        """The agent's next segment for us, with relative numbers; None: it sends none."""
        deadline = time.monotonic() + seconds
        while (s := self.wire.rx(deadline)) is not None:
            if (s.dst, s.dport, s.src, s.sport) != (self.host, self.sport, self.address, self.port):
                continue
            if "S" in s.flags:
                self.their_iss = s.seq
            assert s.good, "a wrong checksum"
            self.last = s
            s.seq = (s.seq - (self.their_iss or 0)) & 0xffffffff
            s.ack = (s.ack - self.iss) & 0xffffffff if "A" in s.flags else 0
            s.sacks = [tuple((x - self.iss) & 0xffffffff for x in b) for b in s.sacks]
            return s
        return None

    def rx(self, flags, seq=None, ack=None, length=None, seconds=2.0):
        s = self.next(seconds)
        wanted = f"{flags} seq {seq} ack {ack} len {length}"
        assert s is not None, f"no segment, where {wanted} was due"
        assert sorted(s.flags) == sorted(flags), f"{s}, where {wanted} was due"
        for name, is_, want in (("seq", s.seq, seq), ("ack", s.ack, ack), ("len", len(s.data), length)):
            assert want is None or is_ == want, f"{s}, where {wanted} was due ({name})"
        return s

    def rx_none(self, seconds=0.1):
        s = self.next(seconds)
        assert s is None, f"{s}, where nothing was due"

    def drain(self, seconds=0.05):
        """What comes within @seconds of silence."""
        got = []
        while (s := self.next(seconds)) is not None:
            got.append(s)
        return got

    # --- whole handshakes

    def open(self, seconds=0.0):
        """We connect to the agent, which finds a round trip of @seconds."""
        self.tx("S", 0)
        s = self.rx("SA", 0, 1)
        time.sleep(seconds)
        self.tx("A", 1, 1)
        return s

    def answer(self):
        """The agent connects to us: its SYN is answered."""
        s = self.rx("S", 0)
        self.tx("SA", 0, 1)
        self.rx("A", 1, 1, 0)
        return s


def remote(wire, port=7777, **kw):
    """A peer that the agent connects to; its ports are learned from the SYN."""
    p = Peer(wire, None, sport=port, **kw)

    def next_(seconds=2.0):
        if p.port is None:
            deadline = time.monotonic() + seconds
            while (s := wire.rx(deadline)) is not None:
                if s.dst == p.host and s.dport == p.sport and "S" in s.flags:
                    p.port, p.their_iss, p.last = s.sport, s.seq, s
                    s.seq, s.ack = 0, 0
                    return s
            return None
        return Peer.next(p, seconds)
    p.next = next_
    return p
