"""
Load generators behind one interface: each is asked with a Load, and gives a result as a dict:

    requests, errors, seconds, rate, latency_us { p50, p90, p99, p99.9, p99.99, max, mean, min }

Wrk        closed loop, HTTP/1.1: as fast as answers come
H2load     HTTP/1.1 (--h1) at a fixed rate, or so many new connections a second
Curl       bodies that take longer than a window: counted in parts
Churn      our own in Python: new connections with a client certificate, or resumed, which no other can
IsthmusBench  build/bench/isthmus-bench, on our own stack: for open loops, and where it is wanted instead of others

Latency at a fixed rate is counted from the moment a request was sent (h2load), or was to be sent
(isthmus-bench).
"""
import dataclasses
import json
import re
import shutil
import time

from . import cpu
from . import place as P

PERCENTILES = (50, 90, 99, 99.9, 99.99)
OPENING = 2400  # seconds, at most, until a million connections are open


@dataclasses.dataclass
class Seen:
    """What the gateway did in a measured window."""
    gateway: cpu.Window    # its core's time,
    other: cpu.Window      # and the other's
    tasks: float           # share of its core that its threads had, and those that receive for it,
    napi: float            # of which the latter,
    turns: float | None    # that it says it has worked,
    stages: dict           # and shares of that by stage; none, where it does not say so


@dataclasses.dataclass
class Load:
    port: int
    path: str = "/1k"
    connections: int = 64
    seconds: float = 4.0
    warmup: float = 1.0
    rate: float = 0.0              # requests a second; 0: as fast as answers come
    new_connections: bool = False  # one request each
    client_certificate: bool = False
    resume: bool = False           # a new connection's session is an earlier one's
    open_loop: bool = False        # what a request's time is counted from is when it was to be sent
    method: str = "GET"
    body: int = 0                  # bytes sent with a request
    part: int = 0                  # bytes that count as one request, where a body takes longer than a window
    host: str = P.HOST
    more_ports: tuple = ()         # of the same: connections are spread over all (isthmus-bench)
    settle: float = 0.0            # so long they do nothing when all are open, before the load (isthmus-bench)

    def url(self):
        return f"https://{P.CLIENT_SIDE}:{self.port}{self.path}"


def percentiles(values):
    """Of microseconds, as the other generators name them."""
    if not values:
        return {}
    v = sorted(values)
    named = {f"p{p:g}": v[min(len(v) - 1, int(len(v) * p / 100))] for p in PERCENTILES}
    return {**named, "max": v[-1], "min": v[0], "mean": sum(v) / len(v)}


class Running:
    """A generator that runs, and the gateway's core watched over the measured part of it."""

    def __init__(self, place, load, name, args):
        self.place, self.load, self.name = place, load, name
        self.log = place.tmp / f"{name}.log"
        self.log.unlink(missing_ok=True)
        self.proc = place.start(name, P.CLIENT, P.OTHER_CORE, *args)

    def watch(self):
        """Sleeps through the warm-up, then watches both cores, and the gateway's processes. Returns a Seen."""
        time.sleep(self.load.warmup)
        gateway = self.place.gateway
        tasks, napi = cpu.Tasks(gateway.pids()), cpu.Tasks(self.place.kernel_threads())
        turns = gateway.busy_turns()
        stages = gateway.stages(self.load.seconds)
        self.began = time.time()
        windows = [cpu.Window(n).start() for n in (P.GATEWAY_CORE, P.OTHER_CORE)]
        time.sleep(self.load.seconds)
        self.ended = time.time()
        seconds = self.ended - self.began
        windows = [w.stop() for w in windows]
        receiving = napi.seconds() / seconds
        threads = tasks.seconds() / seconds + receiving
        after = gateway.busy_turns()
        worked = None if turns is None or after is None else (after - turns) / seconds
        return Seen(*windows, threads, receiving, worked, stages())

    def wait(self, seconds=60, codes=(0,)):
        self.proc.wait(seconds)
        self.place.procs.remove(self.proc)
        text = self.place.log(self.name)
        if self.proc.returncode not in codes:
            raise RuntimeError(f"{self.name} ended with {self.proc.returncode}: {text[-2000:]}")
        return text


def finish(result, seen):
    """Shares of a core beside what a generator has counted."""
    if result["requests"] == 0:
        raise RuntimeError(f"no answer within the window; {result['errors']} errors")
    result["turns"], result["stages"] = seen.turns, seen.stages
    result["rate"] = result["requests"] / result["seconds"]
    result["core0"], result["core1"] = seen.gateway.as_dict(), seen.other.as_dict()
    result["busy"], result["busy_other"], result["tasks"] = seen.gateway.share(), seen.other.share(), seen.tasks
    result["napi"] = seen.napi
    return result


class Wrk:
    name = "wrk"

    @staticmethod
    def can(load):
        return load.rate == 0 and not load.client_certificate and not load.resume and not load.part

    def run(self, place, load):
        total = load.warmup + load.seconds + 0.5
        headers = ["-H", f"Host: {load.host}"] + (["-H", "Connection: close"] if load.new_connections else [])
        running = Running(place, load, "wrk", [
            "wrk", "-t", "1", "-c", load.connections, "-d", f"{max(1, round(total))}s", *headers,
            "-s", P.TOP / "bench/harness/wrk.lua", load.url(), "--", load.method, load.body])
        seen = running.watch()
        text = running.wait()
        return finish(json.loads(re.search(r"RESULT (.*)", text).group(1)), seen)


class H2load:
    """Its log has a line for each request: start (us), status, duration (us). Status 0: there was no reason phrase."""
    name = "h2load"

    @staticmethod
    def can(load):
        return load.rate > 0 and not load.client_certificate and not load.resume and load.body == 0

    def args(self, load, log):
        total = load.warmup + load.seconds + 0.5
        base = ["h2load", "--h1", "-t", "1", f"--log-file={log}", "-H", f":authority: {load.host}"]
        if load.new_connections:  # each connection has one request; so many are opened each tenth of a second
            n = int(load.rate * total)
            return base + ["-n", n, "-c", n, "-r", max(1, round(load.rate / 10)), "--rate-period=100ms", load.url()]
        if load.rate == 0:  # as fast as they come: run() can, and is asked so by the scenario `generators` alone
            return base + ["-D", round(total), "-c", load.connections, load.url()]
        total += 10 + load.connections / 50  # as shaking hands takes time; it is ended when enough was seen
        n = (int(load.rate * total / load.connections) + 1) * load.connections
        return base + ["-n", n, "-c", load.connections, f"--rps={load.rate / load.connections:.3f}", load.url()]

    def run(self, place, load):
        log = place.tmp / "h2load.requests"
        log.unlink(missing_ok=True)
        running = Running(place, load, "h2load", self.args(load, log))
        if load.new_connections or load.rate == 0:
            seen = running.watch()
            running.wait()
        else:
            self.wait_all(log, running)
            seen = running.watch()
            time.sleep(0.5)  # what was asked at the end of the window is written down, too
            place.stop(running.proc)
        return finish(self.read(log, running), seen)

    @staticmethod
    def wait_all(log, running):
        """
        Until all have shaken hands, and what waited meanwhile is done: each has had an answer, and in the time
        in which each asks once there are as many answers as are asked for.
        """
        load, seen = running.load, []
        period = max(1.0, load.connections / load.rate)

        def steady():
            if running.proc.poll() is not None:
                raise RuntimeError(f"h2load ended: {running.place.log(running.name)[-1000:]}")
            now = time.monotonic()
            seen.append((now, log.read_bytes().count(b"\n") if log.exists() else 0))
            before = next((s for s in reversed(seen) if s[0] <= now - period), None)
            if before is None or before[1] < load.connections:
                return False
            rate = (seen[-1][1] - before[1]) / (now - before[0])
            return abs(rate - load.rate) <= 0.2 * load.rate
        P.L.wait_for(f"{load.connections} answers, {load.rate:.0f} a second", steady, 120, every=0.2)

    @staticmethod
    def read(log, running):
        with open(log) as f:
            rows = [line.split("\t") for line in f if line.endswith("\n")]
        inside = [r for r in rows if running.began <= (int(r[0]) + int(r[2])) / 1e6 < running.ended]
        bad = sum(r[1] not in ("200", "0") for r in rows)
        return {"requests": len(inside), "errors": bad, "seconds": running.ended - running.began,
                "latency_us": percentiles([int(r[2]) for r in inside])}


class Curl:
    """
    So many transfers at once, cut off when the time is over: a request is so many bytes of them. They say
    how fast, and not how long one takes. What is sent is a file with nothing in it.
    """
    name = "curl"

    @staticmethod
    def can(load):
        return load.part > 0 and load.rate == 0 and not load.client_certificate

    def args(self, place, load):
        total = load.warmup + load.seconds + 0.5
        one = ["-sk", "--http1.1", "-H", f"Host: {load.host}", "-o", "/dev/null", "--max-time", f"{total:.1f}",
               "-w", "%{size_download} %{size_upload} %{time_total} %{http_code}\n"]
        if load.body > 0:
            sent = place.tmp / "sent"
            with open(sent, "wb") as f:
                f.truncate(load.body)
            one += ["-X", load.method, "-T", sent, "-H", "Expect:"]
        every = [a for _ in range(load.connections) for a in ("--next", *one, load.url())]
        return ["curl", "-Z", "--parallel-immediate", "--parallel-max", load.connections, *every[1:]]

    def run(self, place, load):
        running = Running(place, load, "curl", self.args(place, load))
        seen = running.watch()
        text = running.wait(codes=(0, 28))  # 28: it was cut off
        rows = [line.split() for line in text.splitlines() if re.fullmatch(r"\d+ \d+ \S+ \d+", line)]
        done = sum(int(r[1 if load.body > 0 else 0]) for r in rows)
        seconds = max((float(r[2]) for r in rows), default=0.0)
        bad = load.connections - sum(r[3] in ("000", "100", "200") for r in rows)
        return finish({"requests": done / load.part, "errors": bad, "seconds": seconds, "latency_us": {}}, seen)


class Churn:
    """churn.py: a Python client is the slower side, so it says what a connection costs, not how many there can be."""
    name = "churn.py"

    @staticmethod
    def can(load):
        return load.new_connections and load.rate > 0 and load.body == 0

    def run(self, place, load):
        log = place.tmp / "churn.requests"
        cert = place.client / "both.pem" if load.client_certificate else "-"
        running = Running(place, load, "churn", [
            P.L.PYTHON, P.TOP / "bench/harness/churn.py", P.CLIENT_SIDE, load.port, load.host, cert, load.path,
            load.rate, load.warmup + load.seconds + 0.5, log, "resume" if load.resume else "full"])
        seen = running.watch()
        running.wait()
        return finish(H2load.read(log, running), seen)


class IsthmusBench:
    """bench/load: on our own stack, so the kernel lends it the client's interface for as long as it runs."""
    name = "isthmus-bench"
    program = P.L.BUILD / "bench/isthmus-bench"
    wanted = False  # --load isthmus
    wire = (P.CLIENT, "bc0", "bgw0", "10.1.0.1")

    @classmethod
    def can(cls, load):
        return (cls.wanted or load.open_loop) and not load.part

    @staticmethod
    def kernel_machine(place):
        return f"""
machine = {{ workers = 1; cores = [ {P.OTHER_CORE} ]; memory = "192MiB";
  hugepages = {str(place.hugepages).lower()};
  ports = ( {{ name = "c"; device = "af_xdp"; interface = "bc0"; addresses = [ "10.1.0.1/24" ]; }} ); }};
"""

    @staticmethod
    def client(place, load):
        cert = (f'certificate = "{place.client}/cert-chain.pem"; private_key = "{place.client}/key.pem";'
                if load.client_certificate else "")
        mode = "mutual" if load.client_certificate else "simple"
        targets = ", ".join(f'"{P.CLIENT_SIDE}:{port}"' for port in (load.port, *load.more_ports))
        wait = (f'ramp = "{OPENING}s"; connect_timeout = "30s"; settle = "{1000 * load.settle:.0f}ms";'
                if load.settle else "")
        return f"""
client = {{ target = [ {targets} ]; connections = {load.connections}; rate = {load.rate:.1f}; {wait}
  requests_per_connection = {int(load.new_connections)}; host = "{load.host}"; path = "{load.path}";
  method = "{load.method}"; request_body = {load.body};
  duration = "{1000 * (load.warmup + load.seconds) + 1500:.0f}ms"; warmup = "{2000 if load.settle else 500}ms";
  tls = {{ mode = "{mode}"; min_version = "1.3"; sni = "{P.HOST}"; resume = {str(load.resume).lower()}; {cert}
    trusted_ca = "{place.edge}/root-cert.pem"; }}; }};
"""

    def run(self, place, load):
        place.lend(*self.wire)
        try:
            return self.run_conf(place, load, self.kernel_machine(place) + self.client(place, load))
        finally:
            place.take_back(*self.wire)

    def run_conf(self, place, load, text, settled=None):
        path, out = place.tmp / "isthmus-bench.conf", place.tmp / "isthmus-bench.json"
        path.write_text(text)
        running = Running(place, load, "isthmus-bench", [self.program, "-c", path, "--json", out])
        try:
            if settled is not None:
                self.wait_line(running, ("settling",), OPENING)
                settled()
            self.wait_line(running, ("warm-up", "running"), 60)
            seen = running.watch()
            if running.proc.poll() is not None:
                raise RuntimeError("isthmus-bench was over before the window was: it was seen late")
            running.wait()
        finally:
            place.stop(running.proc)  # the interface is its own until then
        return finish(json.loads(out.read_text()), seen)

    @staticmethod
    def wait_line(running, words, seconds):
        """Until one of them is the first word of a line that shows life, which is what is going on: once a second."""
        def there():
            said = {line.split(" ", 1)[0] for line in running.place.log(running.name).splitlines()}
            return not said.isdisjoint(words) or running.proc.poll() is not None
        P.L.wait_for(f"isthmus-bench to say {words[-1]}", there, seconds, every=0.2)
        if running.proc.poll() is not None:
            raise RuntimeError(f"isthmus-bench ended: {running.place.log(running.name)[-1000:]}")

    def run_memif(self, place, load, directory, body):
        """As client and as backend, two processes at the other ends of the gateway's memif ports in @directory."""
        server = self.serve(place, directory, body)
        try:
            text = self.memif(place, "down", ["10.1.0.1"], directory) + self.client(place, load)
            return self.run_conf(place, load, text)
        finally:
            place.stop(server)

    def run_held(self, place, load, directory, body, settled):
        """As run_memif(), with many connections; @settled is called when all are open, before the load."""
        server = self.serve(place, directory, body)
        addresses = ["10.1.0.1", *(f"10.1.0.{101 + i}" for i in range(15))]
        tcp = f"tcp = {{ max_connections = {load.connections + 1024}; }};"
        try:
            text = self.memif(place, "down", addresses, directory, tcp) + self.client(place, load)
            return self.run_conf(place, load, text, settled)
        finally:
            place.stop(server)

    @staticmethod
    def memif(place, end, addresses, directory, tcp=""):
        listed = ", ".join(f'"{a}/24"' for a in addresses)
        return (f'machine = {{ workers = 1; cores = [ {P.OTHER_CORE} ]; memory = "160MiB"; '
                f'hugepages = {str(place.hugepages).lower()}; packets = 16384; {tcp} '
                f' ports = ( {{ name = "{end}"; device = "memif"; '
                f'socket = "{directory}/{end}.memif"; addresses = [ {listed} ]; }} ); }};\n')

    def serve(self, place, directory, body):
        s, path = place.service, place.tmp / "isthmus-server.conf"
        path.write_text(self.memif(place, "up", [P.BACKEND_ADDRESS], directory) + f"""
server = {{ listen = "{P.BACKEND_ADDRESS}:8443"; body = "{body}"; tls = {{ mode = "mutual"; min_version = "1.3";
  certificate = "{s}/cert-chain.pem"; private_key = "{s}/key.pem"; trusted_ca = "{s}/root-cert.pem"; }}; }};
""")
        p = place.start("isthmus-server", P.BACKEND, P.OTHER_CORE, self.program, "-c", path)
        time.sleep(2)  # it says nothing when it is ready
        if p.poll() is not None:
            raise RuntimeError(place.log("isthmus-server")[-1000:])
        return p


GENERATORS = (IsthmusBench, Wrk, H2load, Curl, Churn)


def run(place, load):
    """With the first generator that can do it."""
    for kind in GENERATORS:
        if kind.can(load):
            result = kind().run(place, load)
            result["generator"] = kind.name
            return result
    raise LookupError("no generator can do this")


def versions():
    sh = P.L.sh
    wrk = re.search(r"wrk (\S+)", sh("wrk", "-v", check=False).stdout)
    return {"wrk": wrk.group(1) if wrk else "?", "h2load": sh("h2load", "--version").stdout.split("/")[-1].strip(),
            "isthmus-bench": "yes" if shutil.which(str(IsthmusBench.program)) else "no"}
