/*
 * stack.h - one worker's stack, from its queue to HTTP's codec, and a turn of it
 *
 * What a worker of isthmusd is made of (dataplane/worker), without what makes a
 * gateway of it. A turn is the same, in the same order: the clock, timers, a burst
 * from each port, TLS work; then who uses the stack has its turn, between
 * stack_receive() and stack_send(); then deferred work, TCP's output, the ports.
 *
 * Two clocks: core->now_us is read once a turn and is everybody's; what is measured
 * is measured in cycles (eal_cycles()), at the moment when it happens.
 *
 * Made and freed by the main thread, owned by its worker in between.
 */
#pragma once

#include "dataplane/base/core.h"
#include "dataplane/http/codec.h"
#include "dataplane/transport/transport.h"
#include "drivers/pktpool.h"
#include "drivers/port.h"

struct net;

struct stack_conf {
    uint32_t id; /* of the worker, on its machine */
    const struct machine_conf *machine;
    struct ports *ports;
    struct pktpool *pool;
};

struct stack {
    struct core core;
    struct stack_conf conf;
    struct port_io *io;
    struct net *net;
    struct tcp *tcp;
    struct transports *transports;
    struct http *http;
    uint64_t hz, tsc_start, us_start; /* of the clock */
    uint64_t wall_checked_us, wall_offset_us, pool_looked_us;
    uint64_t idle_turns;
};

/* NULL: out of memory, or an address or route makes no sense (the reason is in the log). */
struct stack *stack_new(const struct stack_conf *conf);
void stack_free(struct stack *s);

/* On the worker, before the first turn. */
void stack_start(struct stack *s);

/* Both return how much there was to do. */
unsigned stack_receive(struct stack *s);
unsigned stack_send(struct stack *s);

/* @busy: this turn has found something to do. An adaptive machine sleeps after some that have not;
 * for longer if nothing is @awaited. */
void stack_rest(struct stack *s, bool busy, bool awaited);
