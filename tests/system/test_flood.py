"""
A flood of SYNs from addresses that nobody has, as fast as one core can send them: new connections
still succeed, memory stays level, and afterwards everything is as before.
"""
import re
import time

import pytest

import lab as L

GATEWAY = "10.1.0.2"
SECONDS = 12
CALLS = 20
NGINX = """
events { worker_connections 256; }
http { access_log off; server { listen 10.2.0.11:8080; location / { return 200 "well\\n"; } } }
"""
# Strangers behind the next router (RFC 2544's range), and on the wire itself, where each of them is asked for.
FROM = ("198.18.0.0/15", "10.1.0.0/24")


@pytest.fixture(scope="module")
def lab():
    with L.Lab(bad_wire=None) as lab:
        lab.nginx(NGINX)
        lab.wait_port(L.MESH, "10.2.0.11", 8080)
        lab.ns(L.CLIENT, "sysctl", "-qw", "net.ipv4.tcp_syn_retries=8")
        lab.gw = lab.gateway(L.conf(
            L.machine(lab.tmp, "gateway", L.GATEWAY_PORTS, memory="256MiB", packets=32768,
                      extra='  tcp = { max_half_open = 1024; };\n'
                            '  routes = ( { prefix = "0.0.0.0/0"; via = "10.1.0.1"; } );\n'),
            clusters=[L.cluster("nginx", "10.2.0.11:8080")],
            route_configs=[L.routes("r", 'prefix = "/"; cluster = "nginx";')],
            listeners=[L.listener("http", f"{GATEWAY}:80", L.chain("r", log=None))]))
        yield lab


def call(lab):
    done = lab.curl("--no-keepalive", f"http://{GATEWAY}/", seconds=40)
    assert (done.returncode, done.stdout) == (0, "well\n"), done.stderr


@pytest.mark.parametrize("source", FROM)
def test_new_connections_succeed_and_memory_stays_level(lab, source):
    call(lab)
    before = lab.stats(lab.gw)
    mac = lab.ctl_json(lab.gw, "status")["ports"][0]["mac"]
    flood = lab.start("flood", L.CLIENT, L.BUILD / "tests/lib/flood", "c0", mac, source, GATEWAY, 80,
                      "--seconds", SECONDS)
    L.wait_for("cookies", lambda: lab.stats(lab.gw)["tcp.cookies_out"] > before["tcp.cookies_out"] + 10000, 10)
    early, start, n = L.resident(lab.gw), time.monotonic(), 0
    while n < CALLS or time.monotonic() - start < SECONDS / 2:
        call(lab)
        n += 1
    during = lab.stats(lab.gw)
    late = L.resident(lab.gw)
    flood.wait(SECONDS + 20)
    print(lab.log("flood"), f"{n} calls, {late - early} KiB more")
    assert re.search(r"\d+ SYNs", lab.log("flood"))
    assert during["tcp.cookies_out"] > before["tcp.cookies_out"] + 20000
    assert during["tcp.no_pkt"] == before["tcp.no_pkt"]
    assert late - early < 4096
    assert during["use.connections"] < 16

    call(lab)
    L.wait_for("what was in use to be free", lambda: lab.stats(lab.gw)["use.packets"] <= before["use.packets"] + 64,
               60, every=0.5)
    assert lab.stats(lab.gw)["use.sessions"] == 0
