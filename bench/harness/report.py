"""From figures to what a person reads: a table of each scenario, a table of the targets, a file of JSON."""
import json
import os
import platform
import re
import statistics
import subprocess
import time

from . import load
from . import targets

UNITS = {"rate": ("requests/s", 1, 0), "cost": ("CPU us/request", 1, 1), "cost_full": ("CPU us/request, full", 1, 1),
         "p99": ("p99 us", 1, 0), "kib": ("KiB/connection", 1, 1), "ms": ("ms", 1, 0), "lost": ("lost", 1, 0),
         "reloads": ("reloads", 1, 0), "reloading": ("% of the time", 100, 0),
         "grown_mib": ("its memory grew, MiB", 1, 1), "instructions": ("instructions/request", 1, 0),
         "instructions_2": ("of each of two", 1, 0), "ratio": ("times", 1, 3),
         "p99_ratio": ("p99, times", 1, 2), "share": ("% of the core", 100, 2), "threads": ("% its threads", 100, 2),
         "full.busy": ("core 0 busy %", 100, 0), "fixed.cost_turns": ("its busy turns' us", 1, 1),
         "full.cost_turns": ("its busy turns' us, full", 1, 1), "full.busy_other": ("core 1 busy %", 100, 0),
         "fixed.rate": ("at requests/s", 1, 0), "fixed.p50_us": ("p50 us", 1, 0), "fixed.p99_us": ("p99 us", 1, 0)}

BY_CONNECTIONS = {"cost": ("CPU us", 1, 1), "gib": ("memory GiB", 1, 2), "each": ("bytes each", 1, 0),
                  "p99": ("p99 us", 1, 0), "opening": ("s to open", 1, 0)}

BY_GENERATOR = {"full": ("requests/s", 1, 0), "server": ("CPU us/request", 1, 1), "p50": ("p50 us at half", 1, 0),
                "p99": ("p99 us at half", 1, 0)}


def median(results, gateway, figure):
    """None, where there is none."""
    values = results.get(gateway, {}).get("figures", {}).get(figure)
    return statistics.median(values) if values else None


def machine():
    with open("/proc/cpuinfo") as f:
        model = re.search(r"model name\s*:\s*(.*)", f.read())
    with open("/proc/meminfo") as f:
        memory = int(f.readline().split()[1]) // 1024
    return {"cpu": model.group(1) if model else "?", "cores": os.cpu_count(), "memory_mib": memory,
            "kernel": platform.release()}


def versions(place, kinds):
    found = {g.name: g(place).version() for g in kinds}
    openssl = subprocess.run(["openssl", "version"], capture_output=True, text=True).stdout.split()
    return found | load.versions() | {"openssl": openssl[1] if len(openssl) > 1 else "?"}


def table(rows):
    widths = [max(len(str(r[i])) for r in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(str(c).ljust(w) for c, w in zip(r, widths)).rstrip() for r in rows)


def cell(values, unit):
    """Median, and the range where there is more than one value."""
    _, factor, digits = unit
    shown = [f"{v * factor:,.{digits}f}" for v in (statistics.median(values), min(values), max(values))]
    return shown[0] if len(values) == 1 else f"{shown[0]} ({shown[1]} to {shown[2]})"


def unit_of(figure):
    name, _, by = figure.partition(".")
    if name in BY_CONNECTIONS and by.isdigit():
        unit, factor, digits = BY_CONNECTIONS[name]
        return f"{unit}, {by} conns", factor, digits
    if name in BY_GENERATOR and by in (kind.name for kind in load.GENERATORS):
        unit, factor, digits = BY_GENERATOR[name]
        return f"{by}: {unit}", factor, digits
    return UNITS.get(figure)


def unanswered(results):
    """Figures of answers that were none say nothing: each is told."""
    for gateway, r in results.items():
        for figure, values in r["figures"].items():
            if "errors" in figure.split(".") and any(values):
                yield f"{gateway}: {figure}: {max(values):,.0f} in a round"


def scenario_text(name, s):
    results = s["results"]
    figures = [f for f in dict.fromkeys(f for r in results.values() for f in r["figures"]) if unit_of(f)]
    rows = [["", *(unit_of(f)[0] for f in figures)]]
    for gateway, r in results.items():
        rows.append([gateway, *(cell(r["figures"][f], unit_of(f)) if f in r["figures"] else "-" for f in figures)])
    wrong = [f"{g}: {e}" for g, r in results.items() for e in r["errors"]]
    return "\n".join([f"\n{name}: {s['settings']['title']}", table(rows), *wrong, *unanswered(results)])


def profile_rows(data):
    """Isthmus' own account of each scenario: us of a request, by stage; then all, and what receiving threads had."""
    for name, s in data["scenarios"].items():
        if s["settings"]["kind"] not in ("requests", "churn", "memif"):
            continue
        for prefix, cost, words in (("full", "cost_full", "saturated"), ("fixed", "cost", "at a fixed rate")):
            begin = f"{prefix}.stage."
            figures = s["results"].get(targets.OURS, {"figures": {}})["figures"]
            stages = {f[len(begin):]: median(s["results"], targets.OURS, f) for f in figures if f.startswith(begin)}
            if stages:
                more = {"turns": f"{prefix}.cost_turns", "NAPI": f"{prefix}.cost_napi", "CPU": cost}
                yield f"{name}, {words}", stages | {k: median(s["results"], targets.OURS, f) for k, f in more.items()}


def profile(data):
    rows = list(profile_rows(data))
    if not rows:
        return []
    names = list(dict.fromkeys(n for _, found in rows for n in found))
    lines = [["", *names], *([words, *("-" if found.get(n) is None else f"{found[n]:,.1f}" for n in names)]
                             for words, found in rows)]
    return ["\nwhere it goes, Isthmus: us of a request by stage (isthmusctl perf), which are its turns; the kernel's NAPI "
            "threads,\nwhich a turn's clock counts where they interrupt it; CPU time in all", table(lines)]


def text(data):
    m, v = data["machine"], data["versions"]
    head = [f"{m['cpu']}, {m['cores']} cores, {m['memory_mib']} MiB, Linux {m['kernel']}; core 0 without a gateway: "
            f"{100 * data['baseline']:.1f} % busy; CPU time is that of "
            + ("the gateway's threads, as others use the core" if data["by_threads"] else "the whole core 0"),
            ", ".join(f"{k} {x}" for k, x in v.items()),
            f"memory of Isthmus in hugepages: {'yes' if data['hugepages'] else 'no, there were too few'}; "
            f"TSO and checksum offload for the others: {'yes' if data['offloads'] else 'no'}; load: {data['load']}"]
    ceilings = [f"\nceilings of one core", table([["", "figure"], *([k, f"{x:,.3f}" if isinstance(x, float) else x]
                                                                  for k, x in data["ceilings"].items())])]
    body = [scenario_text(n, s) for n, s in data["scenarios"].items()]
    rows = [["target", "wanted", "figure", "best peer", "verdict"], *targets.rows(data)]
    return "\n".join(head + ceilings + body + profile(data) + ["\ntargets", table(rows)])


def path_of(data, directory):
    """bench/results/DATE-MACHINE.json, of the day when it began."""
    directory.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^a-z0-9]+", "-", data["machine"]["cpu"].lower()).strip("-")
    day = time.strftime("%Y-%m-%d", time.localtime(data["began"]))
    return directory / f"{day}-{name}-{data['machine']['cores']}.json"


def write(data, path):
    """The text is beside it."""
    path.write_text(json.dumps(data | {"targets": targets.rows(data)}, indent=1) + "\n")
    path.with_suffix(".txt").write_text(text(data) + "\n")
