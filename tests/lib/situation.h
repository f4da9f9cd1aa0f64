/*
 * situation.h - a conversation with one connection of ours, as text
 *
 * A situation is what a TCP engineer would draw on a board: segments both ways, times, and what
 * must be true in between. It runs on tests/lib/peer.h: our stack, a virtual clock, and a peer that
 * says only what is written.
 *
 *   situation the third block brings the hole back     # RFC 6675, 5
 *     set cc reno
 *     peer sack
 *     accept
 *     send 5000
 *     > 1:1001 .. 4001:5001
 *     +100ms < ack 1 sack 1001:2001
 *     < ack 1 sack 1001:3001
 *     < ack 1 sack 1001:4001
 *     > 1:1001
 *     expect state recovery, lost 1
 *
 * Every situation names the section that it is about. All numbers count from the SYNs: each side's
 * first byte is number 1. Nothing may be sent that is not written: before a step that lets time
 * pass or makes something happen, all that has left must have been named.
 *
 * Before the handshake
 *   set NAME VALUE ...   of struct tcp_conf: cc reno, ecn on, sack off, rto_min 200ms, recv_buf N ...
 *   tune NAME VALUE ...  of struct tcp_tuning: nagle on, cork on, keepalive 10s, user_timeout 5s ...
 *                        (also later: from then on)
 *   peer WORD ...        what its SYN offers: mss N (1000, and 12 more with timestamps), sack, ts,
 *                        wscale N, ecn, window N (65535); its port
 *   accept [rtt T]       the handshake, theirs first; connect: ours first; T is 100ms if not said
 *   open                 our SYN alone: > syn follows
 *
 * The owner
 *   send N ...           N bytes, in segments; several Ns in one turn of the loop
 *   read N | read all    shutdown   abort   release T   quickack on|off   refuse   unlisten
 *
 * Segments: < from the peer, > from us, one or several alike: 1:1001 .. 9001:10001
 *   A:B        payload; none: B = A; a bare FIN, RST or ACK needs no number: it is the next one
 *   seq N      the number of a segment without payload
 *   syn fin rst psh ece cwr noack         ack N   win N (in bytes, whatever the scale)
 *   sack A:B C:D ...    ts: val N, ecr N (our clock: milliseconds since the situation began)
 *   mss N  wscale N  sackok  ts  nots  nosack  nowscale    of a SYN
 *   ect, noect (> may be marked), ce (< is marked)
 *   urg, badsum, opts HEX, hdr N          < only: things that are wrong
 *   SACK blocks, SYN, FIN, RST and ECN's flags must be as written; PSH, ECT, window, timestamps and
 *   the number acknowledged by data if they are written
 *   > none     nothing was sent       > ...   whatever was
 *   < icmp net|host|protocol|port|admin|ttl|parameter|too-big N, about SEQ
 *
 * Time, in front of any of them
 *   +30ms      so much later; a segment of ours leaves exactly then
 *   +20ms..30ms  not before, not after; the clock stops at the segment
 *
 * What must be true
 *   events WORD ...      accept open readable writable peer_closed closed failed ERRNO, since the
 *                        last time; "none"
 *   expect NAME VALUE, ...  fields of struct tcp_conn_info, counters of struct tcp, drops by reason
 *                        in capitals, state (of the connection, fin-wait-1, or of its recovery,
 *                        disorder), gone yes, conns, time_wait, iss_ahead; VALUE may be A..B
 *
 * Other
 *   anew N               another life of the same ports: the peer's SYN is N beyond its last byte
 *   memory low|enough|none
 */
#pragma once

/* Runs each situation of @path in a process of its own and tells of it as TAP. Returns how many
 * went wrong, or -1 if there is nothing to run. */
int situation_file(const char *path);
