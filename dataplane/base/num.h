/*
 * num.h - strict numbers, sizes and durations; and numbers as text, without stdio
 *
 * Digits and nothing else: no sign, no blank, no overflow, no octal. Each
 * returns false and leaves the result alone where the text is anything else.
 */
#pragma once

#include "dataplane/base/slice.h"

bool num_u64(struct slice s, uint64_t max, uint64_t *ret);
bool num_hex_u64(struct slice s, uint64_t max, uint64_t *ret);

/* As text, with its final 0. Returns its length. */
#define NUM_STRLEN 21
unsigned num_str(uint64_t n, char to[NUM_STRLEN]);
unsigned num_hex_str(uint64_t n, char to[NUM_STRLEN]);

/* "250ms", "15s", "1.5h", "30us", "5m", "0s": a number and a unit, in microseconds. */
bool num_duration_us(struct slice s, uint64_t *ret_us);

/* "64KiB", "1MiB", "2GiB", "4096": in bytes. */
bool num_size(struct slice s, uint64_t *ret);
