"""
Ten thousand virtual hosts, each with a cluster of its own that is spoken to by mutual TLS: what a reload
of them makes anew is counted, and no request under load may fail.
"""

import pytest

import lab as L

GATEWAY, BACKEND = "10.1.0.2", "10.2.0.11:8443"
N = 10000
BUSY, PROBED = 40, range(100, 120)  # hosts under load; hosts with a connection each, that is looked at
SERVICE = "spiffe://cluster.local/ns/default/sa/service"
NGINX = """
worker_processes 1; worker_rlimit_nofile 4096;
events { worker_connections 2048; }
http { access_log off; keepalive_requests 1000000; keepalive_timeout 1h;
       server { listen %s ssl; ssl_certificate %s/cert-chain.pem; ssl_certificate_key %s/key.pem;
                ssl_client_certificate %s/root-cert.pem; ssl_verify_client on; ssl_protocols TLSv1.3;
                location / { return 200 "$host $ssl_server_name"; } } }
"""
# Each thread goes over the busy hosts. HTTP errors and those of sockets are in wrk's own summary.
WRK = f"""
local i = 0
function request()
    i = (i + 1) % {BUSY}
    return wrk.format("GET", "/", {{ Host = "h" .. i .. ".example.com" }})
end
"""


class Place:
    def __init__(self):
        self.lab = lab = L.Lab()
        try:
            lab.certs.ca("root")
            self.edge = lab.certs.issue("edge", uri="spiffe://cluster.local/ns/edge/sa/gateway", dns=[L.HOST])
            service = lab.certs.issue("service", uri=SERVICE, dns=["service"])
            lab.nginx(NGINX % (BACKEND, service, service, service))
            lab.wait_port(L.MESH, *BACKEND.split(":"))
            (lab.tmp / "hosts.lua").write_text(WRK)
            self.gw = lab.gateway(self.conf())
        except BaseException:
            lab.close()
            raise

    def conf(self, suffix="sni", odd=None):
        """@suffix: of every server name. @odd: this cluster goes by another one, and its host is named otherwise."""
        def tls(i):
            sni = f"c{i}.{'odd' if i == odd else suffix}.example.com"
            return f'mode = "mutual"; secret = "edge"; peer_ids = [ "{SERVICE}" ]; sni = "{sni}";'

        def host(i):
            return (f'{{ name = "h{i}"; domains = [ "{"odd" if i == odd else "h"}{i}.example.com" ]; '
                    f'routes = ( {{ prefix = "/"; cluster = "c{i}"; }} ); }}')
        hosts = ",\n".join(host(i) for i in range(N))
        return L.conf(
            L.machine(self.lab.tmp, "gateway", L.GATEWAY_PORTS),
            secrets=[L.secret("edge", self.edge)],
            clusters=[L.cluster(f"c{i}", BACKEND, tls=tls(i)) for i in range(N)],
            route_configs=[f'{{ name = "r"; virtual_hosts = ( {hosts} ); }}'],
            listeners=[L.listener("https", f"{GATEWAY}:443", L.chain(
                "r", tls='mode = "simple"; secret = "edge"; session_tickets = false;', log=None))])

    def reload(self, conf):
        self.gw.conf.write_text(conf)
        done = self.lab.ctl_json(self.gw, "reload")  # answered when every worker has adopted it
        assert done["adopted"] and done["last_error"] == ""

    def stat(self, name):
        return int(self.lab.ctl_json(self.gw, "stats", name)[name])

    def contexts(self):
        return self.stat("tls.contexts")

    def ask(self, i, prefix="h"):
        host = f"{prefix}{i}.example.com"
        return self.lab.curl("-k", "--resolve", f"{host}:443:{GATEWAY}", f"https://{host}/").stdout

    def probes(self):
        """Of each: connections opened, open now, and requests."""
        all_of_c1 = self.lab.ctl_json(self.gw, "stats", "cluster.c1")
        return [tuple(int(all_of_c1[f"cluster.c{i}.upstream_{n}"]) for n in ("cx_total", "cx_active", "rq_total"))
                for i in PROBED]

    def wrk(self):
        p = self.lab.start("wrk", L.CLIENT, "wrk", "-c", 16, "-t", 1, "-d", 300, "-s", self.lab.tmp / "hosts.lua",
                           f"https://{GATEWAY}/")
        L.wait_for("load", lambda: self.completed() > 100, every=0.3)
        return p

    def completed(self):
        return self.stat("http.https.downstream_rq_completed")

    def check_wrk(self, p):
        """No request and no connection failed, and the last were served by the newest configuration."""
        before = self.completed()
        L.wait_for("requests after the reload", lambda: self.completed() > before + 100, every=0.3)
        self.lab.end_wrk(p, 100)


@pytest.fixture(scope="module")
def place():
    place = Place()
    yield place
    place.lab.wait_home(place.gw)
    place.lab.close()


def test_ten_thousand_clusters_take_one_context_of_openssl(place):
    assert place.contexts() == 2  # and one for the listener
    for i in (0, N // 2, N - 1):
        assert place.ask(i) == f"h{i}.example.com c{i}.sni.example.com"


def test_a_reload_with_one_change_leaves_everything_else_alone(place):
    for i in PROBED:
        place.ask(i)
    assert place.probes() == [(1, 1, 1)] * len(PROBED)
    wrk = place.wrk()
    place.reload(place.conf(odd=7777))
    place.reload(place.conf())
    place.reload(place.conf(odd=7777))
    place.check_wrk(wrk)
    assert place.contexts() == 2
    for i in PROBED:
        place.ask(i)
    assert place.probes() == [(1, 1, 2)] * len(PROBED)
    assert place.ask(7777, "odd") == "odd7777.example.com c7777.odd.example.com"


def test_a_reload_that_changes_all_closes_what_is_idle_and_fails_nothing(place):
    wrk = place.wrk()
    place.reload(place.conf("other"))
    L.wait_for("connections of before to close", lambda: place.probes() == [(1, 0, 2)] * len(PROBED), every=0.2)
    place.check_wrk(wrk)
    assert place.contexts() == 2
    for i in PROBED:
        assert place.ask(i) == f"h{i}.example.com c{i}.other.example.com"
    assert place.probes() == [(2, 1, 3)] * len(PROBED)


def test_clusters_that_go_leave_nothing(place):
    text = place.conf("other")
    few = L.conf(L.machine(place.lab.tmp, "gateway", L.GATEWAY_PORTS),
                 secrets=[L.secret("edge", place.edge)],
                 clusters=[L.cluster("c0", BACKEND,
                                     tls=f'mode = "mutual"; secret = "edge"; peer_ids = [ "{SERVICE}" ];')],
                 route_configs=[L.routes("r", 'prefix = "/"; cluster = "c0";')],
                 listeners=[L.listener("https", f"{GATEWAY}:443", L.chain(
                     "r", tls='mode = "simple"; secret = "edge"; session_tickets = false;', log=None))])
    place.reload(few)
    L.wait_for("all but one cluster to go", lambda: len(place.lab.ctl_json(place.gw, "clusters")["endpoints"]) == 1)
    L.wait_for("the old runtime to be freed", lambda: place.lab.ctl_json(
        place.gw, "status")["configuration"]["runtimes_waiting"] == 0)
    assert place.stat("cluster.c1.membership_total") == 0
    place.reload(text)
    assert place.stat("cluster.c1.membership_total") == 1
    assert place.ask(N - 1) == f"h{N - 1}.example.com c{N - 1}.other.example.com"
