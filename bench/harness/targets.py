"""
What was promised, held against what was measured: a row for each target, and "missed" where it is missed.

A row: the target, what is wanted, our figure, the best peer's, the verdict. What cannot be measured by
this run is told with the reason.
"""
import statistics

OURS = "isthmus"
MILLION = 1000000
SEGMENTS_OF_A_MIB = 725  # of 1448 bytes
MIB = SEGMENTS_OF_A_MIB, "macswap_af_xdp_1514_us"


class Figures:
    """Medians of a run."""

    def __init__(self, data):
        self.data = data

    def get(self, scenario, gateway, figure):
        results = self.data["scenarios"].get(scenario, {}).get("results", {})
        values = results.get(gateway, {}).get("figures", {}).get(figure)
        return statistics.median(values) if values else None

    def best(self, scenario, figure, least=True):
        """(figure, gateway) of the best peer, or None."""
        results = self.data["scenarios"].get(scenario, {}).get("results", {})
        found = [(self.get(scenario, g, figure), g) for g in results if g != OURS]
        found = [f for f in found if f[0] is not None]
        return (min if least else max)(found) if found else None


def not_measured(target, wanted, why):
    return [target, wanted, "-", "-", f"not measured: {why}"]


def verdict(met):
    return "met" if met else "missed"


def for_packets(f, n, port):
    """Words on what testpmd needs for so many packets, each in and out."""
    least = n * f.data["ceilings"].get(port, 0)
    return f", of which {least:.0f} for packets alone" if least else ""


LOADED = {"cost": "at a fixed rate", "cost_full": "saturated"}


def cheaper(f, target, scenario, times, figure, packets=0, port="macswap_af_xdp_us"):
    """Per CPU second at least so many times what the best peer does. @packets: in and out, which @port costs anyway."""
    target, wanted = f"{target}; {LOADED[figure]}", f">= {times:g}x the best peer, per CPU second"
    ours, best = f.get(scenario, OURS, figure), f.best(scenario, figure)
    if not ours or best is None:
        return not_measured(target, wanted, f"{scenario} did not run")
    ratio = best[0] / ours
    return [target, wanted, f"{ratio:.2f}x ({ours:.1f} us{for_packets(f, packets, port)})",
            f"{best[1]} {best[0]:.1f} us", verdict(ratio >= times)]


def floor(f, target, scenario, mutual):
    """New connections beside the public-key operations alone."""
    c, wanted = f.data["ceilings"], ">= 0.6 of the floor of the public-key operations"
    ours = f.get(scenario, OURS, "cost")
    if not ours or "sign_us" not in c:
        return not_measured(target, wanted, f"{scenario} did not run")
    least = c["sign_us"] + 2 * mutual * c["verify_us"] + c["x25519_key_pair_us"] + c["x25519_derive_us"]
    return [target, wanted, f"{least / ours:.2f} ({least:.0f} of {ours:.0f} us)", "-", verdict(least / ours >= 0.6)]


def over_memif(f, target, scenario):
    """The worker's own busy turns beside packets and records alone."""
    c, wanted = f.data["ceilings"], "<= 6x 4 packets by testpmd and 4 records by ipsec-mb"
    ours = f.get(scenario, OURS, "cost")
    if not ours or not c.get("macswap_memif_us") or "seal_1350_ns" not in c:
        return not_measured(target, wanted, f"{scenario} did not run; it needs isthmus-bench")
    least = 4 * c["macswap_memif_us"] + 2 * (c["seal_1350_ns"] + c["open_1350_ns"]) / 1e3
    return [target, wanted, f"{ours / least:.1f}x ({ours:.2f} of {least:.2f} us)", "-", verdict(ours <= 6 * least)]


def bulk_over_memif(f, target, scenario):
    """Bytes a second of busy turns beside one open and one seal for each."""
    c, wanted = f.data["ceilings"], ">= 0.5 of one open and one seal per byte"
    ours = f.get(scenario, OURS, "cost")
    if not ours or "seal_16384_ns" not in c:
        return not_measured(target, wanted, f"{scenario} did not run; it needs isthmus-bench")
    least = (1 << 20) / 16384 * (c["seal_16384_ns"] + c["open_16384_ns"]) / 1e3
    packets = for_packets(f, SEGMENTS_OF_A_MIB, "macswap_memif_1514_us")
    return [target, wanted, f"{least / ours:.2f} ({least:.0f} of {ours:.0f} us{packets})", "-",
            verdict(least / ours >= 0.5)]


def latency(f):
    target, wanted = "latency p99 at half of the slowest peer's rate", "<= 0.5 of the best peer's"
    ours, best = f.get("latency", OURS, "p99"), f.best("latency", "p99")
    if ours is None or best is None:
        return not_measured(target, wanted, "latency did not run")
    return [target, wanted, f"{ours / best[0]:.2f} ({ours:.0f} us)", f"{best[1]} {best[0]:.0f} us",
            verdict(ours <= 0.5 * best[0])]


def idle_connections(f, what, scenario, most):
    target, wanted = f"idle client connection, {what}", f"<= {most} KiB"
    ours, best = f.get(scenario, OURS, "kib"), f.best(scenario, "kib")
    if ours is None:
        return not_measured(target, wanted, f"{scenario} did not run")
    return [target, wanted, f"{ours:.2f} KiB", f"{best[1]} {best[0]:.1f} KiB" if best else "-", verdict(ours <= most)]


def held_steps(f):
    """With how many connections the scenario `million` was measured."""
    results = f.data["scenarios"].get("million", {}).get("results", {}).get(OURS, {}).get("figures", {})
    return sorted(int(n[4:]) for n in results if n.startswith("gib."))


def million(f):
    """With fewer connections the memory is what they would need if each took as much, and the verdict says so."""
    target, wanted = "one million idle TLS connections", "within 6 GiB, p99 <= 1.2x that with 1,000"
    steps = held_steps(f)
    if len(steps) < 2:
        return not_measured(target, wanted, "million did not run; it needs isthmus-bench")

    def get(figure, n):
        return f.get("million", OURS, f"{figure}.{n}")
    few, many = steps[0], steps[-1]
    gib = get("gib", many) + max(0, MILLION - many) * get("each", many) / 2**30
    times, lost = get("p99", many) / get("p99", few), get("lost", few) + get("lost", many)
    upto = "" if many >= MILLION else f" as far as {many:,} connections"
    memory = f"{gib:.2f} GiB" + (f" (a million; {get('gib', many):.2f} measured)" if upto else "")
    met = gib <= 6 and times <= 1.2 and lost == 0
    return [target, wanted, f"{memory}, p99 {times:.2f}x, {lost:.0f} lost", "-", verdict(met) + upto * met]


def growth(f):
    target, wanted = "cost per request from 10 to 100,000 connections", "grows under 1.5x"
    results = f.data["scenarios"].get("growth", {}).get("results", {})
    steps = sorted(int(n[5:]) for n in results.get(OURS, {}).get("figures", {}) if n.startswith("cost."))
    if len(steps) < 2:
        return not_measured(target, wanted, "growth did not run")

    def times(gateway):
        ends = [f.get("growth", gateway, f"cost.{n}") for n in (steps[0], steps[-1])]
        return ends[1] / ends[0] if all(ends) else None
    peers = [(times(g), g) for g in results if g != OURS and times(g)]
    best = "{1} {0:.2f}x".format(*min(peers)) if peers else "-"
    over_veth, far = times(OURS), steps[-1]
    figure, all_in_all = f"{over_veth:.2f}x from {steps[0]:,} to {far:,}", over_veth
    # Kernel gateways need files, of which there are too few for more. Over memif neither end does.
    held = held_steps(f)
    turns = [f.get("million", OURS, f"at{n}.cost_turns") for n in (held[:1] + held[-1:])]
    if len(held) > 1 and all(turns):
        over_memif = turns[1] / turns[0]
        figure += f"; over memif {over_memif:.2f}x from {held[0]:,} to {held[-1]:,}"
        all_in_all, far = over_veth * max(1, over_memif), max(far, held[-1])
    met = all_in_all < 1.5
    upto = "" if far >= 100000 else f" as far as {far:,} connections"
    return [target, wanted, figure, best, verdict(met) + upto * met]


def reload(f):
    target, wanted = "reload of 10,000 virtual hosts and clusters", "< 200 ms, p99 during it <= 1.5x, none lost"
    ms, ratio, lost = (f.get("reload", OURS, n) for n in ("ms", "p99_ratio", "lost"))
    if ms is None:
        return not_measured(target, wanted, "reload did not run")
    best = f.best("reload", "ms")
    return [target, wanted, f"{ms:.0f} ms, p99 {ratio:.1f}x, {lost:.0f} lost",
            f"{best[1]} {best[0]:.0f} ms" if best else "-", verdict(ms < 200 and ratio <= 1.5 and lost == 0)]


def idle(f):
    target, wanted = "idle gateway", "< 2 % of a core"
    ours, best = f.get("idle", OURS, "share"), f.best("idle", "share")
    if ours is None:
        return not_measured(target, wanted, "idle did not run")
    return [target, wanted, f"{100 * ours:.2f} %", f"{best[1]} {100 * best[0]:.2f} %" if best else "-",
            verdict(ours < 0.02)]


def second_worker(f):
    target, wanted = "second worker", "instructions per request within 3 %"
    ratio, one, two = (f.get("second-worker", OURS, n) for n in ("ratio", "instructions", "instructions_2"))
    if ratio is None:
        return not_measured(target, wanted, "second-worker did not run; it needs valgrind")
    return [target, wanted, f"{ratio:.3f}x ({two:,.0f} of {one:,.0f})", "-", verdict(ratio <= 1.03)]


def rows(data):
    f = Figures(data)
    return [
        cheaper(f, "HTTP/1.1 keep-alive, TLS in, mTLS out, 1 KiB", "keepalive-1k", 3, "cost_full", 2),
        cheaper(f, "the same", "keepalive-1k", 3, "cost", 2),
        over_memif(f, "the same over memif", "memif-1k"),
        cheaper(f, "new TLS 1.3 connections", "new-tls", 1.5, "cost_full"),
        cheaper(f, "the same", "new-tls", 1.5, "cost"),
        floor(f, "new TLS 1.3 connections", "new-tls", False),
        cheaper(f, "new mTLS 1.3 connections", "new-mtls", 1.5, "cost"),
        floor(f, "new mTLS 1.3 connections", "new-mtls", True),
        cheaper(f, "bodies of 1 MiB, TLS in, mTLS out", "bulk-download", 3, "cost_full", *MIB),
        cheaper(f, "the same", "bulk-download", 3, "cost", *MIB),
        bulk_over_memif(f, "the same over memif", "memif-bulk"),
        latency(f),
        idle_connections(f, "TLS", "idle-connections", 2.5),
        idle_connections(f, "plain", "idle-plain", 0.5),
        million(f),
        growth(f),
        reload(f),
        idle(f),
        second_worker(f),
    ]
