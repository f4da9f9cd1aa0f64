/*
 * loop.h - what the loop shares with the worker's other files, and with tests
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct worker;

/* Monotonic and wall clock from the time-stamp counter. */
void read_clock(struct worker *w, uint64_t tsc);

/* How long to sleep after @idle_turns turns without work, 0: not at all; @woken: whatever comes
 * ends the sleep. */
uint64_t loop_sleep_us(uint64_t idle_turns, bool woken);
