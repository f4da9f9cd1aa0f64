"""
The gateways, each with one worker on the gateway's core, and configured to do the same work:

    443  TLS 1.3 in       444  mutual TLS 1.3 in      445  TLS 1.3 in, bytes on (no HTTP)
    446  as 443, and      447  as 444, with session tickets                   80  plaintext

with mutual TLS 1.3 to the backend, connections kept, no session tickets but where it is said, no access
log, a request ID and x-forwarded-for added. What each one's documentation advises for speed is in its class.
"""
import json
import signal
import subprocess

from . import backend as B
from . import place as P

L = P.L
TLS, MTLS, TCP, TLS_RESUMED, MTLS_RESUMED, PLAIN = 443, 444, 445, 446, 447, 80
HOSTS = 10000  # of a large configuration
PROGRAM = ("meson.build", "config", "dataplane", "drivers", "tls", "bench/load", "bench/micro")
HELD = (TLS, 1443, 2443, 3443)  # where many connections come in: their clients' addresses have ports for each


OWN = ("Pss_Anon:", "Pss_Shmem:")


class Gateway:
    kernel = True  # TCP is the kernel's
    h2 = False     # HTTP/2 to the backend
    reload_signal = signal.SIGHUP

    def __init__(self, place):
        self.place, self.dir = place, place.tmp / self.name
        self.dir.mkdir(exist_ok=True)

    def start(self, hosts=0):
        """@hosts: so many virtual hosts and clusters besides."""
        self.hosts, self.variants, self.place.gateway = hosts, [], self
        self.place.steer(self.kernel)
        self.write()
        self.proc = self.place.start(self.name, P.GATEWAY, P.GATEWAY_CORE, *self.command())
        self.place.pin_napi()
        self.wait_ready()
        self.place.pin_napi()
        return self

    def wait_ready(self):
        self.place.wait_port(P.CLIENT, P.CLIENT_SIDE, TLS, self.proc)

    def busy_turns(self):
        """Seconds that it says it has worked, polling apart; none, where it does not say so."""
        return None

    def stages(self, seconds):
        """Begins to look where its time goes, for less than so long; what is returned waits, and tells shares by stage."""
        return dict

    def stop(self):
        self.place.stop(self.proc)

    def write(self):
        (self.dir / "conf").write_text(self.conf())

    def change(self):
        """Writes a configuration that is a little different, for reload(): two take turns, and are made at the first."""
        if not self.variants:
            before = self.conf()
            self.hosts -= 1
            self.variants = [self.conf(), before]
        (self.dir / "conf").write_text(self.variants[0])
        self.variants.reverse()

    def reload(self):
        """Returns when workers have the new configuration: those of a kernel gateway are new processes."""
        before = set(self.pids())
        self.proc.send_signal(self.reload_signal)
        L.wait_for(f"{self.name} to reload", lambda: set(self.pids()) - before, 30, every=0.005)

    def memory(self):
        """Bytes of everything that its processes hold, hugepages with it."""
        return 1024 * self._rollup(*OWN, "Shared_Hugetlb:", "Private_Hugetlb:")

    def pids(self):
        """Processes of the gateway: `ip netns exec` and taskset have become it."""
        done = L.sh("pgrep", "-P", self.proc.pid, check=False)
        return [self.proc.pid, *map(int, done.stdout.split())]

    def resident(self):
        """KiB, of all its processes together, without what is a file's: that comes and goes as the kernel likes."""
        return self._rollup(*OWN)

    def _rollup(self, *names):
        total = 0
        for pid in self.pids():
            with open(f"/proc/{pid}/smaps_rollup") as f:
                total += sum(int(line.split()[1]) for line in f if line.startswith(names))
        return total


class Nginx(Gateway):
    """No accept mutex, keep-alive pools, no temporary files: as nginx's guide to tuning says."""
    name, title = "nginx", "nginx"

    def version(self):
        return subprocess.run(["nginx", "-v"], capture_output=True, text=True).stderr.split("/")[-1].strip()

    def command(self):
        return "nginx", "-p", self.dir, "-c", self.dir / "conf", "-e", "stderr"

    def tls(self, mutual, tickets=False):
        e = self.place.edge
        check = f"ssl_verify_client on; ssl_client_certificate {e}/root-cert.pem;" if mutual else ""
        return (f"ssl_certificate {e}/cert-chain.pem; ssl_certificate_key {e}/key.pem; ssl_protocols TLSv1.3; "
                f"ssl_session_tickets {'on' if tickets else 'off'}; ssl_session_cache off; {check}")

    def to_backend(self):
        e = self.place.edge
        return (f"proxy_ssl_certificate {e}/cert-chain.pem; proxy_ssl_certificate_key {e}/key.pem; "
                f"proxy_ssl_trusted_certificate {e}/root-cert.pem; proxy_ssl_verify on; proxy_ssl_name service; "
                "proxy_ssl_protocols TLSv1.3; proxy_ssl_session_reuse off;")

    def upstream(self, name):
        return (f"upstream {name} {{ server {P.BACKEND_ADDRESS}:{B.PORT}; keepalive 1024; "
                "keepalive_requests 1000000000; }")

    def plain(self):
        return (f"server {{ listen {P.CLIENT_SIDE}:{PLAIN} backlog=16384; server_name _;\n"
                " location / { proxy_pass https://backend; } }\n")

    def server(self, port, mutual, upstream, tickets=False):
        return (f"server {{ listen {P.CLIENT_SIDE}:{port} ssl backlog=16384; server_name _; "
                f"{self.tls(mutual, tickets)}\n location / {{ proxy_pass https://{upstream}; }} }}\n")

    def many(self):
        """A map and one location for all hosts: a server of its own for each would have its own TLS context."""
        lines = "".join(f"h{i}.example.com c{i};\n" for i in range(self.hosts))
        upstreams = "".join(self.upstream(f"c{i}") + "\n" for i in range(self.hosts))
        return (f"map_hash_max_size 65536; map_hash_bucket_size 128;\n{upstreams}"
                f"map $host $to {{ default backend; {lines} }}")

    def conf(self):
        d = self.dir
        return f"""
daemon off; worker_processes 1; pid {d}/pid; worker_rlimit_nofile 20000;
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
events {{ worker_connections 19000; accept_mutex off; }}
http {{
    access_log off; keepalive_requests 1000000000; keepalive_timeout 1h; tcp_nodelay on; client_max_body_size 2g;
    client_body_temp_path {d}/body; proxy_temp_path {d}/proxy; fastcgi_temp_path {d}/f; uwsgi_temp_path {d}/u;
    scgi_temp_path {d}/s; proxy_max_temp_file_size 0; proxy_request_buffering off;
    proxy_buffers 16 32k; proxy_buffer_size 16k; proxy_busy_buffers_size 64k;
    proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
    proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Request-Id $request_id; {self.to_backend()}
    {self.upstream("backend")}
    {self.many()}
    {self.server(TLS, False, "$to" if self.hosts else "backend")} {self.server(MTLS, True, "backend")}
    {self.server(TLS_RESUMED, False, "backend", True)} {self.server(MTLS_RESUMED, True, "backend", True)}
    {self.plain()}
}}
stream {{
    upstream backend {{ server {P.BACKEND_ADDRESS}:{B.PORT}; }}
    server {{ listen {P.CLIENT_SIDE}:{TCP} ssl backlog=16384; {self.tls(False)}
        proxy_pass backend; proxy_ssl on; proxy_buffer_size 32k; {self.to_backend()} }}
}}
"""


class Haproxy(Gateway):
    """
    One thread, connections shared by all requests (http-reuse always), also where those of clients have most of the
    descriptors (tune.pool-*), no session cache.
    """
    name, title = "haproxy", "HAProxy"

    def version(self):
        return subprocess.run(["haproxy", "-v"], capture_output=True, text=True).stdout.split()[2]

    def command(self):
        return "haproxy", "-W", "-db", "-f", self.dir / "conf"

    def server(self, h2):
        e = self.place.edge
        alpn = " alpn h2" if h2 else ""
        return (f"server s {P.BACKEND_ADDRESS}:{B.PORT_H2 if h2 else B.PORT} ssl crt {e}/both.pem "
                f"ca-file {e}/root-cert.pem verify required sni str(service) no-ssl-reuse pool-max-conn -1{alpn}")

    def bind(self, port, *extra):
        return f"bind {P.CLIENT_SIDE}:{port} backlog 16384 ssl crt {self.place.edge}/both.pem {' '.join(extra)}"

    def many(self):
        return "".join(f"backend c{i}\n  {self.server(self.h2)}\n" for i in range(self.hosts))

    def conf(self):
        http, mutual = "alpn http/1.1", f"verify required ca-file {self.place.edge}/root-cert.pem"
        hosts = self.dir / "hosts.map"
        hosts.write_text("".join(f"h{i}.example.com c{i}\n" for i in range(self.hosts)))
        choose = f"use_backend %[req.hdr(host),lower,map({hosts},b)]" if self.hosts else ""
        return f"""
global
  nbthread 1
  maxconn 9900
  tune.ssl.cachesize 0
  tune.pool-low-fd-ratio 99
  tune.pool-high-fd-ratio 100
  ssl-server-verify required
  hard-stop-after 5s
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout http-keep-alive 1h
  option http-keep-alive
  http-reuse always
  backlog 16384
frontend tls
  {self.bind(TLS, http, "no-tls-tickets")}
  {self.bind(MTLS, http, "no-tls-tickets", mutual)}
  {self.bind(TLS_RESUMED, http)}
  {self.bind(MTLS_RESUMED, http, mutual)}
  bind {P.CLIENT_SIDE}:{PLAIN} backlog 16384
  option forwardfor
  http-request set-header X-Forwarded-Proto https
  http-request set-header X-Request-ID %[uuid()]
  {choose}
  default_backend backend
backend backend
  {self.server(self.h2)}
{self.many()}
listen tcp
  mode tcp
  {self.bind(TCP, "no-tls-tickets")}
  {self.server(h2=False)}
"""

    reload_signal = signal.SIGUSR2

    def reload(self):
        """Its master does not hear what it is told before it says that it is done with this."""
        def done():
            return self.place.log(self.name).count("Loading success")
        before = done()
        super().reload()
        L.wait_for(f"{self.name} to have reloaded", lambda: done() > before, 30, every=0.005)


class HaproxyH2(Haproxy):
    name, title, h2 = "haproxy-h2", "HAProxy, HTTP/2 to its backend", True


class Isthmus(Gateway):
    """af_xdp on the same veth, or memif; the idle setting that is the default."""
    name, title, kernel = "isthmus", "Isthmus", False
    memif = False
    held = 0  # connections that it must have room for, if they are more than usual

    def version(self):
        """The commit that last changed what is measured, or what measures in C: not scripts, tests and texts."""
        def git(*args):
            return L.sh("git", "-C", P.TOP, *args, "--", *PROGRAM, check=False).stdout.strip()
        return (git("log", "-1", "--format=%h") or "?") + ("-dirty" if git("status", "--porcelain") else "")

    def command(self):
        return L.BUILD / "isthmusd", "-c", self.dir / "conf"

    def port(self, name, dev, address):
        device = (f'device = "memif"; memif_server = true; socket = "{self.dir}/{name}.memif";' if self.memif else
                  f'device = "af_xdp"; interface = "{dev}";')
        return f'{{ name = "{name}"; {device} addresses = [ "{address}/24" ]; }}'

    def wait_ready(self):
        if self.memif:  # which the kernel cannot try
            L.wait_for("isthmusd", lambda: self.proc.poll() is not None or (self.dir / "up.memif").exists(), 60)
        else:
            super().wait_ready()

    def stop(self):
        super().stop()
        for socket in self.dir.glob("*.memif"):  # so that the next one is not ready before it is
            socket.unlink()

    def counter(self, name):
        text = self.ctl("--json", "stats", name)
        if not text.startswith("{"):
            return None  # it reads a large configuration, and has no time for us
        return int(json.loads(text)[name])

    def busy_turns(self):
        cycles = self.counter("worker.busy_cycles")
        return None if cycles is None else cycles / P.cycles_a_second()

    def stages(self, seconds):
        looking = self.place.start("perf", P.GATEWAY, P.OTHER_CORE, *self.asking("--json", "perf", max(1, int(seconds) - 1)))

        def found():
            looking.wait(30)
            self.place.procs.remove(looking)
            text = self.place.log("perf")
            (self.place.tmp / "perf.log").unlink()
            rows = json.loads(text)["stages"] if text.startswith("{") else ()
            return {r["stage"]: r["percent"] / 100 for r in rows}
        return found

    def tls(self, mode, tickets=False):
        return (f'tls = {{ mode = "{mode}"; secret = "edge"; min_version = "1.3"; '
                f'session_tickets = {str(tickets).lower()}; }};')

    def cluster(self, name):
        return L.cluster(name, f"{P.BACKEND_ADDRESS}:{B.PORT}", extra="max_connections = 16384; max_pending = 16384;",
                         tls=f'mode = "mutual"; secret = "edge"; min_version = "1.3"; peer_ids = [ "{P.SERVICE_ID}" ];')

    def listener(self, name, port, tls, what):
        return (f'{{ name = "{name}"; address = "{P.CLIENT_SIDE}:{port}"; filter_chains = ( {{ {tls} {what} }} ); }}')

    def virtual_host(self, domain, cluster):
        return (f'{{ name = "{cluster}"; domains = [ "{domain}" ]; '
                f'routes = ( {{ prefix = "/"; cluster = "{cluster}"; }} ); }}')

    def conf(self):
        names = [f"c{i}" for i in range(self.hosts)]
        hosts = [self.virtual_host("*", "backend")] + [self.virtual_host(f"h{n[1:]}.example.com", n) for n in names]
        http = 'http = { route_config = "r"; };'
        tcp = f"tcp = {{ max_connections = {self.held + 1024}; }};" if self.held else ""
        more = [self.listener(f"tls-{p}", p, self.tls("simple"), http) for p in HELD[1:]] if self.held else []
        return f"""
machine = {{ workers = 1; cores = [ {P.GATEWAY_CORE} ]; memory = "512MiB"; packets = 65536;
  hugepages = {str(self.place.hugepages).lower()}; {tcp}
  ports = ( {self.port("down", "bgw0", P.CLIENT_SIDE)}, {self.port("up", "bgw1", P.BACKEND_SIDE)} ); }};
control = {{ socket = "{self.dir}/sock"; drain_time = "1s"; }};
""" + L.conf("", secrets=[L.secret("edge", self.place.edge)], clusters=[self.cluster(n) for n in ["backend"] + names],
             route_configs=[f'{{ name = "r"; virtual_hosts = ( {", ".join(hosts)} ); }}'],
             listeners=[self.listener("tls", TLS, self.tls("simple"), http),
                        self.listener("mtls", MTLS, self.tls("mutual"), http),
                        self.listener("tls-resumed", TLS_RESUMED, self.tls("simple", True), http),
                        self.listener("mtls-resumed", MTLS_RESUMED, self.tls("mutual", True), http),
                        self.listener("plain", PLAIN, "", http),
                        self.listener("tcp", TCP, self.tls("simple"), 'tcp = { cluster = "backend"; };'), *more])

    def asking(self, *args):
        return L.BUILD / "isthmusctl", "--socket", self.dir / "sock", *args

    def ctl(self, *args):
        return L.sh(*self.asking(*args), check=False).stdout

    def reload(self):
        """Until it is published: `isthmusctl reload` does not wait for one that takes long."""
        def published():
            return self.place.log(self.name).count(" is published")
        before = published()
        self.ctl("reload")
        L.wait_for("the new configuration", lambda: published() > before, 120, every=0.005)
