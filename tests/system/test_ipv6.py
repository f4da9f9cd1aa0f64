"""IPv6 and the rest of the IP layer, with the kernel as the peer; hostile packets by scapy.

    client c0 10.1.0.1, fd00:1::1 ---- gw0 [isthmusd] gw1 ---- br0 10.2.0.1, fd00:2::1  (origin)

Needs root, curl, ping and scapy.
"""
import re
import threading
import time

import pytest

from lab import (CLIENT, GATEWAY_PORTS, MESH, PYTHON, Lab, access_log, chain, cluster, conf, listener, machine,
                 routes, sh, wait_for)

US6, CLIENT6, MESH6 = "fd00:1::2", "fd00:1::1", "fd00:2::1"
PORTS = [(name, dev, f'{addr}", "fd00:{i}::2/64') for i, (name, dev, addr) in enumerate(GATEWAY_PORTS, 1)]


def enable(lab, ns, dev, *addresses):
    lab.ns(ns, "sysctl", "-qw", f"net.ipv6.conf.{dev}.disable_ipv6=0", f"net.ipv6.conf.{dev}.accept_dad=0",
           f"net.ipv6.conf.{dev}.accept_ra=0")
    for a in addresses:
        lab.ns(ns, "ip", "-6", "addr", "add", a, "dev", dev, "nodad")


def gateway_conf(lab, workers=1, extra="", device="af_packet"):
    def http(cluster_name):
        return routes(cluster_name, f'prefix = "/"; cluster = "{cluster_name}"')
    return conf(machine(lab.tmp, "gateway", PORTS, workers=workers, extra=extra, device=device),
                access_logs=[access_log(lab.tmp / "access.log")],
                clusters=[cluster("four", "10.2.0.1:9000"), cluster("six", f"[{MESH6}]:9000")],
                route_configs=[http("four"), http("six")],
                listeners=[listener("l44", "10.1.0.2:80", chain("four")), listener("l46", "10.1.0.2:81", chain("six")),
                           listener("l64", f"[{US6}]:80", chain("four")), listener("l66", "[::]:81", chain("six"))])


class Place:
    def __init__(self, workers=1, extra="", device="af_packet"):
        self.lab = lab = Lab()
        try:
            enable(lab, CLIENT, "c0", f"{CLIENT6}/64")
            enable(lab, MESH, "br0", f"{MESH6}/64")
            lab.origin()
            lab.origin_six = lab.start("origin6", MESH, PYTHON, __file__.rsplit("/", 1)[0] + "/origin.py", MESH6, 9000)
            self.gw = lab.gateway(gateway_conf(lab, workers, extra, device))
            wait_for("our addresses", lambda: all(r["state"] != "tentative" for r in self.rows("addresses")))
        except BaseException:
            lab.close()
            raise

    def rows(self, what):
        return self.lab.ctl_json(self.gw, what)[what]

    def drops(self):
        return {k.split(".")[-1].upper(): v for k, v in self.lab.stats(self.gw).items() if "drop" in k and v}

    def get(self, port=81, host=f"[{US6}]", size=10):
        done = self.lab.curl(f"http://{host}:{port}/bytes/{size}", "-o", self.lab.tmp / "got", "-w",
                             "%{http_code} %{size_download}")
        return done.stdout

    def scapy(self, script):
        """Runs @script where `eth(dst)` is a frame from the client to the gateway and `out(packets)` sends."""
        mac = {p["port"]: p["mac"] for p in self.lab.ctl_json(self.gw, "status")["ports"]}["down"]
        head = (f"from scapy.all import *\nMAC = '{mac}'\n"
                "def out(packets): sendp([Ether(dst=MAC) / p for p in packets], iface='c0', verbose=False)\n")
        done = self.lab.ns(CLIENT, PYTHON, "-c", head + script, check=False)
        assert done.returncode == 0, done.stderr


# Those with a lab of their own come first: there is one at a time.

def test_a_duplicate_address_is_not_used():
    lab = Lab()
    try:
        enable(lab, CLIENT, "c0", f"{CLIENT6}/64", f"{US6}/64")  # the client has the gateway's address
        gw = lab.gateway(machine(lab.tmp, "gateway", PORTS))
        rows = wait_for("its detection", lambda: [r for r in lab.ctl_json(gw, "addresses")["addresses"]
                                                  if r["address"] == f"{US6}/64" and r["state"] != "tentative"])
        assert rows[0]["state"] == "duplicate"
        assert "is a duplicate and is not used" in lab.log("gateway")
        wait_for("the other one", lambda: "in use" in [r["state"] for r in lab.ctl_json(gw, "addresses")["addresses"]
                                                       if r["address"] == "fd00:2::2/64"])
    finally:
        lab.close()


def test_two_workers_serve_both_families():
    p = Place(workers=2)
    try:
        for _ in range(12):
            assert p.get(81, f"[{US6}]", 1000) == "200 1000"
            assert p.get(80, f"[{US6}]", 1000) == "200 1000"
            assert p.get(81, "10.1.0.2", 1000) == "200 1000"
        assert "5 received" in p.lab.ns(CLIENT, "ping", "-6", "-c", "5", "-i", "0.1", "-s", "4000", US6).stdout
    finally:
        p.lab.close()


def test_the_path_mtu_is_found():
    """A router between gateway and client whose far link is narrow: fd00:9::/64 and 10.9.0.0/24 behind c0."""
    lab = Lab()
    far = f"{CLIENT}-far"
    try:
        enable(lab, CLIENT, "c0", f"{CLIENT6}/64")
        sh("ip", "netns", "add", far)
        sh("ip", "link", "add", "r0", "netns", CLIENT, "type", "veth", "peer", "name", "f0", "netns", far)
        for ns, dev, four, six in ((CLIENT, "r0", "10.9.0.1", "fd00:9::1"), (far, "f0", "10.9.0.2", "fd00:9::2")):
            lab.ns(ns, "ip", "link", "set", dev, "mtu", "1400" if ns == CLIENT else "1500", "up")
            lab._no_offloads(ns, dev)
            enable(lab, ns, dev, f"{six}/64")
            lab.ns(ns, "ip", "addr", "add", f"{four}/24", "dev", dev)
        lab.ns(CLIENT, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        lab.ns(far, "ip", "route", "add", "default", "via", "10.9.0.1")
        lab.ns(far, "ip", "-6", "route", "add", "default", "via", "fd00:9::1")
        enable(lab, MESH, "br0", f"{MESH6}/64")
        lab.origin()
        extra = ('routes = ( { prefix = "10.9.0.0/24"; via = "10.1.0.1"; }, '
                 f'{{ prefix = "fd00:9::/64"; via = "{CLIENT6}"; }} );')
        gw = lab.gateway(conf(machine(lab.tmp, "gateway", PORTS, extra=extra),
                              clusters=[cluster("four", "10.2.0.1:9000")],
                              route_configs=[routes("four", 'prefix = "/"; cluster = "four"')],
                              listeners=[listener("l4", "10.1.0.2:80", chain("four", log="")),
                                         listener("l6", "[::]:80", chain("four", log=""))]))
        wait_for("our addresses", lambda: all(r["state"] == "in use" for r in lab.ctl_json(gw, "addresses")["addresses"]))
        for host in ("10.1.0.2", f"[{US6}]"):
            done = lab.ns(far, "curl", "-sS", "--max-time", "20", f"http://{host}/bytes/2000000", "-o", "/dev/null", "-w",
                          "%{http_code} %{size_download}", check=False)
            assert done.stdout == "200 2000000", done.stderr
        stats = lab.stats(gw)
        assert stats["net.path_mtus"] >= 2, {k: v for k, v in stats.items() if k.startswith(("net.", "drop")) and v}
    finally:
        lab.close()
        sh("ip", "netns", "del", far, check=False)


@pytest.fixture(scope="module")
def place():
    # AF_PACKET's fanout puts IPv4 fragments together before anybody sees them; AF_XDP does not.
    p = Place(device="af_xdp")
    try:
        yield p
    finally:
        p.lab.close()


@pytest.mark.parametrize("host,port", [("10.1.0.2", 80), ("10.1.0.2", 81), (f"[{US6}]", 80), (f"[{US6}]", 81)])
def test_every_family_to_every_family(place, host, port):
    assert place.get(port, host, 1) == "200 1"
    assert place.get(port, host, 3_000_000) == "200 3000000"


def test_the_kernels_ping(place):
    done = place.lab.ns(CLIENT, "ping", "-6", "-c", "3", "-i", "0.1", US6)
    assert "3 received" in done.stdout
    near = [r["address"].split("/")[0] for r in place.rows("addresses") if r["origin"] == "link-local"][0]
    assert "2 received" in place.lab.ns(CLIENT, "ping", "-6", "-c", "2", "-i", "0.1", f"{near}%c0").stdout


@pytest.mark.parametrize("size", (1900, 4000, 15000))
@pytest.mark.parametrize("where", ("10.1.0.2", US6))
def test_large_pings_are_put_together(place, where, size):
    done = place.lab.ns(CLIENT, "ping", "-c", "3", "-i", "0.1", "-s", str(size), where)
    assert "3 received" in done.stdout, done.stdout


def test_neighbours_are_those_the_kernel_has_and_they_may_move(place):
    place.get()
    mac = re.search(r"link/ether (\S+)", place.lab.ns(CLIENT, "ip", "link", "show", "c0").stdout).group(1)
    assert {r["address"]: r["mac"] for r in place.rows("neighbors")}[CLIENT6] == mac
    moved = "02:00:00:00:77:77"
    place.lab.ns(CLIENT, "ip", "link", "set", "c0", "down")
    place.lab.ns(CLIENT, "ip", "link", "set", "c0", "address", moved)
    place.lab.ns(CLIENT, "ip", "link", "set", "c0", "up")
    place.lab.ns(CLIENT, "ip", "-6", "addr", "replace", f"{CLIENT6}/64", "dev", "c0", "nodad")
    assert wait_for("curl from another MAC address", lambda: place.get() == "200 10", 20)
    assert {r["address"]: r["mac"] for r in place.rows("neighbors")}[CLIENT6] == moved


def test_our_addresses_and_routes_are_shown(place):
    states = {r["address"]: r["state"] for r in place.rows("addresses")}
    assert states[f"{US6}/64"] == "in use" and states["10.1.0.2/24"] == "in use"
    prefixes = {r["prefix"] for r in place.rows("routes")}
    assert {"fd00:1::/64", "fd00:2::/64", "10.1.0.0/24"} <= prefixes


# What each packet is, and the reason that counts it.
FOUR = "IP(src='10.1.0.1', dst='10.1.0.2', id=%d"
SIX = "IPv6(src='fd00:1::1', dst='fd00:1::2')"
HOSTILE = {
    "land": ("[IP(src='10.1.0.2', dst='10.1.0.2')/TCP(sport=80, dport=80, flags='S')]", "IP4_MARTIAN"),
    "land6": (f"[IPv6(src='{US6}', dst='{US6}')/TCP(sport=81, dport=81, flags='S')]", "IP6_MARTIAN"),
    "teardrop": (f"[{FOUR % 11}, flags='MF', proto=17)/Raw(b'x'*64), {FOUR % 11}, frag=3, proto=17)/Raw(b'y'*8)]",
                 "FRAG_LENGTH"),
    "overlap": (f"[{FOUR % 12}, flags='MF', proto=17)/Raw(b'x'*64), {FOUR % 12}, frag=4, proto=17)/Raw(b'y'*64)]",
                "FRAG_OVERLAP"),
    "overlap6": (f"[{SIX}/IPv6ExtHdrFragment(id=1, m=1, nh=17)/Raw(b'x'*64), "
                 f"{SIX}/IPv6ExtHdrFragment(id=1, offset=4, nh=17)/Raw(b'y'*64)]", "FRAG_OVERLAP"),
    "tiny": (f"[{FOUR % 13}, flags='MF', proto=6)/Raw(b'x'*8)]", "FRAG_TINY"),
    "tiny6": (f"[{SIX}/IPv6ExtHdrFragment(id=2, m=1, nh=6)/Raw(b'x'*8)]", "FRAG_TINY"),
    "ping of death": (f"[{FOUR % 14}, frag=8189, proto=1)/Raw(b'x'*1000)]", "FRAG_LENGTH"),
    "christmas tree": ("[IP(src='10.1.0.1', dst='10.1.0.2')/TCP(sport=5, dport=80, flags='FSRPAUEC')]", "TCP_FLAGS"),
    "christmas tree 6": (f"[{SIX}/TCP(sport=5, dport=81, flags='FSRPAUEC')]", "TCP_FLAGS"),
    "routing header": (f"[{SIX}/IPv6ExtHdrRouting(type=0, segleft=1, addresses=['fd00:1::9'])/TCP(dport=81)]",
                       "IP6_ROUTING"),
    "chain": (f"[{SIX}" + "/IPv6ExtHdrDestOpt()" * 9 + "/TCP(dport=81)]", "IP6_EXT_ORDER"),
    "late hop-by-hop": (f"[{SIX}/IPv6ExtHdrDestOpt()/IPv6ExtHdrHopByHop()/TCP(dport=81)]", "IP6_EXT_ORDER"),
    "source route": ("[IP(src='10.1.0.1', dst='10.1.0.2', options=[IPOption_LSRR(routers=['10.1.0.9'])])/TCP(dport=80)]",
                     "IP4_SOURCE_ROUTE"),
    "redirect": (f"[IPv6(src='fe80::99', dst='{US6}', hlim=255)/ICMPv6ND_Redirect(tgt='fe80::9', dst='{MESH6}')]",
                 "ND_REDIRECT"),
    "router": ("[IPv6(src='fe80::99', dst='ff02::1', hlim=255)/ICMPv6ND_RA()]", "ND_ROUTER_OFF"),
    "forwarded solicitation": (f"[{SIX.replace('dst=', 'hlim=64, dst=')}/ICMPv6ND_NS(tgt='{US6}')]", "ND_BAD"),
}


def test_hostile_packets_are_counted_by_their_reason_and_disturb_nobody(place):
    wrong, stop = [], threading.Event()

    def curl_on():
        while not stop.is_set():
            for host, port in (("10.1.0.2", 80), (f"[{US6}]", 81)):
                if place.get(port, host, 1000) != "200 1000":
                    wrong.append((host, time.monotonic()))
    thread = threading.Thread(target=curl_on)
    thread.start()
    try:
        for name, (packets, reason) in HOSTILE.items():
            before = place.drops()
            place.scapy(f"out({packets} * 5)" if "land" in name or "tree" in name else f"out({packets})")
            try:
                wait_for(f"{name}: {reason}", lambda: place.drops().get(reason, 0) > before.get(reason, 0), 5)
            except TimeoutError as e:
                now = place.drops()
                raise AssertionError(f"{e}; it was { {k: v - before.get(k, 0) for k, v in now.items() if v != before.get(k, 0)} }")
    finally:
        stop.set()
        thread.join()
    assert not wrong


def test_fragments_out_of_order_are_put_together(place):
    for ip, fragment in (("IP(src='10.1.0.1', dst='10.1.0.2')", "fragment(p, 200)"),
                         (f"IPv6(src='{CLIENT6}', dst='{US6}')/IPv6ExtHdrFragment(id=77)", "fragment6(p, 248)")):
        before = place.lab.stats(place.gw)
        place.scapy(f"p = {ip}/UDP(sport=9, dport=9)/Raw(b'x'*600)\nout(reversed({fragment}))")
        wait_for("it to be whole",
                 lambda: place.lab.stats(place.gw)["net.frags_joined"] > before["net.frags_joined"], 5)
