"""
What an operation costs, in instructions: 5 % more than what is written down fails.

A clock says little on a machine with neighbours; instructions are the same every time. Each program
of bench/micro runs twice under valgrind's callgrind, with N operations and with twice as many: the
difference is what N cost, without the start and the end. They depend on compiler, libraries and processor,
which are written down, too: with others a figure says nothing, and is skipped with both.

ISTHMUS_COST=write puts what is found here in the place of what is written down: with a change that
costs what it is worth, or after a new compiler. `git diff` then tells the price.
"""
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

BUILD = Path(os.environ.get("ISTHMUS_BUILD", "build")).resolve()
BASELINE = Path(__file__).with_name("instructions.json")
WRITE = os.environ.get("ISTHMUS_COST") == "write"
MORE = 1.05

# Name, what is counted of what program and arguments, operations, what else it is made of than our code.
TLS = ("libssl3", "libipsec-mb1")
CASES = [
    *((name, ("isthmus-micro", "--ops", "{}", name), 2000, ())
      for name in ("pkt", "wheel", "siphash", "route", "h1", "accesslog")),
    ("tcp-1", ("isthmus-micro-tcp", "--rounds", "{}", "1"), 800, ()),
    ("tcp-1000", ("isthmus-micro-tcp", "--rounds", "{}", "1000"), 100, ()),
    ("tcp-1000-software", ("isthmus-micro-tcp", "--software", "--rounds", "{}", "1000"), 100, ()),
    *((name, ("isthmus-micro-tls", "--ops", "{}", name), 10, TLS) for name in ("tls", "mtls")),
    # A gateway's part of a handshake.
    *((name + "-server", ("--toggle-collect=server_part*", "isthmus-micro-tls", "--ops", "{}", name), 10, TLS)
      for name in ("tls", "mtls")),
    *((name, ("isthmus-micro-tls", "--ops", "{}", name), 1000, TLS) for name in ("record-256", "record-1426")),
    ("bulk-64k", ("isthmus-micro-tls", "--ops", "{}", "bulk-64k"), 100, TLS),
]


def version(package):
    return subprocess.run(["dpkg-query", "-W", "-f=${Version}", package], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL).stdout or "none"


def cpu():
    """The C library, OpenSSL and ipsec-mb choose code by what the processor can."""
    with open("/proc/cpuinfo") as f:
        told = dict(re.split(r"\s*:\s*", line.strip(), maxsplit=1) for line in f if ":" in line)
    return " ".join(told[name] for name in ("vendor_id", "cpu family", "model"))


def made_of(packages):
    return {p: version(p) for p in ("gcc-12", "libc6", *packages)} | {"cpu": cpu()}


def instructions(args, n, out):
    flags = [a for a in args if a.startswith("--toggle")]
    args = [a for a in args if a not in flags]
    done = subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", *flags,
                           BUILD / "bench" / args[0], *(a.format(n) for a in args[1:])], text=True, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return int(re.search(r"Collected : (\d+)", done.stderr)[1])


def cost(args, n, tmp):
    """Of one operation."""
    return (instructions(args, 2 * n, tmp / "callgrind.out") - instructions(args, n, tmp / "callgrind.out")) / n


@pytest.fixture(scope="module")
def written():
    found = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    yield found
    if WRITE:
        BASELINE.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


@pytest.mark.parametrize("name, args, n, packages", CASES, ids=[c[0] for c in CASES])
def test_an_operation_costs_no_more_instructions_than_before(written, tmp_path, name, args, n, packages):
    now = made_of(packages)
    if not WRITE and written[name]["with"] != now:
        pytest.skip(f"written down with {written[name]['with']}, here are {now}: ISTHMUS_COST=write renews it")
    found = cost(args, n, tmp_path)
    if WRITE:
        written[name] = {"instructions": round(found), "with": now}
    before = written[name]["instructions"]
    assert found <= before * MORE, f"{found:.0f} instructions, {before} before"
