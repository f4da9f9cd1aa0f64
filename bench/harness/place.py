"""
Where it is measured: three namespaces, two veth pairs, and which core pays for which packet.

    PREFIX-client             PREFIX-gateway               PREFIX-backend
    bc0 10.1.0.1 ---------- bgw0 [gateway] bgw1 ---------- bb0 10.2.0.1   (nginx)
         core 1             10.1.0.2  core 0  10.2.0.2         core 1

What passes is what a wire would carry: packets of at most the MTU, with checksums. AF_XDP has no TSO and
no checksums that somebody else computes, so nobody has; a kernel gateway has GRO, which is software.
With offloads, kernel gateways have these, as with a NIC.
"""
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
PREFIX = os.environ.setdefault("ISTHMUS_NS", "isthmus-bench")
sys.path.insert(0, str(TOP / "tests/system"))
import lab as L  # noqa: E402  (it reads the prefix)

CLIENT, GATEWAY, BACKEND = NAMESPACES = tuple(f"{PREFIX}-{n}" for n in ("client", "gateway", "backend"))
GATEWAY_CORE, OTHER_CORE = 0, 1
COALESCE = 128  # microseconds that packets wait for others: a step of net_dim, which adapts NICs to their load
PRIORITY = -10  # of all that is measured, before whatever else the machine does
CLIENT_SIDE, BACKEND_SIDE = "10.1.0.2", "10.2.0.2"  # the gateway's addresses
BACKEND_ADDRESS = "10.2.0.1"
HOST = "www.example.com"
SERVICE_ID = "spiffe://cluster.local/ns/default/sa/service"
CLIENT_ID = "spiffe://cluster.local/ns/default/sa/client"

# One suite and one group for every program that uses OpenSSL, so that no peer has the choice.
OPENSSL_CONF = """openssl_conf = init
[init]
ssl_conf = ssl
[ssl]
system_default = tls
[tls]
MinProtocol = TLSv1.3
Ciphersuites = TLS_AES_128_GCM_SHA256
Groups = X25519
"""


def cycles_a_second():
    """Of the time stamp counter, which here counts at the nominal frequency."""
    with open("/proc/cpuinfo") as f:
        return 1e6 * float(re.search(r"cpu MHz\s*:\s*(\S+)", f.read()).group(1))


def hugepages():
    """Are there enough for a gateway and isthmus-bench? The report says so; ./run bench takes them."""
    with open("/proc/meminfo") as f:
        return int(re.search(r"HugePages_Free:\s+(\d+)", f.read()).group(1)) >= 450


def come_first():
    """
    This process and all that it starts: on the other core (gateways are sent to theirs), with as many files
    as it may open, and before the neighbours. Where the kernel shares out a core by session (autogroup), the
    session needs the priority.
    """
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = 1 << 20 if most == resource.RLIM_INFINITY else min(most, 1 << 20)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    os.sched_setaffinity(0, {OTHER_CORE})
    os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    group = Path("/proc/self/autogroup")
    if group.exists():
        if os.getpgrp() != os.getpid():
            os.setsid()  # not the shell's
        group.write_text(str(PRIORITY))


def remove_namespaces():
    for ns in NAMESPACES:
        if not Path("/run/netns", ns).exists():
            continue
        for pid in L.sh("ip", "netns", "pids", ns, check=False).stdout.split():
            L.sh("kill", "-KILL", pid, check=False)
        L.wait_for(f"the processes of {ns} to end",
                   lambda ns=ns: not L.sh("ip", "netns", "pids", ns, check=False).stdout.split())
        L.sh("ip", "netns", "del", ns, check=False)


class Place:
    """Namespaces, certificates and processes of one run; close() takes all of it away."""

    def __init__(self):
        self.tmp = Path(tempfile.mkdtemp(prefix="isthmus-bench-"))
        self.memory = Path(tempfile.mkdtemp(prefix="isthmus-bench-", dir="/dev/shm"))  # files that are no disk's
        for d in (self.tmp, self.memory):
            d.chmod(0o755)
        self.procs, self.gateway, self.hugepages = [], None, hugepages()
        self.offloads = False  # of kernel gateways: steer()
        self.threaded, self.coalesce = True, COALESCE  # how the gateway's packets are received: steer()
        remove_namespaces()
        self._certificates()
        (self.tmp / "openssl.cnf").write_text(OPENSSL_CONF)
        self.env = {**os.environ, "OPENSSL_CONF": str(self.tmp / "openssl.cnf")}
        self._network()

    def _certificates(self):
        certs = L.Certs(self.tmp / "certs")
        certs.ca()
        self.edge = certs.issue("edge", dns=[HOST], uri="spiffe://cluster.local/ns/edge/sa/gateway", days=30)
        self.service = certs.issue("service", dns=["service"], uri=SERVICE_ID, days=30)
        self.client = certs.issue("client", uri=CLIENT_ID, days=30)
        for who in (self.edge, self.service, self.client):
            both = (who / "cert-chain.pem").read_text() + (who / "key.pem").read_text()
            (who / "both.pem").write_text(both)  # as HAProxy wants it

    # --- network ---------------------------------------------------------------------------------

    def _network(self):
        for ns in NAMESPACES:
            L.sh("ip", "netns", "add", ns)
            self.ns(ns, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1",
                    "net.ipv4.ip_local_port_range=1024 65535", "net.ipv4.tcp_tw_reuse=1", "net.core.somaxconn=16384",
                    "net.ipv4.tcp_max_syn_backlog=16384")
            self.ns(ns, "ip", "link", "set", "lo", "up")
        self._veth(CLIENT, "bc0", "bgw0")
        self._veth(BACKEND, "bb0", "bgw1")
        self.ns(CLIENT, "ip", "addr", "add", "10.1.0.1/24", "dev", "bc0")
        self.ns(BACKEND, "ip", "addr", "add", f"{BACKEND_ADDRESS}/24", "dev", "bb0")

    def _veth(self, ns, far, near):
        L.sh("ip", "link", "add", far, "netns", ns, "type", "veth", "peer", "name", near, "netns", GATEWAY)
        for where, dev in ((ns, far), (GATEWAY, near)):
            self.ns(where, "ip", "link", "set", dev, "mtu", "1500", "up")
        self.ns(ns, "ethtool", "-K", far, "tx", "off", "gso", "off", "tso", "off", "gro", "off", check=False)
        self._write(ns, f"/sys/class/net/{far}/queues/rx-0/rps_cpus", f"{1 << OTHER_CORE:x}")

    def _write(self, ns, path, text):
        self.ns(ns, "sh", "-c", f"echo {text} > {path}")  # ip netns exec shows the /sys of the namespace

    def ns(self, ns, *args, check=True, **kw):
        return L.sh("ip", "netns", "exec", ns, *args, check=check, **kw)

    def steer(self, kernel):
        """
        The gateway's interfaces for a gateway of the kernel's TCP, or for one that brings its own.

        Receiving is the work of a kernel thread (threaded NAPI, which veth has with GRO or XDP) on the
        gateway's core: RPS would leave GRO, and all that XDP does, to the core of whoever sends. It waits as
        a NIC with its interrupt does (ethtool -C rx-usecs), so long after it found the last packet.
        """
        later = (2, 1000 * self.coalesce) if self.coalesce else (0, 0)
        for dev, address in (("bgw0", CLIENT_SIDE), ("bgw1", BACKEND_SIDE)):
            self.ns(GATEWAY, "ip", "link", "set", dev, "xdp", "off", check=False)
            self.ns(GATEWAY, "ip", "addr", "flush", "dev", dev)
            self.ns(GATEWAY, "ethtool", "-K", dev, "gro", "on" if self.threaded or not kernel else "off")
            if self.threaded or not kernel:
                self._write(GATEWAY, f"/sys/class/net/{dev}/threaded", 1)
            self._write(GATEWAY, f"/sys/class/net/{dev}/queues/rx-0/rps_cpus",
                        f"{0 if self.threaded else 1 << GATEWAY_CORE:x}")
            on = "on" if kernel and self.offloads else "off"
            self.ns(GATEWAY, "ethtool", "-K", dev, "tx", on, "gso", on, "tso", on, check=False)
            self._write(GATEWAY, f"/sys/class/net/{dev}/napi_defer_hard_irqs", later[0])
            self._write(GATEWAY, f"/sys/class/net/{dev}/gro_flush_timeout", later[1])
            if kernel:
                self.ns(GATEWAY, "ip", "addr", "add", f"{address}/24", "dev", dev)
        for ns in (CLIENT, BACKEND):
            self.ns(ns, "ip", "neigh", "flush", "all", check=False)

    def lend(self, ns, dev, near, address):
        """The far interface to a load generator (or server) with its own TCP: it receives on the other core."""
        self.ns(ns, "ip", "addr", "flush", "dev", dev)
        self.receive_by_thread(ns, dev)
        self.ns(GATEWAY, "ethtool", "-K", near, "tx", "off", "gso", "off", "tso", "off", check=False)

    def receive_by_thread(self, ns, dev):
        """Its packets go to a thread of NAPI on the other core, at once, where RPS is work of the core that sent them."""
        self.ns(ns, "ethtool", "-K", dev, "gro", "on")
        self._write(ns, f"/sys/class/net/{dev}/threaded", 1)
        for pid in self.kernel_threads(f"napi/{dev}-"):
            os.sched_setaffinity(pid, {OTHER_CORE})
            os.setpriority(os.PRIO_PROCESS, pid, PRIORITY)

    def take_back(self, ns, dev, near, address):
        """As it was for programs that use the kernel's TCP."""
        self.ns(ns, "ip", "link", "set", dev, "xdp", "off", check=False)
        self._write(ns, f"/sys/class/net/{dev}/threaded", 0)
        self.ns(ns, "ethtool", "-K", dev, "gro", "off")
        self.ns(ns, "ip", "addr", "replace", f"{address}/24", "dev", dev)
        on = "on" if self.offloads and self.gateway.kernel else "off"
        self.ns(GATEWAY, "ethtool", "-K", near, "tx", on, "gso", on, "tso", on, check=False)

    def kernel_threads(self, pattern=rf"(napi/bgw[01]-|ksoftirqd/{GATEWAY_CORE}$)"):
        """Those that do the gateway's receiving: of its interfaces' NAPI, and of its core's soft interrupts."""
        found = []
        for path in Path("/proc").glob("[0-9]*/comm"):
            try:
                if re.match(pattern, path.read_text()):
                    found.append(int(path.parent.name))
            except (FileNotFoundError, ProcessLookupError):
                pass
        return found

    def pin_napi(self):
        """Threads of NAPI are new whenever GRO or XDP is switched on."""
        for pid in self.kernel_threads("napi/bgw[01]-"):
            os.sched_setaffinity(pid, {GATEWAY_CORE})
            os.setpriority(os.PRIO_PROCESS, pid, PRIORITY)

    # --- processes -------------------------------------------------------------------------------

    def start(self, name, ns, core, *args):
        """Starts a program in the namespace, on the core. What it writes is in NAME.log."""
        log = open(self.tmp / f"{name}.log", "ab")
        p = subprocess.Popen(["ip", "netns", "exec", ns, "taskset", "-c", str(core), *map(str, args)],
                             stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env)
        p.name = name
        self.procs.append(p)
        return p

    def log(self, name):
        path = self.tmp / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def stop(self, p, seconds=15):
        if p.poll() is None:
            p.terminate()
            try:
                p.wait(seconds)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        if p in self.procs:
            self.procs.remove(p)

    def wait_port(self, ns, address, port, p):
        def up():
            if p.poll() is not None:
                raise RuntimeError(f"{p.name} ended with {p.returncode}:\n{self.log(p.name)[-3000:]}")
            probe = f"import socket\ns=socket.socket();s.settimeout(1)\nexit(s.connect_ex(('{address}',{port})))"
            return self.ns(ns, L.PYTHON, "-c", probe, check=False).returncode == 0
        L.wait_for(f"{p.name} at {address}:{port}", up, 60, every=0.1)

    def run(self, ns, *args, core=OTHER_CORE, seconds=600, check=True):
        """A program to its end."""
        return self.ns(ns, "taskset", "-c", str(core), *args, env=self.env, timeout=seconds, check=check)

    def close(self):
        for p in reversed(list(self.procs)):
            self.stop(p)
        remove_namespaces()
        for d in (self.tmp, self.memory):
            shutil.rmtree(d, ignore_errors=True)
