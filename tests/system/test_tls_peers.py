"""
TLS of every kind: each library that can be had speaks to isthmusd, which opens and seals the records
of TLS 1.3 itself, and is spoken to by it.

    curl, GnuTLS, Go, Java, BoringSSL -- TLS --> isthmusd -- mTLS 1.3 --> nginx, Go --> origin

A peer that is not on this machine is skipped, and the reason says what is missing.
"""
import ctypes.util
import functools
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

import lab as L
import origin

GATEWAY = "10.1.0.2"
GATEWAY_ID = "spiffe://cluster.local/ns/istio-system/sa/ingress"
SERVICE_ID = "spiffe://cluster.local/ns/default/sa/origin"
PEERS = Path(__file__).parent / "peers"
MIB = 1024 * 1024
LARGE = MIB if L.BAD_WIRE else 5 * MIB
SECONDS = 100
SUITES = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")

NGINX = """
worker_processes 1; events {{ }}
http {{
    access_log off; client_max_body_size 0; proxy_request_buffering off; proxy_buffering off;
    server {{
        listen 10.2.0.11:8443 ssl;
        ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites {suite};
        ssl_certificate {dir}/cert-chain.pem; ssl_certificate_key {dir}/key.pem;
        ssl_client_certificate {dir}/root-cert.pem; ssl_verify_client on;
        add_header x-via "nginx $ssl_protocol";
        location / {{ proxy_http_version 1.1; proxy_pass http://10.2.0.1:9000; }}
    }}
}}
"""


# --- peers: what is to be run for (version, method, url, roots, file), or why it cannot be ------

CURL_CFFI = "curl_cffi==0.17.0"


def curl(suite=None):
    def args(place, version, method, url, roots, file):
        how = ["-T", file] if method == "PUT" else ["-o", file]
        if suite is not None:
            how += ["--tls13-ciphers", suite]
        return ["curl", "-sS", "--fail", "--http1.1", "--max-time", str(SECONDS), f"--tlsv{version}", "--tls-max", version,
                "--cacert", roots, *how, url]
    return args


def gnutls(place, *args):
    name = ctypes.util.find_library("curl-gnutls")
    if name is None:
        pytest.skip("no libcurl with GnuTLS (Debian's package libcurl3-gnutls)")
    return [L.PYTHON, PEERS / "libcurl.py", name, *args]


def go(place, *args):
    return [place.go(), *args]


def java(place, *args):
    if shutil.which("javac") is None:
        pytest.skip("no Java compiler (Debian's package openjdk-17-jdk-headless)")
    limits = place.lab.tmp / "java.security"
    limits.write_text("jdk.tls.keyLimits=AES/GCM/NoPadding KeyUpdate 2^17\n")  # instead of 2^37 bytes
    return ["java", f"-Djava.security.properties={limits}", PEERS / "Peer.java", *args]


@functools.cache
def curl_cffi():
    """Where it is, or why it is not: kept in the user's cache, as PyPI is far."""
    where = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "isthmus/pypi" / CURL_CFFI
    if where.exists():
        return where, None
    L.shutil.rmtree(part := where.with_suffix(".part"), ignore_errors=True)
    done = subprocess.run([L.PYTHON, "-m", "pip", "-q", "install", "--target", part, CURL_CFFI], capture_output=True, text=True)
    if done.returncode != 0:
        return None, done.stderr.strip()[-300:]
    part.rename(where)
    return where, None


def boringssl(place, *args):
    where, why = curl_cffi()
    if why is not None:
        pytest.skip(f"no BoringSSL (PyPI's {CURL_CFFI}): {why}")
    return ["env", f"PYTHONPATH={where}", L.PYTHON, PEERS / "boringssl.py", *args]


CLIENTS = {"curl": curl(), **{suite: curl(suite) for suite in SUITES}, "gnutls": gnutls, "go": go, "java": java,
           "boringssl": boringssl}


class Place:
    def __init__(self):
        self.lab = lab = L.Lab()
        self.built = None
        try:
            self._start(lab)
        except BaseException:
            lab.close()
            raise

    def _start(self, lab):
        lab.certs.ca()
        self.root = lab.certs.dir / "root.pem"
        gateway = lab.certs.issue("gateway", uri=GATEWAY_ID, dns=[L.HOST])
        self.service = lab.certs.issue("service", uri=SERVICE_ID)
        lab.hosts([L.HOST])
        lab.origin()
        for name, suite in zip(("nginx", "nginx-256", "nginx-chacha"), SUITES):
            address = f"10.2.0.{11 + SUITES.index(suite)}"
            lab.nginx(NGINX.format(dir=self.service, suite=suite).replace("10.2.0.11", address), name=name)
            lab.wait_port(L.MESH, address, 8443)
        mutual = f'mode = "mutual"; secret = "gateway"; min_version = "1.3"; peer_ids = [ "{SERVICE_ID}" ];'
        services = {"nginx": "10.2.0.11:8443", "nginx-256": "10.2.0.12:8443", "nginx-chacha": "10.2.0.13:8443",
                    "go": "10.2.0.14:8443"}
        self.gw = lab.gateway(L.conf(
            L.machine(lab.tmp, "gateway", L.GATEWAY_PORTS),
            access_logs=[L.access_log(lab.tmp / "access.log")],
            secrets=[L.secret("gateway", gateway)],
            clusters=[L.cluster("origin", "10.2.0.1:9000"),
                      *(L.cluster(name, address, tls=mutual) for name, address in services.items())],
            route_configs=[L.routes("r", f'prefix = "/"; cluster = "origin"; timeout = "{SECONDS}s";'),
                           *(L.routes(name, f'prefix = "/"; cluster = "{name}"; timeout = "{SECONDS}s";')
                             for name in services)],
            listeners=[L.listener("tls", f"{GATEWAY}:443", L.chain("r", tls='mode = "simple"; secret = "gateway";')),
                       *(L.listener(name, f"{GATEWAY}:{8000 + i}", L.chain(name)) for i, name in enumerate(services))]))
        self.ports = {name: 8000 + i for i, name in enumerate(services)}

    def go(self):
        """The Go program, built; or skips."""
        if self.built is None:
            if shutil.which("go") is None:
                pytest.skip("no Go (Debian's package golang-go)")
            cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "isthmus/go"
            self.built = self.lab.tmp / "peer"
            L.sh("go", "build", "-o", self.built, PEERS / "peer.go",
                 env={**os.environ, "GOCACHE": str(cache), "GO111MODULE": "off", "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"})
        return self.built

    def run(self, client, version, method, path, file):
        args = CLIENTS[client](self, version, method, f"https://{L.HOST}{path}", self.root, file)
        done = self.lab.ns(L.CLIENT, *args, check=False, timeout=SECONDS + 20)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def place():
    place = Place()
    yield place
    place.lab.wait_home(place.gw)
    place.lab.close()


def download(place, client, version, n):
    file = place.lab.tmp / "down"
    file.write_bytes(b"what was there before")
    place.run(client, version, "GET", f"/bytes/{n}?seed=5", file)
    assert file.stat().st_size == n and L.sha256(file) == origin.digest(n, 5)


def upload(place, client, version, n):
    file = place.lab.tmp / "up"
    file.write_bytes(b"".join(origin.parts(n, 6)))
    answer = json.loads(place.run(client, version, "PUT", "/digest", file))
    assert (answer["bytes"], answer["sha256"]) == (n, origin.digest(n, 6))


@pytest.mark.parametrize("n", [0, 1024, LARGE])
@pytest.mark.parametrize("client", CLIENTS)
def test_what_is_sent_to_a_client_arrives_whole(place, client, n):
    download(place, client, "1.3", n)


@pytest.mark.parametrize("n", [0, 1024, LARGE])
@pytest.mark.parametrize("client", CLIENTS)
def test_what_a_client_sends_arrives_whole(place, client, n):
    upload(place, client, "1.3", n)


@pytest.mark.parametrize("client", [c for c in CLIENTS if c not in SUITES])
def test_the_version_before_it_still_works(place, client):
    download(place, client, "1.2", LARGE)
    upload(place, client, "1.2", LARGE)


@pytest.mark.parametrize("service", ["nginx", "nginx-256", "nginx-chacha", "go"])
def test_what_passes_a_service_behind_us_arrives_whole(place, service):
    if service == "go":
        go = place.lab.start("go", L.MESH, place.go(), "serve", "10.2.0.14:8443", place.service / "cert-chain.pem",
                             place.service / "key.pem", place.service / "root-cert.pem", "http://10.2.0.1:9000")
        place.lab.wait_port(L.MESH, "10.2.0.14", 8443)
    url, file = f"http://{GATEWAY}:{place.ports[service]}", place.lab.tmp / "file"
    for n in (0, 1024, LARGE):
        head = place.lab.curl("--fail", f"{url}/bytes/{n}?seed=7", "-D", "-", "-o", file, check=True, seconds=SECONDS).stdout
        assert f"x-via: {service.partition('-')[0]} TLS" in head and "1.3" in head
        assert n == 0 or L.sha256(file) == origin.digest(n, 7)
        file.write_bytes(b"".join(origin.parts(n, 8)))
        answer = json.loads(place.lab.curl("--fail", f"{url}/digest", "-T", file, check=True, seconds=SECONDS).stdout)
        assert (answer["bytes"], answer["sha256"]) == (n, origin.digest(n, 8))
    if service == "go":
        place.lab.stop(go)


def test_no_record_was_refused(place):
    stats = place.lab.stats(place.gw)
    failed = {name: int(value) for name, value in stats.items() if name.startswith("tls.") and "records_failed" in name}
    assert failed and not any(failed.values()), failed
