"""Plots beside a report, as SVG and PNG: throughput, cost, latency percentiles, growth with connections."""
import statistics

COLOURS = {"nginx": "#4c9f70", "haproxy": "#3b6ea5", "haproxy-h2": "#8fb3d9", "envoy": "#a05195", "envoy-h2": "#d3a4cc",
           "isthmus": "#e4572e"}
IN_A_ROW = 4
PERCENTILES = ("p50", "p90", "p99", "p99.9", "p99.99")


def save(figure, path, name):
    figure.tight_layout()
    for kind in ("svg", "png"):
        figure.savefig(path.with_name(f"{path.stem}-{name}.{kind}"), dpi=120)


def of(results, gateway, figure):
    return results[gateway]["figures"].get(figure, [])


def bars(plt, data, path, figure, name, title):
    """Medians by scenario, with the range as a line."""
    shown = {n: s for n, s in data["scenarios"].items() if s["settings"]["kind"] in ("requests", "churn")
             and any(of(s["results"], g, figure) for g in s["results"])}
    if not shown:
        return
    columns = min(len(shown), IN_A_ROW)
    rows = -(-len(shown) // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(1.5 + 2.8 * columns, 4 * rows), squeeze=False)
    for axis in axes.flat[len(shown):]:
        axis.axis("off")
    for axis, (scenario, s) in zip(axes.flat, shown.items()):
        for i, g in enumerate(g for g in s["results"] if of(s["results"], g, figure)):
            values = of(s["results"], g, figure)
            middle = statistics.median(values)
            axis.bar(i, middle, color=COLOURS.get(g), label=g,
                     yerr=[[middle - min(values)], [max(values) - middle]], capsize=3)
        axis.set_title(scenario, fontsize=9)
        axis.set_xticks([])
    for row in axes:
        row[0].set_ylabel(title)
    axes[0][0].legend(fontsize=7)
    save(fig, path, name)
    plt.close(fig)


def curves(plt, data, path):
    results = data["scenarios"].get("latency", {}).get("results", {})
    fig, axis = plt.subplots(figsize=(7, 4))
    for g in results:
        values = [of(results, g, f"fixed.{p}_us") for p in PERCENTILES]
        if all(values):
            axis.plot(PERCENTILES, [statistics.median(v) for v in values], marker="o", color=COLOURS.get(g), label=g)
    axis.set_yscale("log")
    axis.set_ylabel("microseconds")
    axis.set_title("latency at half of the slowest peer's saturation rate")
    axis.legend(fontsize=8)
    save(fig, path, "latency")
    plt.close(fig)


def growth(plt, data, path):
    results = data["scenarios"].get("growth", {}).get("results", {})
    fig, axis = plt.subplots(figsize=(7, 4))
    for g in results:
        rates = {int(f[2:-5]): statistics.median(v) for f, v in results[g]["figures"].items()
                 if f.startswith("at") and f.endswith(".rate")}
        points = sorted((int(f[5:]), statistics.median(v)) for f, v in results[g]["figures"].items()
                        if f.startswith("cost.") and rates[int(f[5:])] > max(rates.values()) / 2)  # who answers
        if points:
            axis.plot(*zip(*points), marker="o", color=COLOURS.get(g), label=g)
    axis.set_xscale("log")
    axis.set_ylim(bottom=0)
    axis.set_xlabel("connections")
    axis.set_ylabel("CPU microseconds per request")
    axis.legend(fontsize=8)
    save(fig, path, "growth")
    plt.close(fig)


def draw(data, path):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    bars(plt, data, path, "rate", "throughput", "requests a second, core 0 or core 1 full")
    bars(plt, data, path, "cost_full", "cost-saturated", "CPU microseconds per request")
    bars(plt, data, path, "cost", "cost", "CPU microseconds per request")
    for name, picture in (("latency", curves), ("growth", growth)):
        results = data["scenarios"].get(name, {}).get("results", {})
        if any(r["figures"] for r in results.values()):
            picture(plt, data, path)
