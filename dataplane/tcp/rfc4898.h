/*
 * rfc4898.h - what one connection tells of itself, by the names of RFC 4898
 *
 * "TCP Extended Statistics MIB" gives every number a name and a definition that does not
 * change with the implementation. Those that we keep are rows here; what is not here is not
 * kept, and is not shown as zero. tcpEStatsPerfSegsOut is `perf.segs_out` in JSON: the group,
 * then the rest of the name in snake case, without the HC of the 64-bit ones.
 *
 * Where we are more exact than the RFC, or count another thing, the row says so. Times are
 * microseconds, where the RFC has milliseconds. Sequence numbers count from the SYN, which is 0.
 *
 * SndLimTimeRwin, Cwnd and Snd add up to ElapsedMicroSecs: at every moment exactly one of them
 * grows. What waits for pacing waits for the congestion window; what the owner holds back (Nagle,
 * cork), and the handshake, are the sender's own time.
 */
#pragma once

#include <stdint.h>

struct tcp_conn;

/* group, key in JSON, object of the RFC, what is to be said beyond it */
#define TCP_ESTATS(X)                                                                              \
    X(perf, segs_out, "SegsOut", "the SYN included; of a SYN cookie one")                          \
    X(perf, data_segs_out, "DataSegsOut", "")                                                      \
    X(perf, data_octets_out, "HCDataOctetsOut", "retransmissions included")                        \
    X(perf, segs_in, "SegsIn", "those refused included; of a SYN cookie one SYN")                  \
    X(perf, data_segs_in, "DataSegsIn", "")                                                        \
    X(perf, data_octets_in, "HCDataOctetsIn", "what has come twice counts twice")                  \
    X(perf, segs_retrans, "SegsRetrans", "SYNs and probes of old data included")                   \
    X(perf, octets_retrans, "OctetsRetrans", "")                                                   \
    X(perf, elapsed_micro_secs, "ElapsedMicroSecs", "since our SYN, or the ACK of theirs")         \
    X(perf, cur_mss, "CurMSS", "")                                                                 \
    X(perf, pipe_size, "PipeSize", "")                                                             \
    X(perf, max_pipe_size, "MaxPipeSize", "")                                                      \
    X(perf, smoothed_rtt, "SmoothedRTT", "us")                                                     \
    X(perf, cur_rto, "CurRTO", "us")                                                               \
    X(perf, cong_signals, "CongSignals", "reductions of the window, also those taken back")        \
    X(perf, cur_cwnd, "CurCwnd", "octets")                                                         \
    X(perf, cur_ssthresh, "CurSsthresh", "octets")                                                 \
    X(perf, timeouts, "Timeouts", "first of a row")                                                \
    X(perf, cur_rwin_sent, "CurRwinSent", "")                                                      \
    X(perf, max_rwin_sent, "MaxRwinSent", "of segments after the SYN")                             \
    X(perf, zero_rwin_sent, "ZeroRwinSent", "segments, not transitions")                           \
    X(perf, cur_rwin_rcvd, "CurRwinRcvd", "")                                                      \
    X(perf, max_rwin_rcvd, "MaxRwinRcvd", "")                                                      \
    X(perf, zero_rwin_rcvd, "ZeroRwinRcvd", "times that the window closed")                        \
    X(perf, snd_lim_trans_rwin, "SndLimTransRwin", "")                                             \
    X(perf, snd_lim_trans_cwnd, "SndLimTransCwnd", "")                                             \
    X(perf, snd_lim_trans_snd, "SndLimTransSnd", "")                                               \
    X(perf, snd_lim_time_rwin, "SndLimTimeRwin", "us")                                             \
    X(perf, snd_lim_time_cwnd, "SndLimTimeCwnd", "us")                                             \
    X(perf, snd_lim_time_snd, "SndLimTimeSnd", "us")                                               \
    X(path, retran_thresh, "RetranThresh", "segments of reordering seen, 3 at least")              \
    X(path, sample_rtt, "SampleRTT", "us")                                                         \
    X(path, rtt_var, "RTTVar", "us")                                                               \
    X(path, max_rtt, "MaxRTT", "us")                                                               \
    X(path, min_rtt, "MinRTT", "us")                                                               \
    X(path, sum_rtt, "HCSumRTT", "us; of segments with data")                                      \
    X(path, count_rtt, "CountRTT", "")                                                             \
    X(path, max_rto, "MaxRTO", "us; before the timer is backed off")                               \
    X(path, min_rto, "MinRTO", "us")                                                               \
    X(path, pre_cong_sum_cwnd, "PreCongSumCwnd", "octets")                                         \
    X(path, pre_cong_sum_rtt, "PreCongSumRTT", "us")                                               \
    X(path, dup_ack_episodes, "DupAckEpisodes", "")                                                \
    X(path, dup_acks_out, "DupAcksOut", "for segments out of order")                               \
    X(path, ce_rcvd, "CERcvd", "")                                                                 \
    X(path, ece_sent, "ECESent", "")                                                               \
    X(path, ecn_signals, "ECNsignals", "")                                                         \
    X(path, rcv_rtt, "RcvRTT", "us; 0: not needed so far")                                         \
    X(stack, active_open, "ActiveOpen", "1: by us")                                                \
    X(stack, mss_sent, "MSSSent", "")                                                              \
    X(stack, mss_rcvd, "MSSRcvd", "")                                                              \
    X(stack, win_scale_sent, "WinScaleSent", "")                                                   \
    X(stack, win_scale_rcvd, "WinScaleRcvd", "")                                                   \
    X(stack, time_stamps, "TimeStamps", "1: on")                                                   \
    X(stack, ecn, "ECN", "1: on")                                                                  \
    X(stack, will_send_sack, "WillSendSACK", "1: on")                                              \
    X(stack, will_use_sack, "WillUseSACK", "1: on")                                                \
    X(stack, state, "State", "by the RFC's numbers: 5 is established")                             \
    X(stack, nagle, "Nagle", "1: on")                                                              \
    X(stack, max_ss_cwnd, "MaxSsCwnd", "octets")                                                   \
    X(stack, max_ca_cwnd, "MaxCaCwnd", "octets")                                                   \
    X(stack, max_ssthresh, "MaxSsthresh", "octets; 0: it was never set")                           \
    X(stack, in_recovery, "InRecovery", "1: yes")                                                  \
    X(stack, dup_acks_in, "DupAcksIn", "")                                                         \
    X(stack, spurious_fr_detected, "SpuriousFrDetected", "")                                       \
    X(stack, spurious_rto_detected, "SpuriousRtoDetected", "")                                     \
    X(stack, soft_errors, "SoftErrors", "ICMP messages about it that did not end it")              \
    X(stack, fast_retran, "FastRetran", "episodes")                                                \
    X(stack, subsequent_timeouts, "SubsequentTimeouts", "")                                        \
    X(stack, cur_timeout_count, "CurTimeoutCount", "")                                             \
    X(stack, sacks_rcvd, "SACKsRcvd", "segments")                                                  \
    X(stack, sack_blocks_rcvd, "SACKBlocksRcvd", "")                                               \
    X(stack, dsack_dups, "DSACKDups", "")                                                          \
    X(stack, cur_retx_queue, "CurRetxQueue", "octets")                                             \
    X(stack, cur_reasm_queue, "CurReasmQueue", "octets")                                           \
    X(app, snd_una, "SndUna", "")                                                                  \
    X(app, snd_nxt, "SndNxt", "")                                                                  \
    X(app, snd_max, "SndMax", "the same: it is never taken back")                                  \
    X(app, thru_octets_acked, "HCThruOctetsAcked", "")                                             \
    X(app, rcv_nxt, "RcvNxt", "")                                                                  \
    X(app, thru_octets_received, "HCThruOctetsReceived", "")                                       \
    X(app, cur_app_w_queue, "CurAppWQueue", "octets not yet sent")                                 \
    X(app, max_app_w_queue, "MaxAppWQueue", "")                                                    \
    X(app, cur_app_r_queue, "CurAppRQueue", "octets in order, not yet read")                       \
    X(app, max_app_r_queue, "MaxAppRQueue", "")                                                    \
    X(tune, lim_rwin, "LimRwin", "octets: what the receive buffer may grow to")

#define TCP_ESTATS_FIELD(group, key, rfc, text) uint64_t key;
struct tcp_estats_info {
    TCP_ESTATS(TCP_ESTATS_FIELD)
};

/* What the connection has done so far, and where it stands. */
void tcp_estats(const struct tcp_conn *c, struct tcp_estats_info *ret);

/* The rows above, in their order: group, key, name of the RFC. The value of row i is the i-th
 * uint64_t of struct tcp_estats_info. */
struct tcp_estats_row {
    const char *group, *key, *rfc, *text;
};
#define TCP_ESTATS_ONE(group, key, rfc, text) +1
enum { TCP_ESTATS_ROWS = 0 TCP_ESTATS(TCP_ESTATS_ONE) };
extern const struct tcp_estats_row tcp_estats_rows[TCP_ESTATS_ROWS];
