"""bind(), listen(), accept()."""
import errno
import os
import select
import socket
import struct
import time

import pytest

from agentlab import LINUX, OURS, OURS_2, linux
from client import ACCEPT, BIND, CLOSED, ESTABLISHED, LISTENING, sockaddr
from script import Peer


def bound(agent, address, reuse=False):
    s = agent.socket()
    if reuse:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(address)
    return s


def bind_error(agent, address, reuse=False):
    with pytest.raises(OSError) as e:
        bound(agent, address, reuse)
    return e.value.errno


@pytest.mark.parametrize("data,err", [
    (b"", errno.EINVAL), (sockaddr((OURS, 80))[:15], errno.EINVAL),
    (sockaddr(("::", 80), socket.AF_INET6), errno.EAFNOSUPPORT),
    (sockaddr((LINUX, 80)), errno.EADDRNOTAVAIL), (sockaddr(("127.0.0.1", 80)), errno.EADDRNOTAVAIL),
    (sockaddr(("10.9.0.255", 80)), errno.EADDRNOTAVAIL)])
def test_addresses_that_cannot_be_bound(agent, data, err):
    assert agent.socket().start(BIND, data=data).reply()[1] == err


def test_twice_is_once_too_often(agent, port):
    s = bound(agent, (OURS, port))
    assert s.start(BIND, data=sockaddr((OURS, port + 1000))).reply()[1] == errno.EINVAL


@pytest.mark.parametrize("first,second,err", [
    (OURS, OURS, errno.EADDRINUSE), ("0.0.0.0", OURS, errno.EADDRINUSE), (OURS, "0.0.0.0", errno.EADDRINUSE),
    (OURS, OURS_2, 0)])
def test_a_port_of_another_socket(agent, port, first, second, err):
    bound(agent, (first, port))
    if err:
        assert bind_error(agent, (second, port)) == err
    else:
        bound(agent, (second, port))


def test_reuseaddr_shares_a_port_until_somebody_listens(agent, port):
    a, b = bound(agent, (OURS, port), reuse=True), bound(agent, (OURS, port), reuse=True)
    assert bind_error(agent, (OURS, port)) == errno.EADDRINUSE, "both must want it"
    a.listen()
    assert bind_error(agent, (OURS, port), reuse=True) == errno.EADDRINUSE
    assert b.start(3, 5).reply()[1] == errno.EADDRINUSE


def test_port_zero_is_any_free_one(agent):
    a, b = bound(agent, (OURS, 0)), bound(agent, (OURS, 0))
    a.listen()
    b.listen()


def test_reuseaddr_takes_a_port_whose_connections_wait(agent, listener):
    peer = linux()
    peer.connect((OURS, listener.port))
    s, _ = listener.accept()
    listener.close()
    s.close() # first: TIME_WAIT is ours
    assert peer.recv(1) == b""
    peer.close()
    time.sleep(0.05)
    assert bind_error(agent, (OURS, listener.port)) == errno.EADDRINUSE
    bound(agent, (OURS, listener.port), reuse=True).listen()


@pytest.mark.parametrize("backlog", [-1, 0, 1, 100000])
def test_listen_takes_any_backlog(agent, port, backlog):
    s = bound(agent, (OURS, port))
    s.listen(backlog)
    info = s.info()
    assert info.state == LISTENING and info.unacked == 0
    assert info.sacked == (4096 if backlog in (-1, 100000) else backlog)
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1


def test_listen_without_bind_chooses_a_port(agent):
    s = agent.socket()
    s.listen()
    assert s.info().state == LISTENING


def test_a_connected_socket_does_not_listen(agent, opened):
    ours, _ = opened
    assert ours.start(3, 5).reply()[1] == errno.EINVAL


def test_a_listener_does_not_connect(agent, listener):
    assert listener.connect_ex((LINUX, 80)) == errno.EISCONN


def test_a_listener_has_no_bytes(agent, listener):
    assert listener.start(6, 10).reply()[1] == errno.ENOTCONN
    assert listener.start(7, data=b"x").reply()[1] == errno.EPIPE
    assert listener.start(16, 0x541B).reply()[1] == errno.EINVAL


def test_accept_tells_who_it_is(agent, listener):
    call = listener.start(ACCEPT)
    assert not call.is_done(0.02)
    peer = linux()
    peer.connect((OURS, listener.port))
    s, address = listener.accepted(call)
    assert address == peer.getsockname()
    assert s.info().state == ESTABLISHED
    peer.close()


def test_accept_that_does_not_wait(agent, listener):
    listener.setblocking(False)
    assert listener.start(ACCEPT).reply()[1] == errno.EAGAIN
    peer = linux()
    peer.connect((OURS, listener.port))
    assert listener.poll(select.POLLIN, 1000) == select.POLLIN
    s, _ = listener.accept()
    assert s.fcntl(3) == os.O_RDWR, "O_NONBLOCK is not inherited"
    assert listener.poll() == 0
    peer.close()


def test_accept_waits_for_so_rcvtimeo(agent, listener):
    listener.setsockopt(socket.SOL_SOCKET, 20, struct.pack("=qq", 0, 100000))
    start = time.monotonic()
    assert listener.start(ACCEPT).reply()[1] == errno.EAGAIN
    assert 0.09 < time.monotonic() - start < 0.5


def test_accept_needs_a_listener(agent, pair):
    assert agent.socket().start(ACCEPT).reply()[1] == errno.EINVAL
    assert pair[0].start(ACCEPT).reply()[1] == errno.EINVAL


def test_those_who_wait_are_counted_and_come_in_order(agent, listener):
    peers = [linux() for _ in range(3)]
    for i, p in enumerate(peers):
        p.connect((OURS, listener.port))
        assert listener.info().unacked == i + 1
    for p in peers:
        assert listener.accept()[1] == p.getsockname()
        p.close()
    assert listener.info().unacked == 0


def test_a_full_queue_drops_the_last_ack_and_the_next_syn(agent, wire, port):
    s = bound(agent, (OURS, port))
    s.listen(1) # Linux: one more
    first = [Peer(wire, port) for _ in range(2)]
    late, later = Peer(wire, port), Peer(wire, port)
    late.tx("S", 0)
    late.rx("SA", 0, 1)
    for p in first:
        p.open()
    assert s.info().unacked == 2
    late.tx("A", 1, 1)
    late.tx("PA", 1, 1, b"too early")
    late.rx_none()
    later.tx("S", 0)
    later.rx_none()
    assert s.info().unacked == 2
    s.accept()
    late.rx("SA", 0, 1, seconds=3.5) # again, as its ACK was not heard
    late.tx("A", 1, 1)
    s.accept()
    child, address = s.accept()
    assert address[0] == late.host
    late.tx("PA", 1, 1, b"in time")
    assert child.recv(100) == b"in time"
    later.tx("S", 0)
    later.rx("SA", 0, 1)


def test_the_backlog_can_be_changed(agent, wire, port):
    s = bound(agent, (OURS, port))
    s.listen(0)
    Peer(wire, port).open()
    p = Peer(wire, port)
    p.tx("S", 0)
    p.rx_none()
    s.listen(5)
    p.tx("S", 0)
    p.rx("SA", 0, 1)


def test_a_connection_reset_in_the_queue_is_accepted_all_the_same(agent, listener, wire):
    p = Peer(wire, listener.port)
    p.open()
    p.tx("PA", 1, 1, b"last words")
    p.rx("A", 1, 11)
    p.tx("R", 11)
    time.sleep(0.05)
    s, address = listener.accept()
    assert address == (p.host, p.sport)
    assert s.recv(100) == b"last words", "what came before the reset can be read"
    assert s.start(9, 100).reply()[1] == errno.ECONNRESET
    assert s.recv(100) == b""


def test_close_resets_those_whom_nobody_has_accepted(agent, listener, wire):
    p = Peer(wire, listener.port)
    p.open()
    listener.close()
    p.rx("RA", 1, 1, 0)
    p.tx("S", 5000)
    p.rx("RA", None, None, 0)


def test_close_forgets_those_who_are_half_open(agent, listener, wire):
    p = Peer(wire, listener.port)
    p.tx("S", 0)
    p.rx("SA", 0, 1)
    listener.close()
    p.tx("A", 1, 1)
    p.rx("R", 1, None, 0)


def test_shutdown_for_reading_ends_a_listener_and_its_accepts(agent, listener):
    call = listener.start(ACCEPT)
    time.sleep(0.02)
    listener.shutdown(socket.SHUT_WR) # nothing, on a listener
    assert listener.info().state == LISTENING
    listener.shutdown(socket.SHUT_RD)
    assert call.reply()[1] == errno.EINVAL
    assert listener.info().state == CLOSED
    with pytest.raises(ConnectionRefusedError):
        linux().connect((OURS, listener.port))
    listener.listen()
    peer = linux()
    peer.connect((OURS, listener.port))
    peer.close()


def test_any_address_of_ours(agent, port):
    s = bound(agent, ("0.0.0.0", port))
    s.listen()
    for host in (OURS, OURS_2):
        peer = linux()
        peer.connect((host, port))
        s.accept()
        peer.close()


def test_an_ipv6_listener_takes_ipv4_and_calls_it_mapped(agent, port):
    s = agent.socket(socket.AF_INET6)
    s.bind(("::", port))
    s.listen()
    peer = linux()
    peer.connect((OURS, port))
    _, address = s.accept()
    assert address == (f"::ffff:{LINUX}", peer.getsockname()[1])
    peer.close()


def test_an_ipv6_listener_with_v6only_does_not(agent, port):
    s = agent.socket(socket.AF_INET6)
    s.setsockopt(41, 26, 1)
    s.bind(("::", port))
    s.listen()
    peer = linux()
    with pytest.raises(OSError):
        peer.connect((OURS, port))
        assert peer.recv(1)
    assert s.info().unacked == 0


def test_options_of_a_listener_are_those_of_its_children(agent, port):
    s = bound(agent, (OURS, port))
    values = {(1, socket.SO_KEEPALIVE): 1, (6, 1): 1, (6, 4): 77, (6, 18): 12345, (1, socket.SO_RCVBUF): 20000,
              (1, socket.SO_SNDBUF): 30000}
    for (level, name), v in values.items():
        s.setsockopt(level, name, v)
    s.setsockopt(6, 13, b"reno")
    s.setsockopt(1, socket.SO_LINGER, struct.pack("=ii", 1, 7))
    s.listen()
    peer = linux()
    peer.connect((OURS, port))
    child, _ = s.accept()
    for (level, name), v in values.items():
        doubled = name in (socket.SO_RCVBUF, socket.SO_SNDBUF) and level == 1
        assert child.getsockopt(level, name) == (2 * v if doubled else v)
    assert child.getsockopt(6, 13, 16).rstrip(b"\0") == b"reno"
    assert child.getsockopt(1, socket.SO_LINGER, 8) == struct.pack("=ii", 1, 7)
    assert child.getsockopt(1, socket.SO_ACCEPTCONN) == 0
    child.setsockopt(1, socket.SO_LINGER, struct.pack("=ii", 0, 0))
    peer.close()
