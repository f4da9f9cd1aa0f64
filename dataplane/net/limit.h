/*
 * limit.h - a token bucket, for answers that strangers could make us send
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define LIMIT_SECOND UINT64_C(1000000)

struct limit {
    uint32_t rate, burst; /* a second; at once */
    uint64_t tokens;      /* millionths */
    uint64_t filled_us;
};

static inline void limit_init(struct limit *l, uint32_t rate, uint32_t burst, uint64_t now_us)
{
    *l = (struct limit){ rate, burst, burst * LIMIT_SECOND, now_us };
}

/* True if one more may pass now. */
static inline bool limit_pass(struct limit *l, uint64_t now_us)
{
    uint64_t full = l->burst * LIMIT_SECOND, idle = now_us - l->filled_us;

    /* Capped before the product: an idle of years must not overflow. */
    if (idle >= full / l->rate)
        l->tokens = full;
    else if ((l->tokens += idle * l->rate) > full)
        l->tokens = full;
    l->filled_us = now_us;

    if (l->tokens < LIMIT_SECOND)
        return false;
    l->tokens -= LIMIT_SECOND;
    return true;
}
