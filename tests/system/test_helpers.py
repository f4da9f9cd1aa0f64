"""
A helper computes the public-key operations of handshakes: everything works as without one, whatever happens
to a handshake that waits for it.
"""
import os
import signal
import socket
import ssl
import struct
import time
from pathlib import Path

import pytest

import lab as L

GATEWAY, BACKEND = "10.1.0.2", "10.2.0.11:8443"
EDGE, SERVICE = (f"spiffe://cluster.local/ns/{ns}/sa/{sa}" for ns, sa in (("edge", "gateway"), ("default", "service")))
NGINX = """
worker_processes 1;
events { worker_connections 2048; }
http { access_log off; keepalive_requests 1000000;
       server { listen %s ssl; ssl_certificate %s/cert-chain.pem; ssl_certificate_key %s/key.pem;
                ssl_client_certificate %s/root-cert.pem; ssl_verify_client on; ssl_protocols TLSv1.2 TLSv1.3;
                location / { return 200 "$ssl_client_s_dn $ssl_protocol"; } } }
"""


class Place:
    def __init__(self, device):
        self.lab = lab = L.Lab()
        self.cpus = sorted(os.sched_getaffinity(0))
        try:
            lab.certs.ca("root")
            self.edge = lab.certs.issue("edge", uri=EDGE, dns=[L.HOST])
            self.user = lab.certs.issue("user", uri="spiffe://cluster.local/ns/default/sa/user")
            service = lab.certs.issue("service", uri=SERVICE, dns=["service"])
            lab.nginx(NGINX % (BACKEND, service, service, service))
            lab.wait_port(L.MESH, *BACKEND.split(":"))
            self.gw = lab.gateway(self.conf(device))
        except BaseException:
            lab.close()
            raise

    def conf(self, device):
        cores = f"cores = [ {self.cpus[0]} ]; helper_cores = [ {self.cpus[-1]} ];"
        return L.conf(
            L.machine(self.lab.tmp, "gateway", L.GATEWAY_PORTS, device=device,
                      extra=cores if len(self.cpus) > 1 else "helpers = 1;"),
            secrets=[L.secret("edge", self.edge)],
            clusters=[L.cluster("service", BACKEND, tls=f'mode = "mutual"; secret = "edge"; peer_ids = [ "{SERVICE}" ];',
                                extra="max_requests_per_connection = 1;")],
            route_configs=[L.routes("r", 'prefix = "/"; cluster = "service";')],
            listeners=[L.listener(f"p{port}", f"{GATEWAY}:{port}", L.chain("r", tls=f'mode = "{mode}"; secret = "edge";', log=None))
                       for port, mode in ((443, "simple"), (444, "mutual"))])

    def stat(self, name):
        return int(self.lab.ctl_json(self.gw, "stats", name)[name])

    def settled(self):
        """Waits until everything that was asked has been computed; returns how much."""
        def same():
            stats = self.lab.stats(self.gw)
            return stats["tls.helped"] == stats["helper.operations"]
        self.lab.wait_home(self.gw)
        L.wait_for("the helper to have computed everything", same)
        return self.stat("tls.helped")

    def wrk(self, port=443):
        return self.lab.start("wrk", L.CLIENT, "wrk", "-c", 64, "-t", 1, "-d", 300, "-H", "Connection: close",
                              f"https://{GATEWAY}:{port}/")

    def ask(self, *options, port=444):
        done = self.lab.curl("-k", "--resolve", f"{L.HOST}:{port}:{GATEWAY}", "--cert", self.user / "cert-chain.pem", "--key",
                             self.user / "key.pem", *options, f"https://{L.HOST}:{port}/")
        return done.stdout + done.stderr


@pytest.fixture(params=["af_packet", "af_xdp"])
def place(request):
    p = Place(request.param)
    yield p
    p.lab.close()


def threads(p):
    return {(task / "comm").read_text().strip(): task for task in Path(f"/proc/{p.pid}/task").iterdir()}


def test_every_operation_of_every_handshake_is_the_helpers(place):
    for version in ("1.2", "1.3"):
        for _ in range(5):
            said = place.ask("--tls-max", version, "--tlsv1.2")
            assert said.endswith(" TLSv1.3"), said
    assert place.stat("tls.handshakes") == 20  # of clients, and to the service
    # A key pair, a secret, and a signature of each side; certificates, as long as they are not known.
    assert place.settled() >= 80
    assert place.stat("tls.not_helped") == 0

    # Who has no certificate, or a wrong one, is refused as without a helper.
    done = place.lab.curl("-k", f"https://{GATEWAY}:444/")
    assert done.returncode != 0
    assert place.stat("tls.fail_verify_no_cert") == 1
    place.lab.certs.ca("other")
    place.user = place.lab.certs.issue("stranger", uri=EDGE, ca="other")
    assert "alert" in place.ask() and place.stat("tls.fail_verify_error") == 1
    place.settled()


def test_many_at_once(place):
    wrk = place.wrk()
    L.wait_for("2,000 handshakes", lambda: place.stat("tls.handshakes") > 2000, 60)
    row = place.lab.ctl_json(place.gw, "perf", "1")
    place.lab.end_wrk(wrk, 900)
    [helper] = row["helpers"]
    assert helper["helper"] == 0 and helper["operations"] > 100 and 0 < helper["busy_percent"] <= 100
    assert place.stat("tls.handshake_failed") == 0
    assert place.settled() > 2 * place.stat("tls.not_helped")


def hello():
    """A client's first message."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    out = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=L.HOST)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return out.read()


def test_clients_that_go_while_the_helper_computes_leave_nothing(place):
    before = place.stat("tls.helped")
    for i in range(300):
        s = L.connect(GATEWAY, 443)
        s.sendall(hello())
        if i % 3 == 0:  # with RST
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif i % 3 == 1:  # what follows is no TLS
            s.sendall(b"GET / HTTP/1.1\r\n\r\n")
        s.close()
    assert place.settled() - before >= 300
    assert place.ask().endswith(" TLSv1.3")


def test_new_certificates_while_handshakes_wait(place):
    wrk = place.wrk()
    for i in range(10):
        done = place.stat("tls.handshakes")
        place.lab.certs.issue("edge", uri=EDGE, dns=[L.HOST])
        place.lab.ctl_json(place.gw, "reload")
        L.wait_for("more handshakes", lambda: place.stat("tls.handshakes") > done + 100, 30)
    place.lab.end_wrk(wrk, 500)
    assert place.stat("tls.handshake_failed") == 0


def test_the_end_comes_in_the_middle(place):
    with L.connect(GATEWAY, 443):  # it says nothing, and so is drained to the end of drain_time
        place.wrk()
        L.wait_for("handshakes", lambda: place.stat("tls.handshakes") > 500, 60)
        place.gw.send_signal(signal.SIGTERM)
        L.wait_for("it to drain", lambda: "draining" in place.lab.log("gateway"))
        assert place.lab.stop(place.gw) == 0  # the second: now


def test_a_helper_has_its_core_and_sleeps(place):
    task = threads(place.gw)["helper-0"]
    if len(place.cpus) > 1:
        assert os.sched_getaffinity(int(task.name)) == {place.cpus[-1]}
    assert place.ask().endswith(" TLSv1.3")

    def sleeps():
        return (task / "stat").read_text().rsplit(")", 1)[1].split()[0] == "S"
    for _ in range(3):  # it is woken, works, and sleeps again
        slept, worked = place.stat("helper.sleeps"), place.stat("helper.operations")
        assert place.ask().endswith(" TLSv1.3")
        assert place.settled() > worked
        L.wait_for("it to sleep", lambda: place.stat("helper.sleeps") > slept and sleeps())

    def ticks():
        fields = (task / "stat").read_text().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])
    before, slept = ticks(), place.stat("helper.sleeps")
    time.sleep(3)
    assert ticks() - before <= 1
    assert place.stat("helper.sleeps") - slept <= 5
