"""
What the gateway does to header fields on the way: who the client is, by which scheme it came, which
id the request has, and what a client may not say about itself.
"""
import json
import re

import pytest

import lab as L

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


class Place:
    def __init__(self):
        self.lab = lab = L.Lab()
        self.log = L.AccessLog(lab.tmp / "access.log")
        chains = {80: "", 81: "xff_trusted_hops = 1;", 82: "use_remote_address = false;",
                  83: "preserve_request_id = true;", 84: 'server_name = "";'}
        try:
            lab.origin()
            self.gw = lab.gateway(L.conf(
                L.machine(lab.tmp, "gateway", L.GATEWAY_PORTS), access_logs=[L.access_log(self.log.path)],
                clusters=[L.cluster("origin", "10.2.0.1:9000")],
                route_configs=[L.routes("r", 'prefix = "/"; cluster = "origin";')],
                listeners=[L.listener(f"on-{port}", f"10.1.0.2:{port}", L.chain("r", http=http))
                           for port, http in chains.items()]))
        except BaseException:
            lab.close()
            raise

    def seen(self, *args, port=80):
        """The header fields that arrive at the origin, and the access log's record."""
        done = self.lab.curl(f"http://10.1.0.2:{port}/headers", *args)
        return dict(json.loads(done.stdout)), self.log.next()


@pytest.fixture(scope="module")
def place():
    place = Place()
    yield place
    place.lab.close()


def test_the_client_and_its_scheme_are_told(place):
    fields, _ = place.seen()
    assert fields["x-forwarded-for"] == "10.1.0.1"
    assert fields["x-forwarded-proto"] == "http"
    assert re.fullmatch(UUID, fields["x-request-id"])


def test_what_a_client_says_about_itself_is_not_believed(place):
    fields, record = place.seen("-H", "X-Forwarded-For: 192.0.2.9", "-H", "X-Forwarded-Proto: https", "-H",
                                "X-Request-Id: mine", "-H", "X-Envoy-Upstream-Rq-Timeout-Ms: 1", "-H",
                                "X-Forwarded-Client-Cert: URI=spiffe://cluster.local/ns/a/sa/b")
    assert fields["x-forwarded-for"] == "192.0.2.9,10.1.0.1"
    assert fields["x-forwarded-proto"] == "http"
    assert re.fullmatch(UUID, fields["x-request-id"])
    assert not [name for name in fields if name.startswith("x-envoy") or "client-cert" in name]
    assert record["client"].startswith("10.1.0.1:")


@pytest.mark.parametrize("port, sent, client", [
    (81, "192.0.2.1, 192.0.2.9", "192.0.2.9:0"),
    (81, "not an address", "10.1.0.1:"),
    (82, "192.0.2.1,192.0.2.9", "192.0.2.9:0"),
    (82, "192.0.2.1, 192.0.2.9 ", "192.0.2.9:0"),
])
def test_with_a_trusted_proxy_in_front_the_client_is_who_it_says(place, port, sent, client):
    _, record = place.seen("-H", f"X-Forwarded-For: {sent}", port=port)
    assert record["client"].startswith(client)


def test_an_inner_proxy_leaves_the_fields_alone(place):
    fields, _ = place.seen("-H", "X-Forwarded-For: 192.0.2.9", "-H", "X-Forwarded-Proto: https", "-H",
                           "X-Request-Id: mine", port=82)
    assert (fields["x-forwarded-for"], fields["x-forwarded-proto"], fields["x-request-id"]) == (
        "192.0.2.9", "https", "mine")


def test_a_request_id_from_outside_can_be_kept(place):
    assert place.seen("-H", "X-Request-Id: mine", port=83)[0]["x-request-id"] == "mine"
    assert re.fullmatch(UUID, place.seen(port=83)[0]["x-request-id"])


def test_fields_of_one_connection_end_with_it(place):
    fields, _ = place.seen("-H", "Connection: close, X-Hop", "-H", "X-Hop: 1", "-H", "Keep-Alive: 5", "-H", "TE: gzip")
    assert not {"connection", "x-hop", "keep-alive", "te"} & set(fields)


@pytest.mark.parametrize("port, server", [(80, "istio-envoy"), (84, "BaseHTTP")])
def test_the_server_field_is_ours_or_the_origins(place, port, server):
    answer = place.lab.curl("-i", f"http://10.1.0.2:{port}/headers").stdout.lower()
    assert f"server: {server}".lower() in answer
    assert re.search(r"x-envoy-upstream-service-time: \d+\r?\n", answer)
    place.log.next()
