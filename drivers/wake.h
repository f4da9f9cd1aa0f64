/*
 * wake.h - a worker that sleeps until something comes
 *
 * DPDK's af_xdp driver has no receive interrupts, but its sockets are this process's own and can be
 * waited for. So a worker all of whose frames come by such sockets need not look every now and
 * then: it sleeps in poll(), and what comes from elsewhere, another worker's frames or the control
 * thread's mail, wakes it by an eventfd, which is written to only while it sleeps.
 *
 * One per worker, made by the control thread before the worker runs. The worker sleeps; any thread
 * wakes it.
 */
#pragma once

#include "config/model/machine.h"
#include "dataplane/base/compiler.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct wake {
    int event;
    uint32_t n;
    int sockets[MACHINE_MAX_PORTS];
    /* Read by whoever has something for the worker: not beside what the worker writes. */
    CACHE_ALIGNED atomic_bool asleep;
};
_Static_assert(offsetof(struct wake, asleep) % CACHE_LINE == 0 &&
                   sizeof(struct wake) == offsetof(struct wake, asleep) + CACHE_LINE,
               "what others write is alone in its line");

NODISCARD int wake_init(struct wake *w);
void wake_close(struct wake *w);

/*
 * The socket that the af_xdp driver has just opened: the one of this process that none of the @n of
 * @all knows. False: there is none.
 */
bool wake_add_xdp(struct wake *w, const struct wake *all, uint32_t n);

/* The worker: it is going to sleep. What others have for it is to be looked at after this, once. */
void wake_expect(struct wake *w);
/* Until a frame comes, or wake_up(), or for @us. Ends what wake_expect() has begun. */
void wake_sleep(struct wake *w, uint64_t us);
/* Nothing to sleep for after all. */
void wake_cancel(struct wake *w);

void wake_up_slow(struct wake *w);

/* Any thread, after it has put something where the worker will find it. */
static inline void wake_up(struct wake *w)
{
    /* what was put there is seen by the worker, or the worker's flag here */
    atomic_thread_fence(memory_order_seq_cst);
    if (unlikely(atomic_load_explicit(&w->asleep, memory_order_relaxed)))
        wake_up_slow(w);
}
