"""TCP_INFO: against what the test knows, and against the kernel's own at the other end."""
import socket
import time

import pytest

from agentlab import OURS, linux
from client import (CLOSED, CLOSE_WAIT, CLOSING, ESTABLISHED, FIN_WAIT1, FIN_WAIT2, INFO, LAST_ACK, LISTENING, SYN_SENT,
                    TCP_INFO, TcpInfo)
from script import Peer, remote

TS, SACK, WSCALE, ECN, ECN_SEEN = 1, 2, 4, 8, 16
OPEN, DISORDER, CWR, RECOVERY, LOSS = range(5)


@pytest.fixture
def scripted(agent, listener, wire):
    p = Peer(wire, listener.port, sack=True, wscale=7)
    p.open(0.1) # so that no probe comes soon
    s, _ = listener.accept()
    s.setsockopt(6, 1, 1)
    return s, p


def kernel(peer):
    return TcpInfo(peer.getsockopt(6, TCP_INFO, 256))


def settle(s, condition, seconds=2):
    end = time.monotonic() + seconds
    while not condition(i := s.info()):
        assert time.monotonic() < end, i
        time.sleep(0.005)
    return i


def test_a_fresh_socket(agent):
    i = agent.socket().info()
    assert (i.state, i.rto, i.snd_cwnd, i.snd_ssthresh, i.snd_mss, i.reordering) == \
        (CLOSED, 1000000, 10, 0x7fffffff, 536, 3)


def test_a_part_of_it(agent):
    s = agent.socket()
    assert len(s.getsockopt(6, TCP_INFO, 8)) == 8
    assert len(s.getsockopt(6, TCP_INFO, 104)) == 104
    assert len(s.getsockopt(6, TCP_INFO, 4096)) >= INFO.size
    assert s.getsockopt(6, TCP_INFO, 0) == b""


def test_a_listener(listener):
    i = listener.info()
    assert (i.state, i.unacked, i.sacked) == (LISTENING, 0, 16)


def test_a_new_connection(scripted):
    s, p = scripted
    i = s.info()
    assert (i.state, i.ca_state, i.retransmits, i.probes, i.backoff) == (ESTABLISHED, OPEN, 0, 0, 0)
    assert i.options == SACK | WSCALE and (i.snd_wscale, i.rcv_wscale) == (7, 7)
    assert (i.snd_mss, i.advmss, i.pmtu) == (1460, 1460, 1500)
    assert (i.unacked, i.sacked, i.lost, i.retrans, i.total_retrans) == (0, 0, 0, 0, 0)
    assert (i.snd_cwnd, i.snd_ssthresh, i.reordering) == (10, 0x7fffffff, 3)
    assert i.snd_wnd == 65535 << 7
    assert (i.delivered, i.bytes_acked, i.bytes_received, i.bytes_sent) == (1, 0, 0, 0)
    assert i.rcv_ssthresh == 65536 and i.ato == 40000
    assert i.max_pacing_rate == 2**64 - 1
    for name in ("fackets", "last_ack_sent", "rcv_rtt", "rcv_space", "segs_in", "segs_out", "data_segs_in",
                 "data_segs_out", "bytes_retrans", "delivered_ce", "reord_seen", "rcv_ooopack", "busy_time",
                 "rwnd_limited", "sndbuf_limited"):
        assert getattr(i, name) == 0, name


def test_what_is_in_flight(scripted):
    s, p = scripted
    s.write(b"x" * 1460 * 12)
    i = s.info()
    assert i.unacked == 10 and i.notsent_bytes == 1460 * 2
    assert i.bytes_sent == 14600 and i.bytes_acked == 0
    p.tx("A", 1, 1 + 1460 * 2)
    i = settle(s, lambda i: i.bytes_acked == 2920)
    assert (i.unacked, i.delivered, i.notsent_bytes) == (10, 3, 0)


def test_the_round_trip(agent, listener, wire):
    p = Peer(wire, listener.port)
    p.open()
    s, _ = listener.accept()
    for n in range(1, 9):
        s.write(b"x")
        p.rx("PA", n, 1, 1)
        time.sleep(0.1)
        p.tx("A", 1, n + 1)
    i = settle(s, lambda i: i.unacked == 0)
    assert 50000 < i.rtt < 130000 and 5000 < i.rttvar < 100000
    assert i.min_rtt < 130000
    assert i.rto >= 200000 and i.rto >= i.rtt


def test_a_window_grows_in_slow_start(scripted):
    s, p = scripted
    s.write(b"x" * 1460 * 10)
    p.drain()
    p.tx("A", 1, 14601)
    assert settle(s, lambda i: i.unacked == 0).snd_cwnd == 20


def test_selective_acknowledgements(scripted):
    s, p = scripted
    s.write(b"x" * 1460 * 4)
    p.drain(0.02)
    p.tx_sack(1, (1461, 2921))
    i = settle(s, lambda i: i.sacked > 0)
    assert (i.sacked, i.ca_state, i.delivered) == (1, DISORDER, 2)


def test_a_loss_and_its_repair(scripted):
    s, p = scripted
    s.write(b"x" * 1460 * 10)
    p.drain(0.02)
    p.tx_sack(1, (1461, 7301))
    p.rx("A", 1, 1, 1460)
    i = settle(s, lambda i: i.ca_state == RECOVERY)
    assert i.sacked == 4 and i.lost == 1 and i.retrans == 1 and i.total_retrans == 1
    assert i.snd_ssthresh == 7, "CUBIC: seven tenths"
    p.drain(0.02)
    p.tx("A", 1, 14601)
    i = settle(s, lambda i: i.ca_state == OPEN)
    assert (i.unacked, i.sacked, i.lost, i.retrans, i.total_retrans) == (0, 0, 0, 0, 1)


def test_a_timeout(agent, listener, wire):
    p = Peer(wire, listener.port)
    p.open()
    s, _ = listener.accept()
    s.write(b"x" * 100)
    p.rx("PA", 1, 1, 100)
    for _ in range(2): # a tail loss probe or the timeout, and one more
        p.rx("PA", 1, 1, 100)
    i = settle(s, lambda i: i.ca_state == LOSS)
    assert i.retransmits >= 1 and i.backoff >= 1 and i.total_retrans >= 2 and i.snd_cwnd == 1 and i.lost == 1


def test_a_closed_window_is_probed(agent, listener, wire):
    p = Peer(wire, listener.port)
    p.open()
    s, _ = listener.accept()
    p.tx("A", 1, 1, wnd=0)
    settle(s, lambda i: i.snd_wnd == 0)
    s.write(b"x" * 100)
    p.rx("A", 0, 1, 0)
    i = settle(s, lambda i: i.probes > 0)
    assert i.state == ESTABLISHED and i.unacked == 0 and i.notsent_bytes == 100 and i.retransmits == 0
    p.tx("A", 1, 1, wnd=1000)
    p.rx("PA", 1, 1, 100)


def test_a_double_acknowledgement(scripted):
    s, p = scripted
    s.write(b"x" * 1460)
    p.rx("PA", 1, 1, 1460)
    p.rx("PA", 1, 1, 1460)
    p.tx_sack(1461, (1, 1461))
    assert settle(s, lambda i: i.unacked == 0).dsack_dups == 1


def test_times(scripted):
    s, p = scripted
    s.write(b"x")
    p.rx("PA", 1, 1, 1)
    p.tx("A", 1, 2)
    time.sleep(0.3)
    p.tx("PA", 1, 2, b"x")
    p.rx("A", 2, 2)
    time.sleep(0.1)
    i = s.info()
    assert 350 < i.last_data_sent < 600
    assert 90 < i.last_data_recv < 250 and 90 < i.last_ack_recv < 250


def test_bytes_of_a_connection_that_we_have_opened(agent, wire):
    p = remote(wire)
    s = agent.socket()
    call = s.start_connect((p.host, 7777))
    p.rx("S", 0)
    i = s.info()
    assert (i.state, i.bytes_acked, i.delivered, i.snd_cwnd) == (SYN_SENT, 0, 0, 10)
    p.tx("SA", 0, 1)
    call.reply()
    p.rx("A", 1, 1)
    i = s.info()
    assert (i.bytes_acked, i.delivered) == (1, 1), "Linux counts the SYN"


def test_the_states_of_an_end(scripted):
    s, p = scripted
    s.shutdown(socket.SHUT_WR)
    p.rx("FA", 1, 1)
    assert s.info().state == FIN_WAIT1
    p.tx("A", 1, 2)
    i = settle(s, lambda i: i.state == FIN_WAIT2)
    assert i.bytes_acked == 1, "the FIN"
    p.tx("FA", 1, 2)
    p.rx("A", 2, 2)
    i = settle(s, lambda i: i.state == CLOSED)
    assert i.bytes_received == 1 and i.snd_mss == 1460, "what was known stays"


@pytest.mark.parametrize("ours,option", [("sack", SACK), ("timestamps", TS), ("window-scale", WSCALE)])
def test_options_that_are_off(special, ours, option):
    agent = special(f"{ours}=off")
    s = agent.socket()
    s.bind((OURS, 80))
    s.listen()
    peer = linux()
    peer.connect((OURS, 80))
    child, _ = s.accept()
    assert child.info().options == (TS | SACK | WSCALE) & ~option
    assert kernel(peer).options & 7 == (TS | SACK | WSCALE) & ~option
    peer.close()


@pytest.mark.parametrize("way", ["accepted", "connected"])
def test_both_ends_agree(request, way):
    ours, peer = request.getfixturevalue("pair" if way == "accepted" else "opened")
    ours.write(b"x" * 50000)
    got = 0
    while got < 50000:
        got += len(peer.recv(65536))
    peer.sendall(b"y" * 30000)
    assert len(ours.recv_exactly(30000)) == 30000
    i = settle(ours, lambda i: i.unacked == 0)
    time.sleep(0.1)
    k = kernel(peer)
    assert (i.state, i.ca_state, i.options & 7) == (k.state, k.ca_state, k.options & 7)
    assert (i.snd_wscale, i.rcv_wscale) == (k.rcv_wscale, k.snd_wscale)
    assert (i.snd_mss, i.advmss, i.pmtu) == (k.snd_mss, k.advmss, k.pmtu)
    assert i.bytes_received == k.bytes_acked - (way == "accepted") == 30000
    assert k.bytes_received == i.bytes_acked - (way == "connected") == 50000
    assert i.bytes_sent == 50000
    assert i.delivered >= 50000 // 1448 and i.total_retrans == 0
    assert 0 < i.rtt < 50000 and 0 < i.min_rtt <= i.rtt * 4
    assert i.rto >= 200000 and i.delivery_rate > 0
    assert i.reordering == k.reordering


def test_ecn_is_granted_and_seen(agent, listener, wire):
    p = Peer(wire, listener.port)
    p.tx("SEC", 0)
    p.rx("SAE", 0, 1)
    p.tx("A", 1, 1)
    s, _ = listener.accept()
    assert s.info().options & (ECN | ECN_SEEN) == ECN
    p.tx("PA", 1, 1, b"x", tos=3)
    p.rx("AE", 1, 2)
    assert s.info().options & ECN_SEEN


def test_an_ecn_echo_reduces_the_window(agent, listener, wire):
    p = Peer(wire, listener.port)
    p.tx("SEC", 0)
    p.rx("SAE", 0, 1)
    p.tx("A", 1, 1)
    s, _ = listener.accept()
    s.write(b"x" * 14600)
    p.drain(0.02)
    p.tx("AE", 1, 1461)
    i = settle(s, lambda i: i.ca_state == CWR)
    assert i.snd_ssthresh == 7
