/*
 * opts.h - TCP options: what we read and what we write
 *
 * MSS, window scale, timestamps (RFC 7323) and SACK (RFC 2018); everything else
 * is skipped, as RFC 9293, 3.1 wants. They are written in the order in which
 * Linux writes them, which middleboxes and test scripts know best.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum {
    TCP_OPT_END = 0,
    TCP_OPT_NOP = 1,
    TCP_OPT_MSS = 2,
    TCP_OPT_WSCALE = 3,
    TCP_OPT_SACK_OK = 4,
    TCP_OPT_SACK = 5,
    TCP_OPT_TS = 8,
    TCP_OPTS_MAX = 40,
    TCP_OPT_TS_LEN = 12, /* with two NOPs in front, as everybody sends it (RFC 7323, app. A) */
    TCP_WSCALE_MAX = 14, /* RFC 7323, 2.3 */
    TCP_SACKS_MAX = 4,   /* that fit into the options; three beside timestamps */
};

struct tcp_sack {
    uint32_t start, end;
};

struct tcp_opts {
    bool has_ts, has_wscale, sack_ok;
    uint8_t wscale;
    uint8_t n_sacks;
    uint16_t mss; /* 0: none */
    uint32_t tsval, tsecr;
    struct tcp_sack sacks[TCP_SACKS_MAX];
};

/* False if a length is impossible. */
bool tcp_opts_parse(const uint8_t *at, uint32_t len, struct tcp_opts *ret);

/* What of @o is set, padded to words. Returns the length, at most TCP_OPTS_MAX. */
uint32_t tcp_opts_write(uint8_t *at, const struct tcp_opts *o);
