"""
New TLS connections at a fixed rate, one request each, from one process.

    churn.py ADDRESS PORT HOST CERTIFICATE|- PATH RATE SECONDS LOG full|resume

LOG gets a line for each: when it began (us), the status, how long it took (us), as h2load writes it.
With `resume` each has the session of one that is over, and one that the server did not take has
status 0. The first has none, and is not written down.
"""
import select
import socket
import ssl
import sys
import time


class Connection:
    def __init__(self, context, address, host, request, session=None):
        self.began, self.answer, self.request = time.time(), b"", request
        raw = socket.socket()
        raw.setblocking(False)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.connect_ex(address)
        self.sock, self.context, self.host, self.step = raw, context, host, self.wrap
        self.session = session

    def wrap(self):
        self.sock = self.context.wrap_socket(self.sock, server_hostname=self.host, do_handshake_on_connect=False,
                                             session=self.session)
        self.step = self.shake
        return self.shake()

    def shake(self):
        self.sock.do_handshake()
        self.sock.send(self.request)
        self.step = self.read
        return self.read()

    def read(self):
        while part := self.sock.recv(65536):
            self.answer += part
        return True

    def is_open(self):
        return isinstance(self.sock, ssl.SSLSocket) and self.sock.version() is not None

    def next_session(self):
        """For another connection: a ticket is for one."""
        given = self.sock.session if self.is_open() else None
        return given if given is not None and given.has_ticket else self.session

    def status(self):
        if self.session is not None and not (self.is_open() and self.sock.session_reused):
            return "0"
        words = self.answer[:20].split()
        return words[1].decode() if len(words) > 1 else "0"


def advance(poll, by_fd, conn, log, sessions):
    """One step of a connection; when it is over, it is written down."""
    fd = conn.sock.fileno()
    try:
        over = conn.step()
    except ssl.SSLWantReadError:
        poll.modify(conn.sock.fileno(), select.EPOLLIN)
        return
    except OSError as e:
        print(e, flush=True)
        over = True
    if over:
        del by_fd[fd]
        log.write(f"{conn.began * 1e6:.0f}\t{conn.status()}\t{(time.time() - conn.began) * 1e6:.0f}\n")
        if conn.session is not None:
            sessions.append(conn.next_session())
        conn.sock.close()


def first_session(context, address, host, request):
    """Of a connection that is done with: a ticket comes with the answer."""
    with socket.create_connection(address, timeout=10) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with context.wrap_socket(raw, server_hostname=host) as s:
            s.sendall(request)
            while s.recv(65536):
                pass
            assert s.session.has_ticket, "the server gives no tickets"
            return s.session


def main(address, port, host, certificate, path, rate, seconds, log, how):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if certificate != "-":
        context.load_cert_chain(certificate)
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    address = address, int(port)
    sessions = [first_session(context, address, host, request)] if how == "resume" else [None]
    poll, by_fd, due = select.epoll(), {}, time.monotonic()
    end = due + float(seconds)
    with open(log, "w") as out:
        while by_fd or due < end:
            now = time.monotonic()
            if now >= due and due < end:
                due += 1 / float(rate)
                conn = Connection(context, address, host, request, sessions[-1])
                del sessions[:-1]
                by_fd[conn.sock.fileno()] = conn
                poll.register(conn.sock.fileno(), select.EPOLLOUT)
            for fd, _ in poll.poll(max(0, min(due - time.monotonic(), 0.1)) if due < end else 0.1):
                advance(poll, by_fd, by_fd[fd], out, sessions)
            if now > end + 5:
                break


main(*sys.argv[1:])
