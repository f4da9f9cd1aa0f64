"""
What clients see, and what the access log says, when something goes wrong: an origin that is dead,
hung, rude or lying, a route that is not there, a client that vanishes, requests that nobody should
send. Afterwards nothing is left in use.
"""
import hashlib
import signal
import socket
import struct
import subprocess
import time

import pytest

import lab as L

GATEWAY, PORT = "10.1.0.2", 80
CONNECT_ERROR = "upstream connect error or disconnect/reset before headers. reset reason: "
HALF = "Content-Length: 1000\r\n\r\nhalf of it"


class Place:
    def __init__(self):
        self.lab = lab = L.Lab()
        self.log = L.AccessLog(lab.tmp / "access.log")
        try:
            lab.origin()
            self.gw = lab.gateway(L.conf(
                L.machine(lab.tmp, "gateway", L.GATEWAY_PORTS),
                access_logs=[L.access_log(self.log.path)],
                clusters=[L.cluster("origin", "10.2.0.1:9000"), L.cluster("refuses", "10.2.0.1:1"),
                          L.cluster("nobody", extra='connect_timeout = "500ms";'),
                          L.cluster("away", "10.2.0.99:80", extra='connect_timeout = "500ms";'),
                          L.cluster("killed", "10.2.0.1:9001")],
                route_configs=[L.routes(
                    "r", 'prefix = "/never"; cluster = "origin"; timeout = "500ms";',
                    'prefix = "/idle"; cluster = "origin"; timeout = "0s"; idle_timeout = "500ms";',
                    'prefix = "/refuses"; cluster = "refuses";', 'prefix = "/nobody"; cluster = "nobody";',
                    'prefix = "/away"; cluster = "away";',
                    'prefix = "/"; cluster = "origin"; timeout = "60s";', domains=["here.example", "10.1.0.2"]),
                    L.routes("killed", 'prefix = "/"; cluster = "killed"; timeout = "0s";')],
                listeners=[L.listener("http", f"{GATEWAY}:{PORT}", L.chain(
                    "r", http='headers_timeout = "4s"; max_header_size = "8KiB"; max_headers = 50;')),
                           L.listener("tcp", f"{GATEWAY}:81", L.tcp_chain("killed")),
                           L.listener("killed", f"{GATEWAY}:82", L.chain("killed"))]))
        except BaseException:
            lab.close()
            raise

    def get(self, path, *args, port=PORT, seconds=15):
        """Status, body and curl's exit code."""
        done = self.lab.curl("-w", "\n%{http_code}", f"http://{GATEWAY}:{port}{path}", *args, seconds=seconds)
        body, _, code = done.stdout.rpartition("\n")
        return int(code), body, done.returncode

    def wait_stream(self):
        """Until a request has come so far that the gateway works on it."""
        L.wait_for("a stream", lambda: self.lab.in_use(self.gw)["use.streams"] == 1)

    def raw(self, data, seconds=10):
        """Sends @data as it is; the answer until the gateway closes."""
        with L.connect(GATEWAY, PORT, seconds=seconds) as s:
            s.sendall(data)
            return L.read_all(s)


@pytest.fixture(scope="module")
def place():
    place = Place()
    yield place
    place.lab.close()


@pytest.fixture(autouse=True)
def everything_comes_home(place):
    yield
    place.lab.wait_home(place.gw)
    assert place.gw.poll() is None, place.lab.log("gateway")[-2000:]
    assert place.get("/still-well")[:2] == (200, "origin\n")
    while place.log.next()["path"] != "/still-well":
        pass


@pytest.mark.parametrize("path, status, body, flags, details", [
    ("/never", 504, "upstream request timeout", "UT", "response_timeout"),
    ("/refuses", 503, CONNECT_ERROR + "remote connection failure, transport failure reason: ", "UF",
     "upstream_reset_before_response_started{remote_connection_failure"),
    ("/away", 503, CONNECT_ERROR, "UF", "upstream_reset_before_response_started{"),
    ("/nobody", 503, "no healthy upstream", "UH", "no_healthy_upstream"),
    ("/close", 503, CONNECT_ERROR + "connection termination", "UC",
     "upstream_reset_before_response_started{connection_termination}"),
    ("/reset", 503, CONNECT_ERROR + "connection termination", "UC",
     "upstream_reset_before_response_started{connection_termination"),
    ("/garbage", 502, CONNECT_ERROR + "protocol error", "UPE",
     "upstream_reset_before_response_started{protocol_error"),
])
def test_a_bad_origin_is_told_to_the_client_and_the_log(place, path, status, body, flags, details):
    got, text, code = place.get(path)
    assert (got, code) == (status, 0)
    assert text.startswith(body)
    line = place.log.next()
    assert (line["code"], line["flags"]) == (str(status), flags)
    assert line["details"].startswith(details)


def test_no_route_is_404(place):
    assert place.get("/", "-H", "Host: elsewhere.example")[0] == 404
    line = place.log.next()
    assert (line["code"], line["flags"], line["details"]) == ("404", "NR", "route_not_found")


def test_a_body_that_is_broken_off_is_broken_off_for_the_client(place):
    assert place.get("/cut")[2] == 18  # curl: partial file
    line = place.log.next()
    assert (line["code"], line["flags"]) == ("200", "UC")


def test_a_stream_on_which_nothing_moves_ends(place):
    s = L.connect(GATEWAY, PORT)
    s.sendall(b"POST /idle HTTP/1.1\r\nHost: here.example\r\n" + HALF.encode())
    assert L.read_all(s).startswith(b"HTTP/1.1 408 ")
    s.close()
    assert place.log.next()["flags"] == "SI"


def listen(port):
    """An origin in the test's own hands."""
    server = L.socket_in(L.MESH)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("10.2.0.1", port))
    server.listen()
    server.settimeout(10)
    return server


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def read_until(s, end):
    data = b""
    while not data.endswith(end):
        part = s.recv(65536)
        assert part, data
        data += part
    return data


@pytest.mark.parametrize("path, status", [("/never", 503), ("/stall", 200)])
def test_an_origin_that_is_killed_under_a_request(place, path, status):
    before = place.lab.log("origin").count(path)
    origin = place.lab.origin(port=9001)
    with L.connect(GATEWAY, 82) as s:
        s.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        if status == 200:
            answer = read_until(s, b"half")
            place.lab.stop(origin, signal.SIGKILL)
            assert L.read_all(s) == b""  # of a thousand bytes: the client sees that they are not all
        else:
            L.wait_for("the request to arrive", lambda: place.lab.log("origin").count(path) > before)
            place.lab.stop(origin, signal.SIGKILL)
            answer = s.recv(65536)
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert place.log.next()["flags"] == "UC"
    with L.connect(GATEWAY, 82) as s:  # and now nobody listens
        s.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert s.recv(65536).startswith(b"HTTP/1.1 503 ")
    assert place.log.next()["flags"] == "UF"


def test_an_origin_that_resets_within_its_answer(place):
    with listen(9001) as server, L.connect(GATEWAY, 82) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        peer, _ = server.accept()
        read_until(peer, b"\r\n\r\n")
        peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf")
        read_until(client, b"half")
        reset(peer)
        assert L.read_all(client) == b""
    line = place.log.next()
    assert (line["code"], line["flags"]) == ("200", "UC")


# What the kernel tells of a process that is killed is not always a RST: what it had written is still delivered. On a
# connection that carried a request before, one that is not answered is tried once more: and then nobody listens, or
# the kernel, which closes one socket after the other, still does, and resets what it has taken.
@pytest.mark.parametrize("path, reused, status, flags, code", [
    ("/never", False, 503, "UC", 0), ("/never", True, 503, "UF UC", 0), ("/bytes/100000000", False, 200, "UC", 18),
    ("/bytes/100000000", True, 200, "UC", 18)])
def test_an_origin_whose_process_is_killed_and_started_again(place, path, reused, status, flags, code):
    origin = place.lab.origin(port=9001)
    if reused:
        assert place.get("/", port=82)[:2] == (200, "origin\n")
        assert place.log.next()["code"] == "200"
    waiting = subprocess.Popen(["ip", "netns", "exec", L.CLIENT, "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}",
                                "--max-time", "30", "--limit-rate", "20M", f"http://{GATEWAY}:82{path}"],
                               stdout=subprocess.PIPE, text=True)
    L.wait_for("the request", lambda: [row for row in place.lab.ctl_json(place.gw, "conns")["connections"]
                                       if row["cluster"] == "killed" and (code == 0 or row["tx"] > 1000000)])
    place.lab.stop(origin, signal.SIGKILL)
    assert (waiting.communicate(timeout=30)[0], waiting.returncode) == (str(status), code)
    line = place.log.next()
    assert line["code"] == str(status) and line["flags"] in flags.split()

    assert place.get("/", port=82)[0] == 503  # nobody listens
    assert place.log.next()["flags"] == "UF"
    origin = place.lab.origin(port=9001)
    assert place.get("/", port=82)[:2] == (200, "origin\n")
    assert place.log.next()["code"] == "200"
    place.lab.stop(origin)


def test_an_origin_that_was_replaced_between_two_requests_is_not_noticed(place):
    origin = place.lab.origin(port=9001)
    assert place.get("/", port=82)[:2] == (200, "origin\n")
    place.lab.stop(origin, signal.SIGKILL)  # under an idle connection of our pool
    origin = place.lab.origin(port=9001)
    assert place.get("/", port=82)[:2] == (200, "origin\n")
    place.lab.stop(origin)
    assert [place.log.next()["code"] for _ in range(2)] == ["200", "200"]


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_vanishes_in_a_download(place, how):
    s = L.connect(GATEWAY, PORT)
    s.sendall(b"GET /bytes/50000000 HTTP/1.1\r\nHost: here.example\r\n\r\n")
    assert s.recv(1000).startswith(b"HTTP/1.1 200 OK")
    reset(s) if how == "reset" else s.close()
    line = place.log.next()
    assert (line["code"], line["flags"]) == ("200", "DC")
    assert line["details"].startswith("downstream_remote_disconnect")


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_vanishes_in_an_upload(place, how):
    s = L.connect(GATEWAY, PORT)
    s.sendall(b"POST /digest HTTP/1.1\r\nHost: here.example\r\n" + HALF.encode())
    place.wait_stream()
    reset(s) if how == "reset" else s.close()
    line = place.log.next()
    assert line["flags"] == "DC"
    assert line["details"].startswith("downstream_remote_disconnect")


def test_a_client_killed_without_a_word_is_found_when_its_packets_are_answered(place):
    file = place.lab.tmp / "never-whole"
    curl = place.lab.start("curl", L.CLIENT, "curl", "-sS", "-N", "-o", file, "--limit-rate", "1M",
                           f"http://{GATEWAY}/bytes/50000000")
    L.wait_for("the download to run", lambda: file.exists() and file.stat().st_size > 0)
    place.lab.stop(curl, signal.SIGKILL)
    assert place.log.next()["flags"] == "DC"


def test_a_client_that_closes_its_half_after_the_request_still_gets_the_answer(place):
    s = L.connect(GATEWAY, PORT)
    s.sendall(b"GET /slow/0.3 HTTP/1.1\r\nHost: here.example\r\n\r\n")
    s.shutdown(socket.SHUT_WR)
    assert L.read_all(s).endswith(b"\r\n\r\nlate")
    s.close()
    line = place.log.next()
    assert (line["code"], line["flags"]) == ("200", "-")


def test_a_client_that_closes_its_half_within_the_request_is_gone(place):
    s = L.connect(GATEWAY, PORT)
    s.sendall(b"POST /digest HTTP/1.1\r\nHost: here.example\r\n" + HALF.encode())
    s.shutdown(socket.SHUT_WR)
    assert L.read_all(s) == b""
    s.close()
    assert place.log.next()["flags"] == "DC"


def test_a_half_close_crosses_a_tcp_proxy_both_ways(place):
    server = listen(9001)
    client = L.connect(GATEWAY, 81)
    client.sendall(b"ping")
    peer, _ = server.accept()
    peer.settimeout(10)
    client.shutdown(socket.SHUT_WR)
    assert L.read_all(peer) == b"ping"  # up to the client's end, which came through
    peer.sendall(b"pong")
    peer.close()
    assert L.read_all(client) == b"pong"
    client.close()
    server.close()
    line = place.log.next()
    assert (line["received"], line["sent"]) == ("4", "4")


def test_one_byte_at_a_time_is_a_request_like_any_other(place):
    request = b"GET / HTTP/1.1\r\nHost: here.example\r\nConnection: close\r\n\r\n"
    s = L.connect(GATEWAY, PORT)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for i in range(len(request)):
        s.sendall(request[i:i + 1])
        time.sleep(0.01)  # what is tested: each byte comes alone
    assert L.read_all(s).endswith(b"origin\n")
    s.close()


def test_a_body_of_one_byte_a_second_arrives(place):
    body = b"slowly"
    with L.connect(GATEWAY, PORT) as s:
        s.sendall(b"POST /digest HTTP/1.1\r\nHost: here.example\r\nContent-Length: %d\r\n\r\n" % len(body))
        for byte in body:
            time.sleep(1)  # what is tested
            s.sendall(bytes([byte]))
        answer = read_until(s, b"}")
    assert hashlib.sha256(body).hexdigest().encode() in answer
    assert place.log.next()["received"] == str(len(body))


def test_a_header_of_one_byte_a_second_runs_out_of_time(place):
    s = L.connect(GATEWAY, PORT)
    began = time.monotonic()
    s.settimeout(1)
    answer = b""
    for byte in b"GET / HTTP/1.1":
        s.sendall(bytes([byte]))
        try:
            answer = s.recv(1000)
            break
        except TimeoutError:
            pass
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert 3 < time.monotonic() - began < 8  # headers_timeout: 4 s
    s.close()


BAD_REQUESTS = {
    "two framings": b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "a length with a sign": b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\nhello",
    "a length with letters": b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5x\r\n\r\nhello",
    "a length too large": b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    "space before the colon": b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length : 5\r\n\r\nhello",
    "a folded field": b"GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n",
    "a NUL in a field": b"GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n",
    "a bare CR in a field": b"GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n",
    "chunked not last": b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunked twice": b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked, nearly": b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked with VT": b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a chunk with a sign": b"POST / HTTP/1.1\r\nHost: here.example\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
    "a chunk size too large": b"POST / HTTP/1.1\r\nHost: here.example\r\nTransfer-Encoding: chunked\r\n\r\n"
                              b"ffffffffffffffffff\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "no request at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n",
    "a space in the target": b"GET /a b HTTP/1.1\r\nHost: h\r\n\r\n",
}


@pytest.mark.parametrize("what", BAD_REQUESTS)
def test_a_malformed_request_is_400_and_the_connection_is_closed(place, what):
    # The second request must not be served: it may be the tail of the first.
    answer = place.raw(BAD_REQUESTS[what] + b"GET /smuggled HTTP/1.1\r\nHost: here.example\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n"), answer
    assert b"connection: close\r\n" in answer.lower()
    assert answer.count(b"HTTP/1.1 ") == 1
    line = place.log.next()
    assert (line["code"], line["flags"]) == ("400", "DPE")


@pytest.mark.parametrize("fields", [
    pytest.param(b"X: " + b"a" * 9000 + b"\r\n", id="too-large"),
    pytest.param(b"".join(b"X-%d: 1\r\n" % i for i in range(60)), id="too-many")])
def test_a_header_beyond_the_limits_is_431(place, fields):
    answer = place.raw(b"GET / HTTP/1.1\r\nHost: here.example\r\n" + fields + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 431 "), answer
    assert place.log.next()["code"] == "431"
