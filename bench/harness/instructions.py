"""
What callgrind counts: instructions, the same every time, whatever else the machine does.
"""
import re
import subprocess

# Of bench/micro/workers.c: the workers' turns once all is warm.
TURNS = ("--instr-atstart=no", "--toggle-collect=counted_turn")


def of_run(build, out, program, *args, count=()):
    """All that a program of bench/ executes, or the part of it that is to @count. @out: a file for callgrind."""
    done = subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", *count,
                           build / "bench" / program, *args], text=True, capture_output=True, timeout=300)
    if done.returncode != 0:
        raise RuntimeError(f"{program}: {done.stderr}")
    return int(re.search(r"Collected : (\d+)", done.stderr)[1])


def of_one(build, out, n, program, *args, count=()):
    """Of one operation of @n: what twice as many cost more. "{}" in @args is for how many."""
    once, twice = (of_run(build, out, program, *(a.format(i) for a in args), count=count) for i in (n, 2 * n))
    return (twice - once) / n


def of_request(build, out, workers, requests=512):
    """Of a request, by a gateway of so many workers, each of which has so many requests."""
    total = of_run(build, out, "isthmus-micro-workers", "--requests", str(requests), str(workers), count=TURNS)
    return total / (workers * requests)


def of_bulk(build, out, *args, mibs=8):
    """Of a MiB of large bodies, by a gateway of one worker. Its four connections end theirs together."""
    total = of_run(build, out, "isthmus-micro-workers", "--connections", "4", "--body", str(1 << 20),
                   "--requests", str(mibs), *args, "1", count=TURNS)
    return total / mibs
