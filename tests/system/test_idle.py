"""
Connections that do nothing: half a KiB each in TCP, with their share of the flow table; those of clients
are parked, and a request on one of them is answered. How fast, beside a thousand of them, is for a quiet
machine to say: ISTHMUS_IDLE=200000 takes that many.
"""
import json
import os
import statistics
import subprocess

import pytest

import lab as L

N = int(os.environ.get("ISTHMUS_IDLE", 100000))
CLIENTS = int(os.environ.get("ISTHMUS_IDLE", 10000))
EACH = 18000  # sockets of a process, which may open 20,000 files
REQUESTS = 1000  # of a round, each on a connection that is parked
ROUNDS = 15 if "ISTHMUS_IDLE" in os.environ else 2
GATEWAY = "10.1.0.2"
NGINX = """
events { worker_connections 256; }
http { access_log off; keepalive_requests 1000000;
       server { listen 10.2.0.11:8080; location / { return 200 "well\\n"; } } }
"""


def test_an_idle_connection_costs_half_a_kib(capsys):
    done = L.sh(L.BUILD / "bench/isthmus-idle", "--limit", 512, 1000, N, check=False, timeout=300)
    with capsys.disabled():
        print("\n" + done.stdout)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split()[1] == str(N)


@pytest.fixture(scope="module")
def lab():
    with L.Lab(bad_wire=None) as lab:
        lab.nginx(NGINX)
        lab.wait_port(L.MESH, "10.2.0.11", 8080)
        lab.ns(L.CLIENT, "sysctl", "-qw", "net.ipv4.ip_local_port_range=1024 65535")
        lab.gw = lab.gateway(L.conf(
            L.machine(lab.tmp, "gateway", L.GATEWAY_PORTS, memory="256MiB", packets=32768,
                      extra="  tcp = { max_connections = 262144; max_half_open = 16384; };\n"),
            clusters=[L.cluster("nginx", "10.2.0.11:8080")],
            route_configs=[L.routes("r", 'prefix = "/"; cluster = "nginx";')],
            listeners=[L.listener("http", f"{GATEWAY}:80", L.chain("r", log=None))]))
        yield lab


class Idlers:
    def __init__(self, lab, n):
        self.procs = []
        for i in range((n + EACH - 1) // EACH):
            source = f"10.1.0.{101 + i}"
            lab.ns(L.CLIENT, "ip", "addr", "replace", f"{source}/24", "dev", "c0")
            self.procs.append(subprocess.Popen(
                ["ip", "netns", "exec", L.CLIENT, L.PYTHON, L.TOP / "tests/system/idlers.py", source, GATEWAY, "80",
                 str(min(EACH, n - i * EACH))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        for p in self.procs:
            assert p.stdout.readline() == "open\n"

    def ask(self, n):
        """Microseconds of each request, sorted."""
        took = []
        for p in self.procs:
            p.stdin.write(f"{n // len(self.procs)}\n")
            p.stdin.flush()
            took += json.loads(p.stdout.readline())
        return sorted(took)

    def close(self):
        for p in self.procs:
            p.kill()
            p.wait()


def parked(lab):
    stats = lab.stats(lab.gw)
    return stats["tcp.parked"] - stats["tcp.woken"]


def test_a_request_on_one_of_many_idle_connections_is_answered(lab, capsys):
    for n in (1000, CLIENTS):
        before = L.resident(lab.gw)
        idlers = Idlers(lab, n)
        try:
            L.wait_for("the last ACKs", lambda: lab.stats(lab.gw)["use.sessions"] == n)
            L.wait_for("all to be parked", lambda: parked(lab) == n, 30, every=0.1)
            each = (L.resident(lab.gw) - before) * 1024 // n
            idlers.ask(200)
            p50, p99 = [], []
            for _ in range(ROUNDS):
                L.wait_for("all to be parked again", lambda: parked(lab) == n, 30, every=0.1)
                took = idlers.ask(REQUESTS)
                assert len(took) == REQUESTS // len(idlers.procs) * len(idlers.procs)
                p50.append(took[len(took) // 2])
                p99.append(took[len(took) * 99 // 100])
            L.wait_for("all to be parked again", lambda: parked(lab) == n, 30, every=0.1)
            with capsys.disabled():
                print(f"\n{n} sessions, {each} B each: p50 {statistics.median(p50):.0f} us, "
                      f"p99 {statistics.median(p99):.0f} us ({ROUNDS} rounds)", end="")
        finally:
            idlers.close()
        L.wait_for("the sessions to end", lambda: lab.stats(lab.gw)["use.sessions"] == 0, 60, every=0.2)
    lab.wait_home(lab.gw, 60)
