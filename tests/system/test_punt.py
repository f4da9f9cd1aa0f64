"""
What is shared with the kernel: BGP by two BIRDs, a server of the kernel's, floods, what stays ours.

    client c0 10.1.0.1, fd00:1::1          gateway gw0 [isthmusd] 10.1.0.2, fd00:1::2, 10.9.9.9 (VIP)
    BIRD, AS 65001: announces 10.50.0.0/24    edge0, the kernel's share of gw0
                                              BIRD, AS 65002: announces the VIP

Needs root, bird2, curl, ping and scapy.
"""
import json
import re
import signal
import threading
import time

import pytest

from lab import (BUILD, CLIENT, GATEWAY, GATEWAY_PORTS, PYTHON, Lab, chain, cluster, conf, listener, machine, routes, sh,
                 wait_for, wait_still)

VIP, FAR = "10.9.9.9", "10.50.0.1"
US, PEER = "10.1.0.2", "10.1.0.1"
US6, PEER6 = "fd00:1::2", "fd00:1::1"
RATE = 1000

PUNT = f"""
  punt = (
    {{ protocol = "tcp"; ports = [ 22, 179 ]; }},
    {{ protocol = "udp"; ports = [ 3784 ]; rate = {RATE}; }},
    {{ protocol = "ospf"; port = "down"; }},
    {{ ethertype = 0x88cc; }}
  );
  punt_rate = 5000;
"""

# Says a line to whoever connects, and echoes datagrams.
SERVER = """
import socket, sys, threading
def tcp(family, address):
    s = socket.socket(family)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((address, 22))
    s.listen(16)
    while True:
        c, _ = s.accept()
        c.sendall(b"SSH-2.0-kernel\\r\\n")
        c.close()
threading.Thread(target=tcp, args=(socket.AF_INET6, sys.argv[2])).start()
threading.Thread(target=tcp, args=(socket.AF_INET, sys.argv[1])).start()
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.bind((sys.argv[1], 3784))
print("ready", flush=True)
while True:
    data, peer = u.recvfrom(2048)
    u.sendto(data, peer)
"""

ASK = """
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5)
print(s.recv(100).decode().strip())
"""

ECHO = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(0.5)
s.connect((sys.argv[1], int(sys.argv[2])))
for i in range(20):
    s.send(b"hello")
    try:
        print(s.recv(100).decode())
        break
    except TimeoutError:
        pass
"""

FLOOD = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect((sys.argv[1], int(sys.argv[2])))
end, n = time.monotonic() + float(sys.argv[3]), 0
while time.monotonic() < end:
    for _ in range(100):
        try:
            s.send(b"x" * 24)
            n += 1
        except OSError:
            pass
print(n)
"""

BIRD = """
router id {id};
protocol device {{ }}
protocol direct {{ ipv4; interface "{interface}"; }}
protocol static {{ ipv4; {static} }}
protocol kernel {{ ipv4 {{ export where source = RTS_BGP; }}; }}
protocol bgp peer {{
    local {us} as {our_as};
    neighbor {peer} as {peer_as};
    connect retry time 1; connect delay time 1; error wait time 1, 2; hold time 9; {role}
    ipv4 {{ import all; export where net ~ [ {announced} ]; next hop self; }};
}}
"""


def gateway_conf(lab, extra="", mirror=True, more_listeners=()):
    ports = [(n, dev, f'{a}", "{US6}/64", "{VIP}/32"]; kernel_interface = "edge0"; mac_dummy = [ "x' if n == "down"
              else a) for n, dev, a in GATEWAY_PORTS]
    # machine() ends the list of addresses itself: ours goes on after it.
    head = machine(lab.tmp, "gateway", ports, extra=PUNT + extra + (
        "  mirror_routes = true;\n  mirror_neighbors = true;\n" if mirror else ""))
    head = head.replace('mac_dummy = [ "x" ];', "")

    def http(name):
        return routes(name, f'prefix = "/"; cluster = "{name}"')
    return conf(head, clusters=[cluster("near", "10.2.0.1:9000"), cluster("far", f"{FAR}:9000", extra="max_requests_per_connection = 1;")],
                route_configs=[http("near"), http("far")],
                listeners=[listener("vip", f"{VIP}:80", chain("near", log=None)),
                           listener("us", f"{US}:80", chain("near", log=None)),
                           listener("us6", f"[{US6}]:80", chain("near", log=None)),
                           listener("far", f"{US}:81", chain("far", log=None)), *more_listeners])


class Place:
    def __init__(self):
        self.lab = lab = Lab(bad_wire=None)
        try:
            self.prepare()
        except BaseException:
            lab.close()
            raise

    def prepare(self):
        lab = self.lab
        lab.ns(CLIENT, "sysctl", "-qw", "net.ipv6.conf.c0.disable_ipv6=0", "net.ipv6.conf.c0.accept_dad=0")
        lab.ns(CLIENT, "ip", "addr", "add", f"{PEER6}/64", "dev", "c0", "nodad")
        lab.ns(CLIENT, "ip", "addr", "add", f"{FAR}/32", "dev", "lo")
        # An AF_PACKET port: the kernel hears what we hear, and must not.
        lab.ns(GATEWAY, "ip", "link", "add", "deaf0", "type", "bridge")
        lab.ns(GATEWAY, "ip", "link", "set", "gw0", "master", "deaf0")
        lab.origin()
        lab.start("far", CLIENT, PYTHON, __file__.rsplit("/", 1)[0] + "/origin.py", FAR, 9000)
        lab.wait_port(CLIENT, FAR, 9000)
        self.gw = lab.gateway(gateway_conf(lab))
        self.server = lab.start("server", GATEWAY, PYTHON, "-c", SERVER, US, US6)
        wait_for("the kernel's server", lambda: "ready" in lab.log("server"))
        wait_for("our addresses", lambda: all(r["state"] != "tentative" for r in self.rows("addresses")))

    def bird(self, name, ns, **values):
        path = self.lab.tmp / f"{name}.bird.conf"
        path.write_text(BIRD.format(**values))
        return self.lab.start(name, ns, "bird", "-f", "-c", path, "-s", self.lab.tmp / f"{name}.ctl")

    def birds(self):
        self.edge = self.bird("bird-gateway", GATEWAY, id=US, interface="edge0", static="", us=US, our_as=65002,
                              peer=PEER, peer_as=65001, announced=f"{VIP}/32", role="")
        self.peer = self.bird("bird-client", CLIENT, id=PEER, interface="none", us=PEER, our_as=65001, peer=US,
                              static="route 10.50.0.0/24 unreachable; route 10.51.0.0/24 unreachable;",
                              peer_as=65002, announced="10.50.0.0/15+", role="passive;")
        wait_for("the session", lambda: "Established" in self.birdc("bird-gateway", "show", "protocols"), 60, 0.3)

    def birdc(self, name, *words):
        return sh("birdc", "-s", self.lab.tmp / f"{name}.ctl", *words, check=False).stdout

    def rows(self, what):
        return self.lab.ctl_json(self.gw, what)[what]

    def kernel_routes(self):
        return {(r["prefix"], r["via"]) for r in self.rows("routes") if r["origin"] == "kernel"}

    def rule(self, name):
        return next(r for r in self.lab.ctl_json(self.gw, "punt")["rules"] if r["rule"] == name)

    def drop(self, reason):
        return self.lab.stats(self.gw).get(f"drop.{reason}", 0)

    def edge_rx(self):
        """Packets that the kernel got by edge0."""
        return json.loads(self.lab.ns(GATEWAY, "ip", "-s", "-j", "link", "show", "edge0").stdout)[0]["stats64"]["rx"][
            "packets"]

    def ask(self, address, port):
        return self.lab.ns(CLIENT, PYTHON, "-c", ASK, address, port, check=False)

    def get(self, url, size=10, seconds=10):
        return self.lab.curl(f"{url}/bytes/{size}", "-o", "/dev/null", "-w", "%{http_code} %{size_download}",
                             seconds=seconds).stdout


@pytest.fixture(scope="module")
def place():
    p = Place()
    yield p
    p.lab.close()


def test_the_kernels_interface_is_as_the_port_and_has_its_addresses(place):
    link = json.loads(place.lab.ns(GATEWAY, "ip", "-j", "addr", "show", "edge0").stdout)[0]
    port = next(p for p in place.lab.ctl_json(place.gw, "status")["ports"] if p["port"] == "down")
    assert link["address"] == port["mac"] and link["mtu"] == port["mtu"] == 1500
    has = {f'{a["local"]}/{a["prefixlen"]}' for a in link["addr_info"]}
    assert {f"{US}/24", f"{VIP}/32", f"{US6}/64"} <= has and len(has) == 4  # and the link-local one
    assert not any("tentative" in a or "dadfailed" in a for a in link["addr_info"])


@pytest.mark.parametrize("address", [US, US6, VIP])
def test_a_server_of_the_kernels_is_reached_by_the_port(place, address):
    if address == VIP:
        place.lab.ns(CLIENT, "ip", "route", "add", VIP, "via", US)
        done = place.ask(VIP, 22)  # nobody of the kernel's listens there: the kernel says so
        place.lab.ns(CLIENT, "ip", "route", "del", VIP)
        assert "ConnectionRefused" in done.stderr
        return
    before = place.rule("tcp 22,179")
    assert place.ask(address, 22).stdout.strip() == "SSH-2.0-kernel"
    after = place.rule("tcp 22,179")
    assert after["to_kernel"] > before["to_kernel"] and after["from_kernel"] > before["from_kernel"]


def test_datagrams_of_a_listed_port_are_the_kernels(place):
    done = place.lab.ns(CLIENT, PYTHON, "-c", ECHO, US, 3784)
    assert done.stdout.strip() == "hello"


def test_a_datagram_that_is_too_long_for_the_interface_is_dropped_and_counted(place):
    """One of 1,600 bytes, in fragments: put together, it is longer than a frame may be."""
    script = ECHO.replace('s.send(b"hello")', 's.send(b"x" * 1600); s.send(b"hello")')
    before = place.lab.stats(place.gw)["port.kernel_tx_dropped"]
    assert place.lab.ns(CLIENT, PYTHON, "-c", script, US, 3784).stdout.strip() == "hello"
    assert place.lab.stats(place.gw)["port.kernel_tx_dropped"] > before


def test_the_kernel_can_ping_and_ask_for_neighbours(place):
    lab = place.lab
    lab.ns(GATEWAY, "ip", "neigh", "flush", "dev", "edge0")
    assert lab.ns(GATEWAY, "ping", "-c", "3", "-i", "0.2", "-I", "edge0", PEER).returncode == 0
    assert lab.ns(GATEWAY, "ping", "-c", "3", "-i", "0.2", "-I", "edge0", PEER6).returncode == 0


def test_what_is_not_listed_is_answered_by_us_and_never_gets_there(place):
    lab = place.lab
    assert lab.ns(CLIENT, "ping", "-c", "2", "-i", "0.2", US).returncode == 0  # neighbours are known from now on
    before = wait_still("edge0", place.edge_rx, 0.5, 10)
    assert "ConnectionRefused" in place.ask(US, 23).stderr
    assert "ConnectionRefused" in place.ask(US6, 23).stderr
    assert "ConnectionRefused" in lab.ns(CLIENT, PYTHON, "-c", ECHO, US, 9999, check=False).stderr
    assert lab.ns(CLIENT, "ping", "-c", "3", "-i", "0.2", US).returncode == 0
    assert place.get(f"http://{US}:80") == "200 10"
    assert place.edge_rx() == before


def test_what_the_kernel_may_not_send_does_not_leave(place):
    lab, before = place.lab, place.drop("KERNEL_NOT_LISTED")
    done = lab.ns(GATEWAY, PYTHON, "-c", "import socket\nsocket.create_connection(('10.1.0.1', 23), timeout=2)",
                  check=False)
    assert "timed out" in done.stderr
    assert place.drop("KERNEL_NOT_LISTED") > before


def test_an_error_about_what_the_kernel_has_sent_comes_back_to_it(place):
    """To a closed port 3784 of the client's: from a port that the kernel has chosen."""
    done = place.lab.ns(GATEWAY, PYTHON, "-c", "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                        "s.settimeout(3)\ns.connect(('10.1.0.1', 3784))\ns.send(b'x')\ns.recv(10)", check=False)
    assert "ConnectionRefused" in done.stderr


def test_frames_of_a_listed_type_and_to_groups_are_the_kernels(place):
    lab, before = place.lab, (place.rule("ethertype 0x88cc")["to_kernel"], place.rule("ospf on down")["to_kernel"])
    script = ("from scapy.all import *\n"
              "sendp(Ether(dst='01:80:c2:00:00:0e', type=0x88cc) / Raw(b'\\x02\\x07'), iface='c0', verbose=False)\n"
              "sendp(Ether(dst='01:00:5e:00:00:05') / IP(dst='224.0.0.5', src='10.1.0.1', proto=89, ttl=1) / Raw(b'x' * 44),"
              " iface='c0', verbose=False)\n"
              "sendp(Ether(dst='01:00:5e:00:00:12') / IP(dst='224.0.0.18', src='10.1.0.1', proto=112) / Raw(b'x' * 20),"
              " iface='c0', verbose=False)\n")
    not_ours = place.drop("IP4_NOT_OURS")
    assert lab.ns(CLIENT, PYTHON, "-c", script).returncode == 0
    wait_for("the frames", lambda: place.rule("ethertype 0x88cc")["to_kernel"] == before[0] + 1 and
             place.rule("ospf on down")["to_kernel"] == before[1] + 1)
    wait_for("VRRP, which is not listed", lambda: place.drop("IP4_NOT_OURS") > not_ours)


def test_a_flood_for_the_kernel_is_cut_and_the_gateway_answers_on(place):
    lab = place.lab
    before, edge, start = place.rule("udp 3784"), place.edge_rx(), time.monotonic()
    flood = lab.start("flood", CLIENT, PYTHON, "-c", FLOOD, US, 3784, 4)
    codes = []
    while flood.poll() is None:
        codes.append(place.get(f"http://{US}:80", 20000))
    took = time.monotonic() - start
    after = place.rule("udp 3784")
    sent = int(lab.log("flood"))
    assert sent > 10 * RATE * 4 and len(codes) > 4 and set(codes) == {"200 20000"}, (sent, codes)
    assert after["limited"] > before["limited"] + RATE
    assert after["to_kernel"] - before["to_kernel"] <= RATE * (took + 2)
    assert place.edge_rx() - edge <= RATE * (took + 2) + 1000
    assert place.ask(US, 22).stdout.strip() == "SSH-2.0-kernel"


def test_a_flood_of_the_kernels_leaves_the_gateway_alive(place):
    lab, before = place.lab, place.rule("udp 3784")
    flood = lab.start("flood-out", GATEWAY, PYTHON, "-c", FLOOD, PEER, 3784, 2)
    codes = []
    while flood.poll() is None:
        codes.append(place.get(f"http://{US}:80", 20000))
    assert len(codes) > 2 and set(codes) == {"200 20000"}, codes
    assert place.rule("udp 3784")["from_kernel"] > before["from_kernel"] + 1000


def test_bgp_through_the_port_and_back(place):
    """The session, the VIP that is announced, the prefix that is learned, and what goes when it is withdrawn."""
    lab = place.lab
    assert place.get(f"http://{US}:81", seconds=3).startswith("503")  # no way to the far origin
    place.birds()
    wait_for("the VIP at the client", lambda: VIP in lab.ns(CLIENT, "ip", "route").stdout, 30)
    assert place.get(f"http://{VIP}:80", 5000) == "200 5000"
    wait_for("the prefixes", lambda: {("10.50.0.0/24", PEER), ("10.51.0.0/24", PEER)} <= place.kernel_routes(), 30)
    assert place.get(f"http://{US}:81", 5000) == "200 5000"

    # Of the other side's routes one goes; then all, with the session.
    text = (lab.tmp / "bird-client.bird.conf").read_text()
    (lab.tmp / "bird-client.bird.conf").write_text(text.replace("route 10.51.0.0/24 unreachable;", ""))
    place.birdc("bird-client", "configure")
    wait_for("one to go", lambda: place.kernel_routes() == {("10.50.0.0/24", PEER)}, 30)
    lab.stop(place.peer, signal.SIGTERM)
    wait_for("all to go", lambda: not place.kernel_routes(), 60)
    assert place.get(f"http://{US}:81", seconds=3).startswith("503")


def test_routes_of_the_kernel_as_they_come_and_go(place):
    lab = place.lab

    def ip(*words):
        lab.ns(GATEWAY, "ip", *words)
    ip("route", "add", "10.60.0.0/16", "nexthop", "via", "10.1.0.1", "dev", "edge0", "nexthop", "via", "10.1.0.77",
       "dev", "edge0")
    ip("route", "add", "10.61.0.0/16", "via", "10.1.0.1", "metric", "20")
    ip("route", "add", "10.61.0.0/16", "via", "10.1.0.78", "metric", "10")
    ip("route", "add", "blackhole", "10.62.0.0/16")
    ip("route", "add", "10.63.0.0/16", "via", "10.1.0.1", "table", "100")
    ip("-6", "route", "add", "fd00:60::/32", "via", PEER6)
    ip("-6", "route", "add", "fd00:61::/32", "via", "fe80::7", "dev", "edge0")
    expected = {("10.60.0.0/16", "10.1.0.1"), ("10.60.0.0/16", "10.1.0.77"), ("10.61.0.0/16", "10.1.0.78"),
                ("10.62.0.0/16", ""), ("fd00:60::/32", PEER6), ("fd00:61::/32", "fe80::7")}
    wait_for("the routes", lambda: place.kernel_routes() == expected)
    ip("route", "del", "10.61.0.0/16", "via", "10.1.0.78", "metric", "10")
    wait_for("the second best", lambda: ("10.61.0.0/16", "10.1.0.1") in place.kernel_routes())
    for prefix in ("10.60.0.0/16", "10.61.0.0/16", "10.62.0.0/16"):
        ip("route", "del", prefix)
    ip("-6", "route", "del", "fd00:60::/32")
    ip("-6", "route", "del", "fd00:61::/32")
    wait_for("none", lambda: not place.kernel_routes())


def test_many_routes_come_and_go(place):
    """More than fit one answer of the kernel's; and more events than it keeps for a daemon that stands still."""
    lab, n = place.lab, 5000
    prefixes = [f"10.{100 + i // 256}.{i % 256}.0/24" for i in range(n)]
    batch = lab.tmp / "batch"
    for verb, expected, stopped in (("add", n, False), ("del", 0, True), ("add", n, True), ("del", 0, False)):
        batch.write_text("".join(f"route {verb} {p} via 10.1.0.1 dev edge0\n" for p in prefixes))
        lost = lab.stats(place.gw)["mirror.resyncs"]
        if stopped:
            place.gw.send_signal(signal.SIGSTOP)
        lab.ns(GATEWAY, "ip", "-batch", batch)
        place.gw.send_signal(signal.SIGCONT)
        wait_for(f"{expected} routes", lambda: len(place.kernel_routes()) == expected, 30, 0.1)
        assert place.get(f"http://{US}:80") == "200 10"
        assert not stopped or lab.stats(place.gw)["mirror.resyncs"] > lost
    assert lab.ctl_json(place.gw, "punt")["mirror"]["malformed"] == 0


def test_neighbours_that_are_there_for_good(place):
    lab = place.lab

    def states():
        return {n["address"]: (n["mac"], n["state"]) for n in place.rows("neighbors")}
    lab.ns(GATEWAY, "ip", "neigh", "add", "10.1.0.99", "lladdr", "02:00:00:00:00:99", "dev", "edge0", "nud",
           "permanent")
    wait_for("it", lambda: states().get("10.1.0.99") == ("02:00:00:00:00:99", "PERMANENT"))
    lab.ns(GATEWAY, "ip", "neigh", "del", "10.1.0.99", "dev", "edge0")
    wait_for("it to go", lambda: states().get("10.1.0.99", ("", "STALE"))[1] != "PERMANENT")


def test_a_reload_leaves_it_alone_and_a_listener_on_a_punted_port_is_refused(place):
    lab, before = place.lab, place.lab.ctl_json(place.gw, "punt")
    codes, stop = [], threading.Event()

    def traffic():
        while not stop.is_set():
            codes.append((place.get(f"http://{US}:80"), place.ask(US, 22).stdout.strip()))
    t = threading.Thread(target=traffic)
    t.start()
    for _ in range(3):
        lab.ctl(place.gw, "reload")
    refused = gateway_conf(lab, more_listeners=[listener("ssh", f"{US}:22", chain("near", log=None))])
    good = place.gw.conf.read_text()
    place.gw.conf.write_text(refused)
    done = lab.ctl(place.gw, "reload", check=False)
    changed = []
    for a, b in (("ports = [ 3784 ]", "ports = [ 3785 ]"), ("punt_rate = 5000", "punt_rate = 5001"),
                 ('kernel_interface = "edge0"', 'kernel_interface = "edge9"'), ("mirror_routes = true;", "")):
        assert a in good
        place.gw.conf.write_text(good.replace(a, b))
        changed.append(lab.ctl(place.gw, "reload", check=False).stderr)
    place.gw.conf.write_text(good)
    wait_for("some traffic", lambda: len(codes) > 5)
    stop.set()
    t.join()
    assert done.returncode == 1 and "TCP port 22 cannot be the kernel's: listener ssh has it" in done.stderr
    for setting, said in zip(("punt", "punt_rate", "ports", "mirror_routes"), changed):
        assert f"machine.{setting} changed: that takes a restart" in said
    assert set(codes) == {("200 10", "SSH-2.0-kernel")}
    after = lab.ctl_json(place.gw, "punt")
    assert after["interfaces"] == before["interfaces"]
    assert after["rules"][0]["to_kernel"] > before["rules"][0]["to_kernel"]


def test_counters_are_there_for_a_scraper(place):
    text = place.lab.ctl(place.gw, "stats", "--prometheus").stdout
    assert re.search(r'isthmus_punt_to_kernel(_total)?\{.*rule="tcp 22,179".*\} [1-9]', text), text[:3000]
    assert re.search(r"isthmus_mirror_dumps(_total)?\S* [1-9]", text)


def test_a_name_that_is_taken_is_told(place):
    lab = place.lab
    text = gateway_conf(lab).replace('name = "down"; device = "af_packet"; interface = "gw0"',
                                     'name = "down"; device = "af_packet"; interface = "gw1"')
    text = text.replace('interface = "gw1"; addresses = [ "10.2.0.2/24" ]', 'interface = "gw0"; addresses = [ "10.2.0.2/24" ]')
    path = lab.tmp / "second.conf"
    path.write_text(text.replace("gateway.sock", "second.sock"))
    done = lab.ns(GATEWAY, BUILD / "isthmusd", "-c", path, check=False)
    assert done.returncode == 1
    assert "kernel_interface edge0: there is an interface of that name already" in done.stderr + done.stdout


@pytest.mark.parametrize("how, words", [
    (("unshare", "-m", "sh", "-c", 'mount -t tmpfs none /dev/net && exec "$@"', "sh"),
     "/dev/net/tun: No such file or directory (modprobe tun"),
    (("setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"),
     "Operation not permitted (it takes CAP_NET_ADMIN)"),
])
def test_what_is_missing_for_an_interface_is_told(place, how, words):
    lab = place.lab
    path = lab.tmp / "third.conf"
    path.write_text("""machine = { memory = "64MiB"; packets = 2048; ports = (
        { name = "down"; device = "ring"; ring_peer = "up"; kernel_interface = "edge1"; addresses = [ "10.7.0.1/24" ]; },
        { name = "up"; device = "ring"; ring_peer = "down"; } ); };""")
    done = lab.ns(GATEWAY, *how, BUILD / "isthmusd", "-c", path, check=False)
    assert done.returncode == 1
    assert "port down: kernel_interface edge1 cannot be made: " in done.stderr + done.stdout
    assert words in done.stderr + done.stdout


def test_addresses_can_be_left_to_the_kernel(place):
    lab = place.lab
    gw = lab.gateway(f"""machine = {{ memory = "64MiB"; packets = 2048; ports = (
        {{ name = "down"; device = "ring"; ring_peer = "up"; kernel_interface = "edge1"; kernel_addresses = false;
          mtu = 9000; addresses = [ "10.7.0.1/24" ]; }},
        {{ name = "up"; device = "ring"; ring_peer = "down"; }} ); }};
        control = {{ socket = "{lab.tmp}/third.sock"; }};""", name="third")
    link = json.loads(lab.ns(GATEWAY, "ip", "-j", "addr", "show", "edge1").stdout)[0]
    assert "UP" in link["flags"] and not link["addr_info"]
    assert link["mtu"] == 1500  # DPDK's TAP takes no more
    assert lab.stop(gw) == 0


def test_two_workers_share_one_interface(place):
    """What the second worker gets goes by the first; also answers to what the kernel has opened."""
    lab = place.lab
    lab.stop(place.gw)
    place.gw = gw = lab.gateway(gateway_conf(lab).replace("workers = 1", "workers = 2"))
    wait_for("the kernel's server", lambda: place.ask(US, 22).stdout.strip() == "SSH-2.0-kernel")
    client_server = lab.start("client-server", CLIENT, PYTHON, "-c", SERVER, PEER, PEER6)
    wait_for("the client's server", lambda: "ready" in lab.log("client-server"))
    before = lab.stats(gw)
    for _ in range(16):
        assert place.ask(US, 22).stdout.strip() == "SSH-2.0-kernel"
        assert lab.ns(GATEWAY, PYTHON, "-c", ASK, PEER, 22).stdout.strip() == "SSH-2.0-kernel"
    after = lab.stats(gw)
    # Of 32 connections some belong to the second worker; then each of their segments is handed over.
    assert after["port.punt_out"] - before["port.punt_out"] > 20
    assert after["port.punt_dropped"] == 0
    assert lab.ctl_json(gw, "punt")["connections"] >= 16  # and those of BIRD, which tries on
    assert lab.ns(CLIENT, PYTHON, "-c", ASK, US, 9, check=False).stderr.strip().endswith("Connection refused")
    lab.stop(client_server)


def test_the_interface_goes_with_the_daemon(place):
    """Also with one that is killed."""
    lab = place.lab

    def edge():
        return lab.ns(GATEWAY, "ip", "link", "show", "edge0", check=False).returncode == 0
    assert edge()
    lab.stop(place.gw, signal.SIGKILL)
    wait_for("edge0 to go", lambda: not edge())
    place.gw = lab.gateway(gateway_conf(lab))
    wait_for("the kernel's server", lambda: place.ask(US, 22).stdout.strip() == "SSH-2.0-kernel")
    assert lab.stop(place.gw) == 0
    wait_for("edge0 to go", lambda: not edge())
