"""
Two workers: on ports with one queue, where packets are handed to the worker that owns their flow,
and on memif ports with two queues, between two daemons.
"""
import concurrent.futures
import os
import re

import pytest

import lab as L
import origin

GATEWAY = "10.1.0.2"
MIB = 1024 * 1024
TRANSFERS = 32  # by as many connections: that one worker gets none of them is as likely as 2^-31


def transfer(lab, i):
    """Down and up, each on a connection of its own."""
    size, seed = MIB + i, i
    file = lab.tmp / f"body-{i}"
    done = lab.curl("--fail", f"http://{GATEWAY}/bytes/{size}?seed={seed}", "-o", file)
    assert done.returncode == 0, done.stderr
    assert L.sha256(file) == origin.digest(size, seed)
    done = lab.curl("--fail", "-H", "Expect:", "-T", file, f"http://{GATEWAY}/digest")
    assert origin.digest(size, seed) in done.stdout, done
    file.unlink()


def transfer_many(lab):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: transfer(lab, i), range(TRANSFERS)))


def stolen():
    """Seconds that each core was not given, and was not idle either."""
    with open("/proc/stat") as f:
        return [int(line.split()[8]) / os.sysconf("SC_CLK_TCK") for line in f if re.match(r"cpu\d", line)]


def evidence(lab, daemons, before):
    """What to look at where a request took too long: in a daemon, on the wire, or in the machine?"""
    told = [f"\nstolen from cores: {[round(b - a, 2) for a, b in zip(before, stolen())]} s"]
    for p in daemons:
        told += [f"{p.socket.name}: {line}" for line in lab.ctl(p, "stats").stdout.splitlines()
                 if re.match(r"worker\.|tcp\.retrans|drop\.|port\.\w*drop", line) and not line.endswith(" 0")]
    return "\n".join(told)


def load(lab, *daemons):
    """Thirty-two clients for a while; both workers of every daemon carry some of them."""
    before = stolen()
    wrk = lab.start("wrk", L.CLIENT, "wrk", "-c", 32, "-t", 1, "-d", 5, f"http://{GATEWAY}/")
    for p in daemons:
        L.wait_for("both workers to have sessions",
                   lambda: all(w["sessions"] > 0 for w in lab.ctl_json(p, "status")["workers"]), 4, every=0.1)
    wrk.wait(30)
    said = lab.log("wrk") + evidence(lab, daemons, before)
    assert int(re.search(r"(\d+) requests in", said).group(1)) > 500, said
    assert "Socket errors" not in said and "Non-2xx" not in said, said


def queues(lab, p):
    return {row["port"]: row["queues"] for row in lab.ctl_json(p, "status")["ports"]}


def gateway_conf(lab, name, ports_text, listen, endpoint):
    return L.conf(
        f'machine = {{ workers = 2; hugepages = true; memory = "256MiB"; packets = 16384; '
        f'ports = (\n{ports_text}\n); }};\n'
        f'control = {{ socket = "{lab.tmp}/{name}.sock"; drain_time = "5s"; }};\n',
        clusters=[L.cluster("next", endpoint)],
        route_configs=[L.routes("r", 'prefix = "/"; cluster = "next"; timeout = "60s";')],
        listeners=[L.listener("http", listen, L.chain("r", log=None))])


NGINX = """
worker_processes 1;
events { worker_connections 1024; }
http { access_log off; keepalive_requests 1000000; client_max_body_size 0; proxy_request_buffering off;
       client_body_temp_path @DIR@/b; proxy_temp_path @DIR@/p; fastcgi_temp_path @DIR@/f;
       uwsgi_temp_path @DIR@/u; scgi_temp_path @DIR@/s;
       server { listen 10.2.0.11:8080; location = / { return 200 "well\\n"; }
                location / { proxy_pass http://10.2.0.1:9000; proxy_http_version 1.1; proxy_buffering off; } } }
"""


@pytest.fixture
def lab():
    with L.Lab() as lab:
        lab.origin()
        lab.nginx(NGINX)
        lab.wait_port(L.MESH, "10.2.0.11", 8080)
        yield lab


def test_with_one_queue_each_worker_gets_its_packets_from_the_other(lab):
    ports = ",\n".join(f'{{ name = "{n}"; device = "af_packet"; interface = "{i}"; queues = 1; addresses = [ "{a}" ]; }}'
                       for n, i, a in L.GATEWAY_PORTS)
    p = lab.gateway(gateway_conf(lab, "gateway", ports, f"{GATEWAY}:80", "10.2.0.11:8080"))
    transfer_many(lab)
    load(lab, p)
    assert queues(lab, p) == {"down": 1, "up": 1}
    L.wait_for("what was handed over, ARP included, to arrive", lambda: (s := lab.stats(p)) and
               s["port.redirect_in"] == s["port.redirect_out"] + s["port.shared_out"] > 1000, 5)
    assert lab.stats(p)["port.redirect_dropped"] == 0
    lab.wait_home(p)


def test_two_daemons_with_two_queues_between_them(lab):
    memif = f'device = "memif"; socket = "{lab.tmp}/memif.sock"; queues = 2;'
    near = (f'{{ name = "down"; device = "af_packet"; interface = "gw0"; queues = 1; addresses = [ "10.1.0.2/24" ]; }},\n'
            f'{{ name = "between"; {memif} memif_server = true; addresses = [ "10.3.0.1/24" ]; }}')
    far = (f'{{ name = "between"; {memif} addresses = [ "10.3.0.2/24" ]; }},\n'
           f'{{ name = "up"; device = "af_packet"; interface = "gw1"; queues = 1; addresses = [ "10.2.0.2/24" ]; }}')
    one = lab.gateway(gateway_conf(lab, "near", near, f"{GATEWAY}:80", "10.3.0.2:80"), name="near")
    two = lab.gateway(gateway_conf(lab, "far", far, "10.3.0.2:80", "10.2.0.11:8080"), name="far")
    L.wait_for("the two to meet", lambda: lab.curl("-f", f"http://{GATEWAY}/", seconds=3).stdout == "well\n", 20,
               every=0.2)
    transfer_many(lab)
    load(lab, one, two)
    assert queues(lab, one)["between"] == queues(lab, two)["between"] == 2
    for p in (one, two):
        assert lab.stats(p)["port.redirect_dropped"] == 0
        L.wait_for("both to come home", lambda: lab.stats(p)["use.streams"] == 0, 10, every=0.1)
