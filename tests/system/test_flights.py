"""
A connection that loses segments: what its counters say, and what the flight recorder has kept of it, against
tshark's opinion of the same.
"""
import re

import pytest

import lab as L
from test_seeing import GATEWAY, MIB, Place, fields

# Only what comes from the gateway overtakes: where a frame and its answer both skip the delay, the round trip is none.
BAD_WIRE = ("--seed", "7", "--loss", "2", "--reorder-ba", "1", "--delay", "10")


@pytest.fixture(scope="module")
def bad():
    place = Place(BAD_WIRE)
    yield place
    place.lab.close()


def slow_download(size):
    """A client in the midst of a download: it reads slowly, so that there is time to look at it."""
    s = L.connect(GATEWAY, 80, receive_buffer=65536)
    s.sendall(f"GET /bytes/{size}?seed=1 HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    return s


def test_both_views_of_a_connection_over_a_bad_wire_agree(bad):
    with slow_download(64 * MIB) as s:
        client = f"10.1.0.1:{s.getsockname()[1]}"

        def resent():
            for _ in range(20):
                s.recv(65536)
            return bad.conns("--verbose", client)[0]["client_tcp"]["perf"]["segs_retrans"] > 3
        L.wait_for("losses", resent, 60)
        row, = bad.conns("--verbose", client)
        perf, app = row["client_tcp"]["perf"], row["client_tcp"]["app"]
        assert row["retransmits"] == perf["segs_retrans"]
        assert perf["octets_retrans"] == perf["data_octets_out"] - row["tx"]
        assert perf["snd_lim_time_snd"] + perf["snd_lim_time_rwin"] + perf["snd_lim_time_cwnd"] == perf["elapsed_micro_secs"]
        assert perf["data_segs_out"] <= perf["segs_out"] and perf["segs_in"] > 10
        assert app["thru_octets_acked"] <= row["tx"]
        assert row["client_tcp"]["path"]["min_rtt"] >= 9500 and row["client_tcp"]["stack"]["active_open"] == 0
        # The other side of the same session, to the origin.
        up = row["upstream_tcp"]
        assert row["upstream"] == "10.2.0.1:9000" and up["stack"]["active_open"] == 1
        assert up["app"]["thru_octets_received"] >= row["tx"] and up["perf"]["segs_retrans"] == 0
        text = bad.text("conns", "--verbose", client)
        assert re.search(rf"^  client_tcp\n    perf: segs_out:\d+ data_segs_out:\d+ ", text, re.M), text
        assert client in text and "segs_retrans:" in text and ":0 " not in text.partition("client_tcp")[2]
    assert bad.conns("--verbose", "10.9.9.9:1") == []


def check_recording(bad, flight):
    """One flight against tshark's opinion of it; how many of what was sent again tshark could judge."""
    file = bad.lab.tmp / "flight.pcapng"
    assert bad.text("flight", flight["flight"], "--pcapng", file) == ""
    packets = fields(file, "tcp.seq_raw", "tcp.len", "tcp.flags.syn", "frame.comment", "ip.src")
    assert len(packets) == flight["segments"]
    ours = [p for p in packets if p[4] == GATEWAY]
    again = [p for p in ours if "sent again" in p[3]]
    assert len(again) == flight["again"]
    assert any("recovery" in p[3] or "loss" in p[3] for p in packets)
    # What was sent again, in the recording and in tshark's opinion. It can know only of those whose first copy it sees.
    first = {(p[0], p[1]) for p in ours if "sent again" not in p[3]}
    seen = [p for p in again if (p[0], p[1]) in first]
    told = fields(file, "tcp.seq_raw", display="tcp.analysis.retransmission || tcp.analysis.fast_retransmission "
                  "|| tcp.analysis.spurious_retransmission || tcp.analysis.out_of_order")
    assert {p[0] for p in seen} <= {t[0] for t in told}
    assert seen or flight["overwritten"] > 0
    assert fields(file, "frame.number", display="ip.checksum.status == 0 || tcp.checksum.status == 0") == []
    assert fields(file, "frame.number", display="_ws.malformed") == []
    return len(seen)


def test_a_download_over_a_bad_wire_leaves_recordings_that_tshark_reads(bad):
    bad.download(4 * MIB)
    kept = [f for f in bad.json("flights", "losses repaired")["flights"] if f["again"] > 0]
    assert kept, bad.text("flights")
    kept.sort(key=lambda f: -f["again"])
    # With much in flight a ring may not reach back to any first copy: then another recording has to tell.
    assert any(check_recording(bad, f) > 0 for f in kept), kept
    flight = kept[0]
    text = bad.text("flight", flight["flight"])
    assert text.count(", again") == flight["again"]
    assert re.search(r"^\d\d:\d\d:\d\d\.\d{6}  +\+0\.\d{6} 10\.1\.0\.2:80 > 10\.1\.0\.1:\d+: Flags \[\.\], seq \d+:\d+, ack ",
                     text, re.M), text
    assert " # " in text and "recovery" in text


def test_a_live_connection_is_found_by_its_address(bad):
    with slow_download(8 * MIB) as s:
        s.recv(65536)
        end = f"10.1.0.1:{s.getsockname()[1]}"
        answer = bad.json("flight", end)
        assert (answer["remote"], answer["why"]) == (end, "live")
        assert any("Flags [P.], seq 1:" in line for line in answer["lines"])
    assert "no recorder holds it" in bad.refused("flight", "10.9.9.9:1")
    assert "that is no flight" in bad.refused("flight", "17")
