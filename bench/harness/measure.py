"""
The kinds of measurement. Each visits one gateway, once, and returns figures by name; a figure is a number.

    requests   rate: requests a second as fast as they come; cost: CPU microseconds of one at a fixed rate
    churn      the same of a new connection with one request on it
    latency    percentiles at a fixed rate
    growth     cost and p99 at a fixed rate, by number of connections
    memory     bytes of an idle connection
    reload     how long a reload of a large configuration takes, and what requests notice
    beside     what requests notice of other clients: slow ones, or one that takes all it can get
    idle       share of the core without any load
    memif      requests without a kernel in the way
    workers    instructions of a request, of one worker and of two
    generators of load, one beside the other
    held       the same with many connections that are idle between requests: memory, and p99 at a fixed rate
"""
import contextlib
import ctypes
import dataclasses
import shutil
import statistics
import subprocess
import threading
import time

from . import cpu
from . import gateways as G
from . import instructions
from . import load as D
from . import place as P

PR_SET_THP_DISABLE = 41
PORTS = {"tls": G.TLS, "mtls": G.MTLS, "tcp": G.TCP, "plain": G.PLAIN, "tls-resumed": G.TLS_RESUMED,
         "mtls-resumed": G.MTLS_RESUMED}


class Partial(Exception):
    """@found before a measurement failed, and why it did."""

    def __init__(self, found, why):
        super().__init__(why)
        self.found = found


@dataclasses.dataclass
class Run:
    """What all measurements share."""
    place: object
    seconds: float         # of one measured window
    warmup: float
    baseline: float = 0.0  # share of the gateway's core that is busy without a gateway
    by_threads: bool = False  # count only the gateway's threads, as others are on its core
    slowest: float = 0.0   # requests of 1 KiB a second of the slowest peer; 0: there is none


def rate_of(run, scenario):
    """Requests a second: a share of what the slowest peer can, or a number where that is not known, or 0."""
    return scenario.get("share", 0) * run.slowest or scenario.get("rate", 0)


def load_of(run, scenario, **more):
    s = scenario
    told = {name: s[name] for name in ("path", "connections", "method", "body", "part", "seconds", "open_loop") if name in s}
    port = s.get("port", "tls")
    return D.Load(port=PORTS[port], client_certificate=port.startswith("mtls"), resume=port.endswith("-resumed"),
                  **{"seconds": run.seconds, "warmup": run.warmup, **more, **told})


def busy_share(run, core, threads):
    """
    Of the gateway's core, by two accounts: the core's, in which the kernel samples at its ticks what was not
    idle, and may miss what happens between two of them; and that of the gateway's threads and those that receive
    for it, which is exact, but without interrupts. The greater one; on a machine with neighbours the threads'.
    """
    return threads if run.by_threads else max(core - run.baseline, threads)


def cost_us(run, result):
    """CPU microseconds of one request."""
    busy = busy_share(run, result["busy"], result["tasks"])
    return 1e6 * busy / result["rate"] if result["rate"] > 0 else float("nan")


def with_gateway(measurement):
    """A measurement of a gateway that is started for it and ended after it."""
    def visit(run, scenario, gateway):
        gateway.start(hosts=scenario.get("hosts", 0))
        try:
            return measurement(run, scenario, gateway)
        finally:
            gateway.stop()
    return visit


def figures(prefix, result):
    """What is kept of a generator's result, for the report and for doubters."""
    names = ("rate", "errors", "busy", "busy_other", "tasks")
    kept = {f"{prefix}.{n}": result[n] for n in names}
    if result["turns"] is not None and result["rate"]:
        cost = kept[f"{prefix}.cost_turns"] = 1e6 * result["turns"] / result["rate"]
        kept |= {f"{prefix}.stage.{name}": cost * share for name, share in result["stages"].items()}
    for name in ("tasks", "napi"):
        kept[f"{prefix}.cost_{name}"] = 1e6 * result[name] / result["rate"] if result["rate"] else float("nan")
    return kept | {f"{prefix}.{n}_us": v for n, v in result["latency_us"].items()}


@with_gateway
def saturation(run, scenario, gateway):
    return D.run(run.place, load_of(run, scenario))["rate"]


@with_gateway
def requests(run, scenario, gateway):
    full = D.run(run.place, load_of(run, scenario))
    found = {"rate": full["rate"], "cost_full": cost_us(run, full)} | figures("full", full)
    fixed = load_of(run, scenario, rate=rate_of(run, scenario))
    if not fixed.rate or not any(kind.can(fixed) for kind in D.GENERATORS):
        return found
    at_rate = D.run(run.place, fixed)
    return found | {"cost": cost_us(run, at_rate)} | figures("fixed", at_rate)


@with_gateway
def churn(run, scenario, gateway):
    """So many at once as fast as they come, where a generator can; then at a fixed rate."""
    found = {}
    full = load_of(run, scenario, new_connections=True)
    if D.Wrk.can(full) or D.IsthmusBench.can(full):
        result = D.run(run.place, full)
        found = {"rate": result["rate"], "cost_full": cost_us(run, result)} | figures("full", result)
    result = D.run(run.place, load_of(run, scenario, new_connections=True, rate=scenario["rate"]))
    return found | {"cost": cost_us(run, result)} | figures("fixed", result)


@with_gateway
def latency(run, scenario, gateway):
    rate = rate_of(run, scenario)
    result = D.run(run.place, load_of(run, scenario, rate=rate, seconds=2 * run.seconds))
    return {"asked": rate, "p99": result["latency_us"]["p99"]} | figures("fixed", result)


@with_gateway
def with_so_many(run, scenario, gateway):
    return D.run(run.place, load_of(run, scenario, rate=rate_of(run, scenario)))


def growth(run, scenario, gateway):
    """Each number with a gateway that knows nothing of those before, which may not all have told it that they went."""
    found = {}
    for n in scenario["steps"]:
        try:
            result = with_so_many(run, scenario | {"connections": n}, gateway)
        except (RuntimeError, TimeoutError, subprocess.TimeoutExpired) as e:
            raise Partial(found, f"with {n} connections: {e}") from e
        found |= {f"cost.{n}": cost_us(run, result)} | figures(f"at{n}", result)
    return found


@contextlib.contextmanager
def clients_held(run, scenario, name, n):
    """So many clients that do nothing, after one request."""
    port = scenario.get("port", "tls")
    holder = run.place.start(name, P.CLIENT, P.OTHER_CORE, P.L.PYTHON, P.TOP / "bench/harness/holder.py",
                             P.CLIENT_SIDE, PORTS[port], P.HOST, n, port)

    def held():
        return f"held {n}\n" in run.place.log(name) or holder.poll() is not None
    try:
        P.L.wait_for(f"{n} idle connections", held, 200, every=0.2)
        if holder.poll() is not None:
            raise RuntimeError(run.place.log(name)[-500:])
        time.sleep(3)  # until all of them are idle, for whoever tells those apart
        yield
    finally:
        run.place.stop(holder)
        (run.place.tmp / f"{name}.log").unlink()


def in_small_pages(measurement):
    """What is started meanwhile has no transparent hugepages: two MiB at once hide what a connection takes."""
    def visit(*args):
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)  # children inherit it
        try:
            return measurement(*args)
        finally:
            prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0)
    return visit


@in_small_pages
@with_gateway
def memory(run, scenario, gateway):
    """What further clients add to the gateway's memory, when it has had what it needs once, from the first ones."""
    n = scenario["connections"]
    with clients_held(run, scenario, "first", scenario["first"]):
        before = gateway.resident()
        with clients_held(run, scenario, "holder", n):
            return {"kib": (gateway.resident() - before) / n}


class Reloading(threading.Thread):
    """
    Lets a gateway reload, after a while, again and again, with pauses of a tenth, as often as it can in a while;
    ->seconds: what each took that came to its end.
    """

    def __init__(self, gateway, delay, seconds):
        super().__init__(daemon=True)
        self.gateway, self.delay, self.lasts, self.seconds = gateway, delay, seconds, []
        gateway.change()
        self.start()

    def run(self):
        time.sleep(self.delay)
        end = time.monotonic() + self.lasts
        while not self.seconds or time.monotonic() + self.seconds[-1] < end:
            began = time.monotonic()
            self.gateway.reload()
            self.seconds.append(time.monotonic() - began)
            self.gateway.change()
            time.sleep(self.seconds[-1] / 10)


@with_gateway
def reload(run, scenario, gateway):
    """Load at a fixed rate, first in peace and then while it reloads all the time."""
    load = load_of(run, scenario, rate=scenario["rate"])
    quiet = D.run(run.place, load)
    reloading = Reloading(gateway, load.warmup, load.seconds)
    result = D.run(run.place, load)
    reloading.join(120)
    return {"ms": 1e3 * statistics.median(reloading.seconds), "reloads": len(reloading.seconds),
            "reloading": min(1, sum(reloading.seconds) / load.seconds), "lost": result["errors"],
            "p99_ratio": result["latency_us"]["p99"] / quiet["latency_us"]["p99"]
            } | figures("quiet", quiet) | figures("reload", result)


@with_gateway
def generators(run, scenario, gateway):
    """
    The same server asked by each of them: as fast as it answers, and at half of that. What a packet to the client
    costs the server must be the same, too: it is received as isthmus-bench has it, by a thread and with GRO.
    """
    found, load = {}, load_of(run, scenario)

    def ask(kind, load):
        run.place.receive_by_thread(*D.IsthmusBench.wire[:2])
        return kind().run(run.place, load)
    for kind in (D.Wrk, D.H2load, D.IsthmusBench):
        result = ask(kind, load)
        found |= {f"full.{kind.name}": result["rate"], f"server.{kind.name}": cost_us(run, result),
                  f"errors.{kind.name}": result["errors"]} | figures(f"{kind.name}.full", result)
    half = dataclasses.replace(load, rate=found["full.wrk"] / 2)
    for kind in (D.H2load, D.IsthmusBench):
        result = ask(kind, half)
        found |= {f"p50.{kind.name}": result["latency_us"]["p50"], f"p99.{kind.name}": result["latency_us"]["p99"],
                  f"half.{kind.name}": result["rate"]} | figures(f"{kind.name}.half", result)
    return found | {"asked": half.rate}


def slow_clients(run, scenario):
    """A program: so many clients ask for a body, and take a little of it at a time."""
    n = scenario["others"]
    p = run.place.start("slow", P.CLIENT, P.OTHER_CORE, P.L.PYTHON, P.TOP / "bench/harness/slow.py", P.CLIENT_SIDE,
                        PORTS["tls"], P.HOST, "/1m", n, scenario["bytes_per_second"])
    P.L.wait_for(f"{n} slow clients", lambda: "reading" in run.place.log("slow") or p.poll() is not None, 60, every=0.1)
    return p


def noisy_client(run, scenario):
    """A program: one client asks for large bodies as fast as they come."""
    return run.place.start("noisy", P.CLIENT, P.OTHER_CORE, "wrk", "-t", "1", "-c", scenario["others"], "-d", "1h",
                           "-H", f"Host: {P.HOST}", f"https://{P.CLIENT_SIDE}:{PORTS['tls']}/1m")


@contextlib.contextmanager
def others(run, scenario):
    p = {"slow": slow_clients, "noisy": noisy_client}[scenario["beside"]](run, scenario)
    try:
        yield
        if p.poll() is not None:
            raise RuntimeError(f"{p.name} ended: {run.place.log(p.name)[-500:]}")
    finally:
        run.place.stop(p)
        (run.place.tmp / f"{p.name}.log").unlink()


@with_gateway
def beside(run, scenario, gateway):
    """Load at a fixed rate, first alone and then beside others."""
    load = load_of(run, scenario, rate=scenario["rate"])
    alone, before = D.run(run.place, load), gateway.resident()
    with others(run, scenario):
        result = D.run(run.place, load)
        grown = gateway.resident() - before
    return {"p99": result["latency_us"]["p99"], "p99_ratio": result["latency_us"]["p99"] / alone["latency_us"]["p99"],
            "lost": result["errors"], "grown_mib": grown / 1024} | figures("alone", alone) | figures("beside", result)


@with_gateway
def idle(run, scenario, gateway):
    """After more than the five quiet seconds in which a worker sleeps less."""
    D.run(run.place, load_of(run, {"port": "tls"}, seconds=1, warmup=0.5))
    time.sleep(scenario.get("settle", 6))
    tasks = cpu.Tasks([*gateway.pids(), *run.place.kernel_threads()])
    window = cpu.over(P.GATEWAY_CORE, 2 * run.seconds)
    threads = tasks.seconds() / window.seconds
    return {"share": busy_share(run, window.share(), threads), "threads": threads}


def need_isthmus_bench():
    if not D.IsthmusBench.program.exists():
        raise LookupError("needs build/bench/isthmus-bench")


def memif(run, scenario, gateway):
    """The gateway without a kernel: isthmus-bench is client and backend. The cost is what its worker says it worked."""
    need_isthmus_bench()
    gateway.memif = True
    gateway.start()
    try:
        result = D.IsthmusBench().run_memif(run.place, load_of(run, scenario), gateway.dir, scenario["answer"])
    finally:
        gateway.stop()
    found = figures("full", result)
    return {"rate": result["rate"], "cost": found["full.cost_turns"]} | found


def workers(run, scenario, gateway):
    """Counted, not measured, and in one thread: no core is needed for the second."""
    program = P.L.BUILD / "bench/isthmus-micro-workers"
    if shutil.which("valgrind") is None or not program.exists():
        raise LookupError(f"needs valgrind and {program}")
    one, two = (instructions.of_request(P.L.BUILD, run.place.tmp / "callgrind.out", n, scenario["requests"])
                for n in (1, 2))
    return {"instructions": one, "instructions_2": two, "ratio": two / one}


def idle_clients(gateway):
    parked, woken = gateway.counter("tcp.parked"), gateway.counter("tcp.woken")
    return 0 if parked is None or woken is None else parked - woken


def settled_memory(gateway):
    """Bytes, when it takes no more: what it needs at the start is there."""
    seen = [gateway.memory()]

    def same():
        seen.append(gateway.memory())
        return seen[-1] == seen[-2]
    P.L.wait_for("the gateway to have its memory", same, 30, every=0.5)
    return seen[-1]


def held_step(run, scenario, gateway, n):
    before, idle = settled_memory(gateway), []

    def settled():
        P.L.wait_for(f"{n} idle connections", lambda: idle_clients(gateway) >= n, 30, every=0.2)
        idle.append(gateway.memory())
    load = load_of(run, scenario | {"connections": n}, rate=scenario["rate"], more_ports=G.HELD[1:], settle=5.0)
    result = D.IsthmusBench().run_held(run.place, load, gateway.dir, scenario["answer"], settled)
    return {f"gib.{n}": idle[0] / 2**30, f"each.{n}": (idle[0] - before) / n, f"p99.{n}": result["latency_us"]["p99"],
            f"opening.{n}": result["opening_seconds"],
            f"lost.{n}": result["errors"] + result["connections_opened"] - n,  # or closed, and others opened
            f"at{n}.gib_in_the_end": gateway.memory() / 2**30} | figures(f"at{n}", result)


def held(run, scenario, gateway):
    """At each step a gateway that has just started, with room for the most connections there will be."""
    found = {}
    need_isthmus_bench()
    gateway.memif, gateway.held = True, max(scenario["steps"])
    for n in scenario["steps"]:
        gateway.start()
        try:
            found |= held_step(run, scenario, gateway, n)
        finally:
            gateway.stop()
    return found


KINDS = {"requests": requests, "churn": churn, "latency": latency, "growth": growth, "memory": memory,
         "reload": reload, "beside": beside, "generators": generators, "idle": idle, "memif": memif,
         "workers": workers, "held": held}
