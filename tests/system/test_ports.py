"""
Every device a port can be, in the real daemon. (`ring` is tests/wire/ring_workers.c, two queues of a
`memif` test_workers.py; a NIC by its PCI address needs one.)
"""
import hashlib
import json
import os
from pathlib import Path

import origin
import pytest
from scapy.all import ARP, ICMP, IP, Ether, Raw, rdpcap, wrpcap

import lab as L

SIZE = 64 << 20


@pytest.fixture()
def lab():
    with L.Lab() as where:
        yield where


def plain(head):
    return L.conf(head, clusters=[L.cluster("origin", "10.2.0.1:9000")],
                  route_configs=[L.routes("r", 'prefix = "/"; cluster = "origin";')],
                  listeners=[L.listener("http", "10.1.0.2:80", L.chain("r", log=None))])


def control(lab):
    return f'control = {{ socket = "{lab.tmp}/gateway.sock"; }};\n'


@pytest.mark.parametrize("device", ["af_packet", "af_xdp"])
@pytest.mark.parametrize("hugepages", [True, False])
def test_a_kernel_interface_is_a_port_with_and_without_hugepages(lab, device, hugepages):
    lab.origin()
    gw = lab.gateway(plain(L.machine(lab.tmp, "gateway", L.GATEWAY_PORTS, device=device, hugepages=hugepages)))
    assert lab.curl("http://10.1.0.2/").stdout == "origin\n"
    ports = lab.ctl_json(gw, "status")["ports"]
    assert [p["driver"] for p in ports] == [f"net_{device}"] * 2
    # More than all the packets there are, so that each of them is received into and sent once.
    body = lab.tmp / "body"
    lab.curl("-o", body, f"http://10.1.0.2/bytes/{SIZE}?seed=3")
    assert hashlib.sha256(body.read_bytes()).hexdigest() == origin.digest(SIZE, 3)
    told = lab.curl("-T", body, "http://10.1.0.2/digest").stdout
    assert json.loads(told)["bytes"] == SIZE
    assert lab.stop(gw) == 0


def cpus_of_threads(p):
    """Which each may run on, by the thread's name."""
    where = {}
    for task in Path(f"/proc/{p.pid}/task").iterdir():
        where[(task / "comm").read_text().strip()] = os.sched_getaffinity(int(task.name))
    return where


@pytest.mark.parametrize("which", [0, -1])
def test_the_control_thread_stays_where_the_process_was_started(lab, which):
    ours = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {ours[which]})  # as taskset does, and systemd's CPUAffinity=
    try:
        gw = lab.gateway(plain(L.machine(lab.tmp, "gateway", L.GATEWAY_PORTS, extra=f"cores = [ {ours[0]} ];")))
    finally:
        os.sched_setaffinity(0, ours)
    where = cpus_of_threads(gw)
    assert (where["isthmusd"], where["rte-worker-1"]) == ({ours[which]}, {ours[0]}), where
    assert lab.stop(gw) == 0


def test_a_tap_port_talks_to_this_machines_kernel(lab):
    head = (f'machine = {{ ports = ( {{ name = "t"; device = "tap"; interface = "tap0"; '
            'addresses = [ "10.3.0.2/24" ]; } ); };\n')
    gw = lab.gateway(L.conf(head + control(lab), clusters=[L.cluster("origin", "10.3.0.1:9000")],
                            route_configs=[L.routes("r", 'prefix = "/"; cluster = "origin";')],
                            listeners=[L.listener("http", "10.3.0.2:80", L.chain("r", log=None))]), ns=L.MESH)
    lab.ns(L.MESH, "ip", "addr", "add", "10.3.0.1/24", "dev", "tap0")
    lab.ns(L.MESH, "ip", "link", "set", "tap0", "up")
    lab.origin(address="10.3.0.1")
    assert lab.ns(L.MESH, "curl", "-sS", "--max-time", "10", "http://10.3.0.2/").stdout == "origin\n"
    assert lab.stop(gw) == 0


def test_a_pcap_port_answers_the_frames_of_a_file(lab):
    peer, broadcast = "02:00:00:00:00:09", "ff:ff:ff:ff:ff:ff"
    wrpcap(str(lab.tmp / "in.pcap"), [
        Ether(src=peer, dst=broadcast) / ARP(op=1, hwsrc=peer, psrc="10.4.0.9", pdst="10.4.0.2"),
        Ether(src=peer, dst=broadcast) / IP(src="10.4.0.9", dst="10.4.0.2") / ICMP() / Raw(b"echo"),
    ])
    head = (f'machine = {{ ports = ( {{ name = "p"; device = "pcap"; '
            f'pcap_rx = "{lab.tmp}/in.pcap"; '
            f'pcap_tx = "{lab.tmp}/out.pcap"; addresses = [ "10.4.0.2/24" ]; }} ); }};\n')
    gw = lab.gateway(head + control(lab))
    L.wait_for("both frames to be read", lambda: lab.stats(gw)["port.rx"] >= 2)
    assert lab.stop(gw) == 0
    replies = [p[ARP] for p in rdpcap(str(lab.tmp / "out.pcap")) if ARP in p and p[ARP].op == 2]
    assert [(r.psrc, r.pdst, r.hwdst) for r in replies] == [("10.4.0.2", "10.4.0.9", peer)]


SEND = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("t0", 0))
for _ in range(3000):
    s.send(b"\\xff" * 6 + b"\\x02\\0\\0\\0\\0\\x09" + b"\\x88\\xb5" + bytes(50))  # an experiment's EtherType
"""


@pytest.mark.parametrize("size, fits", [(1024, False), (4096, True)])
def test_a_memif_holds_as_many_frames_as_it_was_told(lab, size, fits):
    """3,000 arrive while isthmusd stands still."""
    lab.ns(L.CLIENT, "ip", "link", "add", "t0", "type", "veth", "peer", "name", "t1")
    for dev in ("t0", "t1"):
        lab.ns(L.CLIENT, "ip", "link", "set", dev, "up")
    wire = lab.start("badwire", L.CLIENT, L.BUILD / "tests/lib/badwire", "t1", f"memif:{lab.tmp}/wire.memif")
    L.wait_for("badwire", lambda: (lab.tmp / "wire.memif").exists())
    gw = lab.gateway(f'machine = {{ ports = ( {{ name = "m"; device = "memif"; socket = "{lab.tmp}/wire.memif"; '
                     f'rx_descriptors = {size}; addresses = [ "10.4.0.2/24" ]; }} ); }};\n' + control(lab))
    L.wait_for("the link", lambda: lab.ctl_json(gw, "status")["ports"][0]["link"] == "up")
    gw.send_signal(L.signal.SIGSTOP)
    lab.ns(L.CLIENT, L.PYTHON, "-c", SEND)
    gw.send_signal(L.signal.SIGCONT)
    wire.send_signal(L.signal.SIGUSR1)
    L.wait_for("what badwire tells", lambda: "\nba " in lab.log("badwire"))
    told = dict(pair.split("=") for pair in lab.log("badwire").split("ab ")[1].splitlines()[0].split())
    assert int(told["received"]) >= 3000 and told["missed"] == "0"
    assert (told["device_full"] == "0") == fits, told
    assert lab.stop(gw) == 0  # before the other side: DPDK's driver would not stand that


@pytest.mark.parametrize("port, words", [
    ('device = "pci"; pci = "0000:ff:1f.7";', "DPDK has no device 0000:ff:1f.7"),
    ('device = "af_packet"; interface = "nowhere0";', "there is no interface nowhere0"),
    ('device = "af_xdp"; interface = "nowhere0";', "there is no interface nowhere0"),
    ('device = "pcap"; pcap_rx = "/nowhere/x.pcap"; pcap_tx = "/nowhere/y.pcap";', "does not start"),
])
def test_a_port_that_cannot_be_had_ends_the_start_with_words(lab, port, words):
    conf = lab.tmp / "bad.conf"
    conf.write_text(f'machine = {{ ports = ( {{ name = "p"; {port} '
                    f'addresses = [ "10.4.0.2/24" ]; }} ); }};\n' + control(lab))
    done = lab.ns(L.GATEWAY, L.BUILD / "isthmusd", "-c", conf, check=False)
    assert done.returncode == 1
    assert words in done.stderr
