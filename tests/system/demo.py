"""
./run demo: a request crosses the gateway, in ten lines that say what was tried, expected and seen.

    curl --- HTTPS ---> isthmusd on DPDK --- mTLS ---> isthmusd, inbound role ---> httpbin
                                         --- mTLS ---> nginx
                                         --- plain --> httpbin (excluded from mTLS), and plain TCP

Keeps running until Ctrl-C; with --once it ends, 0 if every line came out as expected.
"""
import json
import re
import signal
import sys

import lab
from lab import CLIENT, MESH, Lab, machine

TRUST = "spiffe://cluster.local"
GATEWAY_ID = f"{TRUST}/ns/istio-system/sa/isthmus-gateway"
HTTPBIN_ID = f"{TRUST}/ns/httpbin/sa/httpbin"
NGINX_ID = f"{TRUST}/ns/web/sa/nginx"

GATEWAY_CONF = """
access_logs = ( { name = "log"; path = "@TMP@/access.log"; } );

secrets = (
  { name = "public"; certificate_chain = "@CERTS@/public/cert-chain.pem"; private_key = "@CERTS@/public/key.pem"; },
  { name = "mesh"; certificate_chain = "@CERTS@/gateway/cert-chain.pem"; private_key = "@CERTS@/gateway/key.pem";
    trusted_ca = "@CERTS@/gateway/root-cert.pem"; }
);

clusters = (
  { name = "outbound|8000||httpbin.httpbin.svc.cluster.local"; endpoints = [ "10.2.0.3:15006" ];
    tls = { mode = "mutual"; secret = "mesh"; alpn = [ "istio" ];
            sni = "outbound_.8000_._.httpbin.httpbin.svc.cluster.local"; peer_ids = [ "@HTTPBIN_ID@" ]; }; },
  { name = "outbound|443||nginx.web.svc.cluster.local"; endpoints = [ "10.2.0.10:443" ];
    tls = { mode = "mutual"; secret = "mesh"; peer_ids = [ "@NGINX_ID@" ]; }; },
  { name = "outbound|443||impostor.web.svc.cluster.local"; endpoints = [ "10.2.0.10:443" ];
    tls = { mode = "mutual"; secret = "mesh"; peer_ids = [ "spiffe://cluster.local/ns/web/sa/somebody-else" ]; }; },
  { name = "outbound|8000||legacy.httpbin.svc.cluster.local"; endpoints = [ "10.2.0.1:8000" ]; }
);

route_configs = ( { name = "public"; virtual_hosts = (
  { name = "httpbin"; domains = [ "www.example.com" ]; routes = (
    { name = "@ROUTE@"; prefix = "/"; cluster = "outbound|8000||httpbin.httpbin.svc.cluster.local"; } ); },
  { name = "legacy"; domains = [ "disable-automtls.example.com" ]; routes = (
    { name = "default"; prefix = "/"; cluster = "outbound|8000||legacy.httpbin.svc.cluster.local"; } ); },
  { name = "nginx"; domains = [ "nginx.example.com" ]; routes = (
    { name = "default"; prefix = "/"; cluster = "outbound|443||nginx.web.svc.cluster.local"; } ); },
  { name = "impostor"; domains = [ "impostor.example.com" ]; routes = (
    { name = "default"; prefix = "/"; cluster = "outbound|443||impostor.web.svc.cluster.local"; } ); }
); } );

listeners = (
  { name = "https"; address = "10.1.0.2:443"; filter_chains = (
    { name = "public"; server_names = [ "*.example.com" ];
      tls = { mode = "simple"; secret = "public"; alpn = [ "http/1.1" ]; };
      http = { route_config = "public"; access_log = "log"; }; } ); },
  { name = "partners"; address = "10.1.0.2:8443"; filter_chains = (
    { name = "partners"; tls = { mode = "mutual"; secret = "mesh"; alpn = [ "http/1.1" ];
                                 peer_ids = [ "spiffe://cluster.local/ns/partners/*" ]; };
      http = { route_config = "public"; access_log = "log"; forward_client_cert = "sanitize_set";
               set_subject = true; set_uri = true; }; } ); },
  { name = "tcp"; address = "10.1.0.2:8000"; filter_chains = (
    { name = "tcp"; tcp = { cluster = "outbound|8000||legacy.httpbin.svc.cluster.local"; access_log = "log"; }; } ); }
);
"""

SIDECAR_CONF = """
secrets = ( { name = "httpbin"; certificate_chain = "@CERTS@/httpbin/cert-chain.pem";
              private_key = "@CERTS@/httpbin/key.pem"; trusted_ca = "@CERTS@/httpbin/root-cert.pem"; } );
clusters = ( { name = "inbound|8000||"; endpoints = [ "10.2.0.1:8000" ]; } );
route_configs = ( { name = "inbound"; virtual_hosts = ( { name = "inbound|http|8000"; domains = [ "*" ]; routes = (
  { name = "default"; prefix = "/"; cluster = "inbound|8000||"; } ); } ); } );
listeners = ( { name = "virtualInbound"; address = "10.2.0.3:15006"; filter_chains = (
  { name = "strict"; tls = { mode = "mutual"; secret = "httpbin"; alpn = [ "istio", "http/1.1" ]; };
    http = { route_config = "inbound"; use_remote_address = false; forward_client_cert = "append_forward";
             set_subject = true; set_uri = true; }; } ); } );
"""

NGINX_CONF = """
worker_processes 1; error_log stderr; pid @DIR@/pid;
events { worker_connections 1024; }
http {
  access_log off; client_body_temp_path @DIR@/body; proxy_temp_path @DIR@/proxy;
  fastcgi_temp_path @DIR@/f; uwsgi_temp_path @DIR@/u; scgi_temp_path @DIR@/s;
  server {
    listen 10.2.0.10:443 ssl; ssl_certificate @DIR@/../certs/nginx/cert-chain.pem;
    ssl_certificate_key @DIR@/../certs/nginx/key.pem;
    ssl_client_certificate @DIR@/../certs/nginx/root-cert.pem; ssl_verify_client on;
    location / { return 200 "nginx saw client certificate: $ssl_client_verify\\n"; }
  }
}
"""


class Demo:
    def __init__(self, lab_):
        self.lab = lab_
        self.rows = []

    def fill(self, text, **more):
        words = {"TMP": self.lab.tmp, "CERTS": self.lab.certs.dir, "HTTPBIN_ID": HTTPBIN_ID, "NGINX_ID": NGINX_ID,
                 "ROUTE": "default", **more}
        return re.sub(r"@(\w+)@", lambda m: str(words[m[1]]), text)

    def issue(self):
        c = self.lab.certs
        c.ca()
        c.ca("other")
        c.issue("public", dns=["*.example.com"])
        c.issue("gateway", uri=GATEWAY_ID)
        c.issue("httpbin", uri=HTTPBIN_ID)
        c.issue("nginx", uri=NGINX_ID)
        c.issue("partner", uri=f"{TRUST}/ns/partners/sa/acme")
        c.issue("stranger", uri=f"{TRUST}/ns/partners/sa/acme", ca="other")

    def gateway_conf(self, device, **more):
        ports = [("client", "gw0", "10.1.0.2/24"), ("mesh", "gw1", "10.2.0.2/24")]
        return machine(self.lab.tmp, "gateway", ports, device=device) + self.fill(GATEWAY_CONF, **more)

    def start(self):
        """AF_XDP where the kernel allows it, AF_PACKET otherwise. Returns which."""
        self.issue()
        self.lab.hosts(["nginx.example.com"])
        self.lab.httpbin()
        self.lab.nginx(NGINX_CONF)
        ports = [("mesh", "sc0", "10.2.0.3/24")]
        self.lab.gateway(machine(self.lab.tmp, "sidecar", ports) + self.fill(SIDECAR_CONF), "sidecar", MESH)
        for self.device in ("af_xdp", "af_packet"):
            try:
                self.process = self.lab.gateway(self.gateway_conf(self.device))
                return self.device
            except (RuntimeError, TimeoutError) as why:
                if self.device == "af_packet":
                    raise
                print(f"AF_XDP does not start here, AF_PACKET instead: {str(why).splitlines()[-1][:160]}")
                for p in [p for p in self.lab.procs if p.name == "gateway"]:
                    self.lab.stop(p)
                (self.lab.tmp / "gateway.log").unlink(missing_ok=True)

    # --- the lines -------------------------------------------------------------------------------

    def line(self, tried, expected, seen, ok):
        self.rows.append(ok)
        print(f"{'ok  ' if ok else 'FAIL'} | {tried:<58} | {expected:<44} | {seen}", flush=True)

    def https(self, host, path="/headers", *args, port=443):
        return self.lab.curl("--cacert", self.lab.certs.dir / "root.pem", "--resolve", f"{host}:{port}:10.1.0.2",
                             "-w", "\n%{http_code}", *args, f"https://{host}:{port}{path}")

    def show_mtls(self):
        out = self.https("www.example.com").stdout
        headers = json.loads(out[:-4])["headers"] if out.endswith("200") else {}
        seen = headers.get("X-Forwarded-Client-Cert", "no XFCC")
        shape = f'By={HTTPBIN_ID};Hash=[0-9a-f]{{64}};Subject="";URI={GATEWAY_ID}'
        self.line("HTTPS to httpbin, STRICT mTLS (isthmusd inbound)", "200, XFCC with the gateway's identity",
                  f"{out[-3:]}, {re.sub('Hash=[0-9a-f]{56}', 'Hash=..', seen)}",
                  out.endswith("200") and re.fullmatch(shape, seen) is not None)
        out = self.https("nginx.example.com", "/").stdout
        self.line("HTTPS to nginx that demands a client certificate", "200, nginx saw it: SUCCESS",
                  out.replace("\n", " "), out == "nginx saw client certificate: SUCCESS\n\n200")

    def show_plain(self):
        out = self.https("disable-automtls.example.com").stdout
        self.line("HTTPS to a service excluded from mTLS", "200, no XFCC",
                  f"{out[-3:]}, {'XFCC' if 'Forwarded-Client' in out else 'no XFCC'}",
                  out.endswith("200") and "Forwarded-Client" not in out)
        out = self.lab.curl("-w", "\n%{http_code}", "http://10.1.0.2:8000/get").stdout
        self.line("plain TCP through the gateway (HTTP inside)", "200", out[-3:], out.endswith("200"))

    def show_clients(self):
        c = self.lab.certs.dir
        for who, expected, ok in (("partner", "200", lambda r: r.stdout.endswith("200")),
                                  ("stranger", "handshake refused", lambda r: r.returncode in (35, 52, 56))):
            r = self.lab.curl("-k", "--cert", c / who / "cert-chain.pem", "--key", c / who / "key.pem", "--resolve",
                              "www.example.com:8443:10.1.0.2", "-w", "\n%{http_code}",
                              "https://www.example.com:8443/get")
            ca = "our CA" if who == "partner" else "another CA"
            self.line(f"client certificate of {ca}, on the mTLS listener", expected,
                      r.stdout[-3:] if r.returncode == 0 else f"curl: {r.stderr.strip()[:80]}", ok(r))

    def show_impostor(self):
        out = self.https("impostor.example.com", "/").stdout
        self.line("mesh service with the wrong SPIFFE identity", "503, and the reason",
                  f"{out[-3:]}, {out[:-4].split('reason: ')[-1][:110]}",
                  out.endswith("503") and NGINX_ID in out and "TLS" in out)

    def serial(self):
        r = self.lab.ns(CLIENT, "sh", "-c", "openssl s_client -connect 10.1.0.2:443 -servername www.example.com "
                        "</dev/null 2>/dev/null | openssl x509 -noout -serial")
        return r.stdout.strip()

    def show_rotation(self):
        before = self.serial()
        slow = self.lab.start("slow", CLIENT, "curl", "-sS", "--cacert", self.lab.certs.dir / "root.pem", "--resolve",
                              "www.example.com:443:10.1.0.2", "--limit-rate", "20k", "-N",
                              "https://www.example.com/bytes/60000", "-o", self.lab.tmp / "slow.out")
        out = self.lab.tmp / "slow.out"
        lab.wait_for("the download to run", lambda: out.exists() and out.stat().st_size > 0)
        self.lab.certs.issue("public", dns=["*.example.com"])
        try:
            lab.wait_for("the new certificate", lambda: self.serial() != before, 10, every=0.1)
            seen = "new serial"
        except TimeoutError:
            seen = "old serial"
        code = slow.wait(30)
        size = out.stat().st_size
        self.line("certificate replaced on disk, while a download runs", "new serial, download whole",
                  f"{seen}, curl {code}, {size} bytes", seen == "new serial" and code == 0 and size == 60000)

    def published(self):
        return self.lab.log("gateway").count("is published")

    def show_reload(self):
        load = self.lab.start("wrk", CLIENT, "wrk", "-t1", "-c16", "-d5", "https://nginx.example.com/")
        lab.wait_for("load", lambda: self.lab.in_use(self.process)["use.sessions"] >= 16)
        for i in range(20):
            before = self.published()
            self.process.conf.write_text(self.gateway_conf(self.device, ROUTE=f"version-{i}"))
            self.process.reload()
            lab.wait_for(f"reload {i}", lambda: self.published() > before)
        load.wait(30)
        out = self.lab.log("wrk")
        n = re.search(r"(\d+) requests in", out)
        bad = re.search(r"(Socket errors.*|Non-2xx.*)", out)
        versions = self.published()
        self.line("20 reloads under load (wrk, TLS)", "no failed request",
                  f"{n[1] if n else 0} requests, {bad[1] if bad else 'none failed'}, {versions} published",
                  n is not None and int(n[1]) > 0 and bad is None and versions >= 20)

    def show_all(self):
        print(f"{'':4} | {'tried':<58} | {'expected':<44} | seen")
        self.show_mtls()
        self.show_plain()
        self.show_clients()
        self.show_impostor()
        self.show_rotation()
        self.show_reload()
        return all(self.rows)


def main():
    once = "--once" in sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with Lab() as where:
        demo = Demo(where)
        try:
            device = demo.start()
            print(f"the gateway's ports are {device} on veth; everything lies in {where.tmp}\n")
            good = demo.show_all()
            if not good:
                print(where.log("gateway")[-3000:])
            if not once:
                print(f"""
running until Ctrl-C; to try it yourself, from namespace {CLIENT}:
  ip netns exec {CLIENT} curl --cacert {where.certs.dir}/root.pem --resolve www.example.com:443:10.1.0.2 \\
      https://www.example.com/headers
  {lab.BUILD}/isthmusctl --socket {demo.process.socket} conns""")
                signal.pause()
        except KeyboardInterrupt:
            pass
    return 0 if all(demo.rows) and demo.rows else 1


if __name__ == "__main__":
    sys.exit(main())
