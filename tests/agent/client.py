"""
The socket agent's protocol (tests/agent/call.h), and sockets that speak it.

    agent = Agent("/tmp/agent.sock")
    s = agent.socket()
    s.bind(("10.9.0.2", 80))
    s.listen(5)
    c, peer = s.accept()

A Socket has the methods of Python's own, and raises OSError with Linux' errno. Each call has a
connection to the agent of its own, so calls may block in threads; Agent.start() sends one and
returns a Call whose result is asked for later.
"""
import os
import select
import socket
import struct

REQUEST = struct.Struct("=iiiiiI")
REPLY = struct.Struct("=qiI")
(SOCKET, BIND, LISTEN, ACCEPT, CONNECT, READ, WRITE, SEND, RECV, CLOSE, SHUTDOWN, GETSOCKOPT, SETSOCKOPT, FCNTL, POLL,
 IOCTL) = range(1, 17)

SIOCINQ, SIOCOUTQ, SIOCOUTQNSD = 0x541B, 0x5411, 0x894B
TCP_INFO = 11

# struct tcp_info of <linux/tcp.h>; bit fields as bytes.
INFO_FIELDS = """
    state:B ca_state:B retransmits:B probes:B backoff:B options:B wscale:B bits:B
    rto:I ato:I snd_mss:I rcv_mss:I unacked:I sacked:I lost:I retrans:I fackets:I
    last_data_sent:I last_ack_sent:I last_data_recv:I last_ack_recv:I
    pmtu:I rcv_ssthresh:I rtt:I rttvar:I snd_ssthresh:I snd_cwnd:I advmss:I reordering:I rcv_rtt:I rcv_space:I
    total_retrans:I pacing_rate:Q max_pacing_rate:Q bytes_acked:Q bytes_received:Q segs_out:I segs_in:I
    notsent_bytes:I min_rtt:I data_segs_in:I data_segs_out:I delivery_rate:Q
    busy_time:Q rwnd_limited:Q sndbuf_limited:Q delivered:I delivered_ce:I bytes_sent:Q bytes_retrans:Q
    dsack_dups:I reord_seen:I rcv_ooopack:I snd_wnd:I""".split()
INFO = struct.Struct("=" + "".join(f.split(":")[1] for f in INFO_FIELDS))
INFO_NAMES = [f.split(":")[0] for f in INFO_FIELDS]

(ESTABLISHED, SYN_SENT, SYN_RECV, FIN_WAIT1, FIN_WAIT2, TIME_WAIT, CLOSED, CLOSE_WAIT, LAST_ACK, LISTENING,
 CLOSING) = range(1, 12)


class TcpInfo:
    """The fields of a struct tcp_info, as attributes."""

    def __init__(self, data):
        data = data[:INFO.size]
        self.__dict__.update(zip(INFO_NAMES, INFO.unpack(data + bytes(INFO.size - len(data)))))
        self.snd_wscale, self.rcv_wscale = self.wscale & 15, self.wscale >> 4
        self.app_limited = self.bits & 1

    def __repr__(self):
        return " ".join(f"{n}={getattr(self, n)}" for n in INFO_NAMES)


def sockaddr(address, domain=socket.AF_INET):
    host, port = address[:2]
    if domain == socket.AF_INET:
        return struct.pack("=H2s4s8x", domain, struct.pack("!H", port), socket.inet_aton(host))
    return struct.pack("=H2sI16sI", domain, struct.pack("!H", port), 0, socket.inet_pton(socket.AF_INET6, host), 0)


def address_of(data):
    family = struct.unpack_from("=H", data)[0]
    port = struct.unpack_from("!H", data, 2)[0]
    if family == socket.AF_INET:
        return socket.inet_ntoa(data[4:8]), port
    return socket.inet_ntop(socket.AF_INET6, data[8:24]), port


class Call:
    """A call in progress."""

    def __init__(self, path, op, fd=-1, a=0, b=0, c=0, data=b"", raw=None):
        self.conn = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.conn.connect(path)  # waits for its turn, as it has no timeout yet
        self.conn.settimeout(20)
        self.conn.sendall(REQUEST.pack(op, fd, a, b, c, len(data)) + data if raw is None else raw)

    def _read(self, n):
        data = b""
        while len(data) < n:
            part = self.conn.recv(n - len(data))
            if not part:
                raise ConnectionError("the agent has closed the connection")
            data += part
        return data

    def reply(self, seconds=20):
        """(ret, err, data)"""
        self.conn.settimeout(seconds)
        with self.conn:
            ret, err, n = REPLY.unpack(self._read(REPLY.size))
            return ret, err, self._read(n)

    def result(self, seconds=20):
        """(ret, data), or OSError."""
        ret, err, data = self.reply(seconds)
        if ret < 0:
            raise OSError(err, os.strerror(err))
        return ret, data

    def is_done(self, seconds=0.0):
        return bool(select.select([self.conn], [], [], seconds)[0])

    def abandon(self):
        self.conn.close()


class Agent:
    def __init__(self, path):
        self.path = str(path)

    def start(self, op, *args, **kw):
        return Call(self.path, op, *args, **kw)

    def call(self, op, *args, **kw):
        return self.start(op, *args, **kw).result()

    def socket(self, domain=socket.AF_INET, kind=socket.SOCK_STREAM, proto=0):
        return Socket(self, self.call(SOCKET, -1, domain, kind, proto)[0], domain)

    def poll(self, fds, timeout=0):
        """{Socket: events} to {Socket: revents}, without those that have none."""
        socks = list(fds)
        data = b"".join(struct.pack("=ihh", s.fd if isinstance(s, Socket) else s, fds[s], 0) for s in socks)
        _, out = self.call(POLL, -1, timeout, data=data)
        revents = [struct.unpack_from("=ihh", out, 8 * i)[2] for i in range(len(socks))]
        return {s: r for s, r in zip(socks, revents) if r}


class Socket:
    def __init__(self, agent, fd, domain=socket.AF_INET):
        self.agent, self.fd, self.domain = agent, fd, domain

    def start(self, op, *args, **kw):
        return self.agent.start(op, self.fd, *args, **kw)

    def call(self, op, *args, **kw):
        return self.start(op, *args, **kw).result()

    def address(self, address):
        return sockaddr(address, self.domain)

    def bind(self, address):
        self.call(BIND, data=self.address(address))

    def listen(self, backlog=128):
        self.call(LISTEN, backlog)

    def accept(self):
        return self.accepted(self.start(ACCEPT))

    def accepted(self, call):
        fd, data = call.result()
        return Socket(self.agent, fd, self.domain), address_of(data)

    def connect(self, address):
        self.call(CONNECT, data=self.address(address))

    def start_connect(self, address):
        return self.start(CONNECT, data=self.address(address))

    def connect_ex(self, address):
        return self.start_connect(address).reply()[1]

    def disconnect(self):
        self.call(CONNECT, data=struct.pack("=H14x", socket.AF_UNSPEC))

    def read(self, n):
        return self.call(READ, n)[1]

    def write(self, data):
        return self.call(WRITE, data=data)[0]

    def send(self, data, flags=0):
        return self.call(SEND, 0, flags, data=data)[0]

    def recv(self, n, flags=0):
        return self.call(RECV, n, flags)[1]

    def recv_exactly(self, n):
        data = b""
        while len(data) < n:
            part = self.recv(min(n - len(data), 1 << 20))
            if not part:
                break
            data += part
        return data

    def close(self):
        self.call(CLOSE)

    def shutdown(self, how):
        self.call(SHUTDOWN, how)

    def getsockopt(self, level, name, length=4):
        data = self.call(GETSOCKOPT, level, name, length)[1]
        return struct.unpack("=i", data)[0] if length == 4 and len(data) == 4 else data

    def setsockopt(self, level, name, value):
        self.call(SETSOCKOPT, level, name, data=struct.pack("=i", value) if isinstance(value, int) else value)

    def info(self):
        return TcpInfo(self.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 256))

    def error(self):
        return self.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def fcntl(self, cmd, arg=0):
        return self.call(FCNTL, cmd, arg)[0]

    def setblocking(self, on):
        self.fcntl(4, 0 if on else os.O_NONBLOCK)

    def ioctl(self, request):
        return struct.unpack("=i", self.call(IOCTL, request)[1])[0]

    def poll(self, events=select.POLLIN | select.POLLOUT | 0x2000, timeout=0):
        return self.agent.poll({self: events}, timeout).get(self, 0)
