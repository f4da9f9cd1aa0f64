/*
 * helper.h - a core that computes for workers' handshakes
 *
 * A thread that works at the desks (tls/helper.h) of one worker or several, an operation of each in
 * turn. With nothing to do it looks on for a moment, then sleeps until a worker wakes it; with
 * machine.idle = "spin" it always looks on. It touches no packet, no connection and no
 * configuration: what it has of a worker's is on the desk.
 *
 * Made, started and stopped by the control thread: started before the workers, and stopped after
 * they were freed, as what is on a desk has to come back.
 */
#pragma once

#include "config/model/machine.h"
#include "tls/helper.h"

struct helper;

#define HELPER_COUNTERS(X)                                                                         \
    X(operations, "public-key operations computed for workers")                                    \
    X(busy_cycles, "cycles it took to compute them")                                               \
    X(sleeps, "times a helper slept for want of work")

#define HELPER_COUNTER_FIELD(name, text) uint64_t name;
struct helper_counters {
    HELPER_COUNTERS(HELPER_COUNTER_FIELD)
};

/* Helper @id of @m's, for its share of the workers. NULL: no memory, no descriptors. */
struct helper *helper_new(const struct machine_conf *m, uint32_t id);
/* After its desks were freed. NULL is allowed. */
void helper_free(struct helper *h);

/* The helper that worker @worker of @m's has; there is one only if there are any. */
static inline uint32_t helper_of(const struct machine_conf *m, uint32_t worker)
{
    return worker % m->n_helpers;
}

/*
 * Another desk for it, of a worker that @wake wakes; before it starts. NULL: no memory. The
 * caller's, to be freed after helper_stop().
 */
struct tls_desk *helper_desk(struct helper *h, void (*wake)(void *worker), void *worker);

/* 0 or -errno: there is no such core. */
NODISCARD int helper_start(struct helper *h);
/* Of one that has not started, too. */
void helper_stop(struct helper *h);

const struct helper_counters *helper_counters(const struct helper *h);
