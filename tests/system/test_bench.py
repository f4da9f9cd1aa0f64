"""
isthmus-bench against peers that nobody here wrote: as a client of nginx, as a server of curl and wrk.

It stands where the gateway stands otherwise: its ports are those of the lab's gateway.
"""
import json
import re
import shutil
import signal
import sys
import time
import types

import pytest

import lab as L

sys.path.insert(0, str(L.TOP / "bench"))
from harness import load, report, targets  # noqa: E402

DEVICES = ["af_packet", "af_xdp"]
SNI = "bench.example"
NGINX = """
user root;
pid @DIR@/pid;
worker_processes 1;
error_log stderr warn;
events { worker_connections 4096; }
http {
    access_log @DIR@/access.log;
    log_format ports '$remote_addr $server_port';
    client_body_temp_path @DIR@/body; proxy_temp_path @DIR@/proxy; fastcgi_temp_path @DIR@/fastcgi;
    uwsgi_temp_path @DIR@/uwsgi; scgi_temp_path @DIR@/scgi;
    keepalive_requests 100000;
    server {
        listen 10.2.0.1:8443 ssl;
        listen 10.2.0.1:8080;
        listen 10.2.0.1:8081;
        ssl_certificate CERTS/cert-chain.pem;
        ssl_certificate_key CERTS/key.pem;
        ssl_protocols TLSv1.2 TLSv1.3;
        root @DIR@;
        location = /port { access_log @DIR@/ports.log ports; return 200 "here\n"; }
        location = /short { return 200 "short\\n"; }
        location = /gone { return 404 "gone\\n"; }
        location = /drop { return 444; }
    }
}
"""


@pytest.fixture(scope="module")
def lab():
    with L.Lab() as where:
        where.certs.ca()
        where.server_certs = where.certs.issue("bench", dns=[SNI], uri="spiffe://cluster.local/ns/b/sa/bench")
        where.nginx(NGINX.replace("CERTS", str(where.server_certs)))
        (where.tmp / "nginx" / "page").write_bytes(b"p" * 100_000)
        where.wait_port(L.MESH, "10.2.0.1", 8443)
        yield where


def machine(ports, device="af_packet"):
    lines = ", ".join(f'{{ name = "{n}"; device = "{device}"; interface = "{i}"; addresses = [ "{a}" ]; }}'
                      for n, i, a in ports)
    return f'machine = {{ hugepages = true; memory = "192MiB"; packets = 8192; ports = ( {lines} ); }};\n'


UP, DOWN = L.GATEWAY_PORTS[1:], L.GATEWAY_PORTS[:1]
TIMES = 'duration = "1s"; warmup = "200ms"; '


def client(lab, text, *args, device="af_packet", check=True):
    """Runs a client on the port towards nginx. Returns what its JSON says."""
    path, out = lab.tmp / "client.conf", lab.tmp / "client.json"
    path.write_text(machine(UP, device) + f"client = {{ {TIMES} {text} }};\n")
    out.unlink(missing_ok=True)
    done = lab.ns(L.GATEWAY, L.BUILD / "bench/isthmus-bench", "-c", path, "--json", out, *args, check=check,
                  timeout=120)
    result = json.loads(out.read_text()) if out.exists() and out.stat().st_size else None
    return (result, done) if not check else result


def tls(lab, more=""):
    return f'tls = {{ mode = "simple"; trusted_ca = "{lab.server_certs}/root-cert.pem"; sni = "{SNI}"; {more} }};'


def no_errors(result):
    return {k: n for k, n in result["errors_by_kind"].items() if n} == {} and result["errors"] == 0


# --- the client --------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", DEVICES)
def test_a_client_loads_nginx_over_tls(lab, device):
    r = client(lab, f'target = "10.2.0.1:8443"; path = "/page"; connections = 8; {tls(lab)}', device=device)
    print(f'\n{device}: {r["rate"]:.0f} requests/s, p99 {r["latency_us"]["p99"]:.0f} us')
    assert no_errors(r)
    assert r["requests"] > 0
    assert r["connections_opened"] == r["handshakes"] == 8
    assert r["workers"] == 1 and 0.99 < r["seconds"] < 1.01
    assert r["bytes_in"] > 0.5 * r["requests"] * 100_000
    latency = r["latency_us"]
    assert 0 < latency["min"] <= latency["p50"] <= latency["p99"] <= latency["p99.99"] <= latency["max"]
    assert r["connect_us"]["min"] > 0


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_each_version_of_tls_is_spoken(lab, version):
    more = f'min_version = "{version}"; max_version = "{version}"; alpn = [ "http/1.1" ];'
    r = client(lab, f'target = "10.2.0.1:8443"; path = "/short"; connections = 2; {tls(lab, more)}')
    assert no_errors(r) and r["requests"] > 0 and r["handshakes"] == 2


def test_churned_connections_are_opened_anew(lab):
    r = client(lab, f'target = "10.2.0.1:8443"; path = "/short"; connections = 4; requests_per_connection = 1; {tls(lab)}')
    assert no_errors(r)
    # One that is opened before the end and asks after it is no request.
    assert abs(r["connections_opened"] - r["requests"]) <= 8
    assert r["handshakes"] == r["connections_opened"] > 4


def test_an_open_loop_asks_as_often_as_it_is_told(lab):
    r = client(lab, 'target = "10.2.0.1:8080"; path = "/short"; connections = 16; rate = 300.0;')
    assert no_errors(r)
    assert abs(r["requests"] - 300) < 5 * 300 ** 0.5


def test_each_source_takes_its_turn_with_each_target(lab):
    log = lab.tmp / "nginx/ports.log"
    r = client(lab, 'target = [ "10.2.0.1:8080", "10.2.0.1:8081" ]; path = "/port"; connections = 8; rate = 200.0; '
                    'source_addresses = [ "10.2.0.2", "10.2.0.3" ]; settle = "100ms";', "--set",
               'machine.ports[0].addresses=["10.2.0.2/24", "10.2.0.3/24"]')
    assert no_errors(r) and r["connections_opened"] == 8 and 0 < r["opening_seconds"] < 60
    L.wait_for("nginx to write", lambda: len(log.read_text().splitlines()) >= r["requests"])
    assert sorted(set(log.read_text().splitlines())) == [f"10.2.0.{a} {p}" for a in (2, 3) for p in (8080, 8081)]


def test_what_goes_wrong_is_counted_by_kind(lab):
    for path, kind in (("/gone", "status"), ("/drop", "closed")):
        r, done = client(lab, f'target = "10.2.0.1:8080"; path = "{path}"; connections = 2;', check=False)
        assert done.returncode == 1, done.stderr
        assert r["requests"] == 0
        assert r["errors_by_kind"][kind] == r["errors"] > 0
        assert f"  {kind} " in done.stdout
    r, done = client(lab, 'target = "10.2.0.1:81"; connections = 2; ramp = "200ms";', check=False)
    assert done.returncode == 1 and r["errors_by_kind"]["refused"] == r["errors"] > 0
    r, done = client(lab, 'target = "10.2.0.1:8443"; connections = 2; ramp = "200ms"; '
                     + tls(lab).replace(SNI, "other.example"), check=False)
    assert done.returncode == 1 and r["errors_by_kind"]["tls"] == r["errors"] > 0


def test_set_quiet_and_an_interrupt(lab):
    path, out = lab.tmp / "long.conf", lab.tmp / "long.json"
    path.write_text(machine(UP) + 'client = { target = "10.2.0.1:8080"; path = "/gone"; duration = "1h"; };\n')
    log = lab.tmp / "nginx/access.log"
    before = log.stat().st_size
    p = lab.start("long", L.GATEWAY, L.BUILD / "bench/isthmus-bench", "-c", path, "--json", out, "--quiet",
                  "--set", "client.path=/short", "--set", "client.warmup=0s", "--set", "client.connections=2")
    L.wait_for("nginx to be asked", lambda: b"GET /short" in log.read_bytes()[before:])
    time.sleep(0.3)
    assert lab.stop(p, signal.SIGINT) == 0
    r = json.loads(out.read_text())
    assert no_errors(r) and r["requests"] > 0 and r["seconds"] < 60
    assert lab.log("long") == ""


# --- the server --------------------------------------------------------------------------------------


def server(lab, text, device="af_packet"):
    path = lab.tmp / "server.conf"
    path.write_text(machine(DOWN, device) + f"server = {{ {text} }};\n")
    p = lab.start("server", L.GATEWAY, L.BUILD / "bench/isthmus-bench", "-c", path, "--json", lab.tmp / "server.json")
    lab.wait_port(L.CLIENT, "10.1.0.2", int(re.search(r':(\d+)"', text).group(1)), 30)
    return p


def test_a_server_answers_curl(lab):
    p = server(lab, 'listen = "10.1.0.2:80"; body = "3KiB";')
    fmt = "%{http_code} %{size_download}"

    def get(*args):
        return lab.curl("-o", "/dev/null", "-w", fmt, *args).stdout

    assert get("http://10.1.0.2/") == "200 3072"
    assert get("http://10.1.0.2/bytes/10") == "200 10"
    assert get("http://10.1.0.2/bytes/5000000?x=1") == "200 5000000"
    assert get("http://10.1.0.2/bytes/0") == "200 0"
    assert get("-I", "http://10.1.0.2/bytes/77") == "200 0"
    body = lab.tmp / "body"
    body.write_bytes(b"b" * 3_000_000)
    assert get("-T", body, "http://10.1.0.2/") == "200 3072"
    assert get("-T", body, "-H", "Transfer-Encoding: chunked", "http://10.1.0.2/bytes/5") == "200 5"
    assert lab.stop(p, signal.SIGTERM) == 0
    r = json.loads((lab.tmp / "server.json").read_text())
    assert r["requests"] == 7
    assert r["bytes_out"] > 5_000_000 and r["bytes_in"] > 6_000_000


def test_a_server_of_tls_answers_curl(lab):
    p = server(lab, f'listen = "10.1.0.2:443"; tls = {{ mode = "simple"; alpn = [ "http/1.1" ]; '
                    f'certificate = "{lab.server_certs}/cert-chain.pem"; private_key = "{lab.server_certs}/key.pem"; }};')
    done = lab.curl("--cacert", lab.server_certs / "root-cert.pem", "--resolve", f"{SNI}:443:10.1.0.2",
                    "-o", "/dev/null", "-w", "%{http_code} %{size_download} %{ssl_verify_result}", f"https://{SNI}/")
    assert done.stdout == "200 1024 0", done.stderr
    assert lab.stop(p) == 0


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_a_server_answers_wrk(lab, device):
    p = server(lab, 'listen = "10.1.0.2:80";', device=device)
    told = lab.ns(L.CLIENT, "wrk", "-t1", "-c16", "-d2s", "http://10.1.0.2/").stdout
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", told).group(1))
    assert "Socket errors" not in told and "Non-2xx" not in told, told
    assert lab.stop(p) == 0
    r = json.loads((lab.tmp / "server.json").read_text())
    print(f"\n{device}: wrk {rate:.0f} requests/s; nginx, on the same machine: {wrk_nginx(lab):.0f}")
    # wrk ends in the middle of requests: those are the server's `closed` or `reset`.
    assert r["requests"] > 0 and r["errors"] <= 16


def wrk_nginx(lab):
    told = lab.ns(L.MESH, "wrk", "-t1", "-c16", "-d1s", "http://10.2.0.1:8080/short").stdout
    return float(re.search(r"Requests/sec:\s+([\d.]+)", told).group(1))


# --- verdicts of ./run bench -------------------------------------------------------------------------


def held(n, gib, p99, each=1200, lost=0):
    return {f"gib.{n}": [gib], f"p99.{n}": [p99], f"each.{n}": [each], f"lost.{n}": [lost]}


@pytest.mark.parametrize("many, figure, verdict", [
    (held(1000000, 1.7, 110.0), "1.70 GiB, p99 1.10x, 0 lost", "met"),
    (held(1000000, 6.1, 110.0), "6.10 GiB, p99 1.10x, 0 lost", "missed"),
    (held(1000000, 1.7, 130.0), "1.70 GiB, p99 1.30x, 0 lost", "missed"),
    (held(1000000, 1.7, 110.0, lost=1), "1.70 GiB, p99 1.10x, 1 lost", "missed"),
    (held(500000, 0.5, 110.0, each=2147.483648), "1.50 GiB (a million; 0.50 measured), p99 1.10x, 0 lost",
     "met as far as 500,000 connections"),
    (held(500000, 5.5, 110.0, each=2147.483648), "6.50 GiB (a million; 5.50 measured), p99 1.10x, 0 lost", "missed"),
    ({}, "-", "not measured: million did not run; it needs isthmus-bench"),
])
def test_a_million_connections_are_judged_by_memory_p99_and_losses(many, figure, verdict):
    ours = {"figures": held(1000, 0.5, 100.0) | many}
    data = {"scenarios": {"million": {"results": {targets.OURS: ours}}}}
    row = targets.million(targets.Figures(data))
    assert row[2] == figure and row[4] == verdict


# --- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize("text, words", [
    ("client = { };", "bad.conf:2: client: target is missing"),
    ('client = { target = "10.2.0.1"; };', 'client.target: "10.2.0.1" is not an address and port'),
    ('client = { target = "10.2.0.1:80"; ratee = 5.0; };', 'client.ratee: there is no such setting; is "rate" meant?'),
    ('client = { target = "10.2.0.1:80"; tls = { mode = "simple"; sni = "a.b"; trusted_ca = "/nowhere.pem"; }; };',
     "/nowhere.pem"),
    ('client = { target = "10.2.0.1:80"; }; server = { listen = "10.2.0.2:80"; };', "server_machine is missing"),
    ("", "there is neither a client nor a server"),
])
def test_a_bad_configuration_is_refused_with_words(lab, text, words):
    path = lab.tmp / "bad.conf"
    path.write_text(machine(UP) + text + "\n")
    done = lab.ns(L.GATEWAY, L.BUILD / "bench/isthmus-bench", "-c", path, check=False)
    assert done.returncode == 1
    assert words in done.stderr


def test_a_wrong_call_shows_how_it_is_called(lab):
    for args in ([], ["--what"], ["-c", "x", "y"]):
        done = lab.ns(L.GATEWAY, L.BUILD / "bench/isthmus-bench", *args, check=False)
        assert done.returncode == 2 and "usage: isthmus-bench" in done.stderr


def test_every_scenario_file_is_right(lab):
    for path in sorted((L.TOP / "bench/scenarios").glob("*.conf")):
        done = lab.ns(L.GATEWAY, L.BUILD / "bench/isthmus-bench", "--check", "-c", path, check=False)
        assert done.returncode == 0, done.stderr


def grown(over_veth, over_memif):
    """Figures of ours: what a request costs with many connections is so many times what it does with few."""
    def scenario(figures):
        return {"results": {targets.OURS: {"figures": {name: [value] for name, value in figures.items()}}}}
    return targets.Figures({"scenarios": {
        "growth": scenario({"cost.10": 10.0, "cost.9000": 10.0 * over_veth}),
        "million": scenario({"gib.1000": 0.5, "gib.1000000": 1.7, "at1000.cost_turns": 4.0,
                             "at1000000.cost_turns": 4.0 * over_memif})}})


@pytest.mark.parametrize("over_veth, over_memif, verdict", [
    (1.2, 1.2, "met"), (1.2, 1.3, "missed"), (1.4, 0.5, "met"), (1.6, 0.5, "missed"), (0.5, 1.6, "met")])
def test_growth_is_judged_by_both_of_its_parts(over_veth, over_memif, verdict):
    assert targets.growth(grown(over_veth, over_memif))[4] == verdict


def test_requests_that_were_not_answered_are_told():
    results = {"a": {"figures": {"rate": [9.0, 8.0], "fixed.errors": [0, 3]}, "errors": []},
               "b": {"figures": {"errors.wrk": [0], "lost": [2]}, "errors": []}}
    assert list(report.unanswered(results)) == ["a: fixed.errors: 3 in a round"]


def test_what_h2load_says_of_an_answer(tmp_path):
    """Without a reason phrase, which HTTP/2 has not, its status is 0; of a request that has failed it is -1."""
    log = tmp_path / "log"
    log.write_text("1000000\t200\t100\n1000100\t0\t300\n1000200\t503\t500\n1000300\t-1\t100\n9000000\t200\t1\n10000")
    seen = types.SimpleNamespace(began=0.5, ended=1.5)
    read = load.H2load.read(log, seen)
    assert (read["requests"], read["errors"], read["seconds"]) == (4, 2, 1.0)
