"""
Connections of Linux that do nothing, until one of them, by chance, asks for something.

    idlers.py SOURCE ADDRESS PORT CONNECTIONS

Says "open" when all are; then, for each line "N" on its input, makes N requests, one after the
other, and says how long each took, in microseconds, as JSON.
"""
import json
import random
import resource
import select
import socket
import sys
import time

REQUEST = b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n"
AT_ONCE = 200


def start(source, to):
    s = socket.socket()
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    s.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT: connect() chooses it
    s.bind((source, 0))
    s.setblocking(False)
    try:
        s.connect(to)
    except BlockingIOError:
        pass
    return s


def open_all(source, to, n):
    waiting, done, poll = {}, [], select.epoll()
    while len(done) < n:
        while len(waiting) < AT_ONCE and len(waiting) + len(done) < n:
            s = start(source, to)
            waiting[s.fileno()] = s
            poll.register(s, select.EPOLLOUT)
        for fd, _ in poll.poll():
            s = waiting.pop(fd)
            poll.unregister(s)
            error = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            assert error == 0, error
            s.setblocking(True)
            done.append(s)
    return done


def ask(s):
    start = time.perf_counter_ns()
    s.sendall(REQUEST)
    got = b""
    while not got.endswith(b"well\n"):
        part = s.recv(4096)
        assert part, "the connection ended"
        got += part
    took = time.perf_counter_ns() - start
    assert got.startswith(b"HTTP/1.1 200 "), got
    return took / 1000


def main():
    source, address, port, n = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # 1,024 is what a shell has
    connections = open_all(source, (address, port), n)
    print("open", flush=True)
    for line in sys.stdin:
        print(json.dumps([ask(random.choice(connections)) for _ in range(int(line))]), flush=True)


main()
