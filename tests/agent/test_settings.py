"""The command line: what --set does, what is refused, how an agent begins and ends."""
import errno
import os
import signal
import socket
import stat
import subprocess
import time

import pytest

from agentlab import AGENT_NS, BUILD, LINUX, NOBODY, OURS, linux, linux_listener, ns
from client import CLOSED
from script import MAC, Peer, remote

PROGRAM = str(BUILD / "tests/agent/isthmus-agent")
NAMES = """congestion-control initial-window pacing ecn sack timestamps window-scale receive-buffer receive-buffer-max send-buffer send-buffer-max nagle
delayed-ack-ms rto-min-ms max-retries syn-retries syn-timeout-ms time-wait-ms fin-timeout-ms user-timeout-ms keepalive
keepalive-idle-ms keepalive-interval-ms keepalive-probes somaxconn mtu neighbor""".split()
GOOD = ["--interface", "ag0", "--address", "10.9.0.2/24", "--socket", "/tmp/isthmus-agent-never"]


def run(*args):
    return subprocess.run([PROGRAM, *args], capture_output=True, text=True, timeout=20)


def serve(agent, port=80):
    s = agent.socket()
    s.bind((OURS, port))
    s.listen()
    return s


def accepted(agent, wire, **kw):
    s = serve(agent)
    p = Peer(wire, 80, **kw)
    p.syn_ack = p.open()
    return s.accept()[0], p


def test_help_names_every_setting():
    done = run("--help")
    assert done.returncode == 0
    for name in NAMES:
        assert f"\n  {name} " in done.stdout, name
    assert done.stdout.count("(default: ") == len(NAMES)


@pytest.mark.parametrize("args,words", [
    (GOOD[2:], "--interface is missing"), (GOOD[:2] + GOOD[4:], "--address is missing"),
    (GOOD[:4], "--socket is missing"), (GOOD + ["--set", "nothing=1"], "no such name"),
    (GOOD + ["--set", "sack"], "not NAME=VALUE"), (GOOD + ["--set", "sack=maybe"], "neither on nor off"),
    (GOOD + ["--set", "initial-window=0"], "from 1 to 1000"), (GOOD + ["--set", "mtu=x"], "from 576 to 9000"),
    (GOOD + ["--set", "congestion-control=bbr"], "there is no bbr"),
    (GOOD + ["--set", "neighbor=10.0.0.1"], "ADDRESS[/PREFIX]@MAC"),
    (GOOD + ["--set", "neighbor=10.0.0.1@01:00:00:00:00:00"], "ADDRESS[/PREFIX]@MAC"),
    (GOOD + ["--set", "neighbor=10.0.0.1/24@02:00:00:00:00:00"], "ADDRESS[/PREFIX]@MAC"),
    (GOOD + ["--address", "10.0.0.1"], "ADDRESS/PREFIX"), (GOOD + ["--gateway", "nowhere"], "not an address"),
    (GOOD + ["--device", "tap"], "af_packet or af_xdp"), (GOOD + ["more"], "what is that"),
    (["--interface", "a" * 16] + GOOD[2:], "too long"), (GOOD[:4] + ["--socket", "/" + "x" * 200], "too long"),
    (GOOD + ["--nothing"], "unrecognized option")])
def test_a_command_line_that_is_wrong(args, words):
    done = run(*args)
    assert done.returncode == 2 and words in done.stderr


def test_an_interface_that_is_not_there():
    done = run("--interface", "nothere0", *GOOD[2:])
    assert done.returncode == 1 and "no interface nothere0" in done.stderr


def test_a_path_that_cannot_be_made(lab):
    done = ns(AGENT_NS, PROGRAM, *GOOD[:4], "--socket", "/nowhere/agent.sock", check=False)
    assert done.returncode == 1 and "No such file" in done.stderr


def test_a_second_agent_does_not_take_the_path_of_the_first(lab, special):
    special()
    path = special.processes[0].path
    done = ns(AGENT_NS, PROGRAM, *GOOD[:4], "--socket", path, check=False)
    assert done.returncode == 1 and "in use" in done.stderr
    assert path.exists()


def test_a_path_left_behind_is_taken_over(lab):
    p = lab.start()
    p.kill()
    p.wait()
    assert p.path.exists()
    q = subprocess.Popen(["ip", "netns", "exec", AGENT_NS, PROGRAM, *GOOD[:4], "--socket", p.path],
                         stdout=subprocess.DEVNULL)
    for _ in range(200):
        try:
            p.agent.socket().close()
            break
        except OSError:
            time.sleep(0.05)
    else:
        raise AssertionError("it is not taken over")
    q.terminate()
    assert q.wait(20) == 0 and not p.path.exists()


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_resets_what_is_open(lab, wire, sig):
    p = lab.start()
    s, peer = accepted(p.agent, wire)
    waiting = s.start(9, 100)
    p.send_signal(sig)
    assert p.wait(10) == 0 and not p.path.exists()
    assert {x.flags for x in peer.drain()} & {"FA", "RA"}
    with pytest.raises(ConnectionError):
        waiting.reply()


def test_af_xdp_is_a_port_too(lab):
    try:
        p = lab.start(device="af_xdp", env={"ASAN_OPTIONS": "detect_leaks=0"}) # libxdp's
    except RuntimeError as e:
        pytest.skip(f"no AF_XDP here: {str(e)[-200:]}")
    s = serve(p.agent)
    peer = linux()
    peer.connect((OURS, 80))
    child, _ = s.accept()
    child.write(b"by xdp")
    assert peer.recv(100) == b"by xdp"
    peer.close()
    lab.stop(p)
    lab.no_offloads() # they come back with the program's end


def test_the_initial_window(special, wire):
    s, p = accepted(special("initial-window=3"), wire)
    s.write(b"x" * 1460 * 10)
    assert len(p.drain()) == 3 and s.info().snd_cwnd == 3


@pytest.mark.parametrize("on", [True, False])
def test_sack_offered_or_not(special, wire, on):
    agent = special(f"sack={'on' if on else 'off'}")
    p = remote(wire)
    s = agent.socket()
    s.start_connect((p.host, 7777))
    assert p.rx("S", 0).sack_ok is on
    _, q = accepted(agent, wire, sack=True)
    assert q.syn_ack.sack_ok is on


@pytest.mark.parametrize("on", [True, False])
def test_timestamps_offered_or_not(special, wire, on):
    agent = special(f"timestamps={int(on)}")
    p = remote(wire)
    s = agent.socket()
    s.start_connect((p.host, 7777))
    assert (p.rx("S", 0).ts is not None) is on
    _, q = accepted(agent, wire, ts=1000)
    assert (q.syn_ack.ts is not None) is on


@pytest.mark.parametrize("on", [True, False])
def test_window_scaling_offered_or_not(special, wire, on):
    agent = special(f"window-scale={int(on)}", "receive-buffer=200000", "receive-buffer-max=200000")
    p = remote(wire)
    s = agent.socket()
    s.start_connect((p.host, 7777))
    assert p.rx("S", 0).wscale == (2 if on else None)
    _, q = accepted(agent, wire, wscale=5)
    assert q.syn_ack.wscale == (2 if on else None) and q.syn_ack.wnd == 65535


@pytest.mark.parametrize("on", [True, False])
def test_ecn_asked_for_or_not(special, wire, on):
    agent = special(f"ecn={int(on)}")
    p = remote(wire)
    agent.socket().start_connect((p.host, 7777))
    p.rx("SEC" if on else "S", 0)


def test_buffers(special, wire):
    s, p = accepted(special("receive-buffer=20000", "send-buffer=15000", "send-buffer-max=15000"), wire)
    assert p.syn_ack.wnd == 20000
    assert s.getsockopt(1, socket.SO_RCVBUF) == 40000 and s.getsockopt(1, socket.SO_SNDBUF) == 30000
    assert s.send(b"x" * 50000, 0x40) == 15000


def test_the_delay_of_an_ack(special, wire):
    s, p = accepted(special("delayed-ack-ms=150"), wire)
    s.setsockopt(6, 12, 0)
    start = time.monotonic()
    p.tx("PA", 1, 1, b"x")
    assert 0.13 < p.rx("A", 1, 2).at - start < 0.25
    assert s.info().ato == 150000


def test_the_least_timeout(special, wire):
    s, p = accepted(special("rto-min-ms=600"), wire)
    assert s.info().rto >= 600000


def test_the_number_of_retries(special, wire):
    s, p = accepted(special("max-retries=2", "rto-min-ms=50"), wire)
    s.write(b"x")
    assert s.start(9, 10).reply()[1] == errno.ETIMEDOUT
    assert 3 <= len([x for x in p.drain() if x.data]) <= 4


def test_half_open_connections_are_given_up(special, wire):
    agent = special("syn-timeout-ms=1500")
    serve(agent)
    p = Peer(wire, 80)
    p.tx("S", 0)
    p.rx("SA", 0, 1)
    p.rx("SA", 0, 1)
    time.sleep(0.8)
    p.tx("A", 1, 1)
    p.rx("R", 1, None, 0)


def test_time_wait_is_short(special, wire):
    s, p = accepted(special("time-wait-ms=300"), wire)
    s.close()
    p.rx("FA", 1, 1)
    p.tx("FA", 1, 2)
    p.rx("A", 2, 2)
    p.tx("FA", 1, 2)
    p.rx("A", 2, 2)
    time.sleep(0.5)
    p.tx("FA", 1, 2)
    p.rx("R", 2, None, 0)


def test_a_closed_socket_is_given_up(special, wire):
    s, p = accepted(special("fin-timeout-ms=400"), wire)
    s.close()
    p.rx("FA", 1, 1)
    p.tx("A", 1, 2)
    time.sleep(0.6)
    p.drain()
    p.tx("FA", 1, 2)
    p.rx("R", 2, None, 0)


def test_nagle_is_off(special, wire):
    s, p = accepted(special("nagle=off"), wire)
    assert s.getsockopt(6, 1) == 1
    for i in range(2):
        s.write(b"x")
        p.rx("PA", 1 + i, 1, 1)


def test_keepalive_of_all(special, wire):
    s, p = accepted(special("keepalive=on", "keepalive-idle-ms=300", "keepalive-interval-ms=200", "keepalive-probes=2"),
                    wire)
    assert s.getsockopt(1, socket.SO_KEEPALIVE) == 1 and s.getsockopt(6, 6) == 2
    p.rx("A", 0, 1, 0)
    p.rx("A", 0, 1, 0)
    assert s.start(9, 10).reply()[1] == errno.ETIMEDOUT


def test_a_user_timeout_of_all(special, wire):
    s, p = accepted(special("user-timeout-ms=500"), wire)
    assert s.getsockopt(6, 18) == 500
    s.write(b"x")
    assert s.start(9, 10).reply()[1] == errno.ETIMEDOUT


@pytest.mark.parametrize("cc,ssthresh", [("reno", 5), ("cubic", 7)])
def test_congestion_control(special, wire, cc, ssthresh):
    s, p = accepted(special(f"congestion-control={cc}"), wire, sack=True)
    assert s.getsockopt(6, 13, 16).rstrip(b"\0") == cc.encode()
    s.write(b"x" * 14600)
    p.drain(0.02)
    p.tx_sack(1, (1461, 7301))
    p.rx("A", 1, 1)
    assert s.info().snd_ssthresh == ssthresh


def test_somaxconn(special):
    s = serve(special("somaxconn=3"))
    assert s.info().sacked == 3


def test_the_mtu(special, wire):
    s, p = accepted(special("mtu=1000"), wire)
    assert p.syn_ack.mss == 960 and s.info().pmtu == 1000


def test_static_neighbours_are_not_asked_for(special, wire):
    # Nobody has this address, and an answer of ARP would come from nobody.
    agent = special(f"neighbor={NOBODY}@{MAC}")
    p = remote(wire, host=NOBODY)
    s = agent.socket()
    call = s.start_connect((NOBODY, 7777))
    p.answer()
    assert call.reply()[1] == 0


def test_the_way_out_of_the_network(special, wire):
    agent = special(f"neighbor={LINUX}@{MAC}")
    p = remote(wire, host="192.0.2.77")
    s = agent.socket()
    call = s.start_connect(("192.0.2.77", 7777))
    p.answer()
    assert call.reply()[1] == 0
