#!/usr/bin/python3
"""
The benchmark: ./run bench [--quick] [--only SCENARIO,...] [--gateways NAME,...] [--rounds N].

Scenarios are files of bench/scenarios, kinds of measurement are in harness/measure.py, gateways in
harness/gateways.py and envoy.py. For each scenario, in each round, every gateway is visited in turn
(A B C A B C): what the machine does meanwhile, it does to all. See bench/README.md.
"""
import argparse
import json
import os
import signal
import sys
import time
import tomllib
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from harness import backend, ceiling, cpu, envoy, gateways, load, measure, plots, report  # noqa: E402
from harness import place as P  # noqa: E402

SECOND = ("haproxy", "envoy")  # both do better with HTTP/2 to their backend
NOISY = 0.02  # share of core 0 that is busy without a gateway, from which on there are neighbours
SCENARIOS = P.TOP / "bench/scenarios"
# What may be different in the parts of a run that was continued.
EACH_TIME = ("began", "took", "scenarios", "baseline", "by_threads", "load_average")
# In the order in which they are measured: what is held against the ceilings comes soon after them.
ORDER = ("keepalive-1k", "memif-1k", "memif-bulk", "new-tls", "new-mtls", "bulk-download", "latency", "growth",
         "idle-connections", "idle-plain", "reload", "idle", "second-worker", "resumed-tls", "resumed-mtls",
         "keepalive-0", "keepalive-10k", "tcp", "bulk-upload", "bulk-download-1g", "bulk-upload-1g", "slow", "noisy",
         "generators", "million")
GATEWAYS = {g.name: g for g in (gateways.Nginx, gateways.Haproxy, gateways.HaproxyH2, envoy.Envoy, envoy.EnvoyH2,
                                gateways.Isthmus)}


def arguments():
    p = argparse.ArgumentParser(prog="./run bench", description="Isthmus beside nginx, HAProxy and Envoy.")
    p.add_argument("--quick", action="store_true",
                   help="under ten minutes: short windows, fewer rounds and scenarios")
    p.add_argument("--only", type=lambda s: s.split(","), default=list(ORDER), metavar="SCENARIO,...")
    p.add_argument("--gateways", type=lambda s: s.split(","), metavar="NAME,...",
                   help=f"of {', '.join(GATEWAYS)}; quick leaves out {', '.join(SECOND)}")
    p.add_argument("--rounds", type=int, help="of each scenario; default 5, quick 1 (main scenario 2)")
    p.add_argument("--seconds", type=float, help="of a measured window; default 5, quick 2")
    p.add_argument("--continue", dest="resume", type=Path, metavar="FILE",
                   help="the JSON of a run that was broken off: measures what is missing in it")
    p.add_argument("--out", type=Path, default=P.TOP / "bench/results", help="directory of reports")
    p.add_argument("--cost", choices=("auto", "core", "threads"), default="auto",
                   help="CPU time is that of the whole core 0, or of the gateway's threads alone: auto takes these "
                        "where others use the core as well")
    p.add_argument("--load", choices=("kernel", "isthmus"), default="kernel",
                   help="wrk and h2load, or isthmus-bench on its own stack")
    p.add_argument("--coalesce", type=int, default=P.COALESCE, metavar="US",
                   help=f"packets wait for others so long before they are received, default {P.COALESCE}")
    p.add_argument("--offloads", action="store_true", help="kernel gateways have TSO and no checksums to compute")
    p.add_argument("--rps", action="store_true", help="steer the gateway's packets by RPS, without GRO")
    a = p.parse_args()
    for name in a.only:
        if not (SCENARIOS / f"{name}.toml").exists():
            p.error(f"no scenario {name}: there are {', '.join(ORDER)}")
    a.gateways = a.gateways or [n for n in GATEWAYS if not (a.quick and n in SECOND)]
    for name in a.gateways:
        if name not in GATEWAYS:
            p.error(f"no gateway {name}: there are {', '.join(GATEWAYS)}")
    a.seconds = a.seconds or (2.0 if a.quick else 5.0)
    return a


def scenario(name, quick):
    """A file of scenarios. In a quick run, `connections_quick` stands for `connections`, and so on."""
    with open(SCENARIOS / f"{name}.toml", "rb") as f:
        s = {"name": name, **tomllib.load(f)}
    others = {k.removesuffix("_quick"): v for k, v in s.items() if k.endswith("_quick")}
    return {k: v for k, v in (s | (others if quick else {})).items() if not k.endswith("_quick")}


def rounds_of(s, a):
    if a.rounds:
        return a.rounds
    if a.quick:
        return 2 if s["name"] == ORDER[0] else 1
    return s.get("rounds", 5)


def visit(run, s, gateway, found):
    """One gateway, once. What goes wrong with one is written down, and the others go on."""
    try:
        figures = measure.KINDS[s["kind"]](run, s, gateway(run.place))
    except Exception as e:
        traceback.print_exc()
        figures = e.found if isinstance(e, measure.Partial) else {}
        found["errors"].append(f"{type(e).__name__}: {e}"[:300])
    for name, value in figures.items():
        found["figures"].setdefault(name, []).append(value)


def measure_scenario(run, s, a):
    names = [n for n in s.get("gateways", GATEWAYS) if n in a.gateways]
    results = {n: {"figures": {}, "errors": []} for n in names}
    for i in range(rounds_of(s, a)):
        for n in names:
            print(f"  {s['name']}, round {i + 1}: {n}", file=sys.stderr, flush=True)
            visit(run, s, GATEWAYS[n], results[n])
    return results


def slowest_peer(run, a):
    """Requests a second of the peer that is the first to be full: what fixed rates are a share of."""
    rates = []
    for n in (n for n in a.gateways if n != "isthmus"):
        print(f"  saturation of {n}", file=sys.stderr, flush=True)
        rates.append(measure.saturation(run, {}, GATEWAYS[n](run.place)))
    return min(rates, default=0.0)


def wanted(a, done):
    """(name, settings) of what is to be measured, in order."""
    for name in sorted(a.only, key=ORDER.index):
        s = scenario(name, a.quick)
        if name not in done and (not a.quick or s.get("quick", True) or a.only != list(ORDER)):
            yield name, s


def measure_all(run, a, out, write):
    """Into @out, which is written after each scenario: who is ended can be continued."""
    for name, s in wanted(a, list(out)):
        began = time.monotonic()
        out[name] = {"settings": s, "results": measure_scenario(run, s, a)}
        out[name]["took"] = round(time.monotonic() - began)
        print(f"  {name}: {out[name]['took']} s", file=sys.stderr, flush=True)
        write()


def settings(run, a, place):
    """What a report says about how it was measured."""
    return {"machine": report.machine(), "versions": report.versions(place, [GATEWAYS[n] for n in a.gateways]),
            "baseline": run.baseline, "by_threads": run.by_threads, "seconds": a.seconds, "quick": a.quick,
            "rps": a.rps, "coalesce": a.coalesce, "load": a.load, "offloads": a.offloads,
            "hugepages": place.hugepages, "load_average": os.getloadavg()[0]}


def begin(run, a, place):
    """A new report; or one that was broken off, if it is of the same programs and settings."""
    run.baseline = cpu.over(P.GATEWAY_CORE, 2).share()
    run.by_threads = a.cost == "threads" or (a.cost == "auto" and run.baseline > NOISY)
    data = {**settings(run, a, place), "began": int(time.time()), "took": 0, "scenarios": {}}
    if a.resume is None:
        data["ceilings"], data["slowest"] = ceiling.measure(place, a.quick), slowest_peer(run, a)
    else:
        earlier = json.loads(a.resume.read_text())
        other = [k for k in data if k not in EACH_TIME and data[k] != earlier.get(k)]
        if other:
            sys.exit(f"{a.resume} was made otherwise: {', '.join(f'{k} {earlier.get(k)}' for k in other)}")
        data = earlier
        run.by_threads = data["by_threads"]
    run.slowest = data["slowest"]
    return data


def main():
    a = arguments()
    for s in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(s, lambda *_: sys.exit("ended by a signal"))  # and what was made is taken away
    P.come_first()
    if any(n.startswith("envoy") for n in a.gateways):
        envoy.install()
    began = time.time()
    load.IsthmusBench.wanted = a.load == "isthmus"
    place = P.Place()
    try:
        place.threaded, place.coalesce, place.offloads = not a.rps, a.coalesce, a.offloads
        backend.start(place)
        run = measure.Run(place, a.seconds, 1.0)
        data = begin(run, a, place)
        took, path = data["took"], report.path_of(data, a.out)

        def write():
            data["took"] = took + round(time.time() - began)
            report.write(data, path)
        measure_all(run, a, data["scenarios"], write)
    finally:
        place.close()
    write()
    plots.draw(data, path)
    print(report.text(data))
    print(f"{path} and plots beside it; {data['took']} s")


if __name__ == "__main__":
    main()
