/*
 * wheel.h - hierarchical timer wheel, 1 ms a tick
 *
 * Four levels of 256 slots: deadlines up to 2^32 ms (49 days) ahead. Starting,
 * moving and stopping a timer are O(1); a timer of a higher level is moved down
 * at most three times in its life. The timer lives in the object it belongs to.
 *
 * Time is passed in. wheel_run() expires what is due at @now_us, in order of
 * deadline to the tick, and at most @budget timers in a call: what is left
 * fires in the next call, before anything newer. A timer never fires early.
 *
 * Moving down is bounded, too: many objects that were made together have timers that
 * come down together. Until all of a slot have come down the wheel stands still, for
 * some calls, and what is due in it waits as long.
 *
 * Callbacks may start, move or stop any timer, also their own, and may free
 * the object the timer lives in.
 */
#pragma once

#include "dataplane/base/list.h"

#include <stdint.h>

#define WHEEL_TICK_US 1000
#define WHEEL_SLOTS 256
#define WHEEL_LEVELS 4

struct wheel_timer;
typedef void (*wheel_fn)(struct wheel_timer *t, uint64_t now_us);

struct wheel_timer {
    struct list link;
    uint64_t tick; /* when it fires */
    wheel_fn fn;
};

struct wheel {
    uint64_t tick; /* all slots before this one have been run */
    uint32_t n;    /* timers running */
    struct list due;
    struct list moving; /* from a higher level, not yet in their places */
    unsigned level;     /* they come from */
    /* Slots of the first level that may hold a timer: time without any is jumped over. */
    uint64_t used[WHEEL_SLOTS / 64];
    struct list slots[WHEEL_LEVELS][WHEEL_SLOTS];
};

void wheel_init(struct wheel *w, uint64_t now_us);

static inline void wheel_timer_init(struct wheel_timer *t, wheel_fn fn)
{
    list_init(&t->link);
    t->tick = 0;
    t->fn = fn;
}

static inline bool wheel_timer_is_running(const struct wheel_timer *t)
{
    return list_is_linked(&t->link);
}

/* When it fires, to the tick; UINT64_MAX: it does not run. */
static inline uint64_t wheel_timer_at_us(const struct wheel_timer *t)
{
    return wheel_timer_is_running(t) ? t->tick * WHEEL_TICK_US : UINT64_MAX;
}

/* (Re)starts @t to fire at @at_us or up to one tick later. A time in the past fires at the next
 * run. */
void wheel_start(struct wheel *w, struct wheel_timer *t, uint64_t at_us);

/* Stopping a timer that does not run is harmless. */
void wheel_stop(struct wheel *w, struct wheel_timer *t);

/* Returns how many fired. */
unsigned wheel_run(struct wheel *w, uint64_t now_us, unsigned budget);

/* When the next timer may fire, at the latest; UINT64_MAX when none runs. For idle sleeping. */
uint64_t wheel_next_us(const struct wheel *w);
