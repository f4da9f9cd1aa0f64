#include "dataplane/tcp/cc.h"

#include "dataplane/base/compiler.h"

extern const struct cc_ops cc_cubic, cc_newreno;

const struct cc_ops *const cc_algorithms[CC_ALGORITHMS] = {
    [CC_CUBIC] = &cc_cubic, [CC_NEWRENO] = &cc_newreno
};

uint32_t cc_initial_window(uint32_t mss, uint32_t segments)
{
    if (segments != 0)
        return segments * mss;
    return MIN(10 * mss, MAX(2 * mss, 14600));
}

void cc_init(struct cc *cc, uint32_t cwnd, uint32_t ssthresh)
{
    *cc = (struct cc){ .cwnd = cwnd, .ssthresh = ssthresh };
}

uint32_t cc_slow_start(struct cc *cc, uint32_t acked)
{
    const uint32_t step = MIN(acked, cc->ssthresh - cc->cwnd);

    cc->cwnd += step;
    return acked - step;
}
