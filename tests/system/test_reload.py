"""
Configurations and certificates are replaced under load without one failed request; a wrong
configuration is refused with its line, and nothing of it takes effect.
"""
import re
import signal

import pytest

import lab as L

GATEWAY = "10.1.0.2"
# Those that include others stand where they stand; tests/unit/config/file.c reads them there.
BAD = [p for p in sorted((L.TOP / "tests/data/bad-config").glob("*.conf")) if not p.name.startswith("include-")]
NGINX = """
worker_processes 1;
events { worker_connections 1024; }
http { access_log off; keepalive_requests 1000000;
       server { listen 10.2.0.11:8080; location / { return 200 "well\\n"; } } }
"""


class Place:
    def __init__(self):
        self.lab = lab = L.Lab()
        try:
            lab.certs.ca("root")
            self.web = lab.certs.issue("web", dns=[L.HOST])
            lab.nginx(NGINX)
            lab.wait_port(L.MESH, "10.2.0.11", 8080)
            self.gw = lab.gateway(self.conf(0))
        except BaseException:
            lab.close()
            raise

    def conf(self, version):
        """Two configurations: with another cluster, another timeout, another listener."""
        name = f"nginx-{version % 2}"
        extra = [L.listener("extra", f"{GATEWAY}:81", L.chain("r", log=None))] if version % 2 else []
        return L.conf(
            L.machine(self.lab.tmp, "gateway", L.GATEWAY_PORTS),
            secrets=[L.secret("web", self.web)],
            clusters=[L.cluster(name, "10.2.0.11:8080")],
            route_configs=[L.routes("r", f'prefix = "/"; cluster = "{name}"; timeout = "{10 + version % 2}s";')],
            listeners=[L.listener("https", f"{GATEWAY}:443", L.chain(
                "r", tls='mode = "simple"; secret = "web";', log=None))] + extra)

    def status(self):
        return self.lab.ctl_json(self.gw, "status")

    def serial(self):
        done = self.lab.ns(L.CLIENT, "openssl", "s_client", "-connect", f"{GATEWAY}:443", "-servername", L.HOST,
                           input="", check=False, timeout=10)
        return L.sh("openssl", "x509", "-noout", "-serial", input=done.stdout).stdout

    def requests(self):
        return self.lab.stats(self.gw)["http.https.downstream_rq_completed"]

    def wrk(self):
        p = self.lab.start("wrk", L.CLIENT, "wrk", "-c", 32, "-t", 1, "-d", 300, f"https://{GATEWAY}/")
        L.wait_for("load", lambda: self.requests() > 100, every=0.1)
        return p

    def check_wrk(self, p):
        self.lab.end_wrk(p, 1000)


@pytest.fixture(scope="module")
def place():
    place = Place()
    yield place
    place.lab.wait_home(place.gw)
    place.lab.close()


def test_a_hundred_reloads_under_load_fail_no_request(place):
    wrk = place.wrk()
    first = place.lab.log("gateway").count(" is published")
    for i in range(1, 101):
        place.gw.conf.write_text(place.conf(i))
        place.gw.send_signal(signal.SIGHUP)
        L.wait_for(f"reload {i}", lambda: place.lab.log("gateway").count(" is published") == first + i, 5)
        requests = place.requests()
        L.wait_for("requests by this configuration", lambda: place.requests() > requests + 32)
    place.check_wrk(wrk)


def test_twenty_new_certificates_under_load_fail_no_request(place):
    wrk = place.wrk()
    seen = set()
    for i in range(20):
        place.lab.certs.issue("web", dns=[L.HOST])
        want = L.sh("openssl", "x509", "-noout", "-serial", "-in", place.web / "cert-chain.pem").stdout
        L.wait_for(f"certificate {i}", lambda: place.serial() == want, 5)
        seen.add(want)
    assert len(seen) == 20
    place.check_wrk(wrk)


def test_every_wrong_configuration_is_refused_with_its_line(place):
    good, before = place.gw.conf.read_text(), place.status()
    try:
        for bad in BAD:
            text = bad.read_text()
            line, words = re.match(r"# expect: (\d+): (.*)", text).groups()
            place.gw.conf.write_text(text)
            done = place.lab.ctl(place.gw, "reload", check=False)
            assert done.returncode == 1, bad.name
            said = done.stdout + done.stderr
            assert words in said, (bad.name, said)
            if int(line) > 0:
                assert f"{place.gw.conf}:{line}: " in said, (bad.name, said)
    finally:
        place.gw.conf.write_text(good)
    assert place.lab.curl("-k", f"https://{GATEWAY}/").stdout == "well\n"
    assert len(BAD) > 100
    assert place.status()["configuration"]["version"] == before["configuration"]["version"]


def test_a_machine_that_changed_takes_a_restart_and_is_refused(place):
    good = place.gw.conf.read_text()
    place.gw.conf.write_text(good.replace("packets = 16384", "packets = 32768"))
    done = place.lab.ctl(place.gw, "reload", check=False)
    place.gw.conf.write_text(good)
    assert done.returncode == 1 and "machine.packets changed: that takes a restart" in done.stdout + done.stderr
    assert place.lab.curl("-k", f"https://{GATEWAY}/").stdout == "well\n"
