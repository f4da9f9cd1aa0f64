#include "dataplane/tcp/rtt.h"

#include "dataplane/base/compiler.h"

void rtt_init(struct rtt *r)
{
    *r = (struct rtt){ .rto_us = RTT_INITIAL_RTO_US };
}

void rtt_sample(struct rtt *r, uint64_t rtt_us, uint64_t rto_min_us)
{
    /* A peer's clock may be echoed to us wrong: nothing is further away than our patience. */
    const uint32_t m = (uint32_t)MIN(MAX(rtt_us, 1), RTT_MAX_RTO_US);
    uint64_t rto;

    if (r->srtt_us == 0) {
        r->srtt_us = m;
        r->var_us = m / 2;
    } else {
        const uint32_t err = m > r->srtt_us ? m - r->srtt_us : r->srtt_us - m;

        r->var_us = (uint32_t)(((uint64_t)3 * r->var_us + err) / 4);
        r->srtt_us = (uint32_t)MAX(((uint64_t)7 * r->srtt_us + m) / 8, 1);
    }
    /* The floor is one of the variance: an ACK may be held back for that long at any distance. */
    rto = r->srtt_us + MAX(rto_min_us, MAX((uint64_t)RTT_CLOCK_US, (uint64_t)4 * r->var_us));
    r->rto_us = (uint32_t)MIN(rto, RTT_MAX_RTO_US);
}

uint64_t rtt_backed_off(const struct rtt *r, uint8_t backoff)
{
    const uint64_t rto = (uint64_t)r->rto_us << MIN(backoff, 16);

    return MIN(rto, RTT_MAX_RTO_US);
}
