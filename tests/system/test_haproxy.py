"""
HAProxy on the other side: as the service that demands a client certificate, and as the client.
"""
import hashlib
import json

import pytest

import lab as L
import origin

MIB = 1024 * 1024
GATEWAY_ID = "spiffe://cluster.local/ns/istio-system/sa/ingress"
SERVICE_ID = "spiffe://cluster.local/ns/default/sa/origin"

SERVICE = """
global
    maxconn 1000
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend mesh
    bind 10.2.0.12:8443 ssl crt {dir}/service.pem ca-file {certs}/root.pem verify required
    http-request set-header x-client-verified %[ssl_c_verify]
    default_backend origin
backend origin
    server origin 10.2.0.1:9000
"""

CLIENT = """
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen through
    bind 127.0.0.1:8080
    http-request set-header Host haproxy.example
    http-reuse always
    server gateway 10.1.0.2:443 ssl verify required ca-file {certs}/root.pem sni str(haproxy.example) verifyhost haproxy.example
"""


class Place:
    def __init__(self):
        self.lab = lab = L.Lab()
        try:
            lab.origin()
            lab.certs.ca()
            public = lab.certs.issue("public", dns=["haproxy.example"])
            mesh = lab.certs.issue("mesh", uri=GATEWAY_ID)
            service = lab.certs.issue("service", uri=SERVICE_ID)
            (lab.tmp / "service.pem").write_text((service / "cert-chain.pem").read_text() +
                                                 (service / "key.pem").read_text())
            self.haproxy("service", L.MESH, SERVICE)
            self.haproxy("client", L.CLIENT, CLIENT)
            lab.wait_port(L.MESH, "10.2.0.12", 8443)
            lab.wait_port(L.CLIENT, "127.0.0.1", 8080)
            self.gw = lab.gateway(L.conf(
                L.machine(lab.tmp, "gateway", L.GATEWAY_PORTS),
                access_logs=[L.access_log(lab.tmp / "access.log")],
                secrets=[L.secret("public", public), L.secret("mesh", mesh)],
                clusters=[L.cluster("haproxy", "10.2.0.12:8443",
                                    tls=f'mode = "mutual"; secret = "mesh"; peer_ids = [ "{SERVICE_ID}" ];')],
                route_configs=[L.routes("r", 'prefix = "/"; cluster = "haproxy"; timeout = "60s";')],
                listeners=[L.listener("https", "10.1.0.2:443", L.chain("r", tls='mode = "simple"; secret = "public";'))]))
        except BaseException:
            lab.close()
            raise

    def haproxy(self, name, ns, text):
        path = self.lab.tmp / f"haproxy-{name}.cfg"
        path.write_text(text.format(dir=self.lab.tmp, certs=self.lab.certs.dir))
        self.lab.start(f"haproxy-{name}", ns, "haproxy", "-db", "-f", path)

    def through(self, path, *args):
        return self.lab.curl("--fail", f"http://127.0.0.1:8080{path}", *args, check=True, seconds=60).stdout


@pytest.fixture(scope="module")
def place():
    place = Place()
    yield place
    place.lab.close()


def test_haproxy_accepts_our_client_certificate(place):
    fields = dict(json.loads(place.through("/headers")))
    assert fields["x-client-verified"] == "0" and fields["host"] == "haproxy.example"


@pytest.mark.parametrize("n", [0, 1, 10_000, 5 * MIB])
@pytest.mark.parametrize("chunked", ["", "&chunked=1"])
def test_bodies_from_haproxy_to_haproxy_arrive_whole(place, n, chunked):
    out = place.lab.tmp / "out"
    place.through(f"/bytes/{n}?seed=3{chunked}", "-o", out)
    assert hashlib.sha256(out.read_bytes()).hexdigest() == origin.digest(n, 3)


@pytest.mark.parametrize("framing", [(), ("-H", "Transfer-Encoding: chunked")])
def test_bodies_sent_by_haproxy_arrive_whole(place, framing):
    body = place.lab.tmp / "in"
    body.write_bytes(b"".join(origin.parts(3 * MIB, 4)))
    answer = json.loads(place.through("/digest", "--data-binary", f"@{body}", *framing))
    assert (answer["bytes"], answer["sha256"]) == (3 * MIB, origin.digest(3 * MIB, 4))


def test_haproxy_keeps_its_connections(place):
    before = place.lab.stats(place.gw)["listener.https.downstream_cx_total"]
    for _ in range(20):
        place.through("/headers")
    assert place.lab.stats(place.gw)["listener.https.downstream_cx_total"] - before <= 2
