"""connect(): blocking and not, and every way in which it fails."""
import errno
import os
import select
import socket
import struct
import time

import pytest

from agentlab import LINUX, NOBODY, OURS, OURS_2, linux_listener
from client import CONNECT, CLOSED, ESTABLISHED, SYN_SENT, sockaddr
from script import remote

ALL = select.POLLIN | select.POLLOUT | 0x2000
IN, OUT, ERR, HUP, RDHUP = select.POLLIN, select.POLLOUT, select.POLLERR, select.POLLHUP, 0x2000


@pytest.mark.parametrize("domain,kind,proto,err", [
    (socket.AF_UNIX, socket.SOCK_STREAM, 0, errno.EAFNOSUPPORT),
    (99, socket.SOCK_STREAM, 0, errno.EAFNOSUPPORT),
    (-1, socket.SOCK_STREAM, 0, errno.EAFNOSUPPORT),
    (socket.AF_INET, socket.SOCK_DGRAM, 0, errno.ESOCKTNOSUPPORT),
    (socket.AF_INET, socket.SOCK_RAW, 0, errno.ESOCKTNOSUPPORT),
    (socket.AF_INET, 15, 0, errno.EINVAL),
    (socket.AF_INET, socket.SOCK_STREAM, 17, errno.EPROTONOSUPPORT),
    (socket.AF_INET, socket.SOCK_STREAM, 262, errno.EPROTONOSUPPORT),
])
def test_sockets_that_there_are_not(agent, domain, kind, proto, err):
    with pytest.raises(OSError) as e:
        agent.socket(domain, kind, proto)
    assert e.value.errno == err


def test_a_blocking_connect_returns_when_it_is_open(agent, wire):
    p = remote(wire)
    s = agent.socket()
    call = s.start_connect((p.host, 7777))
    p.rx("S", 0)
    assert not call.is_done(0.05)
    assert s.info().state == SYN_SENT
    p.tx("SA", 0, 1)
    assert call.reply()[:2] == (0, 0)
    p.rx("A", 1, 1, 0)
    assert s.info().state == ESTABLISHED
    assert s.connect_ex((p.host, 7777)) == errno.EISCONN


def test_a_nonblocking_connect_is_in_progress_already_and_done(agent, wire):
    p = remote(wire)
    s = agent.socket(kind=socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    assert s.fcntl(3) == os.O_RDWR | os.O_NONBLOCK
    assert s.connect_ex((p.host, 7777)) == errno.EINPROGRESS
    p.rx("S", 0)
    assert s.connect_ex((p.host, 7777)) == errno.EALREADY
    assert s.poll() == 0
    p.tx("SA", 0, 1)
    p.rx("A", 1, 1, 0)
    assert s.poll() == OUT
    assert s.error() == 0
    assert s.connect_ex((p.host, 7777)) == 0, "as on Linux: once"
    assert s.connect_ex((p.host, 7777)) == errno.EISCONN


def test_two_blocking_connects_wait_for_the_same(agent, wire):
    p = remote(wire)
    s = agent.socket()
    first = s.start_connect((p.host, 7777))
    p.rx("S", 0)
    second = s.start_connect((p.host, 7777))
    assert not second.is_done(0.02)
    p.tx("SA", 0, 1)
    assert first.reply()[1] == 0 and second.reply()[1] == 0


def test_refused_by_a_reset(agent, wire):
    p = remote(wire)
    s = agent.socket()
    call = s.start_connect((p.host, 7777))
    p.rx("S", 0)
    p.tx("RA", 0, 1)
    assert call.reply()[1] == errno.ECONNREFUSED
    assert s.error() == 0, "the call has taken it"
    assert s.info().state == CLOSED


def test_refused_by_linux(agent):
    assert agent.socket().connect_ex((LINUX, 9)) == errno.ECONNREFUSED


def test_refused_later(agent, wire):
    p = remote(wire)
    s = agent.socket(kind=socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    assert s.connect_ex((p.host, 7777)) == errno.EINPROGRESS
    p.rx("S", 0)
    p.tx("RA", 0, 1)
    assert s.poll(ALL, 1000) == IN | OUT | ERR | HUP | RDHUP
    assert s.error() == errno.ECONNREFUSED
    assert s.error() == 0
    assert s.poll() == IN | OUT | HUP | RDHUP


def test_after_a_refusal_it_may_be_tried_again(agent, wire):
    p = remote(wire)
    s = agent.socket()
    assert s.connect_ex((LINUX, 9)) == errno.ECONNREFUSED
    call = s.start_connect((p.host, 7777))
    p.answer()
    assert call.reply()[1] == 0


def test_nobody_answers_the_syn(special, wire):
    agent = special("syn-retries=1")
    p = remote(wire)
    s = agent.socket()
    start = time.monotonic()
    call = s.start_connect((p.host, 7777))
    first, again = p.rx("S", 0), p.rx("S", 0)
    assert 0.9 < again.at - first.at < 1.2
    assert call.reply()[1] == errno.ETIMEDOUT
    assert 2.8 < time.monotonic() - start < 3.5, "1 s, and 2 s for the second"


def test_syncnt_is_the_number_of_syns(agent, wire):
    p = remote(wire)
    s = agent.socket()
    s.setsockopt(socket.IPPROTO_TCP, 7, 1)
    call = s.start_connect((p.host, 7777))
    p.rx("S", 0)
    p.rx("S", 0)
    assert call.reply()[1] == errno.ETIMEDOUT
    p.rx_none()


def test_the_user_timeout_counts_for_a_syn(agent, wire):
    p = remote(wire)
    s = agent.socket()
    s.setsockopt(socket.IPPROTO_TCP, 18, 1500)
    start = time.monotonic()
    assert s.connect_ex((p.host, 7777)) == errno.ETIMEDOUT
    assert 1.3 < time.monotonic() - start < 2.0


def test_no_neighbour_answers(agent):
    start = time.monotonic()
    assert agent.socket().connect_ex((NOBODY, 80)) == errno.EHOSTUNREACH
    assert time.monotonic() - start < 4


def test_icmp_says_that_there_is_no_way(agent, wire):
    p = remote(wire)
    s = agent.socket()
    call = s.start_connect((p.host, 7777))
    syn = p.rx("S", 0)
    quoted = struct.pack("!BBHHHBBH", 0x45, 0, 60, 0, 0x4000, 64, 6, 0) + socket.inet_aton(OURS) + \
        socket.inet_aton(p.host) + struct.pack("!HHI", syn.sport, 7777, p.their_iss)
    from script import checksum
    icmp = struct.pack("!BBHI", 3, 1, 0, 0) + quoted
    icmp = icmp[:2] + struct.pack("!H", checksum(icmp)) + icmp[4:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(icmp), 0, 0, 64, 1, 0) + socket.inet_aton(LINUX) + \
        socket.inet_aton(OURS)
    wire.tx(ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:] + icmp)
    assert call.reply()[1] == errno.EHOSTUNREACH


@pytest.mark.parametrize("host", ["10.9.0.255", "224.0.0.1", "255.255.255.255", OURS, "0.0.0.0"])
def test_hosts_that_cannot_be_reached(agent, host):
    assert agent.socket().connect_ex((host, 80)) == errno.ENETUNREACH


@pytest.mark.parametrize("data,err", [
    (b"", errno.EINVAL), (b"\2", errno.EINVAL), (sockaddr((LINUX, 80))[:15], errno.EINVAL),
    (sockaddr(("::1", 80), socket.AF_INET6), errno.EAFNOSUPPORT), (b"\1\0" + bytes(30), errno.EAFNOSUPPORT)])
def test_addresses_that_are_none(agent, data, err):
    assert agent.socket().start(CONNECT, data=data).reply()[1] == err


def test_the_source_is_what_was_bound(agent, wire, port):
    p = remote(wire, address=OURS_2)
    s = agent.socket()
    s.bind((OURS_2, port))
    call = s.start_connect((p.host, 7777))
    syn = p.rx("S", 0)
    assert (syn.src, syn.sport) == (OURS_2, port)
    p.tx("SA", 0, 1)
    assert call.reply()[1] == 0


def test_the_same_four_tuple_is_not_to_be_had_twice(agent, port):
    there = linux_listener()
    for first in (True, False):
        s = agent.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((OURS, port))
        assert s.connect_ex(there.getsockname()) == (0 if first else errno.EADDRNOTAVAIL)
    there.close()


def test_a_send_timeout_ends_a_connect_that_goes_on(agent, wire):
    p = remote(wire)
    s = agent.socket()
    s.setsockopt(socket.SOL_SOCKET, 21, struct.pack("=qq", 0, 100000))
    call = s.start_connect((p.host, 7777))
    p.rx("S", 0)
    assert call.reply()[1] == errno.EINPROGRESS
    p.tx("SA", 0, 1)
    p.rx("A", 1, 1, 0)
    assert s.connect_ex((p.host, 7777)) == 0


def test_close_gives_up_a_connect(agent, wire):
    p = remote(wire)
    s = agent.socket(kind=socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    s.connect_ex((p.host, 7777))
    p.rx("S", 0)
    s.close()
    p.tx("SA", 0, 1)
    p.rx("R", 1, None, 0)


def test_shutdown_gives_up_a_connect(agent, wire):
    p = remote(wire)
    s = agent.socket()
    call = s.start_connect((p.host, 7777))
    p.rx("S", 0)
    s.shutdown(socket.SHUT_WR)
    assert call.reply()[1] == errno.ECONNRESET
    assert s.info().state == CLOSED


def test_disconnect_resets_and_the_socket_is_as_new(agent, wire):
    p = remote(wire)
    s = agent.socket()
    call = s.start_connect((p.host, 7777))
    p.answer()
    assert call.reply()[1] == 0
    s.disconnect()
    p.rx("RA", 1, 1, 0)
    assert s.info().state == CLOSED and s.poll() & HUP
    s.error()
    q = remote(wire)
    call = s.start_connect((q.host, 7777))
    q.answer()
    assert call.reply()[1] == 0
    assert s.write(b"x") == 1
    q.rx("PA", 1, 1, 1)


def test_a_crossed_syn_opens_both(agent, wire):
    p = remote(wire)
    s = agent.socket()
    call = s.start_connect((p.host, 7777))
    p.rx("S", 0)
    p.tx("S", 0)
    p.rx("SA", 0, 1)
    p.tx("SA", 0, 1)
    assert call.reply()[1] == 0


def test_a_mapped_address_on_an_ipv6_socket(agent):
    there = linux_listener()
    s = agent.socket(socket.AF_INET6)
    s.connect((f"::ffff:{LINUX}", there.getsockname()[1]))
    peer, address = there.accept()
    assert address[0] == OURS
    s.write(b"four in six")
    assert peer.recv(100) == b"four in six"
    peer.close()
    there.close()


def test_a_mapped_address_with_v6only(agent):
    s = agent.socket(socket.AF_INET6)
    s.setsockopt(41, 26, 1)
    assert s.connect_ex((f"::ffff:{LINUX}", 80)) == errno.ENETUNREACH


def test_a_family_in_a_sockaddr_of_the_wrong_size(agent):
    s = agent.socket(socket.AF_INET6)
    assert s.start(CONNECT, data=sockaddr((LINUX, 80))).reply()[1] == errno.EINVAL
