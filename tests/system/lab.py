"""
A network to test in: three namespaces joined by veth, certificates, peers, and isthmusd.

    isthmus-client          isthmus-gateway            isthmus-mesh
    c0 10.1.0.1 --------- gw0 [isthmusd] gw1 --------- br0 10.2.0.1  (httpbin, nginx, origin)
                          10.1.0.2   10.2.0.2            |
                                                       sc0 [isthmusd, inbound role] 10.2.0.3

The gateway's two ports are DPDK ports on veth ends. With a bad wire, a fourth namespace stands
between client and gateway and relays frames (tests/lib/badwire).

Everything is made by a Lab and unmade by its close(), also what an earlier run left behind.
"""
import ctypes
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("ISTHMUS_BUILD", TOP / "build"))
PREFIX = os.environ.get("ISTHMUS_NS", "isthmus")  # so that two labs can stand side by side
CLIENT, GATEWAY, MESH, WIRE = (f"{PREFIX}-{n}" for n in ("client", "gateway", "mesh", "wire"))
# badwire's arguments for every lab that does not bring its own: the whole suite can be run over a bad wire.
BAD_WIRE = os.environ["ISTHMUS_BAD_WIRE"].split() if "ISTHMUS_BAD_WIRE" in os.environ else None
NAMESPACES = (CLIENT, GATEWAY, MESH, WIRE)
PYTHON = "/usr/bin/python3"


def sh(*args, check=True, **kw):
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True, **kw)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, args))}: {done.returncode}: {done.stdout}{done.stderr}")
    return done


def wait_for(what, condition, seconds=15.0, every=0.02):
    """Waits until @condition is true; says what it waited for when it gives up."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(every)


def wait_still(what, value, still, seconds):
    """Waits until @value has been the same for @still seconds. (That nothing moves only time can tell.)"""
    last, since, end = value(), time.monotonic(), time.monotonic() + seconds
    while time.monotonic() - since < still:
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.02)
        now = value()
        if now != last:
            last, since = now, time.monotonic()
    return last


def remove_namespaces():
    for ns in NAMESPACES:
        if not Path("/run/netns", ns).exists():
            continue
        pids = sh("ip", "netns", "pids", ns, check=False).stdout.split()
        for pid in pids:
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                pass
        wait_for(f"the processes of {ns} to end", lambda: not sh("ip", "netns", "pids", ns, check=False).stdout.split())
        sh("ip", "netns", "del", ns, check=False)
    shutil.rmtree(f"/etc/netns/{CLIENT}", ignore_errors=True)
    if Path("/etc/netns").is_dir() and not os.listdir("/etc/netns"):
        os.rmdir("/etc/netns")


class Certs:
    """Throw-away CAs that issue Istio-shaped certificates: P-256, one SPIFFE URI SAN."""

    def __init__(self, directory):
        self.dir = Path(directory)
        self.dir.mkdir(parents=True, exist_ok=True)

    def ca(self, name="root"):
        key, cert = self.dir / f"{name}.key", self.dir / f"{name}.pem"
        sh("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
           "-subj", f"/O=cluster.local/CN={name}", "-keyout", key, "-out", cert,
           "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        return cert

    def issue(self, name, uri=None, dns=None, ca="root", days=1, into=None):
        """Writes NAME/{cert-chain,key,root-cert}.pem and returns the directory."""
        to = Path(into) if into else self.dir / name
        to.mkdir(parents=True, exist_ok=True)
        san = ",".join([f"URI:{uri}"] * bool(uri) + [f"DNS:{d}" for d in (dns or [])])
        ext = to / "ext.cnf"
        ext.write_text(f"basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature,keyAgreement\n"
                       f"extendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=critical,{san}\n")
        csr, key, cert = to / "csr.pem", to / "key.pem.new", to / "cert-chain.pem.new"
        sh("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/",
           "-keyout", key, "-out", csr)
        sh("openssl", "x509", "-req", "-in", csr, "-CA", self.dir / f"{ca}.pem", "-CAkey", self.dir / f"{ca}.key",
           "-CAcreateserial", "-days", str(days), "-extfile", ext, "-out", cert)
        shutil.copy(self.dir / f"{ca}.pem", to / "root-cert.pem.new")
        for part in ("key.pem", "cert-chain.pem", "root-cert.pem"):
            os.replace(to / f"{part}.new", to / part)
        return to


def check_wrk(said, least):
    """What wrk says: more than @least requests, and none that failed."""
    assert int(re.search(r"(\d+) requests in", said).group(1)) > least, said
    assert "Socket errors" not in said and "Non-2xx" not in said, said


class Lab:
    def __init__(self, directory=None, bad_wire=None, mtu=1500):
        self.tmp = Path(directory or tempfile.mkdtemp(prefix="isthmus-"))
        self.own_tmp = directory is None
        self.procs = []
        self.bad_wire = BAD_WIRE if bad_wire is None else bad_wire
        self.certs = Certs(self.tmp / "certs")
        remove_namespaces()
        self._network(mtu)

    # --- network ---------------------------------------------------------------------------------

    def _network(self, mtu):
        for ns in (CLIENT, GATEWAY, MESH) + ((WIRE,) if self.bad_wire is not None else ()):
            sh("ip", "netns", "add", ns)
            self.ns(ns, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
            self.ns(ns, "ip", "link", "set", "lo", "up")
        if self.bad_wire is None:
            self._veth(CLIENT, "c0", GATEWAY, "gw0", mtu)
        else:
            self._veth(CLIENT, "c0", WIRE, "w0", mtu)
            self._veth(WIRE, "w1", GATEWAY, "gw0", mtu)
        self._veth(GATEWAY, "gw1", MESH, "m0", mtu)
        self._veth(MESH, "sc0", MESH, "sc0b", mtu)
        self.ns(CLIENT, "ip", "addr", "add", "10.1.0.1/24", "dev", "c0")
        self.ns(MESH, "ip", "link", "add", "br0", "type", "bridge")
        for port in ("m0", "sc0b"):
            self.ns(MESH, "ip", "link", "set", port, "master", "br0")
        self.ns(MESH, "ip", "link", "set", "br0", "up")
        self.ns(MESH, "ip", "addr", "add", "10.2.0.1/24", "dev", "br0")
        for i in range(10, 20):
            self.ns(MESH, "ip", "addr", "add", f"10.2.0.{i}/24", "dev", "br0")
        self._no_offloads(MESH, "br0")
        # sc0 belongs to isthmusd: the kernel behind it stays silent, or it would answer for br0's addresses too.
        self.ns(MESH, "sysctl", "-qw", "net.ipv4.conf.sc0.arp_ignore=8")
        if self.bad_wire is not None:
            self.start("badwire", WIRE, BUILD / "tests/lib/badwire", "w0", "w1", *map(str, self.bad_wire))

    def _veth(self, ns_a, a, ns_b, b, mtu):
        sh("ip", "link", "add", a, "netns", ns_a, "type", "veth", "peer", "name", b, "netns", ns_b)
        for ns, dev in ((ns_a, a), (ns_b, b)):
            self.ns(ns, "ip", "link", "set", dev, "mtu", str(mtu), "up")
            self._no_offloads(ns, dev)

    def _no_offloads(self, ns, dev):
        # AF_PACKET shows a peer's partial checksums as they are: wrong.
        self.ns(ns, "ethtool", "-K", dev, "tx", "off", "rx", "off", "gso", "off", "tso", "off", "gro", "off", check=False)

    def ns(self, ns, *args, check=True, **kw):
        return sh("ip", "netns", "exec", ns, *args, check=check, **kw)

    def hosts(self, names, address="10.1.0.2"):
        """What the client's /etc/hosts says (ip netns exec mounts it over the machine's)."""
        etc = Path("/etc/netns", CLIENT)
        etc.mkdir(parents=True, exist_ok=True)
        (etc / "hosts").write_text("127.0.0.1 localhost\n" + "".join(f"{address} {n}\n" for n in names))

    # --- processes -------------------------------------------------------------------------------

    def start(self, name, ns, *args, env=None):
        log = open(self.tmp / f"{name}.log", "ab")
        p = subprocess.Popen(["ip", "netns", "exec", ns, *map(str, args)], stdin=subprocess.DEVNULL, stdout=log,
                             stderr=subprocess.STDOUT, env={**os.environ, **(env or {})})
        p.name = name
        self.procs.append(p)
        return p

    def log(self, name):
        path = self.tmp / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def stop(self, p, sig=signal.SIGTERM, seconds=20):
        if p.poll() is None:
            p.send_signal(sig)
            try:
                p.wait(seconds)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        if p in self.procs:
            self.procs.remove(p)
        return p.returncode

    def end_wrk(self, p, least):
        """Ends a wrk, for which it was told more than enough time: no request and no connection failed."""
        assert p.poll() is None
        self.stop(p, signal.SIGINT)
        said = self.log("wrk")
        (self.tmp / "wrk.log").unlink()
        check_wrk(said, least)

    def wait_port(self, ns, address, port, seconds=15):
        probe = (f"import socket,sys\ns=socket.socket();s.settimeout(1)\n"
                 f"sys.exit(s.connect_ex(('{address}',{port})))")
        wait_for(f"{address}:{port}", lambda: self.ns(ns, PYTHON, "-c", probe, check=False).returncode == 0, seconds,
                 every=0.1)

    # --- peers -----------------------------------------------------------------------------------

    def httpbin(self, address="10.2.0.1", port=8000):
        p = self.start("httpbin", MESH, PYTHON, "-m", "gunicorn", "-b", f"{address}:{port}", "-k", "gthread",
                       "--threads", "16", "--keep-alive", "120", "httpbin:app")
        self.wait_port(MESH, address, port)
        return p

    def origin(self, address="10.2.0.1", port=9000):
        p = self.start("origin", MESH, PYTHON, TOP / "tests/system/origin.py", address, port)
        self.wait_port(MESH, address, port)
        return p

    def nginx(self, conf, name="nginx"):
        d = self.tmp / name
        d.mkdir(exist_ok=True)
        (d / "nginx.conf").write_text(conf.replace("@DIR@", str(d)))
        return self.start(name, MESH, "nginx", "-p", d, "-c", d / "nginx.conf", "-g", "daemon off;", "-e", "stderr")

    # --- isthmusd --------------------------------------------------------------------------------

    def gateway(self, conf, name="gateway", ns=GATEWAY, level="info"):
        """Starts isthmusd with the text @conf; returns the process once its control socket answers."""
        path = self.tmp / f"{name}.conf"
        path.write_text(conf)
        before = len(self.log(name))
        p = self.start(name, ns, BUILD / "isthmusd", "-c", path, "-l", level)
        p.socket = self.tmp / f"{name}.sock"
        p.conf = path
        p.reload = lambda: os.kill(p.pid, signal.SIGHUP)

        def up():
            if p.poll() is not None:
                raise RuntimeError(f"isthmusd {name} ended with {p.returncode}:\n{self.log(name)[-4000:]}")
            return ": running" in self.log(name)[before:] and p.socket.exists()
        wait_for(f"isthmusd {name}", up, 30)
        return p

    def ctl(self, p, *args, check=True):
        return sh(BUILD / "isthmusctl", "--socket", p.socket, *args, check=check)

    def ctl_json(self, p, *args):
        return json.loads(self.ctl(p, "--json", *args).stdout)

    def stats(self, p):
        """Every number of isthmusd by its flat name."""
        return self.ctl_json(p, "stats")

    def in_use(self, p):
        stats = self.stats(p)
        return {k: int(stats[k]) for k in ("use.sessions", "use.streams")}

    def wait_home(self, p, seconds=10):
        """Waits until no session and no stream is left."""
        wait_for("sessions and streams to come home", lambda: not any(self.in_use(p).values()), seconds, every=0.1)

    def curl(self, *args, check=False, seconds=30):
        return self.ns(CLIENT, "curl", "-sS", "--max-time", str(seconds), *args, check=check)

    def sanitizer_reports(self):
        """What AddressSanitizer or UBSan wrote into a daemon's log (ISTHMUS_BUILD may be a build with them)."""
        logs = {path.name: path.read_text(errors="replace") for path in self.tmp.glob("*.log")}
        return [f"{name}: {text[text.index(word):][:4000]}" for name, text in logs.items()
                for word in ("Sanitizer:", "runtime error:") if word in text]

    def close(self):
        """Ends everything. Every isthmusd that still ran must end by itself, with 0: no leak, no assertion."""
        ended = [(p, self.stop(p)) for p in reversed(list(self.procs))]
        wrong = [f"isthmusd {p.name} ended with {code}:\n{self.log(p.name)[-3000:]}"
                 for p, code in ended if hasattr(p, "socket") and code != 0]
        wrong += self.sanitizer_reports()
        remove_namespaces()
        if self.own_tmp and not wrong:
            shutil.rmtree(self.tmp, ignore_errors=True)
        if wrong:
            raise RuntimeError("\n".join(wrong))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


# The two ports of the gateway, the one of the inbound role, and where clients find the gateway.
GATEWAY_PORTS = (("down", "gw0", "10.1.0.2/24"), ("up", "gw1", "10.2.0.2/24"))
SIDECAR_PORTS = (("sidecar", "sc0", "10.2.0.3/24"),)
HOST = "www.example.com"

LOG_FIELDS = ("RESPONSE_CODE", "RESPONSE_FLAGS", "RESPONSE_CODE_DETAILS", "CONNECTION_TERMINATION_DETAILS",
              "UPSTREAM_TRANSPORT_FAILURE_REASON", "BYTES_RECEIVED", "BYTES_SENT", "UPSTREAM_CLUSTER",
              "REQUESTED_SERVER_NAME", "DOWNSTREAM_REMOTE_ADDRESS", "REQ(:PATH)")


def access_log(path, name="log"):
    return f'{{ name = "{name}"; path = "{path}"; format = "{"~".join(f"%{f}%" for f in LOG_FIELDS)}"; }}'


class AccessLog:
    """An access log of access_log()'s format; next() is its oldest line that was not yet seen."""

    def __init__(self, path):
        self.path, self.at = Path(path), 0

    def next(self, seconds=10):
        lines = wait_for(f"line {self.at + 1} of {self.path.name}", lambda: self._lines()[self.at:], seconds)
        self.at += 1
        return dict(zip(("code", "flags", "details", "termination", "failure", "received", "sent", "cluster", "sni",
                         "client", "path"), lines[0].split("~")))

    def skip(self):
        self.at = len(self._lines())

    def _lines(self):
        return self.path.read_text().splitlines() if self.path.exists() else []


def secret(name, directory):
    """The secret of what Certs.issue() wrote."""
    return (f'{{ name = "{name}"; certificate_chain = "{directory}/cert-chain.pem"; '
            f'private_key = "{directory}/key.pem"; trusted_ca = "{directory}/root-cert.pem"; }}')


def cluster(name, *endpoints, tls="", extra=""):
    ends = ", ".join(f'"{e}"' for e in endpoints)
    return (f'{{ name = "{name}"; endpoints = [ {ends} ]; {f"tls = {{ {tls} }};" if tls else ""} {extra} }}')


def routes(name, *lines, domains=("*",)):
    """One virtual host. @lines: 'prefix = "/"; cluster = "x";' each."""
    names = ", ".join(f'"{d}"' for d in domains)
    return (f'{{ name = "{name}"; virtual_hosts = ( {{ name = "{name}"; domains = [ {names} ]; routes = (\n    '
            + ",\n    ".join(f"{{ {line} }}" for line in lines) + " ); } ); }")


def listener(name, address, *chains):
    return f'{{ name = "{name}"; address = "{address}"; filter_chains = (\n    ' + ",\n    ".join(chains) + " ); }"


def chain(route_config, tls="", match="", http="", log="log"):
    """A filter chain of HTTP."""
    return (f'{{ {match} {f"tls = {{ {tls} }};" if tls else ""} http = {{ route_config = "{route_config}"; '
            f'{f"access_log = {chr(34)}{log}{chr(34)};" if log else ""} {http} }}; }}')


def tcp_chain(cluster_name, match="", log="log", extra=""):
    return f'{{ {match} tcp = {{ cluster = "{cluster_name}"; access_log = "{log}"; {extra} }}; }}'


def conf(head, **lists):
    """A configuration: machine()'s text and the named lists of groups."""
    return head + "".join(f"{name} = (\n  " + ",\n  ".join(groups) + "\n);\n" for name, groups in lists.items())


def sha256(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while part := f.read(1 << 20):
            h.update(part)
    return h.hexdigest()


def resident(p):
    """KiB of a process in memory. `ip netns exec` has become it."""
    with open(f"/proc/{p.pid}/status") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))


def socket_in(ns, kind=socket.SOCK_STREAM):
    """A socket of the namespace @ns; the thread itself comes back."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{ns}") as there:
        if libc.setns(there.fileno(), 0x40000000) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        try:
            return socket.socket(socket.AF_INET, kind)
        finally:
            libc.setns(home.fileno(), 0x40000000)


def connect(address, port, ns=CLIENT, receive_buffer=None, seconds=10):
    s = socket_in(ns)
    if receive_buffer:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    s.settimeout(seconds)
    s.connect((address, port))
    return s


def read_all(s):
    """What a peer sends until it closes."""
    data = b""
    while part := s.recv(65536):
        data += part
    return data


def machine(tmp, name, ports, device="af_packet", workers=1, memory="192MiB", packets=16384, hugepages=True, extra=""):
    """The machine and control groups of a configuration. @ports: (name, interface, address)."""
    lines = ",\n".join(f'    {{ name = "{n}"; device = "{device}"; interface = "{i}"; addresses = [ "{a}" ]; }}'
                       for n, i, a in ports)
    return (f'machine = {{ workers = {workers}; hugepages = {str(hugepages).lower()}; memory = "{memory}"; '
            f'packets = {packets};\n  ports = (\n{lines}\n  );\n{extra}}};\n'
            f'control = {{ socket = "{tmp}/{name}.sock"; drain_time = "5s"; }};\n')
