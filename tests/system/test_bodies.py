"""
Bodies of every size, both ways, in both framings, through TLS in and mutual TLS out: intact, on a
good wire and on a bad one.

    curl -- TLS --> isthmusd -- mTLS --> isthmusd (inbound role) --> origin
                             -- mTLS --> nginx (ssl_verify_client) --> origin
"""
import json
import subprocess

import pytest

import lab as L
import origin

KIB, MIB = 1024, 1024 * 1024
SMALL = {"0": 0, "1": 1, "1KiB": KIB, "1MiB": MIB}
LARGE = 100 * MIB
GATEWAY_ID = "spiffe://cluster.local/ns/istio-system/sa/ingress"
SERVICE_ID = "spiffe://cluster.local/ns/default/sa/origin"

NGINX = """
worker_processes 1;
events { worker_connections 1024; }
http {
    access_log off;
    client_max_body_size 0;
    proxy_request_buffering off;
    proxy_buffering off;
    proxy_http_version 1.1;
    client_body_temp_path @DIR@/body; proxy_temp_path @DIR@/proxy; fastcgi_temp_path @DIR@/fastcgi;
    uwsgi_temp_path @DIR@/uwsgi; scgi_temp_path @DIR@/scgi;
    server {
        listen 10.2.0.11:8443 ssl;
        ssl_certificate %(d)s/cert-chain.pem;
        ssl_certificate_key %(d)s/key.pem;
        ssl_client_certificate %(d)s/root-cert.pem;
        ssl_verify_client on;
        location / { proxy_pass http://10.2.0.1:9000; proxy_read_timeout 300s; }
    }
}
"""


class Path:
    def __init__(self, bad_wire=None):
        self.lab = lab = L.Lab(bad_wire=bad_wire)
        try:
            self._start(lab)
        except BaseException:
            lab.close()
            raise

    def _start(self, lab):
        certs, tmp = lab.certs, lab.tmp
        for ca in ("root", "public"):
            certs.ca(ca)
        gateway = certs.issue("gateway", uri=GATEWAY_ID)
        service = certs.issue("service", uri=SERVICE_ID)
        public = certs.issue("public-web", dns=[L.HOST], ca="public")
        mtls = f'mode = "mutual"; secret = "mesh"; peer_ids = [ "{SERVICE_ID}" ];'
        lab.origin()
        lab.nginx(NGINX % {"d": service})
        lab.gateway(L.conf(
            L.machine(tmp, "sidecar", L.SIDECAR_PORTS),
            secrets=[L.secret("mesh", service)],
            clusters=[L.cluster("app", "10.2.0.1:9000")],
            route_configs=[L.routes("r", 'prefix = "/"; cluster = "app"; timeout = "0s";')],
            listeners=[L.listener("in", "10.2.0.3:15006", L.chain(
                "r", tls='mode = "mutual"; secret = "mesh";', log=None))]), name="sidecar", ns=L.MESH)
        lab.gateway(L.conf(
            L.machine(tmp, "gateway", L.GATEWAY_PORTS),
            secrets=[L.secret("mesh", gateway), L.secret("public", public)],
            clusters=[L.cluster("sidecar", "10.2.0.3:15006", tls=mtls),
                      L.cluster("nginx", "10.2.0.11:8443", tls=mtls)],
            route_configs=[L.routes(name, f'prefix = "/"; cluster = "{name}"; timeout = "0s";')
                           for name in ("sidecar", "nginx")],
            listeners=[L.listener(name, f"10.1.0.2:{port}", L.chain(
                name, tls='mode = "simple"; secret = "public";', log=None))
                for name, port in (("sidecar", 443), ("nginx", 444))]))
        self.port = {"sidecar": 443, "nginx": 444}
        self.ca = certs.dir / "public.pem"
        self.files = 0

    def transfer(self, way, via, size, framing):
        """Starts a transfer; the answer is a function that waits for its end and checks every byte."""
        self.files += 1
        file = self.lab.tmp / f"body-{self.files}"
        seed = size % 1000 + self.files
        url = f"https://{L.HOST}:{self.port[via]}"
        args = ["ip", "netns", "exec", L.CLIENT, "curl", "-sS", "--fail", "--max-time", "300" if size == LARGE else "20", "--cacert", self.ca,
                "--resolve", f"{L.HOST}:{self.port[via]}:10.1.0.2", "-H", "Expect:"]
        if way == "down":
            args += [f"{url}/bytes/{size}?seed={seed}" + "&chunked=1" * (framing == "chunked"), "-o", file]
        else:
            with open(file, "wb") as f:
                for part in origin.parts(size, seed):
                    f.write(part)
            # "-T -" is chunked; curl 7.88 never ends a chunked upload of an empty *file*.
            args += ["-T", "-" if framing == "chunked" else file, f"{url}/digest"]
        with open(file if way == "up" else "/dev/null", "rb") as body:
            p = subprocess.Popen([str(a) for a in args], stdin=body, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True)

        def finish():
            out, err = p.communicate(timeout=310)
            assert p.returncode == 0, err
            if way == "down":
                got = {"bytes": file.stat().st_size if file.exists() else 0,
                       "sha256": L.sha256(file) if file.exists() else origin.digest(0, seed)}
            else:
                got = json.loads(out)
            file.unlink(missing_ok=True)
            assert got["bytes"] == size
            assert got["sha256"] == origin.digest(size, seed)
        return finish


def each(*names, **columns):
    return pytest.mark.parametrize(*names, **columns)


class TestOnACleanWire:
    @pytest.fixture(scope="class")
    def path(self):
        path = Path()
        yield path
        path.lab.close()

    @each("framing", ["content-length", "chunked"])
    @each("size", SMALL)
    @each("via", ["sidecar", "nginx"])
    @each("way", ["down", "up"])
    def test_a_small_body_arrives_intact(self, path, way, via, size, framing):
        path.transfer(way, via, SMALL[size], framing)()

    @each("framing", ["content-length", "chunked"])
    @each("via", ["sidecar", "nginx"])
    @each("way", ["down", "up"])
    def test_100_mib_arrive_intact(self, path, way, via, framing):
        path.transfer(way, via, LARGE, framing)()


class TestOnABadWire:
    """1 % loss and 1 % reordering each way, 10 ms delay each way: 20 ms for a round trip."""

    @pytest.fixture(scope="class")
    def path(self):
        path = Path(bad_wire=["--seed", "7", "--loss", "1", "--reorder", "1", "--delay", "10"])
        yield path
        path.lab.close()

    @each("framing", ["content-length", "chunked"])
    @each("size", SMALL)
    @each("way", ["down", "up"])
    def test_a_small_body_arrives_intact(self, path, way, size, framing):
        path.transfer(way, "sidecar", SMALL[size], framing)()

    def test_four_times_100_mib_side_by_side_arrive_intact(self, path):
        for finish in [path.transfer(way, "sidecar", LARGE, framing)
                       for way in ("down", "up") for framing in ("content-length", "chunked")]:
            finish()
