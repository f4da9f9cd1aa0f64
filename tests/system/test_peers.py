"""
Peers that nobody here wrote: HAProxy as the client before the gateway and as the service behind it,
TLS passed through by server name, and what the counters say about each request.

    curl -- TCP --------------------> isthmusd -- mTLS --> haproxy --> origin
         -- TCP --> haproxy -- TLS -->
         -- TLS --------------------> isthmusd -- the same TLS --> haproxy
"""
import json

import pytest

import lab as L
import origin

GATEWAY = "10.1.0.2"
GATEWAY_ID = "spiffe://cluster.local/ns/istio-system/sa/ingress"
SERVICE_ID = "spiffe://cluster.local/ns/default/sa/origin"
MIB = 1024 * 1024
LARGE = 5 * MIB if L.BAD_WIRE else 20 * MIB
SECONDS = 90

HAPROXY = """
global
    maxconn 1000
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
"""
SERVICE = """
frontend mesh
    bind 10.2.0.12:8443 ssl crt {dir}/service.pem ca-file {root} verify required alpn http/1.1
    http-request set-header x-client-verified %[ssl_c_verify]
    http-response set-header x-client-verified %[ssl_c_verify]
    http-response set-header x-via haproxy
    default_backend origin
frontend through
    bind 10.2.0.12:9443 ssl crt {dir}/service.pem
    default_backend origin
backend origin
    server origin 10.2.0.1:9000
"""
CLIENT = """
listen client
    bind 127.0.0.1:8080
    http-request set-header Host haproxy.example
    http-reuse always
    server gateway 10.1.0.2:443 ssl verify required ca-file {root} sni str(haproxy.example) verifyhost haproxy.example
"""
ENTRIES = {"curl": f"http://{GATEWAY}", "haproxy": "http://127.0.0.1:8080"}


class Place:
    def __init__(self):
        self.lab = lab = L.Lab()
        self.log = L.AccessLog(lab.tmp / "access.log")
        try:
            self._start(lab)
        except BaseException:
            lab.close()
            raise

    def _start(self, lab):
        lab.certs.ca()
        public = lab.certs.issue("public", dns=["haproxy.example"])
        mesh = lab.certs.issue("mesh", uri=GATEWAY_ID)
        service = lab.certs.issue("service", uri=SERVICE_ID, dns=["through.example.com"])
        (lab.tmp / "service.pem").write_text((service / "cert-chain.pem").read_text() + (service / "key.pem").read_text())
        lab.origin()
        self.haproxy("service", L.MESH, SERVICE)
        self.client = self.haproxy("client", L.CLIENT, CLIENT)
        lab.wait_port(L.MESH, "10.2.0.12", 8443)
        lab.wait_port(L.CLIENT, "127.0.0.1", 8080)
        self.gw = lab.gateway(L.conf(
            L.machine(lab.tmp, "gateway", L.GATEWAY_PORTS),
            access_logs=[L.access_log(self.log.path)],
            secrets=[L.secret("public", public), L.secret("mesh", mesh)],
            clusters=[L.cluster("haproxy", "10.2.0.12:8443",
                                tls=f'mode = "mutual"; secret = "mesh"; peer_ids = [ "{SERVICE_ID}" ];'),
                      L.cluster("through", "10.2.0.12:9443"), L.cluster("nobody"),
                      L.cluster("origin", "10.2.0.1:9000"), L.cluster("refuses", "10.2.0.1:1")],
            route_configs=[L.routes(
                "r", 'prefix = "/nobody"; cluster = "nobody";', 'prefix = "/refuses"; cluster = "refuses";',
                'prefix = "/slow"; cluster = "origin"; timeout = "300ms";', 'path = "/direct"; cluster = "origin";',
                f'prefix = "/"; cluster = "haproxy"; timeout = "{SECONDS}s";', domains=[GATEWAY, "haproxy.example"])],
            listeners=[L.listener("web", f"{GATEWAY}:80", L.chain("r")),
                       L.listener("https", f"{GATEWAY}:443",
                                  L.chain("r", tls='mode = "simple"; secret = "public";',
                                          match='server_names = [ "haproxy.example" ];'),
                                  L.tcp_chain("through", match='server_names = [ "through.example.com" ];'))]))

    def haproxy(self, name, ns, text):
        path = self.lab.tmp / f"haproxy-{name}.cfg"
        path.write_text(HAPROXY + text.format(dir=self.lab.tmp, root=self.lab.certs.dir / "root.pem"))
        return self.lab.start(f"haproxy-{name}", ns, "haproxy", "-db", "-f", path)

    def get(self, entry, path, *args):
        return self.lab.curl("--fail", ENTRIES[entry] + path, *args, check=True, seconds=SECONDS).stdout


@pytest.fixture(scope="module")
def place():
    place = Place()
    yield place
    place.lab.stop(place.client)  # it keeps connections for the next request
    place.lab.wait_home(place.gw)
    place.lab.close()


@pytest.mark.parametrize("entry, host", [("curl", GATEWAY), ("haproxy", "haproxy.example")])
def test_haproxy_accepts_our_client_certificate(place, entry, host):
    fields = dict(json.loads(place.get(entry, "/headers")))
    assert fields["x-client-verified"] == "0" and fields["host"] == host


@pytest.mark.parametrize("n", [0, 1, 10_000, MIB, LARGE])
@pytest.mark.parametrize("chunked", ["", "&chunked=1"], ids=["length", "chunked"])
@pytest.mark.parametrize("entry", ENTRIES)
def test_bodies_from_haproxy_arrive_whole(place, entry, chunked, n):
    file = place.lab.tmp / "down"
    file.write_bytes(b"")
    head = place.get(entry, f"/bytes/{n}?seed=3{chunked}", "-D", "-", "-o", file)
    assert "x-via: haproxy" in head and "x-client-verified: 0" in head
    assert L.sha256(file) == origin.digest(n, 3)


@pytest.mark.parametrize("n", [1, 10_000, MIB, LARGE])
@pytest.mark.parametrize("framing", [(), ("-H", "Transfer-Encoding: chunked")], ids=["length", "chunked"])
@pytest.mark.parametrize("entry", ENTRIES)
def test_bodies_to_haproxy_arrive_whole(place, entry, framing, n):
    file = place.lab.tmp / "up"
    file.write_bytes(b"".join(origin.parts(n, 4)))
    answer = json.loads(place.get(entry, "/digest", "-T", file, *framing))
    assert (answer["bytes"], answer["sha256"]) == (n, origin.digest(n, 4))


def test_haproxy_keeps_its_connections(place):
    before = place.lab.stats(place.gw)["listener.https.downstream_cx_total"]
    for _ in range(20):
        place.get("haproxy", "/headers")
    assert place.lab.stats(place.gw)["listener.https.downstream_cx_total"] - before <= 2


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
    L.wait_for("the request's end", lambda: place.lab.in_use(place.gw)["use.streams"] == 0)
    after = place.lab.stats(place.gw)
    for name in rises + ["http.web.downstream_rq_total", "http.web.downstream_rq_completed"]:
        assert after[name] - before[name] == 1, name
    for name in ("http.web.downstream_rq_active", "cluster.origin.upstream_rq_active"):
        assert after[name] == 0, name
