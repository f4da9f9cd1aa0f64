/*
 * cc.h - congestion control: how much may be in flight
 *
 * Loss detection (ack.c, timer.c) says what happened; one of these says what
 * follows for the window. While lost segments are being repaired the window is
 * moved by RFC 6582's rules in ack.c, not from here.
 */
#pragma once

#include <stdint.h>

struct cc {
    uint32_t cwnd, ssthresh; /* bytes */
    uint32_t acked;          /* since cwnd last grew, in congestion avoidance */
};

struct cc_ops {
    const char *name;
    void (*on_open)(struct cc *cc, uint32_t mss);
    /* New data was acknowledged while the window was what held us back. */
    void (*on_ack)(struct cc *cc, uint32_t acked, uint32_t mss);
    /* A loss was seen by duplicate ACKs; @flight bytes were out. */
    void (*on_loss)(struct cc *cc, uint32_t flight, uint32_t mss);
    /* The retransmission timer expired, for the first time for this segment. */
    void (*on_timeout)(struct cc *cc, uint32_t flight, uint32_t mss);
    /* Nothing was sent for longer than a timeout. */
    void (*on_idle)(struct cc *cc, uint32_t mss);
};

extern const struct cc_ops cc_newreno;
