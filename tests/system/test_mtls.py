"""
Who may come in, whom we go to, and what the service behind is told about it: mutual TLS both ways,
SPIFFE identities, SNI, ALPN, versions, tickets.
"""
import hashlib
import json
import re
import ssl
import subprocess

import pytest

import lab as L

GATEWAY = "10.1.0.2"
GATEWAY_ID = "spiffe://cluster.local/ns/istio-system/sa/ingress"
SERVICE_ID = "spiffe://cluster.local/ns/default/sa/origin"
CLIENT_ID = "spiffe://cluster.local/ns/default/sa/client"
OTHER_HOST = "other.example.com"


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
        certs, tmp = lab.certs, lab.tmp
        for ca in ("root", "stranger"):
            certs.ca(ca)
        gateway = certs.issue("gateway", uri=GATEWAY_ID, dns=[L.HOST])
        other = certs.issue("other", dns=[OTHER_HOST])
        service = certs.issue("service", uri=SERVICE_ID)
        certs.issue("client", uri=CLIENT_ID)
        certs.issue("expired", uri=CLIENT_ID, days=-1)
        certs.issue("foreign-domain", uri="spiffe://elsewhere/ns/default/sa/client")
        certs.issue("nameless", dns=["client.example.com"])
        certs.issue("other-ca", uri=CLIENT_ID, ca="stranger")
        lab.origin()
        lab.nginx(f"""
            worker_processes 1; events {{ }}
            http {{ access_log off; server {{
                listen 10.2.0.11:8443 ssl;
                ssl_certificate {service}/cert-chain.pem; ssl_certificate_key {service}/key.pem;
                ssl_client_certificate {service}/root-cert.pem; ssl_verify_client on;
                location / {{ return 200 "$ssl_client_verify $ssl_protocol"; }} }} }}""")
        lab.wait_port(L.MESH, "10.2.0.11", 8443)
        mutual = 'mode = "mutual"; secret = "gateway";'
        simple = 'mode = "simple"; secret = "gateway";'
        self.gw = lab.gateway(L.conf(
            L.machine(tmp, "gateway", L.GATEWAY_PORTS, extra='  tcp = { delayed_ack = "500ms"; };\n'),
            access_logs=[L.access_log(self.log.path)],
            secrets=[L.secret("gateway", gateway), L.secret("other", other)],
            clusters=[L.cluster("origin", "10.2.0.1:9000"),
                      L.cluster("right", "10.2.0.11:8443", tls=f'{mutual} peer_ids = [ "{SERVICE_ID}" ];'),
                      L.cluster("wrong", "10.2.0.11:8443",
                                tls=f'{mutual} peer_ids = [ "spiffe://cluster.local/ns/default/sa/somebody" ];'),
                      L.cluster("not-tls", "10.2.0.1:9000", tls=f'{mutual} peer_ids = [ "{SERVICE_ID}" ];')],
            route_configs=[L.routes("r", 'prefix = "/right"; cluster = "right";', 'prefix = "/wrong"; cluster = "wrong";',
                                    'prefix = "/not-tls"; cluster = "not-tls";', 'prefix = "/"; cluster = "origin";')],
            listeners=[
                L.listener("mutual", f"{GATEWAY}:443", L.chain(
                    "r", tls=mutual, http='forward_client_cert = "sanitize_set"; set_subject = true; set_uri = true;')),
                L.listener("named", f"{GATEWAY}:444",
                           L.chain("r", tls=simple, match=f'server_names = [ "{L.HOST}" ];'),
                           L.chain("r", tls='mode = "simple"; secret = "other";',
                                   match='server_names = [ "*.example.com" ];')),
                L.listener("tls12", f"{GATEWAY}:445", L.chain("r", tls=f'{simple} max_version = "1.2";')),
                L.listener("tls13", f"{GATEWAY}:446", L.chain("r", tls=f'{simple} min_version = "1.3";')),
                L.listener("alpn", f"{GATEWAY}:447", L.chain("r", tls=f'{simple} alpn = [ "http/1.1" ];')),
                L.listener("ticketless", f"{GATEWAY}:448", L.chain("r", tls=f'{simple} session_tickets = false;')),
                L.listener("plain", f"{GATEWAY}:80", L.chain("r"))]))
        self.root = certs.dir / "root.pem"

    def get(self, path, *args, port=443, who=None, host=L.HOST):
        d = self.lab.certs.dir
        cert = ["--cert", d / who / "cert-chain.pem", "--key", d / who / "key.pem"] if who else []
        return self.lab.curl("--cacert", self.root, "--resolve", f"{host}:{port}:{GATEWAY}", *cert, *args,
                             f"https://{host}:{port}{path}", seconds=10)

    def s_client(self, port, *args, host=L.HOST):
        done = self.lab.ns(L.CLIENT, "openssl", "s_client", "-connect", f"{GATEWAY}:{port}", "-servername", host,
                           "-CAfile", self.root, *args, check=False, input="", timeout=15)
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def place():
    place = Place()
    yield place
    place.lab.wait_home(place.gw)
    place.lab.close()


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("who", [None, "other-ca", "expired", "foreign-domain", "nameless"])
def test_a_client_is_refused_that_is_not_of_the_mesh(place, who, version):
    done = place.get("/headers", f"--tlsv{version}", "--tls-max", version, who=who)
    assert done.returncode in (35, 55, 56, 60), done  # the handshake, or the alert after it
    assert done.stdout == ""


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_client_of_the_mesh_is_named_to_the_service_and_cannot_lie(place, version):
    done = place.get("/headers", f"--tlsv{version}", "--tls-max", version, "-H",
                     "X-Forwarded-Client-Cert: By=me;URI=spiffe://cluster.local/ns/kube-system/sa/admin", who="client")
    assert done.returncode == 0, done.stderr
    xfcc = [v for n, v in json.loads(done.stdout) if n.lower() == "x-forwarded-client-cert"]
    pem = (place.lab.certs.dir / "client/cert-chain.pem").read_text()
    want = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
    assert xfcc == [f'By={GATEWAY_ID};Hash={want};Subject="";URI={CLIENT_ID}']


# It leaves Nagle's algorithm on: its request waits for the ACK of its last message of the handshake.
NAGLE = """
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[1])
for _ in range(100):
    with socket.create_connection((sys.argv[2], int(sys.argv[3]))) as plain:
        with context.wrap_socket(plain, server_hostname=sys.argv[4]) as s:
            s.sendall(f"GET /right HTTP/1.1\\r\\nHost: {sys.argv[4]}\\r\\nConnection: close\\r\\n\\r\\n".encode())
            while s.recv(65536):
                pass
"""


def test_the_end_of_a_handshake_is_acknowledged_at_once(place):
    """Else each of a hundred handshakes ends with an ACK that has waited as long as it may."""
    before = place.lab.stats(place.gw)["tcp.delayed_acks"]
    place.lab.ns(L.CLIENT, L.PYTHON, "-c", NAGLE, place.root, GATEWAY, "448", L.HOST, timeout=120)
    waited = place.lab.stats(place.gw)["tcp.delayed_acks"] - before
    assert waited < 20, waited  # a few, where the wire loses packets


def test_without_mutual_tls_the_field_is_removed(place):
    done = place.lab.curl(f"http://{GATEWAY}/headers", "-H", "X-Forwarded-Client-Cert: By=me")
    assert "x-forwarded-client-cert" not in done.stdout.lower()


def test_the_right_service_is_spoken_to(place):
    assert place.get("/right", who="client").stdout.startswith("SUCCESS TLSv1.")


@pytest.mark.parametrize("path, words", [
    ("/wrong", f"SPIFFE identity {SERVICE_ID} is not accepted"), ("/not-tls", "TLS error: ")])
def test_a_service_that_is_not_who_it_should_be_gets_no_request(place, path, words):
    place.log.skip()
    done = place.get(path, "-w", "\n%{http_code}", who="client")
    assert done.stdout.startswith("upstream connect error or disconnect/reset before headers. reset reason: ")
    assert words in done.stdout and done.stdout.endswith("\n503")
    line = place.log.next()
    while line["path"] != path:
        line = place.log.next()
    assert line["flags"] == "UF" and words in line["failure"]


@pytest.mark.parametrize("host, subject", [(L.HOST, f"DNS:{L.HOST}"), (OTHER_HOST, f"DNS:{OTHER_HOST}")])
def test_the_server_name_chooses_the_certificate(place, host, subject):
    shown = place.s_client(444, host=host)
    pem = re.search(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", shown, re.S).group(0)
    names = subprocess.run(["openssl", "x509", "-noout", "-ext", "subjectAltName"], input=pem, capture_output=True,
                           text=True).stdout
    assert subject in names
    assert place.get("/", port=444, host=host).stdout == "origin\n"


def test_a_server_name_of_nobody_is_refused(place):
    assert "BEGIN CERTIFICATE" not in place.s_client(444, host="unknown.example")


@pytest.mark.parametrize("port, version, works", [
    (445, "1.2", True), (445, "1.3", False), (446, "1.2", False), (446, "1.3", True),
    (444, "1.2", True), (444, "1.3", True), (444, "1.1", False)])
def test_a_version_is_spoken_or_refused(place, port, version, works):
    shown = place.s_client(port, "-tls" + version.replace(".", "_"))
    assert (f"New, TLSv{version}," in shown and "BEGIN CERTIFICATE" in shown) == works, shown


@pytest.mark.parametrize("offer, chosen", [("http/1.1", "http/1.1"), ("h2,http/1.1", "http/1.1")])
def test_the_protocol_is_agreed_on(place, offer, chosen):
    assert f"ALPN protocol: {chosen}" in place.s_client(447, "-alpn", offer)


@pytest.mark.parametrize("version", ["1_2", "1_3"])
@pytest.mark.parametrize("port, resumes", [(444, True), (448, False)])
def test_a_session_is_resumed_where_tickets_are_given(place, version, port, resumes):
    file = place.lab.tmp / f"session-{version}-{port}"
    # A request, so that the tickets of TLS 1.3, which come after the handshake, are read.
    ask = f"GET / HTTP/1.1\r\nHost: {L.HOST}\r\nConnection: close\r\n\r\n"
    for _ in range(2):
        saved = ["-sess_in", file] if file.exists() else ["-sess_out", file]
        done = place.lab.ns(L.CLIENT, "openssl", "s_client", "-connect", f"{GATEWAY}:{port}", "-servername", L.HOST,
                            "-CAfile", place.root, f"-tls{version}", "-ign_eof", *saved, check=False, input=ask,
                            timeout=15)
        assert "origin" in done.stdout
    assert ("Reused, TLSv" in done.stdout) == resumes


def test_plaintext_at_a_tls_listener_gets_no_service(place):
    with L.connect(GATEWAY, 443) as s:
        s.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        try:
            answer = L.read_all(s)
        except ConnectionResetError:
            answer = b""
    assert b"HTTP/1.1" not in answer
