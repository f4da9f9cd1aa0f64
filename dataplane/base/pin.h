/*
 * pin.h - who still uses published data, counted without sharing a line
 *
 * A worker that keeps pointers into a runtime beyond the turn (a client
 * connection, a stream) pins it; the control thread frees a retired runtime once
 * no worker pins it any more. Each worker writes a counter of its own, plainly.
 * The control thread may only believe a zero after a quiet point (quiesce.h):
 * from then on no new pin can appear.
 */
#pragma once

#include "dataplane/base/compiler.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define PIN_MAX_WORKERS 32

struct pins {
    struct {
        CACHE_ALIGNED _Atomic uint64_t n;
    } worker[PIN_MAX_WORKERS];
};
_Static_assert(sizeof(((struct pins *)NULL)->worker[0]) == CACHE_LINE,
               "no line is written by two threads");

static inline void pin_get(struct pins *p, uint32_t worker)
{
    uint64_t n = atomic_load_explicit(&p->worker[worker].n, memory_order_relaxed);

    atomic_store_explicit(&p->worker[worker].n, n + 1, memory_order_relaxed);
}

static inline void pin_put(struct pins *p, uint32_t worker)
{
    uint64_t n = atomic_load_explicit(&p->worker[worker].n, memory_order_relaxed);

    /* pairs with the acquire in pins_are_free(): what was done under the pin is done */
    atomic_store_explicit(&p->worker[worker].n, n - 1, memory_order_release);
}

static inline bool pins_are_free(const struct pins *p)
{
    for (unsigned i = 0; i < PIN_MAX_WORKERS; i++)
        if (atomic_load_explicit(&p->worker[i].n, memory_order_acquire) != 0)
            return false;
    return true;
}
