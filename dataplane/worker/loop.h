/*
 * loop.h - what the loop shares with the worker's other files, tests and benchmarks
 */
#pragma once

#include <stdint.h>

struct worker;

/*
 * What worker_run() is made of, for whoever gives several workers their turns in one thread:
 * worker_begin(), turn after turn, worker_end(). A turn is all but the sleep after it; returns how
 * much there was to do, apart from the timers that fired.
 */
void worker_begin(struct worker *w);
unsigned worker_turn(struct worker *w);
void worker_end(struct worker *w);

/* Monotonic and wall clock from the time-stamp counter. */
void read_clock(struct worker *w, uint64_t tsc);

/*
 * How long to sleep after @idle_turns turns without work; 0: not at all. Where a worker has to
 * look, and where it is woken by what comes; @gap_us: how long there is nothing to do, of late.
 */
uint64_t loop_sleep_us(uint64_t idle_turns);
uint64_t loop_wait_us(uint64_t idle_turns, uint64_t gap_us);

/* @gap_us, after there was nothing to do for @us. */
uint64_t loop_gap_us(uint64_t gap_us, uint64_t us);

/* Looks for a new runtime, and goes on with what there is to do because of one; how much that was.
 */
unsigned worker_adopt(struct worker *w);
