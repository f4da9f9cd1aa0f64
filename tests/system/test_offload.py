"""
Segments that leave, and come in, as one packet: cut up by the port (a TAP does) or in software, merged from bursts;
and with all of that turned off. What arrives is the same.
"""
import pytest

import lab as L
import origin

SIZE = 100 << 20
OFF = "tcp = { segmentation_offload = false; receive_offload = false; };"


@pytest.fixture()
def lab():
    with L.Lab() as where:
        yield where


def download(lab, ns, address):
    got = lab.ns(ns, "bash", "-c", f"curl -sSf --max-time 300 http://{address}/bytes/{SIZE}?seed=7 | sha256sum").stdout
    return got.split()[0]


def proxy(head, address, endpoint):
    return L.conf(head, clusters=[L.cluster("origin", endpoint)],
                  route_configs=[L.routes("r", 'prefix = "/"; cluster = "origin";')],
                  listeners=[L.listener("http", f"{address}:80", L.chain("r", log=None))])


def capabilities(lab, gw):
    return [p["capabilities"].split() for p in lab.ctl_json(gw, "status")["ports"]]


def tap(lab, mtu, extra=""):
    head = (f'machine = {{ ports = ( {{ name = "t"; device = "tap"; interface = "tap0"; mtu = {mtu}; '
            f'addresses = [ "10.3.0.2/24" ]; }} ); {extra} }};\n'
            f'control = {{ socket = "{lab.tmp}/gateway.sock"; }};\n')
    gw = lab.gateway(proxy(head, "10.3.0.2", "10.3.0.1:9000"), ns=L.MESH)
    lab.ns(L.MESH, "ip", "addr", "add", "10.3.0.1/24", "dev", "tap0")
    lab.ns(L.MESH, "ip", "link", "set", "tap0", "up")
    lab.origin(address="10.3.0.1")
    return gw


def test_a_port_cuts_up_trains_itself(lab):
    gw = tap(lab, 1486)  # the most for which a TAP does it
    assert "tso" in capabilities(lab, gw)[0]
    assert "mtu 1486" in lab.ns(L.MESH, "ip", "link", "show", "tap0").stdout
    assert download(lab, L.MESH, "10.3.0.2") == origin.digest(SIZE, 7)
    stats = lab.stats(gw)
    assert stats["port.tx_trains"] > 1000
    assert stats["tcp.trains_out"] == stats["port.tx_trains"]
    assert stats["tcp.train_segs_out"] > 2 * stats["tcp.trains_out"]
    assert lab.stop(gw) == 0


def test_a_tap_of_the_usual_mtu_gets_its_segments_one_by_one(lab):
    gw = tap(lab, 1500)
    assert "tso" not in capabilities(lab, gw)[0]
    assert download(lab, L.MESH, "10.3.0.2") == origin.digest(SIZE, 7)
    stats = lab.stats(gw)
    assert stats["port.tx_trains"] == 0
    assert stats["tcp.trains_out"] > 1000
    assert lab.stop(gw) == 0


def test_software_cuts_up_trains_and_merges_what_came_together(lab):
    lab.origin()
    gw = lab.gateway(proxy(L.machine(lab.tmp, "gateway", L.GATEWAY_PORTS), "10.1.0.2", "10.2.0.1:9000"))
    assert not any("tso" in c or "lro" in c for c in capabilities(lab, gw))
    assert download(lab, L.CLIENT, "10.1.0.2") == origin.digest(SIZE, 7)
    stats = lab.stats(gw)
    assert stats["port.tx_trains"] == 0
    assert stats["tcp.trains_out"] > 1000
    assert stats["tcp.trains_in"] > 1000
    assert stats["tcp.train_segs_in"] > 2 * stats["tcp.trains_in"]
    assert lab.stop(gw) == 0


def test_a_segment_is_a_packet_when_it_is_turned_off(lab):
    lab.origin()
    gw = lab.gateway(proxy(L.machine(lab.tmp, "gateway", L.GATEWAY_PORTS, extra=OFF), "10.1.0.2", "10.2.0.1:9000"))
    assert download(lab, L.CLIENT, "10.1.0.2") == origin.digest(SIZE, 7)
    stats = lab.stats(gw)
    assert stats["tcp.trains_out"] == stats["tcp.trains_in"] == 0
    assert lab.stop(gw) == 0
