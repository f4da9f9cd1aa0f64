/*
 * hist.h - how often which value came: a histogram of fixed size, exact to one part in 128
 *
 * Log-linear, as HdrHistogram: every power of two is cut into 128 equal parts, so
 * that a bucket is never wider than 1/128 of what lies in it, from nanoseconds to
 * an hour. Recording is a count of leading zeroes and one increment; there is
 * nothing to allocate and nothing to resize (37 KiB).
 *
 * Each worker fills one of its own; they are added when the workers have stopped.
 * Smallest, largest and mean are exact. A percentile is the upper end of its
 * bucket, at most the largest value: never better than what was measured.
 */
#pragma once

#include <stdint.h>

#define HIST_BITS 7
#define HIST_SUB (1u << HIST_BITS) /* parts of one power of two */
#define HIST_MAX_BITS 42           /* values from 2^42 on count as the largest: 73 min of ns */
#define HIST_BUCKETS ((HIST_MAX_BITS - HIST_BITS + 1) * HIST_SUB)

struct hist {
    uint64_t n, sum;
    uint64_t min, max; /* if ->n > 0 */
    uint64_t buckets[HIST_BUCKETS];
};

void hist_init(struct hist *h);
void hist_add(struct hist *to, const struct hist *from);

static inline uint32_t hist_bucket(uint64_t value)
{
    uint32_t shift;

    if (value < HIST_SUB)
        return (uint32_t)value;
    if (value >> HIST_MAX_BITS != 0)
        return HIST_BUCKETS - 1;
    shift = 63 - HIST_BITS - (uint32_t)__builtin_clzll(value);
    return shift * HIST_SUB + (uint32_t)(value >> shift);
}

static inline void hist_record(struct hist *h, uint64_t value)
{
    h->buckets[hist_bucket(value)]++;
    h->n++;
    h->sum += value;
    h->min = value < h->min ? value : h->min;
    h->max = value > h->max ? value : h->max;
}

/* The largest value that falls into bucket @i. */
uint64_t hist_bucket_end(uint32_t i);

/* @share of all values are at most so large: 0.99 for p99. 0 if there are none. */
uint64_t hist_percentile(const struct hist *h, double share);
double hist_mean(const struct hist *h);
/* 0 if there are none. */
uint64_t hist_min(const struct hist *h);
