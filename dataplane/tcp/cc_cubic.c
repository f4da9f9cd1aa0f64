/*
 * RFC 9438, in integers: windows in bytes, times in milliseconds.
 *
 *   W_cubic(t) = C (t - K)^3 + W_max      C = 0.4 segments / s^3, beta = 0.7
 */
#include "dataplane/base/compiler.h"
#include "dataplane/tcp/cc.h"

#include <stdbool.h>

#define MS_MAX INT64_C(100000) /* beyond it the cube would overflow, and the window be endless */

/* The largest integer whose cube is not above @a, bit by bit. */
static uint32_t cube_root(uint64_t a)
{
    uint64_t root = 0;

    for (int bit = 20; bit >= 0; bit--) {
        const uint64_t try = root | UINT64_C(1) << bit;

        if (try * try * try <= a)
            root = try;
    }
    return (uint32_t)root;
}

static uint32_t clamp32(int64_t a)
{
    return (uint32_t)(a < 0 ? 0 : MIN(a, INT64_C(1) << 30));
}

static uint32_t w_cubic(const struct cc *cc, uint64_t at_ms, uint32_t mss)
{
    const int64_t ahead = (int64_t)MIN(at_ms, (uint64_t)MS_MAX) - (int64_t)cc->k_ms;
    const int64_t t = MAX(-MS_MAX, MIN(ahead, MS_MAX));

    /* t^3 is up to 10^15, and to be multiplied by 0.4 mss / 10^9 */
    return clamp32(cc->w_max + t * t * t / 1000 * 4 * mss / 10000000);
}

/* 4.2: a new epoch, from the window there is now to the one of the last loss. */
static void start_epoch(struct cc *cc, const struct cc_ack *a)
{
    cc->epoch_us = a->now_us;
    cc->w_est = cc->cwnd;
    cc->credit = 0;
    cc->acked = 0;
    if (cc->cwnd >= cc->w_max) {
        cc->k_ms = 0;
        cc->w_max = cc->cwnd;
    } else {
        cc->k_ms = cube_root((uint64_t)(cc->w_max - cc->cwnd) * 2500000 / a->mss * 1000);
    }
}

/* 4.3: alpha is 3 (1 - beta) / (1 + beta), and 1 once Reno is where it was before the loss. */
static void grow_reno(struct cc *cc, uint32_t acked, uint32_t mss)
{
    const bool back = cc->w_est >= cc->w_before;
    const uint64_t step = (uint64_t)acked * mss * (back ? 1000 : 529) + cc->acked;
    const uint64_t per_byte = (uint64_t)cc->cwnd * 1000;

    cc->w_est += (uint32_t)(step / per_byte);
    cc->acked = (uint32_t)MIN(step % per_byte, UINT32_MAX);
}

static void on_ack(struct cc *cc, const struct cc_ack *a)
{
    uint32_t acked = a->acked, target;
    uint64_t t_ms;

    if (cc->cwnd < cc->ssthresh)
        acked = cc_slow_start(cc, acked);
    if (acked == 0)
        return;
    if (cc->epoch_us == 0)
        start_epoch(cc, a);
    t_ms = (a->now_us - cc->epoch_us) / 1000;
    grow_reno(cc, acked, a->mss);
    if (w_cubic(cc, t_ms, a->mss) < cc->w_est) { /* 4.3: Reno would be faster */
        cc->cwnd = MAX(cc->cwnd, cc->w_est);
        return;
    }
    /* 4.4, 4.5: where the curve is a round trip from now, in that time. */
    target = w_cubic(cc, t_ms + a->rtt_us / 1000, a->mss);
    target = MAX(cc->cwnd, MIN(target, cc->cwnd + cc->cwnd / 2));
    cc->credit += (uint64_t)acked * (target - cc->cwnd);
    acked = (uint32_t)(cc->credit / cc->cwnd);
    cc->credit %= cc->cwnd;
    cc->cwnd += acked;
}

static void on_congestion(struct cc *cc, uint32_t mss)
{
    cc->w_before = cc->cwnd;
    cc->w_max_before = cc->w_max;
    /* 4.7: a window that has not come back to the last one leaves room to others. */
    cc->w_max = cc->cwnd < cc->w_max ? (uint32_t)((uint64_t)cc->cwnd * 17 / 20) : cc->cwnd;
    cc->ssthresh = MAX((uint32_t)((uint64_t)cc->cwnd * 7 / 10), 2 * mss);
    cc->epoch_us = 0;
}

static void on_timeout(struct cc *cc)
{
    cc->epoch_us = 0;
}

static void on_idle(struct cc *cc, uint64_t idle_us)
{
    if (cc->epoch_us != 0)
        cc->epoch_us += idle_us;
}

static void on_undo(struct cc *cc)
{
    cc->w_max = cc->w_max_before;
    cc->epoch_us = 0;
}

extern const struct cc_ops cc_cubic;
const struct cc_ops cc_cubic = { "cubic", on_ack, on_congestion, on_timeout, on_idle, on_undo };
