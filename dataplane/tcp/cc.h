/*
 * cc.h - congestion control: how much may be in flight
 *
 * Loss detection (recovery.c) says what happened; an algorithm behind struct
 * cc_ops says what follows for the window. While losses are repaired the window is
 * moved by proportional rate reduction (RFC 6937) in recovery.c, not from here;
 * an algorithm only says where it is to end (->ssthresh).
 *
 * All sizes are bytes.
 */
#pragma once

#include <stdint.h>

enum cc_algorithm { CC_CUBIC, CC_NEWRENO, CC_ALGORITHMS };

struct cc {
    uint32_t cwnd, ssthresh;
    uint32_t acked; /* since cwnd last grew by a segment, in congestion avoidance */

    /* cubic.c; 0 at the start of an epoch that nobody has seen yet */
    uint64_t epoch_us; /* when this growth began */
    uint64_t credit;   /* what is left of the last division */
    uint32_t w_max;    /* where the last loss was */
    uint32_t w_est;    /* where Reno would be */
    uint32_t w_before; /* ->cwnd before the last loss, for an undo and for ->w_est */
    uint32_t w_max_before;
    uint32_t k_ms; /* from the epoch to ->w_max */
};

/* What an algorithm is told with each ACK. */
struct cc_ack {
    uint64_t now_us;
    uint32_t acked; /* newly acknowledged, or selectively so */
    uint32_t mss;
    uint32_t rtt_us; /* smoothed; 0: unknown */
};

struct cc_ops {
    const char *name; /* as in the configuration, and as Linux calls it */
    /* New data was acknowledged while the window was what held us back. */
    void (*on_ack)(struct cc *cc, const struct cc_ack *a);
    /* A loss, or a mark of congestion: sets ->ssthresh, leaves ->cwnd. Once in a window. */
    void (*on_congestion)(struct cc *cc, uint32_t mss);
    /* The retransmission timer expired: what it knew of time is void. */
    void (*on_timeout)(struct cc *cc);
    /* Nothing was sent for @idle_us: that time does not count. */
    void (*on_idle)(struct cc *cc, uint64_t idle_us);
    /* The last on_congestion() was a mistake. The caller restores cwnd and ssthresh. */
    void (*on_undo)(struct cc *cc);
};

extern const struct cc_ops *const cc_algorithms[CC_ALGORITHMS];

/* RFC 6928: ten segments, or @segments if not 0. */
uint32_t cc_initial_window(uint32_t mss, uint32_t segments);

/* Starts, from a window of @cwnd. */
void cc_init(struct cc *cc, uint32_t cwnd, uint32_t ssthresh);

/* Slow start, up to ->ssthresh; what is left of @acked is for congestion avoidance. */
uint32_t cc_slow_start(struct cc *cc, uint32_t acked);
