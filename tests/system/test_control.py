"""
isthmusctl against a running isthmusd: every command says what is true, to people and to programs;
drain, stop and reload do what they promise; whoever misuses the control socket is told so, counted,
and does no harm.
"""
import concurrent.futures
import contextlib
import datetime
import json
import os
import re
import signal
import socket
import ssl
import stat
import subprocess
import threading
import time
from pathlib import Path

import pytest

import lab as L

GATEWAY = "10.1.0.2"
ORIGIN = "outbound|9000||origin.default.svc.cluster.local"
MESH_ID = "spiffe://cluster.local/ns/edge/sa/gateway"
NOBODY = 65534


def configuration(lab, more_clusters=()):
    return L.conf(
        L.machine(lab.tmp, "gateway", L.GATEWAY_PORTS),
        access_logs=[L.access_log(lab.tmp / "access.log")],
        secrets=[L.secret("web", lab.certs.dir / "web"), L.secret("mesh", lab.certs.dir / "mesh")],
        clusters=[L.cluster(ORIGIN, "10.2.0.1:9000"), L.cluster("refuses", "10.2.0.1:1"), L.cluster("empty"),
                  *more_clusters],
        route_configs=[L.routes("r", 'prefix = "/refuses"; cluster = "refuses";', 'prefix = "/empty"; cluster = "empty";',
                                f'prefix = "/"; cluster = "{ORIGIN}"; timeout = "60s";')],
        listeners=[L.listener("http", f"{GATEWAY}:80", L.chain("r")),
                   L.listener("https", f"{GATEWAY}:443", L.chain("r", tls='mode = "simple"; secret = "web";')),
                   L.listener("bytes", f"{GATEWAY}:81", L.tcp_chain(ORIGIN))])


class Place:
    def __init__(self):
        self.lab = lab = L.Lab()
        try:
            lab.certs.ca("root")
            lab.certs.issue("web", dns=[L.HOST])
            lab.certs.issue("mesh", uri=MESH_ID, days=3)
            lab.origin()
            self.conf = configuration(lab)
            self.gw = lab.gateway(self.conf)
        except BaseException:
            lab.close()
            raise

    def json(self, *args):
        return self.lab.ctl_json(self.gw, *args)

    def text(self, *args):
        return self.lab.ctl(self.gw, *args).stdout

    def refused(self, *args, code=1):
        """What isthmusctl says on stderr when the answer is no. Nothing is on stdout then."""
        done = self.lab.ctl(self.gw, *args, check=False)
        assert (done.returncode, done.stdout) == (code, ""), done
        return done.stderr

    def table(self, text):
        """Rows of a table as it is shown: two blanks or more stand between cells."""
        head, *lines = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
        return [dict(zip(head, line)) for line in lines]

    def counter(self, name):
        return int(self.json("stats", name)[name])

    def raw(self, data=b""):
        """A connection to the control socket."""
        s = socket.socket(socket.AF_UNIX)
        s.connect(str(self.gw.socket))  # waits, if too many others do
        s.settimeout(20)
        if data:
            s.sendall(data)
        return s

    def answers(self, data):
        """The answers to @data, which is all that is sent."""
        with self.raw(data) as s:
            s.shutdown(socket.SHUT_WR)
            return [json.loads(line) for line in L.read_all(s).splitlines()]

    def get(self, path, *args):
        return self.lab.curl(f"http://{GATEWAY}{path}", *args).stdout


    def wait_seat(self):
        L.wait_for("a free seat", lambda: self.lab.ctl(self.gw, "status", check=False).returncode == 0, every=0.1)

    def gone(self):
        """The daemon has ended, with 0, and left nothing."""
        gw = self.gw
        assert gw.wait(15) == 0
        self.lab.procs.remove(gw)
        assert not gw.socket.exists()
        assert not Path("/run/dpdk", f"isthmus-{gw.pid}").exists()


@pytest.fixture(scope="module")
def place():
    place = Place()
    yield place
    place.lab.close()


@pytest.fixture()
def own(place):
    """For tests that end the daemon or leave it draining: the next test finds a new one."""
    yield place
    if place.gw in place.lab.procs:
        place.lab.stop(place.gw)
    place.gw = place.lab.gateway(place.conf)


def ask(s, path="/", close=False):
    """Sends a request over an open connection; the answer's header and body."""
    s.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\n{'Connection: close' + chr(13) + chr(10) if close else ''}\r\n".encode())
    return answer(s)


def answer(s):
    data = b""
    while b"\r\n\r\n" not in data:
        part = s.recv(65536)
        assert part, data
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    size = int(re.search(rb"(?i)content-length: (\d+)", head).group(1))
    while len(body) < size:
        part = s.recv(65536)
        assert part, f"{len(body)} of {size} bytes"
        body += part
    return head.decode(), body


def name_of(s):
    return "%s:%d" % s.getsockname()


# --- what is told --------------------------------------------------------------------------------

def test_status_is_the_truth(place):
    status = place.json("status")
    assert status["pid"] == place.gw.pid
    assert status["state"] == "running"
    assert L.sh(L.BUILD / "isthmusd", "--version").stdout == f"isthmusd {status['version']}\n"
    assert (status["configuration"]["file"], status["configuration"]["adopted"]) == (str(place.gw.conf), True)
    assert status["log_level"] == "info"
    started = datetime.datetime.fromisoformat(status["started"].replace("Z", "+00:00")).timestamp()
    born = time.time() - float(Path("/proc/uptime").read_text().split()[0]) + \
        int(Path(f"/proc/{place.gw.pid}/stat").read_text().rsplit(")", 1)[1].split()[19]) / os.sysconf("SC_CLK_TCK")
    assert abs(started - born) < 3
    assert [w["worker"] for w in status["workers"]] == [0]
    for row, (name, interface, _) in zip(status["ports"], L.GATEWAY_PORTS, strict=True):
        link = json.loads(place.lab.ns(L.GATEWAY, "ip", "-j", "link", "show", interface).stdout)[0]
        assert (row["port"], row["driver"], row["mac"], row["mtu"]) == (name, "net_af_packet", link["address"], 1500)
        assert row["link"] == "up"


def test_status_for_people_has_the_same(place):
    status, text = place.json("status"), place.text("status")
    assert re.search(rf"^pid +{place.gw.pid}$", text, re.M)
    assert re.search(r"^state +running$", text, re.M)
    for title in ("configuration", "workers", "ports"):
        assert f"\n{title}:\n" in text
    rows = place.table(text.split("\nports:\n")[1])
    assert [(r["PORT"], r["MAC"]) for r in rows] == [(p["port"], p["mac"]) for p in status["ports"]]


def test_perf_divides_what_requests_cost_into_stages(place):
    def ask():
        return place.lab.ctl_json(place.gw, "perf", "1")
    with concurrent.futures.ThreadPoolExecutor(1) as other:
        answer = other.submit(ask)
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            assert place.lab.curl(f"http://{GATEWAY}/").returncode == 0
        answer = answer.result()
    [worker] = answer["workers"]
    assert worker["requests"] > 0 and worker["packets"] > 4 * worker["requests"]
    assert 0 < worker["busy_percent"] <= 100
    assert worker["cycles_per_request"] == pytest.approx(worker["cycles"] / worker["requests"], rel=0.01)
    stages = {s["stage"]: s for s in answer["stages"]}
    assert list(stages) == ["other", "rx", "net", "tcp", "tls", "http", "proxy", "tx"]
    assert sum(s["percent"] for s in stages.values()) == pytest.approx(100, abs=0.1)
    assert all(stages[s]["percent"] > 0 for s in ("rx", "net", "tcp", "http", "proxy", "tx"))


@pytest.mark.parametrize("seconds", ["0", "11", "soon", "1s"])
def test_perf_looks_for_one_to_ten_seconds(place, seconds):
    done = place.lab.ctl(place.gw, "perf", seconds, check=False)
    assert done.returncode != 0 and "a number from 1 to 10" in done.stderr


def test_conns_and_listeners_know_every_connection(place):
    context = ssl.create_default_context(cafile=place.lab.certs.dir / "root.pem")
    with L.connect(GATEWAY, 80) as idle, L.connect(GATEWAY, 81) as tcp, \
            context.wrap_socket(L.connect(GATEWAY, 443), server_hostname=L.HOST) as secure:
        ask(idle)
        ask(idle)
        ask(tcp)
        ask(secure)
        secure.sendall(b"GET /never HTTP/1.1\r\nHost: h\r\n\r\n")
        L.wait_for("the request", lambda: place.json("conns", "active")["shown"] == 2)
        rows = {row["client"]: row for row in place.json("conns")["connections"]}
        assert set(rows) == {name_of(idle), name_of(tcp), name_of(secure)}
        shown = {k: [rows[name_of(s)][k] for s in (idle, tcp, secure)]
                 for k in ("listener", "local", "state", "requests", "tls", "sni", "cluster", "tcp")}
        assert shown == {
            "listener": ["http", "bytes", "https"], "local": [f"{GATEWAY}:{p}" for p in (80, 81, 443)],
            "state": ["idle", "active", "active"], "requests": [2, 0, 2], "tls": ["", "", secure.version()],
            "sni": ["", "", L.HOST], "cluster": ["", ORIGIN, ORIGIN], "tcp": ["ESTABLISHED"] * 3}
        request = len(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert [rows[name_of(s)]["rx"] for s in (idle, tcp)] == [2 * request, request]
        assert rows[name_of(tcp)]["upstream"] == "10.2.0.1:9000"

        text = place.text("conns", name_of(tcp))
        assert [r["CLIENT"] for r in place.table(text.split("connections:\n")[1])] == [name_of(tcp)]
        assert place.json("conns", "nobody") == {"shown": 0, "left_out": 0, "connections": []}

        listeners = place.json("listeners")["listeners"]
        assert [(r["listener"], r["address"], r["state"], r["connections"]) for r in listeners] == [
            (name, f"{GATEWAY}:{port}", "listening", 1) for name, port in (("http", 80), ("https", 443), ("bytes", 81))]
        assert place.table(place.text("listeners", "https").split("listeners:\n")[1]) == [
            {"LISTENER": "https", "ADDRESS": f"{GATEWAY}:443", "STATE": "listening", "CONNECTIONS": "1", "WORKERS": "1"}]
        assert place.json("status")["workers"][0]["sessions"] == 3
    place.lab.wait_home(place.gw)
    assert {r["connections"] for r in place.json("listeners")["listeners"]} == {0}


def test_clusters_know_their_endpoints_also_those_that_have_none(place):
    def rows(*args):
        return {r["cluster"]: r for r in place.json("clusters", *args)["endpoints"]}
    before = rows()
    for _ in range(5):
        assert place.get("/") == "origin\n"
    assert place.get("/refuses").startswith("upstream connect error")
    assert place.get("/empty") == "no healthy upstream"
    after = rows()
    assert set(after) == {ORIGIN, "refuses", "empty"}
    assert after[ORIGIN]["endpoint"] == "10.2.0.1:9000" and after[ORIGIN]["state"] == "in use"
    assert after[ORIGIN]["rq_total"] - before[ORIGIN]["rq_total"] == 5
    assert after[ORIGIN]["cx_active"] >= 1 and after[ORIGIN]["rq_active"] == 0
    assert after["refuses"]["cx_connect_fail"] - before["refuses"]["cx_connect_fail"] >= 1
    assert (after["empty"]["endpoint"], after["empty"]["state"]) == ("", "no endpoints")
    assert set(rows("refuses")) == {"refuses"}
    empty = place.table(place.text("clusters", "empty").split("endpoints:\n")[1])
    assert (empty[0]["CLUSTER"], empty[0]["ENDPOINT"], empty[0]["STATE"]) == ("empty", "-", "no endpoints")


def openssl(cert, *what):
    return L.sh("openssl", "x509", "-noout", "-in", cert, *what).stdout.strip().partition("=")[2]


def test_certs_are_what_openssl_says(place):
    began = datetime.datetime.utcnow().replace(microsecond=0)  # as days_left is reckoned
    rows = {(r["secret"], r["kind"]): r for r in place.json("certs")}
    now = datetime.datetime.utcnow()
    assert set(rows) == {(s, k) for s in ("web", "mesh") for k in ("leaf", "root")}
    for name in ("web", "mesh"):
        row, cert = rows[name, "leaf"], place.lab.certs.dir / name / "cert-chain.pem"
        end = datetime.datetime.strptime(openssl(cert, "-enddate"), "%b %d %H:%M:%S %Y %Z")
        assert row["not_after"] == end.strftime("%Y-%m-%dT%H:%M:%SZ")
        assert row["days_left"] in ((end - began).days, (end - now).days), (end, began)
        assert row["serial"].replace(":", "").upper().lstrip("0") == openssl(cert, "-serial").lstrip("0")
        assert row["fingerprint"].replace(":", "").upper() == openssl(cert, "-fingerprint", "-sha256").replace(":", "")
    assert (rows["mesh", "leaf"]["uri"], rows["mesh", "leaf"]["dns"]) == (MESH_ID, "")
    assert (rows["web", "leaf"]["uri"], rows["web", "leaf"]["dns"]) == ("", L.HOST)
    root = openssl(place.lab.certs.dir / "root.pem", "-subject", "-nameopt", "RFC2253")
    assert set(rows["web", "root"]["subject"].replace(" ", "").split(",")) == set(root.split(","))
    text = place.table(place.text("certs", MESH_ID))
    assert [(r["SECRET"], r["KIND"], r["URI"]) for r in text] == [("mesh", "leaf", MESH_ID)]


def test_a_new_certificate_is_told_as_soon_as_it_is_in_force(place):
    place.lab.certs.issue("web", dns=[L.HOST], days=10)
    L.wait_for("the new certificate", lambda: [
        r for r in place.json("certs", "leaf") if r["secret"] == "web" and r["days_left"] in (9, 10)])
    assert place.json("status")["configuration"]["secrets_replaced"] >= 1


def test_stats_count_requests_and_prometheus_has_the_same_numbers(place):
    name = f"cluster.{ORIGIN}.upstream_rq_total"
    before = place.counter(name)
    for _ in range(3):
        place.get("/")
    stats = place.json("stats")
    assert stats[name] - before == 3
    assert f"{name}  " in place.text("stats", "upstream_rq_total")
    assert set(place.json("stats", "upstream_rq_total")) == {k for k in stats if "upstream_rq_total" in k}
    assert place.json("stats", "no such counter") == {}

    types, samples = {}, {}
    for line in place.text("stats", "--prometheus").splitlines():
        if m := re.fullmatch(r"# TYPE (\w+) (counter|gauge)", line):
            assert m[1] not in types
            types[m[1]] = m[2]
        elif not re.fullmatch(r"# HELP \w+ .+", line):
            m = re.fullmatch(r'([a-zA-Z_]\w*)(\{\w+="((?:[^"\\\n]|\\.)*)"\})? (\d+)', line)
            assert m and m[1] in types, line
            assert (m[1], m[3]) not in samples
            samples[m[1], m[3]] = int(m[4])
    assert len(samples) == len(stats)
    assert types["envoy_cluster_upstream_rq_total"] == "counter" and types["envoy_cluster_membership_total"] == "gauge"
    assert samples["envoy_cluster_upstream_rq_total", ORIGIN] == stats[name]
    assert samples["isthmus_config_version", None] == stats["config.version"]
    assert isinstance(place.json("stats", "--prometheus"), str)
    part = place.text("stats", "--prometheus", f"cluster.{ORIGIN}.membership")
    assert part.splitlines()[-1] == f'envoy_cluster_membership_total{{envoy_cluster_name="{ORIGIN}"}} 1'
    assert len(part.splitlines()) == 3


def test_config_is_the_configuration_in_force(place):
    config = place.json("config")
    assert json.loads(place.text("config")) == config  # for people too: a configuration is no table
    assert [c["name"] for c in config["clusters"]] == [ORIGIN, "refuses", "empty"]
    assert [(li["name"], li["address"]) for li in config["listeners"]] == [
        (n, f"{GATEWAY}:{p}") for n, p in (("http", 80), ("https", 443), ("bytes", 81))]
    assert "BEGIN" not in json.dumps(config)  # paths of keys, never keys
    assert set(place.json("config", "cluster")) == {"clusters"}
    assert place.json("config", "nothing") == {}


def test_neighbors_are_those_the_kernel_shows(place):
    place.get("/")
    mac = json.loads(place.lab.ns(L.CLIENT, "ip", "-j", "link", "show", "c0").stdout)[0]["address"]
    rows = {r["address"]: r for r in place.json("neighbors")["neighbors"]}
    assert (rows["10.1.0.1"]["mac"], rows["10.1.0.1"]["port"]) == (mac, "down")
    assert rows["10.2.0.1"]["port"] == "up"
    assert mac in place.text("neighbors", "10.1.0.1")


def test_log_tells_and_sets_the_level(place):
    assert place.json("log") == {"level": "info", "was": "info"}
    try:
        assert place.json("log", "debug") == {"level": "debug", "was": "info"}
        assert "log level debug, was info" in place.lab.log("gateway")
        assert re.search(r"^level +debug$", place.text("log"), re.M)
        said = place.refused("log", "loud")
        assert "there is no such level" in said and "error, warning, info or debug" in said
        assert place.json("status")["log_level"] == "debug"
    finally:
        place.lab.ctl(place.gw, "log", "info")


@pytest.mark.parametrize("how", ["command", "signal"])
def test_an_access_log_that_was_moved_is_opened_again(place, how):
    log, moved = place.lab.tmp / "access.log", place.lab.tmp / f"access.log.{how}"
    place.get("/before-the-move")
    L.wait_for("the line", lambda: "/before-the-move" in log.read_text())
    log.rename(moved)
    place.get("/after-the-move")
    if how == "command":
        assert place.json("reopen") == {"access_log_lines_lost": 0}
    else:
        place.gw.send_signal(signal.SIGUSR1)
        L.wait_for("a new file", log.exists)
    place.get("/in-the-new-file")
    L.wait_for("the line", lambda: "/in-the-new-file" in log.read_text())
    assert "/after-the-move" in moved.read_text() + log.read_text()


# --- reload and check ----------------------------------------------------------------------------

def test_reload_answers_when_the_new_configuration_is_in_force(place):
    version = place.json("status")["configuration"]["version"]
    try:
        place.gw.conf.write_text(configuration(place.lab, [L.cluster("new", "10.2.0.12:80")]))
        told = place.json("reload")
        assert (told["version"], told["adopted"], told["last_error"]) == (version + 1, True, "")
        assert "new" in {r["cluster"] for r in place.json("clusters")["endpoints"]}
        assert "new" in [c["name"] for c in place.json("config")["clusters"]]
    finally:
        place.gw.conf.write_text(place.conf)
    assert re.search(rf"^version +{version + 2}$", place.text("reload"), re.M)
    assert "new" not in {r["cluster"] for r in place.json("clusters")["endpoints"]}


@pytest.mark.parametrize("old, new, words", [
    ('prefix = "/"', 'prefixx = "/"', 'there is no such setting; is "prefix" meant?'),
    ('name = "refuses"', 'name = "caf\\xe9"', "name: is not UTF-8"),
    ('secret = "web"', 'secret = "wbe"', "wbe"),
    ("clusters = (", "clusters = ( {", "syntax error"),
])
def test_a_wrong_file_is_refused_with_its_place_and_nothing_changes(place, old, new, words):
    config, status = place.json("config"), place.json("status")["configuration"]
    wrong = place.conf.replace(old, new, 1)
    place.gw.conf.write_text(wrong)
    try:
        said, checked = place.refused("reload"), place.refused("check")
    finally:
        place.gw.conf.write_text(place.conf)
    line = re.search(rf"{place.gw.conf}:(\d+): ", said)
    assert line, said
    assert 0 <= int(line[1]) - 1 - place.conf[:place.conf.index(old)].count("\n") <= 2, said
    assert words in said and words in checked, said + checked
    assert "correct the file, then reload again" in said
    assert "a reload would refuse it" in checked
    assert place.json("config") == config
    now = place.json("status")["configuration"]
    assert now["version"] == status["version"] and now["refused"] == status["refused"] + 1
    assert words in now["last_error"]
    assert place.get("/") == "origin\n"
    assert place.json("reload")["last_error"] == ""


def test_check_says_what_a_reload_would_do_and_does_nothing(place):
    version = place.json("status")["configuration"]["version"]
    assert place.json("check") == {"file": str(place.gw.conf), "verdict": "right", "listeners": 3, "clusters": 3,
                                   "secrets": 2, "restart_for": None}
    other = place.lab.tmp / "other.conf"
    other.write_text(place.conf.replace("packets = 16384", "packets = 8192"))
    told = L.sh(L.BUILD / "isthmusctl", "--socket", place.gw.socket, "--json", "check", "other.conf", cwd=place.lab.tmp)
    assert json.loads(told.stdout)["restart_for"] == "machine.packets"
    assert "right, but needs a restart" in place.text("check", str(other))
    assert "No such file" in place.refused("check", "/no/such/file", code=2)
    assert place.json("status")["configuration"]["version"] == version


def test_check_without_a_daemon_looks_at_the_machine(place):
    done = L.sh(L.BUILD / "isthmusctl", "--socket", place.lab.tmp / "nobody.sock", "--json", "check", check=False)
    rows = {r["check"]: r for r in json.loads(done.stdout)}
    assert int(rows["cores"]["found"]) == os.cpu_count()
    assert "no daemon listens" in done.stderr
    assert done.returncode == (1 if any(r["state"] == "missing" for r in rows.values()) else 0)


# --- errors --------------------------------------------------------------------------------------

def ctl(*args, **kw):
    return subprocess.run([str(a) for a in (L.BUILD / "isthmusctl", *args)], capture_output=True, text=True, **kw)


def test_errors_tell_what_to_do_next(place):
    done = ctl("--socket", place.lab.tmp / "nobody.sock", "status")
    assert done.returncode == 2 and "no daemon listens" in done.stderr and "is isthmusd running?" in done.stderr
    done = ctl("--socket", place.gw.socket, "stauts")
    assert done.returncode == 2 and 'is "status" meant?' in done.stderr and "isthmusctl help" in done.stderr
    assert place.answers(b'{"cmd": "stauts"}\n')[0]["error"].startswith('there is no command "stauts"')


def test_only_root_and_the_daemons_user_may_ask(place):
    mode = stat.S_IMODE(place.gw.socket.stat().st_mode)
    assert mode == 0o600 and place.gw.socket.stat().st_uid == os.geteuid()
    before = place.counter("control.refused_uid")
    place.lab.tmp.chmod(0o711)
    program = place.lab.tmp / "isthmusctl"  # where anybody may start it
    program.write_bytes((L.BUILD / "isthmusctl").read_bytes())
    program.chmod(0o755)
    try:
        as_nobody = dict(capture_output=True, text=True, user=NOBODY, group=NOBODY, extra_groups=[])
        done = subprocess.run([program, "--socket", place.gw.socket, "status"], **as_nobody)
        assert done.returncode == 2 and "no permission" in done.stderr and "run it as root" in done.stderr
        assert place.counter("control.refused_uid") == before
        place.gw.socket.chmod(0o666)  # and even then:
        done = subprocess.run([program, "--socket", place.gw.socket, "stop"], **as_nobody)
        assert done.returncode == 2 and "this user may not ask" in done.stderr and "run it as root" in done.stderr
        assert place.counter("control.refused_uid") == before + 1
        assert f"user {NOBODY} " in place.lab.log("gateway")
    finally:
        place.gw.socket.chmod(mode)
        place.lab.tmp.chmod(0o700)
    assert place.json("status")["state"] == "running"


@pytest.mark.parametrize("line, error", [
    (b"\x00\xff\x16\x03garbage", "not JSON"), (b"[]", "not a request"), (b'"status"', "not JSON"),
    (b'{"cmd": 5}', "not a request"), (b'{"cmd": "status", "args": []}', "not a request"),
    (b'{"cmd": "status", "x": 1}', "not a request"), (b'{"cmd": "status", "cmd": "stop"}', "not JSON"),
    (b"[" * 5000, "not JSON"), (b'{"cmd": "' + b"x" * 5000 + b'"}', "there is no command"),
    (b"GET / HTTP/1.1\r", "not JSON")])
def test_garbage_is_refused_in_words_and_counted(place, line, error):
    failed = place.counter("control.failed")
    first, second = place.answers(line + b'\n{"cmd": "log"}\n')
    assert first["ok"] is False and error in first["error"] and first["hint"]
    assert second["ok"] is True  # the line was wrong, not the client
    assert place.counter("control.failed") == failed + 1


def test_a_line_without_end_is_refused_and_the_client_let_go(place):
    before = place.counter("control.too_long")
    with place.raw(b'{"cmd": "' + b"x" * 65527) as s:
        assert json.loads(L.read_all(s))["error"] == "the line is too long"
    assert place.counter("control.too_long") == before + 1
    assert place.json("status")["state"] == "running"


def test_a_client_that_hangs_in_a_command_holds_up_nobody(place):
    hanging = [place.raw(b'{"cmd": "sta') for _ in range(8)]
    began = time.monotonic()
    assert place.json("status")["state"] == "running"
    assert place.json("conns")["shown"] == 0
    assert time.monotonic() - began < 5
    hanging[0].sendall(b'tus"}\n')  # it was only slow
    assert b'"running"' in hanging[0].makefile("rb").readline()
    for s in hanging:
        s.close()


def test_more_clients_than_there_are_seats_are_told_so(place):
    before = place.counter("control.refused_full")
    with contextlib.ExitStack() as seats:
        for _ in range(100):
            s = seats.enter_context(place.raw())
            s.settimeout(0.3)
            try:
                refusal = s.recv(1000)
                break
            except TimeoutError:
                pass
        assert json.loads(refusal)["error"] == "too many clients"
        said = place.refused("status", code=2)
        assert "too many clients" in said and "try again" in said
    place.wait_seat()
    assert place.counter("control.refused_full") >= before + 2


def test_a_client_that_does_not_read_is_let_go(place):
    before = place.counter("control.slow")
    with place.raw() as s:
        s.setblocking(False)
        try:
            while True:
                s.send(b'{"cmd": "stats"}\n' * 100)
        except BlockingIOError:
            pass
        L.wait_for("it to be let go", lambda: place.counter("control.slow") == before + 1, 20, every=0.5)


def test_a_client_that_leaves_before_the_answer_does_no_harm(place):
    for _ in range(50):
        for line in (b'{"cmd": "conns"}\n', b'{"cmd": "reload"}\n', b'{"cmd": "stats"}\n' * 50):
            with contextlib.suppress(BrokenPipeError):  # turned away: those before have not been worked off
                place.raw(line).close()
    place.wait_seat()  # what was asked is worked off
    assert place.json("status")["configuration"]["adopted"]


def test_two_operators_at_once_both_get_what_they_asked(place):
    version, n = place.json("status")["configuration"]["version"], 20

    def reloads():
        return [place.json("reload")["version"] for _ in range(n)]

    def looks():
        return [place.json(what) for what in ("conns", "clusters", "stats", "config", "certs") for _ in range(5)]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        first, second, third = pool.submit(reloads), pool.submit(reloads), pool.submit(looks)
        versions = [first.result(), second.result()]
        assert all(third.result())
    assert all(a < b for one in versions for a, b in zip(one, one[1:]))
    status = place.json("status")["configuration"]
    assert status["version"] == version + 2 * n and status["adopted"]
    # The old ones are freed once no connection needs them.
    L.wait_for("old configurations to go", lambda: place.json("status")["configuration"]["runtimes_waiting"] == 0)


# --- drain, stop, and an end without notice -------------------------------------------------------

def is_refused(port):
    try:
        L.connect(GATEWAY, port, seconds=3).close()
    except ConnectionRefusedError:
        return True
    return False


def test_drain_lets_what_is_open_finish_and_nobody_in(own):
    idle, busy, download, tcp, other = (L.connect(GATEWAY, p) for p in (80, 80, 80, 81, 80))
    ask(idle)
    ask(tcp)
    busy.sendall(b"GET /slow/2 HTTP/1.1\r\nHost: h\r\n\r\n")
    other.sendall(b"POST /digest HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf ")
    download.sendall(b"GET /bytes/5000000 HTTP/1.1\r\nHost: h\r\n\r\n")
    first = download.recv(1000)
    L.wait_for("all of them", lambda: own.json("conns", "active")["shown"] == 4)

    assert own.json("drain") == {"state": "draining"}
    assert own.text("drain") == "state  draining\n"  # again: no change
    assert own.json("status")["state"] == "draining"
    states = L.wait_for("the listeners", lambda: own.json("listeners", "draining")["shown"] == 3 and own.json("listeners"))
    assert {r["state"] for r in states["listeners"]} == {"draining"}
    assert all(is_refused(port) for port in (80, 443, 81))
    assert idle.recv(10) == b""  # nothing was under way here
    said = own.refused("reload")
    assert "the daemon is draining" in said and "start it again" in said

    other.sendall(b"done.")
    head, body = answer(other)
    assert head.startswith("HTTP/1.1 200") and json.loads(body)["bytes"] == 10
    assert "connection: close" in head.lower() and other.recv(10) == b""
    head, body = answer(busy)
    assert (head.split()[1], body) == ("200", b"late")
    assert "connection: close" in head.lower() and busy.recv(10) == b""
    data = first + L.read_all(download)
    assert len(data.partition(b"\r\n\r\n")[2]) == 5000000
    assert ask(tcp)[1] == b"origin\n"  # bytes have no last request: they go on
    L.wait_for("one to be left", lambda: own.json("conns")["shown"] == 1)
    assert own.json("conns")["connections"][0]["client"] == name_of(tcp)

    tcp.close()
    own.lab.wait_home(own.gw)
    assert own.gw.poll() is None  # drained, and there until it is told to stop
    own.lab.ctl(own.gw, "stop")
    own.gone()


def test_stop_waits_for_what_is_under_way_and_leaves_nothing(own):
    busy = L.connect(GATEWAY, 80)
    busy.sendall(b"GET /slow/1.5 HTTP/1.1\r\nHost: h\r\n\r\n")
    L.wait_for("the request", lambda: own.json("conns", "active")["shown"] == 1)
    assert own.json("stop") == {"state": "stopping", "at_most_s": 5}
    assert is_refused(80)
    head, body = answer(busy)
    assert (head.split()[1], body) == ("200", b"late") and "connection: close" in head.lower()
    own.gone()
    assert own.lab.log("gateway").endswith(" daemon: stopped\n")


def test_stop_ends_in_time_what_does_not_end_by_itself(own):
    log = L.AccessLog(own.lab.tmp / "access.log")
    log.skip()
    stuck = L.connect(GATEWAY, 80)
    stuck.sendall(b"GET /never HTTP/1.1\r\nHost: h\r\n\r\n")
    L.wait_for("the request", lambda: own.json("conns", "active")["shown"] == 1)
    began = time.monotonic()
    assert re.search(r"^at_most_s +5$", own.text("stop"), re.M)
    assert own.json("status")["state"] == "stopping"
    own.gone()
    assert 4 < time.monotonic() - began < 9
    with pytest.raises(ConnectionResetError):
        L.read_all(stuck)
    line = log.next()  # also of what was cut off
    assert (line["path"], line["code"]) == ("/never", "0")


@pytest.mark.parametrize("how", ["stop", "signal"])
def test_the_end_comes_while_letters_are_out(own, how):
    """Questions for the workers are asked up to the end: each is answered or its client let go, and none is lost."""
    tcp = L.connect(GATEWAY, 81)  # without it, a stop is at once
    ask(tcp)
    clients = [own.raw() for _ in range(20)]
    if how == "stop":
        own.lab.ctl(own.gw, "stop")
    for s in clients:
        s.sendall(b'{"cmd": "conns"}\n{"cmd": "clusters"}\n{"cmd": "neighbors"}\n')
    if how == "stop":
        own.gw.send_signal(signal.SIGTERM)
    else:
        own.gw.send_signal(signal.SIGTERM)
        time.sleep(0.001)
        own.gw.send_signal(signal.SIGINT)  # the second: now
    own.gone()
    for s in clients:
        try:
            lines = L.read_all(s).splitlines()
        except ConnectionResetError:
            lines = []
        assert all(json.loads(line)["ok"] for line in lines)
        s.close()


def test_signals_may_come_faster_than_they_are_done(own):
    done = threading.Event()

    def version():
        return own.json("status")["configuration"]["version"]

    def storm():
        while not done.is_set():
            own.gw.send_signal(signal.SIGHUP)
            own.gw.send_signal(signal.SIGUSR1)
    sender = threading.Thread(target=storm)
    sender.start()
    try:
        first = version()
        L.wait_for("ten reloads", lambda: version() > first + 10)
        assert own.get("/") == "origin\n"
    finally:
        done.set()
        sender.join()


def test_signals_while_it_ends_change_nothing(own):
    """It is told again and again, and still gives back all that it has."""
    own.lab.ctl(own.gw, "stop")  # nobody is connected: at once
    while own.gw.poll() is None:
        own.gw.send_signal(signal.SIGTERM)
        own.gw.send_signal(signal.SIGHUP)
    own.gone()


def test_signals_interrupt_the_control_thread_alone(own):
    ours = {signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM, signal.SIGINT}
    blocked = {}
    for task in Path(f"/proc/{own.gw.pid}/task").iterdir():
        mask = int(re.search(r"SigBlk:\s*(\w+)", (task / "status").read_text())[1], 16)
        blocked[int(task.name)] = {s for s in ours if mask >> (s - 1) & 1}
    assert blocked.pop(own.gw.pid) == set()
    assert blocked and all(b == ours for b in blocked.values()), blocked


def test_what_a_killed_daemon_left_is_taken_away_by_the_next(own):
    own.lab.stop(own.gw, signal.SIGKILL)
    left = Path("/run/dpdk", f"isthmus-{own.gw.pid}")
    assert left.exists() and own.gw.socket.exists()  # as it must be: nobody could tidy up
    (left / "config").touch()
    strange = Path("/run/dpdk", f"isthmus-{own.gw.pid}-x")  # not one of ours
    strange.mkdir()
    try:
        own.gw = own.lab.gateway(own.conf)
        assert not left.exists() and strange.exists()
    finally:
        strange.rmdir()
    assert own.get("/") == "origin\n"
    assert own.json("status")["pid"] == own.gw.pid
    again = own.lab.start("second", L.GATEWAY, L.BUILD / "isthmusd", "-c", own.gw.conf)
    assert again.wait(20) == 1 and own.gw.socket.exists()  # it is not taken from one that lives
    own.lab.procs.remove(again)
    assert own.get("/") == "origin\n"
    own.gw.send_signal(signal.SIGTERM)
    own.gone()


def test_the_socket_has_the_mode_that_is_configured(own):
    own.lab.stop(own.gw)
    own.gw = own.lab.gateway(own.conf.replace("drain_time", 'mode = "0660"; drain_time'))
    assert stat.S_IMODE(own.gw.socket.stat().st_mode) == 0o660
