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
#include "dataplane/base/stage.h"
#include "dataplane/base/wheel.h"

/*
 * Something to do later in this turn, outside the call that found it: what lets an event handler
 * free, close or resume anything without pulling the floor from under its caller. Queueing what is
 * queued already changes nothing.
 */
struct work {
    struct list link;
    void (*fn)(struct work *w);
};

static inline void work_init(struct work *w, void (*fn)(struct work *w))
{
    list_init(&w->link);
    w->fn = fn;
}

struct core {
    uint64_t now_us;
    uint64_t wall_us;
    uint32_t id; /* 0 .. number of workers - 1 */
    struct wheel wheel;
    struct list work; /* of struct work */
    struct pkt_pool *pool;
    struct hash_key secret; /* random per worker */
    uint64_t rng;           /* state of core_random(), never zero */
    struct stages stages;
};

static inline void core_defer(struct core *c, struct work *w)
{
    if (!list_is_linked(&w->link))
        list_push_tail(&c->work, &w->link);
}

/* The object of @w goes away. */
static inline void core_cancel(struct work *w)
{
    list_remove(&w->link);
}

/* A core that starts at @now_us, with random secrets. Its packets are @pool's. */
void core_init(struct core *c, uint32_t id, struct pkt_pool *pool, uint64_t now_us,
               uint64_t wall_us);

/* Runs what is queued, also what that queues, at most @budget pieces. Returns how many. */
unsigned core_run_work(struct core *c, unsigned budget);

/* xorshift64* (Vigna 2016): for choices that need not be secret. */
static inline uint64_t core_random(struct core *c)
{
    c->rng ^= c->rng >> 12;
    c->rng ^= c->rng << 25;
    c->rng ^= c->rng >> 27;
    return c->rng * UINT64_C(0x2545f4914f6cdd1d);
}
