/*
 * rtt.h - round trip time to retransmission timeout (RFC 6298)
 */
#pragma once

#include <stdint.h>

#define RTT_INITIAL_RTO_US UINT64_C(1000000)    /* (2.1) */
#define RTT_AFTER_SYN_LOSS_US UINT64_C(3000000) /* (5.7) */
#define RTT_MAX_RTO_US UINT64_C(120000000)
#define RTT_CLOCK_US 1000 /* G: the wheel's tick */

struct rtt {
    uint32_t srtt_us, var_us; /* both 0: no measurement yet */
    uint32_t rto_us;
};

void rtt_init(struct rtt *r);
void rtt_sample(struct rtt *r, uint64_t rtt_us, uint64_t rto_min_us);

/* The timeout after @backoff expiries in a row (5.5). */
uint64_t rtt_backed_off(const struct rtt *r, uint8_t backoff);
