/*
 * stage.h - where a worker's time goes
 *
 * A request crosses layers that call each other, down and up again; the time of each
 * is counted where one is entered and left. Reading the CPU's counter forty times a
 * request would cost what a layer costs, so one turn in STAGE_EVERY is looked at
 * as a whole, and stands for the others: in all other turns a layer's entrance is one
 * branch that is never taken. A turn that found nothing to do does not count.
 *
 *     enum stage was = stage_enter(&core->stages, STAGE_TLS);
 *     ...
 *     stage_leave(&core->stages, was);
 *
 * Time belongs to the innermost stage. Owned by the worker; the control thread reads
 * ->cycles and ->turns (`isthmusctl perf`).
 */
#pragma once

#include "dataplane/base/compiler.h"

#include <stdbool.h>
#include <stdint.h>

#define STAGE_EVERY 31 /* a prime: not in step with what comes every so many turns */

#define STAGES(X)                                                                                  \
    X(OTHER, other, "timers, the control thread's letters, what is between")                       \
    X(RX, rx, "taking packets from the ports")                                                     \
    X(NET, net, "Ethernet, IP, the flow table, both ways")                                         \
    X(TCP, tcp, "TCP, both ways")                                                                  \
    X(TLS, tls, "handshakes and records")                                                          \
    X(HTTP, http, "reading and writing HTTP")                                                      \
    X(PROXY, proxy, "sessions, routes, endpoints, pools, access log")                              \
    X(TX, tx, "giving packets to the ports")

#define STAGE_NAME(upper, lower, text) STAGE_##upper,
enum stage { STAGES(STAGE_NAME) N_STAGES };

struct stages {
    bool on; /* in this turn */
    uint8_t now;
    uint64_t since;
    uint64_t turn[N_STAGES];   /* cycles of the turn that is looked at, */
    uint64_t cycles[N_STAGES]; /* and of all those before it that had something to do */
    uint64_t turns;
};

/* The CPU's own counter: constant in rate, and nothing to wait for. */
static inline uint64_t stage_clock(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t t;

    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(t));
    return t;
#else
    return 0;
#endif
}

static inline void stage_switch(struct stages *st, enum stage to)
{
    const uint64_t now = stage_clock();

    st->turn[st->now] += now - st->since;
    st->since = now;
    st->now = (uint8_t)to;
}

/* Returns what to give to stage_leave(). */
static inline enum stage stage_enter(struct stages *st, enum stage to)
{
    const enum stage was = (enum stage)st->now;

    if (unlikely(st->on))
        stage_switch(st, to);
    return was;
}

static inline void stage_leave(struct stages *st, enum stage was)
{
    if (unlikely(st->on))
        stage_switch(st, was);
}

/* A turn of the loop begins, ... */
static inline void stages_begin(struct stages *st, bool on)
{
    st->on = on;
    st->now = STAGE_OTHER;
    if (on)
        st->since = stage_clock();
}

/* ... and ends; with @busy it had something to do. */
static inline void stages_end(struct stages *st, bool busy)
{
    if (!st->on)
        return;
    stage_switch(st, STAGE_OTHER);
    for (unsigned i = 0; i < N_STAGES; i++) {
        st->cycles[i] += busy ? st->turn[i] : 0;
        st->turn[i] = 0;
    }
    st->turns += busy;
    st->on = false;
}
