/*
 * estats.h - the totals of one connection that only those that carry data have
 *
 * struct tcp_estats is made when a connection first carries data, either way; tcp_estats()
 * (rfc4898.h) reads it. What every segment changes is its first line.
 *
 * An idle connection has to be cheap: once nothing was sent or received for TCP_QUIET_US, the
 * struct is folded, number by number without its leading zeros, into 64 bytes (128 if it has seen
 * much), and unfolded when something comes. So totals are exact and never go back:
 *
 *                             struct tcp_conn     totals       in all
 *   no data so far                  448              0          448
 *   quiet                           448             64          512   (576 after many losses)
 *   carries data                    448            256          704   and struct tcp_flight
 *
 * Before data, two small numbers in struct tcp_conn count segments.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct tcp;
struct tcp_conn;

/* What keeps the sender from sending more (RFC 4898, SndLim). */
enum tcp_lim { TCP_LIM_SND, TCP_LIM_RWIN, TCP_LIM_CWND };

/* What is kept when a connection rests: type, name. The hottest first; ECN, losses, extremes last.
 */
#define TCP_ESTATS_KEPT(X)                                                                         \
    X(uint32_t, segs_in)                                                                           \
    X(uint32_t, segs_out)                                                                          \
    X(uint32_t, data_segs_in)                                                                      \
    X(uint32_t, data_segs_out)                                                                     \
    X(uint64_t, octets_in)                                                                         \
    X(uint64_t, bytes_in)  /* in order */                                                          \
    X(uint64_t, bytes_out) /* retransmissions excluded */                                          \
    X(uint32_t, max_rwin_sent)                                                                     \
    X(uint32_t, max_app_w_queue)                                                                   \
    X(uint32_t, max_app_r_queue)                                                                   \
    X(uint32_t, max_pipe)                                                                          \
    X(uint64_t, sum_rtt_us)                                                                        \
    X(uint32_t, count_rtt)                                                                         \
    X(uint32_t, sample_rtt_us)                                                                     \
    X(uint32_t, max_rtt_us)                                                                        \
    X(uint32_t, min_rtt_us)                                                                        \
    X(uint32_t, max_rto_us)                                                                        \
    X(uint32_t, min_rto_us)                                                                        \
    X(uint32_t, max_ss_cwnd)                                                                       \
    X(uint32_t, max_ca_cwnd)                                                                       \
    X(uint64_t, lim_rwin_us)                                                                       \
    X(uint64_t, lim_cwnd_us)                                                                       \
    X(uint32_t, lim_trans_snd)                                                                     \
    X(uint32_t, lim_trans_rwin)                                                                    \
    X(uint32_t, lim_trans_cwnd)                                                                    \
    X(uint32_t, delivered_pkts)                                                                    \
    X(uint32_t, recv_rtt_us) /* window.c: distance of the sender, */                               \
    X(uint32_t, segs_retrans)                                                                      \
    X(uint32_t, max_ssthresh)                                                                      \
    X(uint64_t, octets_retrans)                                                                    \
    X(uint32_t, cong_signals)                                                                      \
    X(uint32_t, fast_retran)                                                                       \
    X(uint32_t, timeouts)                                                                          \
    X(uint32_t, subsequent_timeouts)                                                               \
    X(uint64_t, pre_cong_sum_cwnd)                                                                 \
    X(uint64_t, pre_cong_sum_rtt_us)                                                               \
    X(uint32_t, dup_acks_in)                                                                       \
    X(uint32_t, dup_ack_episodes)                                                                  \
    X(uint32_t, dup_acks_out)                                                                      \
    X(uint32_t, sacks_rcvd)                                                                        \
    X(uint32_t, sack_blocks_rcvd)                                                                  \
    X(uint32_t, dsacks)                                                                            \
    X(uint32_t, zero_rwin_sent)                                                                    \
    X(uint32_t, zero_rwin_rcvd)                                                                    \
    X(uint32_t, ce_rcvd)                                                                           \
    X(uint32_t, ece_sent)                                                                          \
    X(uint16_t, ecn_signals) /* these four end at 65535 */                                         \
    X(uint16_t, spurious_fr)                                                                       \
    X(uint16_t, spurious_rto)                                                                      \
    X(uint16_t, soft_errors)

#define TCP_ESTATS_MEMBER(type, name) type name;
struct tcp_estats {
    TCP_ESTATS_KEPT(TCP_ESTATS_MEMBER)
    /* What follows does not outlast a rest. */
    bool stays;                         /* it was too much to be folded */
    uint32_t recv_taken, recv_since_us; /* window.c: what was read since; low bits of the clock */
    uint64_t lim_since_us;              /* since when fl->lim is what it is */
};
_Static_assert(sizeof(struct tcp_estats) <= 256, "struct tcp_estats has grown");

/* Where a folded one may lie: cells of these sizes. */
enum { TCP_REST_SMALL = 64, TCP_REST_LARGE = 128, TCP_REST_SIZES = 2 };

/* Writes what is not zero to @to. Returns how many bytes it takes, or 0 if that is more than @max.
 */
uint32_t tcp_estats_fold(const struct tcp_estats *es, uint8_t *to, uint32_t max);
void tcp_estats_unfold(const uint8_t *from, struct tcp_estats *ret);

/* Made, or unfolded, if need be. */
struct tcp_estats *tcp_estats_wake(struct tcp_conn *c);

/* A segment comes soon: asks for the line that it will change, or that is unfolded then. */
void tcp_estats_prefetch(const struct tcp_conn *c);
void tcp_estats_prefetch_cell(const struct tcp *tcp, uint32_t rest);

/* Folds it: nothing has happened for a while. */
void tcp_estats_rest(struct tcp_conn *c);

/* With the connection. */
void tcp_estats_put(struct tcp_conn *c);

/* A copy, wherever it is; all zero if there is none. */
void tcp_estats_copy(const struct tcp_conn *c, struct tcp_estats *ret);

/* The first segment after a rest, or before any data. */
void tcp_estats_rcvd_slow(struct tcp_conn *c, uint32_t len);
void tcp_estats_sent_slow(struct tcp_conn *c, uint32_t len);

/* From now on it is @lim that limits. */
void tcp_estats_limit(struct tcp_conn *c, enum tcp_lim lim);
