"""The Unix socket: requests good and bad, clients that go away, calls that wait for each other."""
import errno
import os
import select
import socket
import struct
import threading
import time

import pytest

from agentlab import LINUX, OURS, linux
from client import ACCEPT, BIND, CLOSE, POLL, RECV, REPLY, REQUEST, SOCKET, Call, Socket


def alive(agent):
    s = agent.socket()
    assert s.fcntl(3) == os.O_RDWR
    s.close()


@pytest.mark.parametrize("op", [-2147483648, -1, 0, 17, 18, 1000, 2147483647])
def test_an_operation_that_is_none_is_refused(agent, op):
    assert agent.start(op).reply() == (-1, errno.ENOSYS, b"")
    alive(agent)


@pytest.mark.parametrize("dlen", [(4 << 20) + 1, 1 << 31, 0xffffffff])
def test_a_request_that_is_too_long_is_refused(agent, dlen):
    call = agent.start(0, raw=REQUEST.pack(BIND, 3, 0, 0, 0, dlen))
    assert call.reply()[:2] == (-1, errno.EMSGSIZE)
    alive(agent)


def test_the_connection_of_a_request_that_is_too_long_ends(agent):
    call = agent.start(0, raw=REQUEST.pack(BIND, 3, 0, 0, 0, 0xffffffff) + b"x" * 1000)
    assert call._read(REPLY.size)
    with pytest.raises(ConnectionError):
        call._read(1)


@pytest.mark.parametrize("n", [1, 4, REQUEST.size - 1])
def test_a_request_that_is_cut_short_is_forgotten(agent, n):
    agent.start(0, raw=REQUEST.pack(SOCKET, -1, 2, 1, 0, 0)[:n]).abandon()
    alive(agent)


def test_a_request_whose_data_are_cut_short_is_forgotten(agent):
    s = agent.socket()
    agent.start(0, raw=REQUEST.pack(BIND, s.fd, 0, 0, 0, 16) + b"half").abandon()
    alive(agent)


def test_noise_does_no_harm(agent):
    import random
    rng = random.Random(4)
    for _ in range(50):
        agent.start(0, raw=rng.randbytes(rng.randrange(1, 400))).abandon()
    alive(agent)


def test_requests_with_random_numbers_get_answers(agent):
    import random
    rng = random.Random(5)
    numbers = [-2147483648, -1, 0, 1, 2, 3, 4, 5, 6, 7, 41, 255, 65536, 2147483647]
    calls = []
    for i in range(600):
        op = rng.choice([1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16])
        fd = rng.choice([-1, 3, 4, 5, 1023, 1024, 2147483647])
        calls.append(agent.start(op, fd, *(rng.choice(numbers) for _ in range(3)), data=rng.randbytes(rng.randrange(40))))
        if len(calls) > 100:
            calls.pop(0).abandon()
    for c in calls:
        c.abandon()
    for fd in range(1024):
        agent.start(CLOSE, fd).reply()
    alive(agent)


def test_a_request_may_come_byte_by_byte(agent):
    call = agent.start(0, raw=b"\1")
    for b in REQUEST.pack(SOCKET, -1, socket.AF_INET, socket.SOCK_STREAM, 0, 0)[1:]:
        time.sleep(0.001)
        call.conn.sendall(bytes([b]))
    ret, err, _ = call.reply()
    assert ret >= 3 and err == 0
    agent.call(CLOSE, ret)


def test_a_connection_may_carry_one_call_after_another(agent):
    conn = socket.socket(socket.AF_UNIX)
    conn.connect(agent.path)
    fds = []
    for _ in range(20):
        conn.sendall(REQUEST.pack(SOCKET, -1, socket.AF_INET, socket.SOCK_STREAM, 0, 0))
        fds.append(REPLY.unpack(conn.recv(REPLY.size))[0])
    assert len(set(fds)) == 20
    for fd in fds: # all requests at once
        conn.sendall(REQUEST.pack(CLOSE, fd, 0, 0, 0, 0))
    for _ in fds:
        assert REPLY.unpack(conn.recv(REPLY.size, socket.MSG_WAITALL))[:2] == (0, 0)
    conn.close()


def test_the_reply_comes_also_to_a_client_that_has_finished_sending(agent, listener):
    call = listener.start(ACCEPT)
    call.conn.shutdown(socket.SHUT_WR)
    assert not call.is_done(0.05)
    peer = linux()
    peer.connect((OURS, listener.port))
    assert call.reply()[0] >= 3
    peer.close()


@pytest.mark.parametrize("op", range(2, 17))
def test_every_operation_knows_a_descriptor_that_is_none(agent, op):
    if op == POLL:
        assert agent.poll({999: select.POLLIN}) == {999: select.POLLNVAL}
        return
    for fd in (-1, 999, 1024, 2147483647):
        assert agent.start(op, fd, data=bytes(16)).reply()[:2] == (-1, errno.EBADF)


def test_the_lowest_free_descriptor_is_given(agent):
    a, b, c = agent.socket(), agent.socket(), agent.socket()
    assert (a.fd, b.fd, c.fd) == (3, 4, 5)
    b.close()
    assert agent.socket().fd == 4


def test_descriptors_end(special):
    agent = special()
    for _ in range(1021):
        agent.socket()
    with pytest.raises(OSError) as e:
        agent.socket()
    assert e.value.errno == errno.EMFILE


def test_a_duplicate_is_the_same_socket(agent, pair):
    ours, peer = pair
    twin = Socket(agent, ours.fcntl(0, 100))
    assert twin.fd == 100
    ours.setblocking(False)
    assert twin.fcntl(3) == os.O_RDWR | os.O_NONBLOCK
    ours.close()
    assert twin.write(b"still here") == 10
    assert peer.recv(100) == b"still here"
    twin.close()
    assert peer.recv(1) == b""


def test_close_on_exec_belongs_to_the_descriptor(agent):
    s = agent.socket(kind=socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    assert s.fcntl(1) == 1
    assert Socket(agent, s.fcntl(0, 0)).fcntl(1) == 0
    assert Socket(agent, s.fcntl(1030, 0)).fcntl(1) == 1
    s.fcntl(2, 0)
    assert s.fcntl(1) == 0


def test_fcntl_refuses_what_it_does_not_know(agent):
    s = agent.socket()
    assert s.start(14, 9999).reply()[:2] == (-1, errno.EINVAL)
    assert s.start(14, 0, -1).reply()[:2] == (-1, errno.EINVAL)


def test_many_calls_wait_at_once(agent, listener):
    calls = [listener.start(ACCEPT) for _ in range(100)]
    time.sleep(0.05)
    assert not any(c.is_done() for c in calls)
    peers = [linux() for _ in calls]
    for p in peers:
        p.connect((OURS, listener.port))
    fds = [c.reply()[0] for c in calls]
    assert sorted(fds) == fds and len(set(fds)) == 100, "the call that waits longest is served first"
    for fd in fds:
        agent.call(CLOSE, fd)
    for p in peers:
        p.close()


def test_readers_and_writers_work_at_the_same_time(agent, listener):
    n, size = 10, 200_000
    got = {}

    def peer(i):
        p = linux()
        p.connect((OURS, listener.port))
        p.sendall(bytes([i]) * size)
        p.shutdown(socket.SHUT_WR)
        data = b""
        while part := p.recv(65536):
            data += part
        got[i] = data
        p.close()

    def echo(s):
        while data := s.read(65536):
            s.write(data)
        s.close()
    clients = [threading.Thread(target=peer, args=(i,)) for i in range(n)]
    for t in clients:
        t.start()
    servers = [threading.Thread(target=echo, args=(listener.accept()[0],)) for _ in range(n)]
    for t in servers:
        t.start()
    for t in clients + servers:
        t.join(30)
    assert got == {i: bytes([i]) * size for i in range(n)}


def test_a_client_that_goes_away_takes_its_call_with_it(agent, pair):
    ours, peer = pair
    gone = ours.start(RECV, 100)
    time.sleep(0.02)
    gone.abandon()
    time.sleep(0.02)
    peer.sendall(b"for the next")
    assert ours.recv(100) == b"for the next"


def test_a_client_that_goes_away_within_accept_loses_no_connection(agent, listener):
    gone = listener.start(ACCEPT)
    time.sleep(0.02)
    gone.abandon()
    time.sleep(0.02)
    peer = linux()
    peer.connect((OURS, listener.port))
    s, address = listener.accept()
    assert address == peer.getsockname()
    peer.close()


def test_a_read_goes_on_when_another_closes_its_descriptor(agent, pair):
    # As on Linux: the call holds the socket, and the FIN waits for it.
    ours, peer = pair
    call = ours.start(RECV, 100)
    time.sleep(0.02)
    ours.close()
    assert ours.start(RECV, 1).reply()[:2] == (-1, errno.EBADF)
    peer.setblocking(False)
    with pytest.raises(BlockingIOError):
        peer.recv(1)
    peer.setblocking(True)
    peer.sendall(b"to the call")
    assert call.result()[1] == b"to the call"
    assert peer.recv(1) == b"", "the socket is closed with the call"


def test_an_accept_goes_on_when_another_closes_its_descriptor(agent, listener):
    call = listener.start(ACCEPT)
    time.sleep(0.02)
    listener.close()
    peer = linux()
    peer.connect((OURS, listener.port))
    assert call.reply()[0] >= 3
    peer.close()
    with pytest.raises(ConnectionRefusedError):
        linux().connect((OURS, listener.port))


def test_a_poll_is_not_fooled_by_a_descriptor_used_anew(agent, pair):
    ours, peer = pair
    call = agent.start(POLL, -1, 400, data=struct.pack("=ihh", ours.fd, select.POLLIN, 0))
    time.sleep(0.02)
    ours.close()
    other = agent.socket() # gets its number; a fresh socket would show POLLHUP
    assert other.fd == ours.fd
    assert not call.is_done(0.1)
    assert call.reply()[0] == 0


def test_what_was_refused_is_counted(lab, agent):
    p = lab.start()
    p.agent.start(99).reply()
    p.agent.start(0, raw=REQUEST.pack(BIND, 3, 0, 0, 0, 0xffffffff)).reply()
    p.agent.start(0, raw=b"short").abandon()
    s = p.agent.socket()
    s.bind((OURS, 80))
    s.listen()
    gone = s.start(ACCEPT)
    time.sleep(0.05)
    gone.abandon()
    time.sleep(0.05)
    counters = lab.stop(p)
    assert counters["bad_requests"] == 2
    assert counters["parked"] == 1 and counters["abandoned"] == 1
    assert counters["calls"] == 4
    assert counters["bad_ops"] >= 1


def test_too_many_clients_are_turned_away(lab, special):
    agent = special()

    def come():
        c = socket.socket(socket.AF_UNIX)
        c.settimeout(10)
        c.connect(agent.path)
        return c

    def is_served(c):
        c.send(REQUEST.pack(SOCKET, -1, 2, 1, 0, 0))
        try:
            return len(c.recv(100)) > 0
        except ConnectionResetError:
            return False
    conns = [come() for _ in range(1024)]
    assert is_served(conns[-1])
    assert come().recv(1) == b""
    for _ in range(50):  # who leaves makes room for who comes next
        conns.pop(0).close()
        conns.append(come())
        assert is_served(conns[-1])
    assert come().recv(1) == b""
    for c in conns:
        c.close()
    time.sleep(0.2)
    alive(agent)
