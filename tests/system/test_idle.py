"""
Connections that do nothing: half a KiB each, with their share of the flow table, and a request on
one of them is answered. How fast, beside a thousand of them, is for a quiet machine to say:
ISTHMUS_IDLE=200000 takes that many.
"""
import os

import lab as L

N = int(os.environ.get("ISTHMUS_IDLE", 100000))


def test_an_idle_connection_costs_half_a_kib(capsys):
    done = L.sh(L.BUILD / "bench/isthmus-idle", "--limit", 512, 1000, N, check=False, timeout=300)
    with capsys.disabled():
        print("\n" + done.stdout)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split()[1] == str(N)
