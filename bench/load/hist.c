#include "bench/load/hist.h"

#include <string.h>

void hist_init(struct hist *h)
{
    memset(h, 0, sizeof(*h));
    h->min = UINT64_MAX;
}

void hist_add(struct hist *to, const struct hist *from)
{
    for (uint32_t i = 0; i < HIST_BUCKETS; i++)
        to->buckets[i] += from->buckets[i];
    to->n += from->n;
    to->sum += from->sum;
    to->min = from->min < to->min ? from->min : to->min;
    to->max = from->max > to->max ? from->max : to->max;
}

uint64_t hist_bucket_end(uint32_t i)
{
    uint32_t shift;

    if (i < 2 * HIST_SUB)
        return i;
    shift = i / HIST_SUB - 1;
    return ((uint64_t)(i - shift * HIST_SUB + 1) << shift) - 1;
}

/* The rank is rounded up: p50 of three values is the second. */
uint64_t hist_percentile(const struct hist *h, double share)
{
    uint64_t rank = (uint64_t)(share * (double)h->n), seen = 0;

    if (h->n == 0)
        return 0;
    if ((double)rank < share * (double)h->n || rank == 0)
        rank++;
    for (uint32_t i = 0; i < HIST_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen >= rank && i < HIST_BUCKETS - 1)
            return hist_bucket_end(i) < h->max ? hist_bucket_end(i) : h->max;
    }
    return h->max;
}

double hist_mean(const struct hist *h)
{
    return h->n > 0 ? (double)h->sum / (double)h->n : 0;
}

uint64_t hist_min(const struct hist *h)
{
    return h->n > 0 ? h->min : 0;
}
