/*
 * opts.h - TCP options: what we read and what we write
 *
 * MSS, window scale and timestamps; everything else is skipped, as RFC 9293,
 * 3.1 wants. SACK will be another row here.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum {
    TCP_OPT_END = 0,
    TCP_OPT_NOP = 1,
    TCP_OPT_MSS = 2,
    TCP_OPT_WSCALE = 3,
    TCP_OPT_TS = 8,
    TCP_OPTS_MAX = 40,
    TCP_OPT_TS_LEN = 12, /* with two NOPs in front, as everybody sends it (RFC 7323, app. A) */
    TCP_WSCALE_MAX = 14, /* RFC 7323, 2.3 */
};

struct tcp_opts {
    bool has_ts, has_wscale;
    uint8_t wscale;
    uint16_t mss; /* 0: none */
    uint32_t tsval, tsecr;
};

/* False if a length is impossible. */
bool tcp_opts_parse(const uint8_t *at, uint32_t len, struct tcp_opts *ret);

/* What of @o is set, padded to words. Returns the length, at most TCP_OPTS_MAX. */
uint32_t tcp_opts_write(uint8_t *at, const struct tcp_opts *o);
