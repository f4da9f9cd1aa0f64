"""
A thousand clients at once, through TLS, for a minute: no error, and afterwards everything that
was in use is free again.
"""

import pytest

import lab as L

GATEWAY = "10.1.0.2"
CONNECTIONS, SECONDS = 1000, 60
# A bad wire also loses the RST by which a client that ends takes leave, and nobody sends it twice:
# only time finds the connections of which the gateway awaits nothing.
HTTP = 'idle_timeout = "15s";' if L.BAD_WIRE else ""
NGINX = """
worker_processes 1;
worker_rlimit_nofile 8192;
events { worker_connections 4096; }
http { access_log off; keepalive_requests 1000000;
       server { listen 10.2.0.11:8080 backlog=4096; location / { return 200 "well\\n"; } } }
"""
# Packets wait in the ports' receive rings whatever happens, so they are compared with the start.
GAUGES = ("use.sessions", "use.streams", "use.packets")


@pytest.fixture(scope="module")
def lab():
    with L.Lab() as lab:
        lab.certs.ca("root")
        web = lab.certs.issue("web", dns=[L.HOST])
        lab.nginx(NGINX)
        lab.wait_port(L.MESH, "10.2.0.11", 8080)
        lab.gw = lab.gateway(L.conf(
            L.machine(lab.tmp, "gateway", L.GATEWAY_PORTS, memory="256MiB",
                      extra='  tcp = { time_wait = "1s"; };\n'),
            secrets=[L.secret("web", web)],
            clusters=[L.cluster("nginx", "10.2.0.11:8080",
                                extra='max_connections = 2048; max_pending = 2048; idle_timeout = "2s";')],
            route_configs=[L.routes("r", 'prefix = "/"; cluster = "nginx";')],
            listeners=[L.listener("https", f"{GATEWAY}:443", L.chain(
                "r", tls='mode = "simple"; secret = "web";', http=HTTP, log=None))]))
        yield lab


def gauges(lab):
    stats = lab.stats(lab.gw)
    return {k: int(v) for k, v in stats.items() if k in GAUGES + ("use.connections",)}


def test_a_thousand_clients_for_a_minute_see_no_error_and_leave_nothing_behind(lab):
    assert lab.curl("-k", f"https://{GATEWAY}/").stdout == "well\n"
    L.wait_for("an idle gateway", lambda: gauges(lab)["use.connections"] == 0, 15, every=0.2)
    before = gauges(lab)

    wrk = lab.start("wrk", L.CLIENT, "wrk", "-c", CONNECTIONS, "-t", 1, "-d", SECONDS, "--timeout", 20,
                    f"https://{GATEWAY}/")
    L.wait_for("all the sessions at once", lambda: gauges(lab)["use.sessions"] >= CONNECTIONS, 30, every=0.2)
    wrk.wait(SECONDS + 40)
    said = lab.log("wrk")
    L.check_wrk(said, CONNECTIONS)

    try:
        L.wait_for("everything to come home", lambda: gauges(lab) == before, 40, every=0.2)
    except TimeoutError as e:
        raise AssertionError(f"{e}: {before} before, {gauges(lab)} after")
