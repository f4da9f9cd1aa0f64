"""
Peers that nobody here wrote: HAProxy behind mutual TLS, TLS passed through by server name, and
what the counters say about each request.
"""
import hashlib
import shutil

import pytest

import lab as L
import origin

GATEWAY = "10.1.0.2"
GATEWAY_ID = "spiffe://cluster.local/ns/istio-system/sa/ingress"
SERVICE_ID = "spiffe://cluster.local/ns/default/sa/origin"
HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend tls
    bind 10.2.0.12:8443 ssl crt %(d)s/both.pem ca-file %(d)s/root-cert.pem verify required alpn http/1.1
    http-response set-header x-via haproxy
    http-response set-header x-client-verified %%[ssl_c_verify]
    default_backend origin
frontend through
    bind 10.2.0.12:9443 ssl crt %(d)s/both.pem
    default_backend origin
backend origin
    server origin 10.2.0.1:9000
"""


class Place:
    def __init__(self):
        self.lab = lab = L.Lab()
        self.log = L.AccessLog(lab.tmp / "access.log")
        try:
            lab.certs.ca("root")
            gateway = lab.certs.issue("gateway", uri=GATEWAY_ID)
            service = lab.certs.issue("service", uri=SERVICE_ID, dns=["through.example.com"])
            (service / "both.pem").write_text((service / "cert-chain.pem").read_text()
                                              + (service / "key.pem").read_text())
            (lab.tmp / "haproxy.cfg").write_text(HAPROXY % {"d": service})
            lab.origin()
            lab.start("haproxy", L.MESH, "haproxy", "-db", "-f", lab.tmp / "haproxy.cfg")
            lab.wait_port(L.MESH, "10.2.0.12", 8443)
            self.gw = lab.gateway(L.conf(
                L.machine(lab.tmp, "gateway", L.GATEWAY_PORTS),
                access_logs=[L.access_log(self.log.path)],
                secrets=[L.secret("mesh", gateway)],
                clusters=[L.cluster("haproxy", "10.2.0.12:8443",
                                    tls=f'mode = "mutual"; secret = "mesh"; peer_ids = [ "{SERVICE_ID}" ];'),
                          L.cluster("through", "10.2.0.12:9443"), L.cluster("nobody"),
                          L.cluster("origin", "10.2.0.1:9000"), L.cluster("refuses", "10.2.0.1:1")],
                route_configs=[L.routes(
                    "r", 'prefix = "/nobody"; cluster = "nobody";', 'prefix = "/refuses"; cluster = "refuses";',
                    'prefix = "/slow"; cluster = "origin"; timeout = "300ms";', 'path = "/direct"; cluster = "origin";',
                    'prefix = "/"; cluster = "haproxy"; timeout = "90s";', domains=[GATEWAY])],
                listeners=[L.listener("web", f"{GATEWAY}:80", L.chain("r")),
                           L.listener("by-name", f"{GATEWAY}:443", L.tcp_chain(
                               "through", match='server_names = [ "through.example.com" ];'))]))
        except BaseException:
            lab.close()
            raise


@pytest.fixture(scope="module")
def place():
    place = Place()
    yield place
    place.lab.wait_home(place.gw)
    place.lab.close()


pytestmark = pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs haproxy")


@pytest.mark.parametrize("size", [0, 1, 1024 * 1024, 20 * 1024 * 1024])
def test_bodies_cross_haproxy_behind_mutual_tls_intact(place, size):
    file = place.lab.tmp / "body"
    done = place.lab.curl("--fail", "-D", "-", "-o", file, f"http://{GATEWAY}/bytes/{size}?seed=3", seconds=90)
    assert done.returncode == 0, done.stderr
    assert "x-via: haproxy" in done.stdout and "x-client-verified: 0" in done.stdout
    want = origin.digest(size, 3)
    assert (L.sha256(file) if size else hashlib.sha256().hexdigest()) == want
    if size:
        done = place.lab.curl("--fail", "-T", file, f"http://{GATEWAY}/digest")
        assert want in done.stdout, done


def test_tls_is_passed_through_by_its_server_name(place):
    place.log.skip()
    done = place.lab.curl("--cacert", place.lab.certs.dir / "root.pem", "--resolve", f"through.example.com:443:{GATEWAY}",
                          "https://through.example.com/")
    assert done.stdout == "origin\n", done.stderr
    line = place.log.next()
    while line["cluster"] != "through":
        line = place.log.next()
    assert line["sni"] == "through.example.com" and line["code"] == "0"
    assert int(line["received"]) > 300 and int(line["sent"]) > 300


def test_a_server_name_without_a_chain_is_not_passed_through(place):
    done = place.lab.curl("-k", "--resolve", f"else.example.com:443:{GATEWAY}", "https://else.example.com/")
    assert done.returncode in (35, 56) and done.stdout == ""


@pytest.mark.parametrize("path, host, rises", [
    ("/direct", GATEWAY, ["http.web.downstream_rq_2xx", "cluster.origin.upstream_rq_2xx", "cluster.origin.upstream_rq_total"]),
    ("/slow/2", GATEWAY, ["http.web.downstream_rq_5xx", "cluster.origin.upstream_rq_timeout"]),
    ("/nobody", GATEWAY, ["http.web.downstream_rq_5xx", "cluster.nobody.upstream_cx_none_healthy"]),
    ("/refuses", GATEWAY, ["http.web.downstream_rq_5xx", "cluster.refuses.upstream_cx_connect_fail"]),
    ("/", "nobody.example", ["http.web.downstream_rq_4xx", "http.web.no_route"]),
])
def test_each_request_is_counted_once(place, path, host, rises):
    before = place.lab.stats(place.gw)
    place.lab.curl("-H", f"Host: {host}", f"http://{GATEWAY}{path}")
    place.lab.wait_home(place.gw)
    after = place.lab.stats(place.gw)
    for name in rises + ["http.web.downstream_rq_total", "http.web.downstream_rq_completed"]:
        assert after[name] - before[name] == 1, name
    for name in ("http.web.downstream_rq_active", "cluster.origin.upstream_rq_active"):
        assert after[name] == 0, name
