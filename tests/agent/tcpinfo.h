/*
 * tcpinfo.h - getsockopt(TCP_INFO): Linux' struct tcp_info from ours
 *
 * Our TCP counts bytes where Linux counts packets (windows), and Linux counts SYNs and FINs where
 * we count bytes only; both are translated, so that a script sees Linux' numbers:
 *
 *   field                       is
 *   state, ca_state, options    Linux' own values
 *   retransmits, probes,        timeouts in a row; probes of a window or of a silent peer;
 *     backoff                   doublings of the timeout
 *   snd_wscale, rcv_wscale      as agreed on
 *   rto, rtt, rttvar, min_rtt   microseconds
 *   ato                         the delay of an ACK, which is fixed
 *   snd_mss, rcv_mss, advmss    payload of a segment: ours now, theirs as seen, theirs at most
 *   pmtu                        of the path
 *   unacked, sacked, lost,      packets in flight, by the scoreboard; a listener: connections not
 *     retrans                   yet accepted, and its backlog
 *   last_data_sent, last_*_recv milliseconds ago
 *   rcv_ssthresh                the receive buffer at the start: it may grow
 *   snd_ssthresh, snd_cwnd      packets; no threshold yet: 0x7fffffff
 *   reordering, dsack_dups,     packets
 *     total_retrans, delivered
 *   pacing_rate, delivery_rate  bytes a second
 *   max_pacing_rate             none
 *   bytes_acked                 with our SYN, if we connected, and our FIN
 *   bytes_received              with the peer's FIN
 *   bytes_sent                  new bytes; with what was sent again in bytes_retrans: 0
 *   notsent_bytes, snd_wnd      as they are
 *
 * Left 0, as our TCP does not know them of one connection (some of all connections together):
 *
 *   last_ack_sent, fackets      Linux leaves them 0, too
 *   rcv_rtt, rcv_space          not told by our receive buffer, though it grows
 *   segs_in, segs_out, data_segs_in, data_segs_out, bytes_retrans, delivered_ce,
 *   reord_seen, rcv_ooopack     not counted
 *   busy_time, rwnd_limited,    not measured
 *     sndbuf_limited
 *   fastopen_client_fail        there is no Fast Open
 */
#pragma once

#include "tests/agent/sock.h"

/* Writes up to @len bytes of it to @to; returns how many. */
uint32_t tcpinfo_write(const struct sock *s, uint8_t *to, uint32_t len);

/* The size of all of it. */
uint32_t tcpinfo_size(void);
