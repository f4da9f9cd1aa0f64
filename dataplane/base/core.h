/*
 * core.h - what every layer of one worker is handed
 *
 * One struct core per worker: its clock, its timers, its packets and its random
 * numbers. Owned by the worker; nobody else touches it. Tests make one of their
 * own and own the clock.
 *
 * now_us is read once per turn of the loop (monotonic, microseconds); wall_us is
 * the same instant in Unix time, for log lines and certificates.
 */
#pragma once

#include "dataplane/base/hash.h"
#include "dataplane/base/pkt.h"
#include "dataplane/base/wheel.h"

struct core {
    uint64_t now_us;
    uint64_t wall_us;
    uint32_t id; /* 0 .. number of workers - 1 */
    struct wheel wheel;
    struct pkt_pool *pool;
    struct hash_key secret; /* random per worker */
    uint64_t rng;           /* state of core_random(), never zero */
};

/* xorshift64* (Vigna 2016): for choices that need not be secret. */
static inline uint64_t core_random(struct core *c)
{
    c->rng ^= c->rng >> 12;
    c->rng ^= c->rng << 25;
    c->rng ^= c->rng >> 27;
    return c->rng * UINT64_C(0x2545f4914f6cdd1d);
}
