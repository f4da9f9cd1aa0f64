"""The service behind the gateway: nginx, with mutual TLS 1.3, on the other core."""
from . import place as P

# Name of a path, and the size of its body. nginx takes no text of a megabyte: from there on they are files.
BODIES = {"/0": 0, "/1k": 1024, "/10k": 10240, "/1m": 1 << 20, "/1g": 1 << 30}
PORT, PORT_H2 = 8443, 8444


def start(place):
    d = place.tmp / "backend"
    (d / "files").mkdir(parents=True, exist_ok=True)
    (d / "files/1m").write_bytes(b"x" * BODIES["/1m"])
    with open(d / "files/1g", "wb") as f:
        f.truncate(BODIES["/1g"])  # nothing is in it, and none of it is on a disk
    (d / "nginx.conf").write_text(_conf(place, d))
    p = place.start("backend", P.BACKEND, P.OTHER_CORE, "nginx", "-p", d, "-c", d / "nginx.conf", "-e", "stderr")
    place.wait_port(P.BACKEND, P.BACKEND_ADDRESS, PORT, p)
    return p


def _conf(place, d):
    service = place.service
    tls = (f"ssl_certificate {service}/cert-chain.pem; ssl_certificate_key {service}/key.pem; "
           f"ssl_client_certificate {service}/root-cert.pem; ssl_verify_client on; ssl_protocols TLSv1.3; "
           "ssl_session_cache off; ssl_session_tickets off;")
    kib = "x" * 1024
    return f"""
daemon off; worker_processes 1; pid {d}/pid; worker_rlimit_nofile 20000;
load_module /usr/lib/nginx/modules/ngx_http_echo_module.so;
events {{ worker_connections 16384; }}
http {{
    access_log off; keepalive_requests 1000000000; keepalive_timeout 1h; tcp_nodelay on;
    client_body_buffer_size 2m; client_max_body_size 2g; client_body_temp_path {place.memory}/body;
    proxy_temp_path {d}/proxy; fastcgi_temp_path {d}/f; uwsgi_temp_path {d}/u; scgi_temp_path {d}/s;
    output_buffers 2 256k; open_file_cache max=10; default_type text/plain;
    server {{
        listen {P.BACKEND_ADDRESS}:{PORT} ssl backlog=16384;
        listen {P.BACKEND_ADDRESS}:{PORT_H2} ssl http2 backlog=16384;
        {tls}
        set $kib {kib};
        location = /0 {{ return 200; }}
        location = /1k {{ return 200 $kib; }}
        location = /10k {{ return 200 {"$kib" * 10}; }}
        location = /1m {{ alias {d}/files/1m; }}
        location = /1g {{ alias {d}/files/1g; }}
        location = /upload {{ echo_read_request_body; echo -n ok; }}
        location / {{ return 200 $kib; }}
    }}
}}
"""
