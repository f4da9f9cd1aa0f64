/*
 * worker.h - one core and everything it owns
 *
 * One turn of its loop, in order: read the clock, adopt some of a new runtime, answer
 * the mailbox, timers, receive and process one burst per port (and, the
 * first worker, of the kernel's interfaces), TLS work, deferred
 * work, TCP output, send, report a quiet point, account cycles. Every step is
 * bounded.
 *
 * With nothing to do for a while an adaptive worker sleeps between turns, never past
 * the next timer, which is at most a tick late. Where all that it receives comes by
 * af_xdp, a frame wakes it (drivers/wake.h), and so it sleeps soon. Elsewhere it has to
 * look: at first after tens of microseconds, soon after a millisecond, and after some five
 * seconds two; the first packet after a pause waits as long at most. What a quiet gateway
 * costs is almost only these wakes: some 25 us each, which the kernel needs to switch
 * tasks, so the longest sleep is what decides.
 *
 * The control thread reaches a worker by two means: the published runtime, and
 * mail (a function to be run on the worker, answered by the same letter).
 */
#pragma once

#include "dataplane/base/quiesce.h"
#include "dataplane/base/ring.h"
#include "dataplane/worker/runtime.h"
#include "drivers/pktpool.h"
#include "drivers/port.h"

#include <stddef.h>

struct net;

#define WORKER_COUNTERS(X)                                                                         \
    X(turns, "turns of the loop")                                                                  \
    X(busy_cycles, "cycles in turns that found something to do")                                   \
    X(idle_cycles, "cycles in turns that found nothing")                                           \
    X(sleeps, "times the worker slept for want of work")                                           \
    X(sleep_us, "time slept")                                                                      \
    X(long_turns, "turns of more than 200 us")                                                     \
    X(longest_turn_us, "the longest turn so far")

#define WORKER_COUNTER_FIELD(name, text) uint64_t name;
struct worker_counters {
    WORKER_COUNTERS(WORKER_COUNTER_FIELD)
};

/* What is in use now: written by the worker at the end of busy turns. */
#define WORKER_GAUGES(X)                                                                           \
    X(connections, "TCP connections")                                                              \
    X(time_wait, "TCP connections in TIME_WAIT")                                                   \
    X(sessions, "client connections")                                                              \
    X(streams, "requests in progress")                                                             \
    X(upstream_connections, "connections to endpoints")

#define WORKER_GAUGE_FIELD(name, text) uint64_t name;
struct worker_gauges {
    WORKER_GAUGES(WORKER_GAUGE_FIELD)
};

struct worker;

/* A letter: run on the worker, then it comes back. The sender owns it again once it is answered. */
struct mail {
    /* True: done, the letter goes back. False: call again next turn (long work, bit by bit). */
    bool (*fn)(struct worker *w, struct mail *m);
    void (*answered)(struct mail *m); /* on the control thread */
};

/* Where the newest is: one pointer each, stored by control, loaded by every worker once a turn. */
struct net_mirror;
struct published {
    _Atomic(struct runtime *) runtime;
    _Atomic(const struct net_mirror *) mirror; /* of the kernel's tables; NULL: none is kept */
};

struct worker_conf {
    uint32_t id;
    const struct snapshot *snapshot; /* machine settings; its reference is held by the caller */
    struct ports *ports;
    struct pktpool *pool;
    struct tls_lib *lib; /* NULL: nobody speaks TLS */
    struct quiesce *quiesce;
    struct published *published;
    struct punt *punt;    /* of all workers; NULL: nothing is the kernel's */
    struct ring *answers; /* mail on its way back, from all workers */
};

struct worker {
    struct core core;
    struct worker_conf conf;
    struct port_io *io;
    struct net *net;
    struct tcp *tcp;
    struct transports *transports;
    struct http *http;
    struct upstreams *upstreams;
    struct proxy *proxy;
    struct accesslog_ring *log;
    struct ring *mailbox;
    struct runtime *runtime;         /* adopted, and pinned */
    struct runtime *adopting;        /* being adopted, and pinned; NULL: none */
    bool routes_adopted;             /* of ->adopting: what remains are clusters that go */
    const struct net_mirror *mirror; /* adopted */
    struct mail *unfinished;         /* letter to be called again */
    struct worker_counters counters;
    struct worker_gauges gauges;
    _Atomic uint64_t adopted; /* version of ->runtime */
    /* the clock */
    uint64_t tsc_start, us_start, hz;
    uint64_t wall_offset_us, wall_checked_us;
    uint64_t pool_looked_us;
    uint64_t idle_since_us, gap_us;  /* 0: it is busy; how long it is not, of late */
    CACHE_ALIGNED _Atomic bool stop; /* all that another thread writes, and so last */
};
_Static_assert(offsetof(struct worker, stop) % CACHE_LINE == 0 &&
                   sizeof(struct worker) == offsetof(struct worker, stop) + CACHE_LINE,
               "no line is written by two threads");

/* Everything a worker owns, made by the control thread before it runs. NULL: no memory. */
struct worker *worker_new(const struct worker_conf *conf);

/* The loop, on the worker's core, until worker_stop(). @arg is the worker; returns 0. */
int worker_run(void *arg);
void worker_stop(struct worker *w);

/* After worker_run() has returned. */
void worker_free(struct worker *w);

/* There is something new among what is published: it need not sleep on. */
void worker_wake(struct worker *w);

/* False: the mailbox is full. */
bool worker_post(struct worker *w, struct mail *m);

/* After worker_run() has returned: a letter it has not answered, or NULL. Call until NULL. */
struct mail *worker_unread(struct worker *w);
