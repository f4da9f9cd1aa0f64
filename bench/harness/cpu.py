"""What a core has been busy with, by the kernel's own accounts."""
import os
import time
from pathlib import Path

COLUMNS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
TICK = os.sysconf("SC_CLK_TCK")


class Core:
    """The times of one core, in seconds. Idle time is exact where the kernel has NO_HZ; the rest is sampled."""

    def __init__(self, number):
        self.at = time.monotonic()
        with open("/proc/stat") as f:
            line = next(line for line in f if line.startswith(f"cpu{number} "))
        self.times = dict(zip(COLUMNS, (int(v) / TICK for v in line.split()[1:9])))


class Window:
    """Measures a core from start() to stop()."""

    def __init__(self, number):
        self.number = number

    def start(self):
        self.first = Core(self.number)
        return self

    def stop(self):
        last = Core(self.number)
        self.seconds = last.at - self.first.at
        self.parts = {c: last.times[c] - self.first.times[c] for c in COLUMNS}
        free = self.parts["idle"] + self.parts["iowait"] + self.parts["steal"]
        self.busy = max(0.0, self.seconds - free)
        return self

    def share(self):
        return self.busy / self.seconds

    def as_dict(self):
        return {"seconds": round(self.seconds, 3), "busy": round(self.busy, 3),
                "parts": {k: round(v, 3) for k, v in self.parts.items()}}


def run_time(pid):
    """Seconds that the threads of a process have run, to the nanosecond."""
    total = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            total += int(path.read_text().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            pass  # ended
    return total / 1e9


class Tasks:
    """What given processes have run since then: without the interrupts, but also without the neighbours."""

    def __init__(self, pids):
        self.first = {pid: run_time(pid) for pid in pids}

    def seconds(self):
        return sum(max(0.0, run_time(pid) - first) for pid, first in self.first.items())


def over(number, seconds):
    """A core's window of so many seconds from now."""
    w = Window(number).start()
    time.sleep(seconds)
    return w.stop()
