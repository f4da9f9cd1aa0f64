/*
 * own.h - memory that one thread alone writes
 *
 * What a worker writes all the time must not share a cache line with what another thread writes, or
 * both wait for the line at each write. malloc() puts objects side by side: a worker's own begin
 * and end with a line here. Slabs (slab.h) and everything in a mapping of its own need no such
 * care.
 */
#pragma once

#include "dataplane/base/compiler.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Zeroed, or NULL; given back by free(). */
static inline void *own_alloc(size_t n, size_t size)
{
    const size_t len = MAX(n * size + CACHE_LINE - 1, CACHE_LINE) & ~(size_t)(CACHE_LINE - 1);
    void *p;

    if (n != 0 && size > (SIZE_MAX - CACHE_LINE) / n)
        return NULL;
    p = aligned_alloc(CACHE_LINE, len);
    return p != NULL ? memset(p, 0, len) : NULL;
}
