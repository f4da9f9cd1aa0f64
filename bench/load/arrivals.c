#include "bench/load/arrivals.h"

#include <assert.h>
#include <math.h>

/* As core_random(), whose state is shared with others: these numbers must come again. */
static uint64_t random_next(uint64_t *rng)
{
    *rng ^= *rng >> 12;
    *rng ^= *rng << 25;
    *rng ^= *rng >> 27;
    return *rng * UINT64_C(0x2545f4914f6cdd1d);
}

static void step(const struct arrivals *a, struct arrival *x)
{
    const double share = (double)((random_next(&x->rng) >> 11) + 1) * 0x1p-53; /* (0, 1] */

    x->at -= a->mean * log(share);
}

void arrivals_init(struct arrivals *a, double rate, double hz, uint64_t start, uint64_t seed)
{
    *a = (struct arrivals){ .mean = hz / rate, .start = start, .due = { .rng = seed } };
    step(a, &a->due);
    a->served = a->due;
}

bool arrivals_next(struct arrivals *a, uint64_t now, uint64_t *at)
{
    const uint64_t next = a->start + (uint64_t)a->due.at;

    if (next > now)
        return false;
    *at = next;
    a->waiting++;
    step(a, &a->due);
    return true;
}

uint64_t arrivals_serve(struct arrivals *a)
{
    const uint64_t at = a->start + (uint64_t)a->served.at;

    assert(a->waiting > 0);
    a->waiting--;
    step(a, &a->served);
    return at;
}
