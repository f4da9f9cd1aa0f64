"""getsockopt() and setsockopt()."""
import errno
import socket
import struct

import pytest

from agentlab import OURS, linux
from client import GETSOCKOPT, SETSOCKOPT
from script import Peer, remote

SOL, TCP = 1, 6
NODELAY, MAXSEG, CORK, KEEPIDLE, KEEPINTVL, KEEPCNT, SYNCNT, LINGER2, DEFER_ACCEPT, WINDOW_CLAMP = range(1, 11)
QUICKACK, CONGESTION, USER_TIMEOUT, NOTSENT_LOWAT = 12, 13, 18, 25


def refused(s, level, name, value):
    data = struct.pack("=i", value) if isinstance(value, int) else value
    return s.start(SETSOCKOPT, level, name, data=data).reply()[1]


@pytest.mark.parametrize("level,name,default,value,then", [
    (SOL, socket.SO_REUSEADDR, 0, 1, 1), (SOL, socket.SO_REUSEADDR, 0, 77, 1),
    (SOL, socket.SO_KEEPALIVE, 0, 1, 1), (SOL, socket.SO_RCVBUF, 131072, 10000, 20000),
    (SOL, socket.SO_RCVBUF, 131072, 1, 2304), (SOL, socket.SO_RCVBUF, 131072, 1 << 30, 425984),
    (SOL, socket.SO_RCVBUF, 131072, -1, 425984), (SOL, socket.SO_SNDBUF, 131072, 10000, 20000),
    (SOL, socket.SO_SNDBUF, 131072, 1, 4608), (SOL, socket.SO_SNDBUF, 131072, 1 << 30, 425984),
    (SOL, 33, None, 1000000, None), (SOL, 32, None, 1000000, None),
    (SOL, socket.SO_RCVLOWAT, 1, 100, 100), (SOL, socket.SO_RCVLOWAT, 1, 0, 1),
    (TCP, NODELAY, 0, 1, 1), (TCP, CORK, 0, 1, 1), (TCP, MAXSEG, 536, 1000, 1000), (TCP, KEEPIDLE, 7200, 60, 60),
    (TCP, KEEPINTVL, 75, 7, 7), (TCP, KEEPCNT, 9, 3, 3), (TCP, SYNCNT, 6, 2, 2), (TCP, QUICKACK, 1, 0, 0),
    (TCP, USER_TIMEOUT, 0, 4321, 4321), (TCP, NOTSENT_LOWAT, 0, 5000, 5000), (TCP, WINDOW_CLAMP, 0, 5000, 5000),
    (TCP, WINDOW_CLAMP, 0, 1, 1152)])
def test_an_option_is_set_and_read_back(agent, level, name, default, value, then):
    s = agent.socket()
    if default is not None:
        assert s.getsockopt(level, name) == default
    s.setsockopt(level, name, value)
    if then is not None:
        assert s.getsockopt(level, name) == then


def test_force_goes_beyond_the_limit(agent):
    s = agent.socket()
    s.setsockopt(SOL, 33, 1000000)
    s.setsockopt(SOL, 32, 1000000)
    assert s.getsockopt(SOL, socket.SO_RCVBUF) == 2000000
    assert s.getsockopt(SOL, socket.SO_SNDBUF) == 2000000


@pytest.mark.parametrize("name,value", [
    (socket.SO_TYPE, 1), (socket.SO_PROTOCOL, 6), (socket.SO_DOMAIN, 2), (socket.SO_ACCEPTCONN, 0),
    (socket.SO_ERROR, 0), (19, 1)])
def test_what_can_only_be_read(agent, name, value):
    s = agent.socket()
    assert s.getsockopt(SOL, name) == value
    if name != socket.SO_ERROR:
        assert refused(s, SOL, name, 1) == errno.ENOPROTOOPT


@pytest.mark.parametrize("level,name,value", [
    (TCP, MAXSEG, 87), (TCP, MAXSEG, 32768), (TCP, MAXSEG, -1), (TCP, KEEPIDLE, 0), (TCP, KEEPIDLE, 32768),
    (TCP, KEEPINTVL, 0), (TCP, KEEPINTVL, 32768), (TCP, KEEPCNT, 0), (TCP, KEEPCNT, 128), (TCP, SYNCNT, 0),
    (TCP, SYNCNT, 128), (TCP, USER_TIMEOUT, -1), (TCP, NODELAY, b"x"), (SOL, socket.SO_KEEPALIVE, b""),
    (SOL, socket.SO_LINGER, 1), (SOL, 20, 1), (TCP, CONGESTION, b"")])
def test_values_that_are_refused(agent, level, name, value):
    assert refused(agent.socket(), level, name, value) == errno.EINVAL


@pytest.mark.parametrize("level,name", [
    (SOL, socket.SO_REUSEPORT), (SOL, socket.SO_BROADCAST), (SOL, socket.SO_PRIORITY), (SOL, socket.SO_MARK),
    (SOL, socket.SO_BINDTODEVICE), (SOL, 47), (SOL, 60), (SOL, 9999), (TCP, LINGER2), (TCP, DEFER_ACCEPT), (TCP, 14),
    (TCP, 19), (TCP, 23), (TCP, 30), (TCP, 31), (TCP, 9999), (0, socket.IP_TOS), (0, socket.IP_TTL), (41, 26),
    (41, 67), (99, 1)])
def test_options_that_there_are_not(agent, level, name):
    s = agent.socket()
    assert refused(s, level, name, 1) == errno.ENOPROTOOPT
    assert s.start(GETSOCKOPT, level, name, 4).reply()[1] == errno.ENOPROTOOPT


def test_a_negative_length_is_refused(agent):
    assert agent.socket().start(GETSOCKOPT, SOL, socket.SO_TYPE, -1).reply()[1] == errno.EINVAL


def test_a_short_length_gives_a_part(agent):
    assert agent.socket().getsockopt(SOL, socket.SO_TYPE, 1) == b"\1"
    assert agent.socket().getsockopt(SOL, socket.SO_TYPE, 0) == b""


def test_linger_is_read_back(agent):
    s = agent.socket()
    assert s.getsockopt(SOL, socket.SO_LINGER, 8) == struct.pack("=ii", 0, 0)
    s.setsockopt(SOL, socket.SO_LINGER, struct.pack("=ii", 1, 9))
    assert s.getsockopt(SOL, socket.SO_LINGER, 8) == struct.pack("=ii", 1, 9)
    s.setsockopt(SOL, socket.SO_LINGER, struct.pack("=ii", 0, 3))
    assert s.getsockopt(SOL, socket.SO_LINGER, 8) == struct.pack("=ii", 0, 9)


@pytest.mark.parametrize("name", [20, 21, 66, 67])
def test_timeouts_are_read_back(agent, name):
    s = agent.socket()
    assert s.getsockopt(SOL, name, 16) == bytes(16)
    s.setsockopt(SOL, name, struct.pack("=qq", 3, 250000))
    assert s.getsockopt(SOL, name, 16) == struct.pack("=qq", 3, 250000)
    assert refused(s, SOL, name, struct.pack("=qq", 0, 1000000)) == errno.EDOM
    s.setsockopt(SOL, name, bytes(16))
    assert s.getsockopt(SOL, name, 16) == bytes(16)


def test_congestion_control_by_name(agent):
    s = agent.socket()
    assert s.getsockopt(TCP, CONGESTION, 16) == b"cubic".ljust(16, b"\0")
    s.setsockopt(TCP, CONGESTION, b"reno")
    assert s.getsockopt(TCP, CONGESTION, 16) == b"reno".ljust(16, b"\0")
    s.setsockopt(TCP, CONGESTION, b"cubic\0\0\0")
    assert s.getsockopt(TCP, CONGESTION, 3) == b"cub"
    assert refused(s, TCP, CONGESTION, b"bbr") == errno.ENOENT


def test_v6only(agent):
    s = agent.socket(socket.AF_INET6)
    assert s.getsockopt(SOL, socket.SO_DOMAIN) == socket.AF_INET6
    assert s.getsockopt(41, 26) == 0
    s.setsockopt(41, 26, 1)
    assert s.getsockopt(41, 26) == 1
    s.bind(("::", 0))
    assert refused(s, 41, 26, 0) == errno.EINVAL


def test_maxseg_clamps_both_ways(agent, wire, port):
    s = agent.socket()
    s.setsockopt(TCP, MAXSEG, 600)
    s.bind((OURS, port))
    s.listen()
    p = Peer(wire, port)
    p.tx("S", 0)
    assert p.rx("SA", 0, 1).mss == 600
    p.tx("A", 1, 1)
    child, _ = s.accept()
    assert child.getsockopt(TCP, MAXSEG) == 600
    child.write(b"x" * 1000)
    p.rx("A", 1, 1, 600)
    p.rx("PA", 601, 1, 400)


def test_the_peers_mss_is_maxseg_too(agent, listener, wire):
    p = Peer(wire, listener.port, mss=700)
    p.open()
    s, _ = listener.accept()
    assert s.getsockopt(TCP, MAXSEG) == 700


@pytest.mark.parametrize("size,wscale", [(10000, 0), (65535, 0), (100000, 1), (212992, 2)])
def test_rcvbuf_before_the_syn_chooses_window_and_scale(agent, wire, size, wscale):
    s = agent.socket()
    s.setsockopt(SOL, socket.SO_RCVBUF, size)
    p = remote(wire, wscale=7)
    call = s.start_connect((p.host, 7777))
    syn = p.rx("S", 0)
    assert syn.wnd == min(size, 65535) and syn.wscale == wscale
    p.tx("SA", 0, 1)
    assert call.reply()[1] == 0


def test_rcvbuf_closes_the_window(agent, wire, port):
    s = agent.socket()
    s.setsockopt(SOL, socket.SO_RCVBUF, 3000)
    s.bind((OURS, port))
    s.listen()
    p = Peer(wire, port)
    p.tx("S", 0)
    assert p.rx("SA", 0, 1).wnd == 3000
    p.tx("A", 1, 1)
    child, _ = s.accept()
    p.tx("PA", 1, 1, b"x" * 1400)
    p.tx("PA", 1401, 1, b"x" * 1400)
    last = p.drain()[-1]
    assert last.ack == 2801 and last.wnd == 200
    assert len(child.recv(5000)) == 2800
    assert p.rx("A", 1, 2801).wnd == 3000


def test_window_clamp_is_the_window(agent, wire, port):
    s = agent.socket()
    s.setsockopt(TCP, WINDOW_CLAMP, 5000)
    s.bind((OURS, port))
    s.listen()
    p = Peer(wire, port)
    p.tx("S", 0)
    assert p.rx("SA", 0, 1).wnd == 5000
    assert s.getsockopt(SOL, socket.SO_RCVBUF) == 131072


def test_quickack_off_delays_and_on_does_not(agent, listener, wire):
    p = Peer(wire, listener.port)
    p.open()
    s, _ = listener.accept()
    s.setsockopt(TCP, QUICKACK, 0)
    p.tx("PA", 1, 1, b"x")
    p.rx_none(0.02)
    p.rx("A", 1, 2)
    s.setsockopt(TCP, QUICKACK, 1)
    p.tx("PA", 2, 1, b"x")
    p.rx("A", 1, 3, seconds=0.03)
    s.setsockopt(TCP, QUICKACK, 0)
    p.tx("PA", 3, 1, b"x")
    p.rx_none(0.02)
    s.setsockopt(TCP, QUICKACK, 1) # what is owed goes now
    p.rx("A", 1, 4, seconds=0.015)


def test_the_path_mtu_of_a_connection(agent, pair):
    assert pair[0].getsockopt(0, 14) == 1500
    assert agent.socket().start(GETSOCKOPT, 0, 14, 4).reply()[1] == errno.ENOTCONN
