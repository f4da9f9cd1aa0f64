"""
Where connections to services come from: the addresses that a cluster names, in turn; and what
happens when every port of an address waits in TIME_WAIT, since each request has a connection of its
own and it is we who close it.
"""
import collections
import re

import pytest

import lab as L

GATEWAY = "10.1.0.2"
SECONDS = 12
NGINX = """
worker_processes 1;
worker_rlimit_nofile 8192;
events { worker_connections 4096; }
http { access_log off;
       server { listen 10.2.0.11:8080 backlog=4096; location / { return 200 "$remote_addr $remote_port\\n"; } } }
"""
ONCE = "max_requests_per_connection = 1;"


@pytest.fixture(scope="module")
def lab():
    with L.Lab() as lab:
        lab.nginx(NGINX)
        lab.wait_port(L.MESH, "10.2.0.11", 8080)
        machine = L.machine(lab.tmp, "gateway", L.GATEWAY_PORTS, memory="256MiB", packets=32768).replace(
            '"10.2.0.2/24"', '"10.2.0.2/24", "10.2.0.4/24", "10.2.0.5/24"')
        lab.gw = lab.gateway(L.conf(
            machine,
            clusters=[L.cluster("route", "10.2.0.11:8080", extra=ONCE),
                      L.cluster("named", "10.2.0.11:8080",
                                extra=ONCE + ' source_addresses = [ "10.2.0.5", "10.2.0.4" ];')],
            route_configs=[L.routes("r", 'prefix = "/named"; cluster = "named";', 'prefix = "/"; cluster = "route";')],
            listeners=[L.listener("http", f"{GATEWAY}:80", L.chain("r", log=None))]))
        yield lab


def sources(lab, path, n):
    """How many of @n requests came from each address, and from how many ports in all."""
    done = lab.curl("--fail", *[f"http://{GATEWAY}{path}"] * n)
    assert done.returncode == 0, done.stderr
    seen = [line.split() for line in done.stdout.splitlines()]
    return collections.Counter(address for address, _ in seen), len({port for _, port in seen})


def test_the_addresses_that_a_cluster_names_are_taken_in_turn(lab):
    assert sources(lab, "/named", 40) == ({"10.2.0.5": 20, "10.2.0.4": 20}, 40)
    assert sources(lab, "/", 10) == ({"10.2.0.2": 10}, 10)


@pytest.mark.skipif(L.BAD_WIRE is not None, reason="too slow to use up the ports")
def test_time_wait_does_not_use_up_the_ports(lab):
    wrk = lab.start("wrk", L.CLIENT, "wrk", "-c", 64, "-t", 1, "-d", SECONDS, "--timeout", 10, f"http://{GATEWAY}/")
    wrk.wait(SECONDS + 30)
    said = lab.log("wrk")
    done = int(re.search(r"(\d+) requests in", said).group(1))
    stats = lab.stats(lab.gw)
    print(said, stats["use.time_wait"], stats["tcp.time_wait_reused"])
    assert "Socket errors" not in said and "Non-2xx" not in said, said
    assert stats["cluster.route.upstream_cx_connect_fail"] == 0
    if done > 40000:  # more than one address has ports
        assert sources(lab, "/", 20)[0].keys() - {"10.2.0.2"} or stats["tcp.time_wait_reused"] > 0
