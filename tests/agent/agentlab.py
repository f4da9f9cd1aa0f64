"""
Two namespaces and a cable: the agent's interface in one, Linux in the other.

    PREFIX-agent                               PREFIX-peer
    ag0 [isthmus-agent] 10.9.0.2, .3 --------- pe0 10.9.0.1      the kernel's TCP
                                                   10.9.0.64/26  nobody's: segments by script.py

The agent believes that all of 10.9.0.64/26 is behind pe0 (neighbor=...), where the kernel
ignores it, so a test may be anybody there.
"""
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "system"))
from lab import BUILD, PREFIX, sh, wait_for  # noqa: E402

from client import Agent  # noqa: E402

AGENT_NS, PEER_NS = f"{PREFIX}-agent", f"{PREFIX}-peer"
OURS, OURS_2, LINUX, NOBODY = "10.9.0.2", "10.9.0.3", "10.9.0.1", "10.9.0.60"
MAC = "02:00:00:00:09:01"
SCRIPTED = "10.9.0.64/26"


def ns(name, *args, check=True):
    return sh("ip", "netns", "exec", name, *args, check=check)


def within(name, make):
    """What @make returns, made in the namespace @name; the thread itself comes back."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{name}") as there:
        if libc.setns(there.fileno(), 0x40000000) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        try:
            return make()
        finally:
            libc.setns(home.fileno(), 0x40000000)


def linux(*args):
    """A socket of Linux, the peer."""
    s = within(PEER_NS, lambda: socket.socket(*args))
    s.settimeout(10)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return s


def linux_listener(port=0, backlog=16):
    s = linux()
    s.bind((LINUX, port))
    s.listen(backlog)
    return s


class AgentLab:
    def __init__(self):
        self.tmp = Path(tempfile.mkdtemp(prefix="isthmus-agent-"))
        self.agents, self.current = 0, None
        self._remove()
        for name in (AGENT_NS, PEER_NS):
            sh("ip", "netns", "add", name)
            ns(name, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
            ns(name, "ip", "link", "set", "lo", "up")
        sh("ip", "link", "add", "ag0", "netns", AGENT_NS, "type", "veth", "peer", "name", "pe0", "address", MAC, "netns",
           PEER_NS)
        for name, dev in ((AGENT_NS, "ag0"), (PEER_NS, "pe0")):
            ns(name, "ip", "link", "set", dev, "up")
        self.no_offloads()
        ns(PEER_NS, "ip", "addr", "add", f"{LINUX}/24", "dev", "pe0")

    def no_offloads(self):
        """A packet socket shows a peer's partial checksums as they are: wrong."""
        for name, dev in ((AGENT_NS, "ag0"), (PEER_NS, "pe0")):
            ns(name, "ethtool", "-K", dev, "tx", "off", "rx", "off", "gso", "off", "tso", "off", "gro", "off",
               check=False)

    def shared(self, sets):
        """The agent of @sets that ran last, or a new one. There is one at a time: two would answer each other's
        segments."""
        if self.current is None or self.current.sets != sets or self.current.poll() is not None:
            self.current = self.start(*sets)
        return self.current

    def start(self, *sets, device="af_packet", env=None):
        """An agent, ready: its process, with ->agent to talk to it. The shared one ends."""
        if self.current is not None:
            self.stop(self.current)
        self.current = None
        self.agents += 1
        ns(AGENT_NS, "ip", "link", "set", "ag0", "mtu", "1500")  # an agent with mtu=... has set that of the interface
        path = self.tmp / f"{self.agents}.sock"
        log = open(self.tmp / f"{self.agents}.log", "wb")
        args = [BUILD / "tests/agent/isthmus-agent", "--interface", "ag0", "--device", device, "--address", f"{OURS}/24",
                "--address", f"{OURS_2}/24", "--gateway", LINUX, "--socket", path]
        for s in (f"neighbor={SCRIPTED}@{MAC}", *sets):
            args += ["--set", s]
        p = subprocess.Popen(["ip", "netns", "exec", AGENT_NS, *map(str, args)], stdin=subprocess.DEVNULL, stdout=log,
                             stderr=subprocess.STDOUT, env={**os.environ, **(env or {})})
        p.sets = sets
        p.path, p.log, p.agent = path, self.tmp / f"{self.agents}.log", Agent(path)

        def ready():
            if p.poll() is not None:
                raise RuntimeError(f"the agent ended with {p.returncode}: {p.log.read_text()}")
            try:
                p.agent.start(0).abandon()
            except OSError:
                return False
            return True
        wait_for("the agent", ready)
        return p

    def stop(self, p):
        """Ends it; it must end well, and take its socket along. Returns its counters."""
        if p.poll() is None:
            p.send_signal(signal.SIGTERM)
        code = p.wait(20)
        said = p.log.read_text(errors="replace")
        assert code == 0 and "Sanitizer" not in said and "runtime error" not in said, said
        assert not p.path.exists()
        return {line.split()[0]: int(line.split()[1]) for line in said.splitlines()
                if len(line.split()) > 2 and line.split()[1].isdigit()}

    def _remove(self):
        for name in (AGENT_NS, PEER_NS):
            if not Path("/run/netns", name).exists():
                continue
            for pid in sh("ip", "netns", "pids", name, check=False).stdout.split():
                os.kill(int(pid), signal.SIGKILL)
            sh("ip", "netns", "del", name, check=False)

    def close(self):
        if self.current is not None:
            self.stop(self.current)
        self._remove()
        shutil.rmtree(self.tmp, ignore_errors=True)
