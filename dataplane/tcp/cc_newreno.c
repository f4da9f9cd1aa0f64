#include "dataplane/base/compiler.h"
#include "dataplane/tcp/cc.h"

/* RFC 6928: ten segments. */
static uint32_t initial_window(uint32_t mss)
{
    return MIN(10 * mss, MAX(2 * mss, 14600));
}

static uint32_t half_flight(uint32_t flight, uint32_t mss)
{
    return MAX(flight / 2, 2 * mss); /* RFC 5681, (4) */
}

static void on_open(struct cc *cc, uint32_t mss)
{
    *cc = (struct cc){ .cwnd = initial_window(mss), .ssthresh = UINT32_MAX };
}

/* By bytes, at most two segments an ACK in slow start (RFC 3465). */
static void on_ack(struct cc *cc, uint32_t acked, uint32_t mss)
{
    if (cc->cwnd < cc->ssthresh) {
        cc->cwnd += MIN(acked, 2 * mss);
        return;
    }
    cc->acked += acked;
    if (cc->acked >= cc->cwnd) {
        cc->acked -= cc->cwnd;
        cc->cwnd += mss;
    }
}

static void on_loss(struct cc *cc, uint32_t flight, uint32_t mss)
{
    cc->ssthresh = half_flight(flight, mss);
    cc->cwnd = cc->ssthresh;
    cc->acked = 0;
}

static void on_timeout(struct cc *cc, uint32_t flight, uint32_t mss)
{
    cc->ssthresh = half_flight(flight, mss);
    cc->cwnd = mss;
    cc->acked = 0;
}

static void on_idle(struct cc *cc, uint32_t mss)
{
    cc->cwnd = MIN(cc->cwnd, initial_window(mss)); /* RFC 5681, 4.1 */
}

const struct cc_ops cc_newreno = { "newreno", on_open, on_ack, on_loss, on_timeout, on_idle };
