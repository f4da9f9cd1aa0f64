"""
Opens connections and holds them: holder.py ADDRESS PORT HOST NUMBER tls|plain. Says "held NUMBER" when all are there.

One request on each, so that it is a connection that was used: what a browser leaves behind. At most so many
come in a second: a gateway keeps room for as many as were ever awake at once, and that is to be the same for
the first ones and for those that are counted.
"""
import resource
import socket
import ssl
import sys
import time


A_SECOND = 500


def main(address, port, host, number, kind):
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(number) + 100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    request = f"GET /0 HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    held, due = [], time.monotonic()
    while len(held) < int(number):
        time.sleep(max(0.0, due - time.monotonic()))
        due = time.monotonic() + 1 / A_SECOND  # who was late does not catch up
        raw = socket.create_connection((address, int(port)), timeout=20)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or the request waits for an ACK
        s = raw if kind == "plain" else context.wrap_socket(raw, server_hostname=host)
        s.sendall(request)
        assert s.recv(4096).startswith(b"HTTP/1.1 200"), "no answer"
        held.append(s)
    print(f"held {number}", flush=True)
    time.sleep(3600)


main(*sys.argv[1:])
