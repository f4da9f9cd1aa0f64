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
import platform
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
from harness import instructions  # noqa: E402

BUILD = Path(os.environ.get("ISTHMUS_BUILD", "build")).resolve()
BASELINE = Path(__file__).with_name("instructions.json")
WRITE = os.environ.get("ISTHMUS_COST") == "write"
MORE = 1.05
MORE_OF_TWO = 1.03  # by each worker, where there are two

# Name, program and arguments, operations, what else it is made of than our code, what of it is counted.
TLS = ("libssl3", "libipsec-mb1")
SERVER = ("--toggle-collect=server_part*",)  # a gateway's part of a handshake
CASES = [
    *((name, ("isthmus-micro", "--ops", "{}", name), 2000, (), ())
      for name in ("pkt", "wheel", "siphash", "route", "h1", "accesslog")),
    ("tcp-1", ("isthmus-micro-tcp", "--rounds", "{}", "1"), 800, (), ()),
    ("tcp-1000", ("isthmus-micro-tcp", "--rounds", "{}", "1000"), 100, (), ()),
    ("tcp-1000-software", ("isthmus-micro-tcp", "--software", "--rounds", "{}", "1000"), 100, (), ()),
    *((name, ("isthmus-micro-tls", "--ops", "{}", name), 10, TLS, ()) for name in ("tls", "mtls")),
    *((name + "-server", ("isthmus-micro-tls", "--ops", "{}", name), 10, TLS, SERVER)
      for name in ("tls", "mtls", "tls-ticket", "mtls-ticket", "tls-resumed", "mtls-resumed")),
    *((name, ("isthmus-micro-tls", "--ops", "{}", name), 1000, TLS, ()) for name in ("record-256", "record-1426")),
    ("bulk-64k", ("isthmus-micro-tls", "--ops", "{}", "bulk-64k"), 100, TLS, ()),
]


def version(package):
    return subprocess.run(["dpkg-query", "-W", "-f=${Version}", package], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL).stdout or "none"


def cpu():
    """The C library, OpenSSL and ipsec-mb choose code by what the processor can: under valgrind no more than v3."""
    with open("/proc/cpuinfo") as f:
        flags = next((line.split() for line in f if line.startswith("flags")), [])
    return "x86-64-v3" if {"avx2", "bmi2", "fma", "movbe"} <= set(flags) else platform.machine()


def made_of(packages):
    return {p: version(p) for p in ("gcc-12", "libc6", *packages)} | {"cpu": cpu()}


@pytest.fixture(scope="module")
def written():
    found = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    yield found
    if WRITE:
        BASELINE.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


def compare(written, name, packages, count):
    """What @count() says, with what is written down."""
    now = made_of(packages)
    if not WRITE and written[name]["with"] != now:
        pytest.skip(f"written down with {written[name]['with']}, here are {now}: ISTHMUS_COST=write renews it")
    found = count()
    if WRITE:
        written[name] = {"instructions": round(found), "with": now}
    before = written[name]["instructions"]
    assert found <= before * MORE, f"{found:.0f} instructions, {before} before"


@pytest.mark.parametrize("name, args, n, packages, count", CASES, ids=[c[0] for c in CASES])
def test_an_operation_costs_no_more_instructions_than_before(written, tmp_path, name, args, n, packages, count):
    compare(written, name, packages,
            lambda: instructions.of_one(BUILD, tmp_path / "callgrind.out", n, *args, count=count))


@pytest.fixture(scope="module")
def requests(tmp_path_factory):
    """What one costs a worker alone, and each of two."""
    out = tmp_path_factory.mktemp("requests") / "callgrind.out"
    return [instructions.of_request(BUILD, out, workers) for workers in (1, 2)]


def test_a_request_costs_no_more_instructions_than_before(written, requests):
    compare(written, "request", TLS, lambda: requests[0])


@pytest.mark.parametrize("name, args", [("bulk", ()), ("bulk-upload", ("--upload",))])
def test_a_mib_costs_no_more_instructions_than_before(written, tmp_path, name, args):
    compare(written, name, TLS, lambda: instructions.of_bulk(BUILD, tmp_path / "callgrind.out", *args))


def test_a_request_costs_a_second_worker_no_more(requests):
    """Both are counted here and now, so that nothing that is written down matters."""
    one, two = requests
    assert two <= one * MORE_OF_TWO, f"{two:.0f} instructions of one of two workers, {one:.0f} of one alone"
