"""Bytes both ways, the ends of connections, poll() and ioctl()."""
import errno
import hashlib
import os
import select
import socket
import struct
import threading
import time

import pytest

from agentlab import OURS, linux
from client import (CLOSE, CLOSED, CLOSE_WAIT, CLOSING, ESTABLISHED, FIN_WAIT1, FIN_WAIT2, LAST_ACK, POLL, READ, RECV,
                    SEND, SIOCINQ, SIOCOUTQ, SIOCOUTQNSD, WRITE)
from script import Peer

IN, OUT, ERR, HUP, RDHUP = select.POLLIN, select.POLLOUT, select.POLLERR, select.POLLHUP, 0x2000
PEEK, TRUNC, DONTWAIT, WAITALL, NOSIGNAL, MORE, OOB = 2, 0x20, 0x40, 0x100, 0x4000, 0x8000, 1


@pytest.fixture
def scripted(agent, listener, wire):
    """A socket of ours, and the peer whose segments we write."""
    p = Peer(wire, listener.port)
    p.open()
    s, _ = listener.accept()
    return s, p


def error(call):
    return call.reply()[1]


def wait_state(s, state, seconds=3):
    end = time.monotonic() + seconds
    while s.info().state != state:
        assert time.monotonic() < end, f"state {s.info().state}, not {state}"
        time.sleep(0.005)


# --- receiving

def test_a_read_waits_for_bytes(pair):
    ours, peer = pair
    call = ours.start(READ, 100)
    assert not call.is_done(0.05)
    peer.sendall(b"there")
    assert call.result()[1] == b"there"


def test_a_read_takes_no_more_than_it_asked_for(pair):
    ours, peer = pair
    peer.sendall(b"abcdef")
    assert ours.read(4) == b"abcd"
    assert ours.read(4) == b"ef"


def test_a_read_of_nothing_is_nothing(pair):
    assert pair[0].read(0) == b""


def test_a_negative_length_is_refused(pair):
    assert error(pair[0].start(RECV, -1)) == errno.EINVAL


@pytest.mark.parametrize("flags,nonblock", [(DONTWAIT, False), (0, True)])
def test_reading_without_waiting(pair, flags, nonblock):
    ours, peer = pair
    ours.setblocking(not nonblock)
    assert error(ours.start(RECV, 10, flags)) == errno.EAGAIN
    peer.sendall(b"x")
    ours.poll(IN, 1000)
    assert ours.recv(10, flags) == b"x"


def test_so_rcvtimeo(pair):
    ours, _ = pair
    ours.setsockopt(1, 20, struct.pack("=qq", 0, 150000))
    start = time.monotonic()
    assert error(ours.start(RECV, 10)) == errno.EAGAIN
    assert 0.14 < time.monotonic() - start < 0.5


def test_peek_leaves_the_bytes(pair):
    ours, peer = pair
    peer.sendall(b"look")
    assert ours.recv(10, PEEK) == b"look"
    assert ours.recv(2, PEEK) == b"lo"
    assert ours.recv(10) == b"look"
    assert error(ours.start(RECV, 10, PEEK | DONTWAIT)) == errno.EAGAIN


def test_waitall_waits_for_all(pair):
    ours, peer = pair
    call = ours.start(RECV, 6, WAITALL)
    peer.sendall(b"abc")
    assert not call.is_done(0.05)
    peer.sendall(b"defg")
    assert call.result()[1] == b"abcdef"
    assert ours.recv(10) == b"g"


def test_peek_and_waitall_together(pair):
    ours, peer = pair
    call = ours.start(RECV, 6, WAITALL | PEEK)
    peer.sendall(b"abc")
    assert not call.is_done(0.05)
    peer.sendall(b"def")
    assert call.result()[1] == b"abcdef"
    assert ours.recv(10) == b"abcdef"


@pytest.mark.parametrize("how", ["fin", "timeout", "dontwait"])
def test_waitall_gives_what_there_is(pair, how):
    ours, peer = pair
    peer.sendall(b"abc")
    ours.poll(IN, 1000)
    if how == "fin":
        peer.shutdown(socket.SHUT_WR)
    elif how == "timeout":
        ours.setsockopt(1, 20, struct.pack("=qq", 0, 50000))
    assert ours.recv(100, WAITALL | (DONTWAIT if how == "dontwait" else 0)) == b"abc"


def test_trunc_throws_bytes_away(pair):
    ours, peer = pair
    peer.sendall(b"0123456789" * 1000)
    time.sleep(0.05)
    ret, data = ours.call(RECV, 9995, TRUNC)
    assert (ret, data) == (9995, b"")
    assert ours.recv(100) == b"56789"


def test_rcvlowat_is_the_least_that_wakes(pair):
    ours, peer = pair
    ours.setsockopt(1, socket.SO_RCVLOWAT, 5)
    call = ours.start(RECV, 100)
    peer.sendall(b"1234")
    assert not call.is_done(0.05)
    assert ours.poll(IN) == 0
    peer.sendall(b"5")
    assert call.result()[1] == b"12345"
    assert ours.getsockopt(1, socket.SO_RCVLOWAT) == 5


def test_urgent_data_and_error_queues_are_not_there(pair):
    ours, _ = pair
    assert error(ours.start(RECV, 1, OOB)) == errno.EINVAL
    assert error(ours.start(RECV, 1, 0x2000)) == errno.EAGAIN
    assert error(ours.start(SEND, 0, OOB, data=b"x")) == errno.EOPNOTSUPP
    assert error(ours.start(SEND, 0, 0x20000000, data=b"x")) == errno.EOPNOTSUPP
    assert error(ours.start(SEND, 0, 0x4000000, data=b"x")) == errno.EOPNOTSUPP


@pytest.mark.parametrize("op", [READ, RECV, WRITE, SEND])
def test_a_socket_that_was_never_connected(agent, op):
    s = agent.socket()
    wanted = errno.ENOTCONN if op in (READ, RECV) else errno.EPIPE
    assert error(s.start(op, 10, data=b"x" if op in (WRITE, SEND) else b"")) == wanted


@pytest.mark.parametrize("op", [RECV, SEND])
def test_a_socket_that_is_connecting(agent, wire, op):
    from script import remote
    p = remote(wire)
    s = agent.socket(kind=socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    s.connect_ex((p.host, 7777))
    p.rx("S", 0)
    data = b"early" if op == SEND else b""
    assert error(s.start(op, 10, data=data)) == errno.EAGAIN
    s.setblocking(True)
    call = s.start(op, 10, data=data)
    assert not call.is_done(0.02)
    p.tx("SA", 0, 1)
    p.rx("A", 1, 1)
    if op == RECV:
        p.tx("PA", 1, 1, b"early")
        assert call.result()[1] == b"early"
    else:
        assert call.result()[0] == 5
        p.rx("PA", 1, 1, 5)


# --- sending

def test_each_write_is_a_segment_without_nagle(scripted):
    s, p = scripted
    s.setsockopt(6, 1, 1)
    for i in range(3):
        assert s.write(b"x" * 10) == 10
        p.rx("PA", 1 + 10 * i, 1, 10)


def test_nagle_is_on_by_default(scripted):
    s, p = scripted
    s.write(b"x" * 10)
    p.rx("PA", 1, 1, 10)
    s.write(b"x" * 10)
    p.rx_none(0.05)
    s.setsockopt(6, 1, 1) # flushes
    p.rx("PA", 11, 1, 10)


def test_cork_holds_until_it_is_taken_off(scripted):
    s, p = scripted
    s.setsockopt(6, 3, 1)
    s.write(b"x" * 10)
    s.write(b"x" * 10)
    p.rx_none(0.05)
    s.setsockopt(6, 3, 0)
    p.rx("PA", 1, 1, 20)


def test_cork_holds_for_200_ms_at_most(scripted):
    s, p = scripted
    s.setsockopt(6, 3, 1)
    start = time.monotonic()
    s.write(b"x" * 10)
    assert 0.15 < p.rx("PA", 1, 1, 10).at - start < 0.3


def test_nodelay_flushes_a_cork_once(scripted):
    s, p = scripted
    s.setsockopt(6, 3, 1)
    s.write(b"x" * 10)
    s.setsockopt(6, 1, 1)
    p.rx("PA", 1, 1, 10)
    s.write(b"x" * 10)
    p.rx_none(0.05)
    assert s.getsockopt(6, 3) == 1


def test_more_is_a_cork_for_one_call(scripted):
    s, p = scripted
    s.setsockopt(6, 1, 1)
    s.send(b"x" * 10, MORE)
    p.rx_none(0.05)
    s.send(b"x" * 10)
    p.rx("PA", 1, 1, 20)
    s.send(b"x" * 10)
    p.rx("PA", 21, 1, 10)


def test_close_sends_what_is_corked(scripted):
    s, p = scripted
    s.setsockopt(6, 3, 1)
    s.write(b"x" * 10)
    s.close()
    p.rx("FPA", 1, 1, 10)


def test_a_nonblocking_write_fills_the_buffer_and_no_more(scripted):
    s, p = scripted
    s.setsockopt(1, socket.SO_SNDBUF, 10000)
    assert s.send(b"x" * 30000, DONTWAIT) == 10000
    assert error(s.start(SEND, 0, DONTWAIT, data=b"x")) == errno.EAGAIN
    assert s.poll(OUT) == 0
    assert s.ioctl(SIOCOUTQ) == 10000
    got = p.drain()
    p.tx("A", 1, got[-1].seq + len(got[-1].data))
    assert s.poll(OUT, 1000) == OUT


def test_a_blocking_write_waits_for_room(scripted):
    s, p = scripted
    s.setsockopt(1, socket.SO_SNDBUF, 10000)
    call = s.start(WRITE, data=b"x" * 30000)
    end, late = 1, time.monotonic() + 10
    while end < 30001 and time.monotonic() < late:
        assert not call.is_done() or end > 10000
        for segment in p.drain(0.02):
            end = max(end, segment.seq + len(segment.data))
        p.tx("A", 1, end)
    assert call.result()[0] == 30000


def test_so_sndtimeo_gives_what_was_sent(scripted):
    s, p = scripted
    s.setsockopt(1, socket.SO_SNDBUF, 10000)
    s.setsockopt(1, 21, struct.pack("=qq", 0, 100000))
    assert s.write(b"x" * 30000) == 10000
    assert error(s.start(WRITE, data=b"x")) == errno.EAGAIN


def test_notsent_lowat_limits_what_waits(agent, listener, wire):
    p = Peer(wire, listener.port, wnd=1000)
    p.open()
    s, _ = listener.accept()
    s.setsockopt(6, 25, 3000)
    assert s.send(b"x" * 50000, DONTWAIT) < 8000
    assert s.poll(OUT) == 0
    assert s.info().notsent_bytes >= 3000
    p.drain()
    p.tx("A", 1, 1001, wnd=60000)
    assert s.poll(OUT, 1000) == OUT


def test_a_write_of_nothing(pair):
    assert pair[0].write(b"") == 0


def test_megabytes_both_ways(pair):
    ours, peer = pair
    data = os.urandom(1 << 20) * 8
    got = []
    t = threading.Thread(target=lambda: got.append(ours.recv_exactly(len(data))))
    t.start()
    peer.sendall(data)
    t.join(60)
    assert hashlib.sha256(got[0]).digest() == hashlib.sha256(data).digest()
    got = bytearray()

    def drain():
        while len(got) < len(data):
            got.extend(peer.recv(1 << 20))
    t = threading.Thread(target=drain)
    t.start()
    for at in range(0, len(data), 1 << 20):
        assert ours.write(data[at:at + (1 << 20)]) == 1 << 20
    t.join(60)
    assert hashlib.sha256(bytes(got)).digest() == hashlib.sha256(data).digest()


# --- ends

def test_the_end_of_the_peer_is_an_empty_read(pair):
    ours, peer = pair
    peer.sendall(b"last")
    peer.shutdown(socket.SHUT_WR)
    wait_state(ours, CLOSE_WAIT)
    assert ours.poll() == IN | OUT | RDHUP
    assert ours.read(100) == b"last"
    assert ours.read(100) == b"" and ours.read(100) == b""
    assert ours.write(b"half open") == 9
    assert peer.recv(100) == b"half open"
    ours.shutdown(socket.SHUT_WR)
    assert peer.recv(1) == b""
    wait_state(ours, CLOSED)
    assert ours.poll() == IN | OUT | HUP | RDHUP
    assert error(ours.start(WRITE, data=b"x")) == errno.EPIPE


def test_shutdown_for_writing(pair):
    ours, peer = pair
    ours.shutdown(socket.SHUT_WR)
    assert peer.recv(1) == b""
    wait_state(ours, FIN_WAIT2)
    assert error(ours.start(WRITE, data=b"x")) == errno.EPIPE
    assert error(ours.start(SEND, 0, NOSIGNAL, data=b"x")) == errno.EPIPE
    assert ours.poll() == OUT
    peer.sendall(b"still open")
    assert ours.recv(100) == b"still open"
    ours.shutdown(socket.SHUT_WR) # again is no error


def test_shutdown_for_reading(pair):
    ours, peer = pair
    call = ours.start(RECV, 10)
    time.sleep(0.02)
    ours.shutdown(socket.SHUT_RD)
    assert call.result() == (0, b"")
    assert ours.poll() == IN | OUT | RDHUP
    assert ours.write(b"still open") == 10
    peer.sendall(b"late")
    time.sleep(0.05)
    assert ours.recv(10) == b"late", "Linux gives what comes nevertheless"
    assert ours.recv(10) == b""


def test_bytes_after_shutdown_of_both_are_reset(scripted):
    s, p = scripted
    s.shutdown(socket.SHUT_RDWR)
    p.rx("FA", 1, 1)
    p.tx("A", 1, 2)
    p.tx("PA", 1, 2, b"to nobody")
    p.rx("RA", 2)
    assert s.error() == errno.ECONNRESET
    assert s.info().state == CLOSED


@pytest.mark.parametrize("how,err", [(-1, errno.EINVAL), (3, errno.EINVAL), (0, errno.ENOTCONN), (1, errno.ENOTCONN),
                                     (2, errno.ENOTCONN)])
def test_shutdown_of_what_is_not_connected(agent, how, err):
    assert error(agent.socket().start(11, how)) == err


def test_closing_both_at_once(scripted):
    s, p = scripted
    s.shutdown(socket.SHUT_WR)
    p.rx("FA", 1, 1)
    p.tx("FA", 1, 1)
    p.rx("A", 2, 2)
    wait_state(s, CLOSING)
    p.tx("A", 2, 2)
    wait_state(s, CLOSED)


def test_the_last_ack(scripted):
    s, p = scripted
    p.tx("FA", 1, 1)
    p.rx("A", 1, 2)
    s.shutdown(socket.SHUT_WR)
    p.rx("FA", 1, 2)
    wait_state(s, LAST_ACK)
    assert s.ioctl(SIOCOUTQ) == 1, "the FIN"
    p.tx("A", 2, 2)
    wait_state(s, CLOSED)
    assert s.ioctl(SIOCOUTQ) == 0


def test_a_reset_is_told_once(scripted):
    s, p = scripted
    call = s.start(RECV, 10)
    p.tx("R", 1)
    assert error(call) == errno.ECONNRESET
    assert s.recv(10) == b""
    assert error(s.start(WRITE, data=b"x")) == errno.EPIPE
    assert s.poll() == IN | OUT | HUP | RDHUP


def test_a_reset_shows_in_poll_and_so_error(scripted):
    s, p = scripted
    p.tx("R", 1)
    assert s.poll(IN, 1000) == IN | ERR | HUP
    assert s.error() == errno.ECONNRESET and s.error() == 0


def test_a_write_meets_a_reset(scripted):
    s, p = scripted
    p.tx("R", 1)
    wait_state(s, CLOSED)
    assert error(s.start(WRITE, data=b"x")) == errno.ECONNRESET
    assert error(s.start(WRITE, data=b"x")) == errno.EPIPE


def test_a_reset_of_a_half_closed_connection_is_a_broken_pipe(scripted):
    s, p = scripted
    p.tx("FA", 1, 1)
    p.rx("A", 1, 2)
    p.tx("R", 2)
    wait_state(s, CLOSED)
    assert s.error() == errno.EPIPE


def test_bytes_before_a_reset_can_be_read(scripted):
    s, p = scripted
    p.tx("PA", 1, 1, b"x" * 1000)
    p.tx("PA", 1001, 1, b"y" * 1000)
    p.tx("R", 2001)
    wait_state(s, CLOSED)
    assert s.recv(1500, PEEK) == b"x" * 1000 + b"y" * 500
    assert s.recv(1500) == b"x" * 1000 + b"y" * 500
    assert s.ioctl(SIOCINQ) == 500
    assert s.recv(1500) == b"y" * 500
    assert error(s.start(RECV, 1500)) == errno.ECONNRESET


def test_close_with_unread_bytes_resets(scripted):
    s, p = scripted
    p.tx("PA", 1, 1, b"never read")
    p.rx("A", 1, 11)
    s.close()
    p.rx("RA", 1, 11, 0)


def test_close_sends_a_fin_and_what_was_written(scripted):
    s, p = scripted
    s.write(b"x" * 100)
    p.rx("PA", 1, 1, 100)
    s.close()
    p.rx("FA", 101, 1, 0)
    p.tx("FA", 1, 102)
    p.rx("A", 102, 2, 0)


def test_bytes_for_a_closed_socket_are_reset(scripted):
    s, p = scripted
    s.close()
    p.rx("FA", 1, 1)
    p.tx("PA", 1, 2, b"to nobody")
    p.rx("RA", 2)


def test_linger_of_nothing_resets(scripted):
    s, p = scripted
    s.setsockopt(1, socket.SO_LINGER, struct.pack("=ii", 1, 0))
    s.write(b"lost")
    p.rx("PA", 1, 1, 4)
    s.close()
    p.rx("RA", 5, 1, 0)


def test_linger_waits_for_the_last_ack(scripted):
    s, p = scripted
    s.setsockopt(1, socket.SO_LINGER, struct.pack("=ii", 1, 5))
    s.write(b"data")
    p.rx("PA", 1, 1, 4)
    call = s.start(CLOSE)
    p.rx("FA", 5, 1)
    p.tx("A", 1, 5)
    assert not call.is_done(0.05)
    p.tx("A", 1, 6)
    assert call.reply()[:2] == (0, 0)


def test_linger_gives_up_and_the_connection_goes_on(scripted):
    s, p = scripted
    s.setsockopt(1, socket.SO_LINGER, struct.pack("=ii", 1, 1))
    start = time.monotonic()
    call = s.start(CLOSE)
    p.rx("FA", 1, 1)
    assert call.reply()[:2] == (0, 0)
    assert 0.9 < time.monotonic() - start < 1.5
    p.drain()
    p.tx("FA", 1, 2)
    p.rx("A", 2, 2)


def test_data_is_not_acknowledged_for_the_user_timeout(scripted):
    s, p = scripted
    s.setsockopt(6, 18, 700)
    s.write(b"anybody?")
    assert error(s.start(RECV, 10)) == errno.ETIMEDOUT
    assert s.poll() == IN | OUT | HUP | RDHUP


def test_keepalive_finds_that_nobody_is_there(scripted):
    s, p = scripted
    s.setsockopt(1, socket.SO_KEEPALIVE, 1)
    for name, v in ((4, 1), (5, 1), (6, 1)):
        s.setsockopt(6, name, v)
    p.rx("A", 0, 1, 0) # one before what is next: it must be answered
    assert error(s.start(RECV, 10)) == errno.ETIMEDOUT


def test_keepalive_is_content_with_an_answer(scripted):
    s, p = scripted
    s.setsockopt(1, socket.SO_KEEPALIVE, 1)
    for name, v in ((4, 1), (5, 1), (6, 1)):
        s.setsockopt(6, name, v)
    for _ in range(2):
        p.rx("A", 0, 1, 0)
        p.tx("A", 1, 1)
    assert s.info().state == ESTABLISHED


# --- poll, ioctl

def test_poll_waits_for_its_time(agent, pair):
    start = time.monotonic()
    assert agent.poll({pair[0]: IN}, 120) == {}
    assert 0.11 < time.monotonic() - start < 0.4


def test_poll_waits_without_end(agent, pair):
    ours, peer = pair
    call = agent.start(POLL, -1, -1, data=struct.pack("=ihh", ours.fd, IN, 0))
    assert not call.is_done(0.2)
    peer.sendall(b"x")
    assert call.reply()[0] == 1


def test_poll_of_many(agent, pair, listener):
    ours, peer = pair
    fresh = agent.socket()
    assert agent.poll({ours: IN | OUT, listener: IN, fresh: IN, 999: IN, -5: IN}) == {ours: OUT, fresh: HUP,
                                                                                     999: select.POLLNVAL}


def test_poll_of_nothing_is_a_sleep(agent):
    start = time.monotonic()
    assert agent.poll({}, 60) == {}
    assert time.monotonic() - start > 0.055


@pytest.mark.parametrize("data", [b"x", bytes(7), bytes(8 * 1025)])
def test_poll_of_what_is_no_array(agent, data):
    assert error(agent.start(POLL, -1, 0, data=data)) == errno.EINVAL


def test_a_fresh_socket_in_poll(agent):
    assert agent.socket().poll() == OUT | HUP


def test_a_full_send_buffer_wakes_at_two_thirds(scripted):
    s, p = scripted
    s.setsockopt(6, 1, 1)
    s.setsockopt(1, socket.SO_SNDBUF, 12000)
    assert s.send(b"x" * 12000, DONTWAIT) == 12000
    p.drain()
    p.tx("A", 1, 2001)
    assert s.poll(OUT, 50) == 0
    p.tx("A", 1, 5001)
    assert s.poll(OUT, 1000) == OUT


def test_ioctls_count_bytes(scripted):
    s, p = scripted
    assert (s.ioctl(SIOCINQ), s.ioctl(SIOCOUTQ), s.ioctl(SIOCOUTQNSD)) == (0, 0, 0)
    p.tx("PA", 1, 1, b"x" * 700)
    p.rx("A", 1, 701)
    s.write(b"x" * 20000)
    p.drain()
    assert s.ioctl(SIOCINQ) == 700
    assert s.ioctl(SIOCOUTQ) == 20000
    assert s.ioctl(SIOCOUTQNSD) == 20000 - 10 * 1460, "the initial window is out"
    p.tx("A", 701, 1 + 1460 * 4)
    p.drain()
    assert s.ioctl(SIOCOUTQ) == 20000 - 4 * 1460


def test_an_ioctl_that_is_none(agent):
    assert error(agent.socket().start(16, 0x1234)) == errno.ENOTTY
