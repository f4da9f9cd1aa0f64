/* RFC 5681, by bytes (RFC 3465). */
#include "dataplane/base/compiler.h"
#include "dataplane/tcp/cc.h"

static void on_ack(struct cc *cc, const struct cc_ack *a)
{
    uint32_t acked = a->acked;

    if (cc->cwnd < cc->ssthresh)
        acked = cc_slow_start(cc, acked);
    cc->acked += acked;
    while (acked > 0 && cc->acked >= cc->cwnd) {
        cc->acked -= cc->cwnd;
        cc->cwnd += a->mss;
    }
}

/* Half of the window, which is never larger than what was used of it: see tcp_output(). */
static void on_congestion(struct cc *cc, uint32_t mss)
{
    cc->ssthresh = MAX(cc->cwnd / 2, 2 * mss);
    cc->acked = 0;
}

static void on_timeout(struct cc *cc)
{
    cc->acked = 0;
}

static void on_idle(struct cc *cc, uint64_t idle_us)
{
}

static void on_undo(struct cc *cc)
{
}

extern const struct cc_ops cc_newreno;
const struct cc_ops cc_newreno = { "reno", on_ack, on_congestion, on_timeout, on_idle, on_undo };
