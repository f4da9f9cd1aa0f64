/*
 * loop.h - what the loop shares with the worker's other files, and with tests
 */
#pragma once

#include <stdint.h>

struct worker;

/* Monotonic and wall clock from the time-stamp counter. */
void read_clock(struct worker *w, uint64_t tsc);

uint64_t loop_sleep_us(uint64_t idle_turns);

/* Looks for a new runtime, and goes on with what there is to do because of one; how much that was.
 */
unsigned worker_adopt(struct worker *w);
