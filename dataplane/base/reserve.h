/*
 * reserve.h - address space that turns into memory before it is needed
 *
 * What grows with the number of connections (slab.h, the flow table) is reserved whole when it is
 * made, all of it zero, and becomes memory as it is used. Who touches a page for the first time
 * waits for the kernel to find and clear one, which a worker has no time for. So the owner says how
 * far it has come, and another thread, every few milliseconds, lets the kernel prepare what comes
 * next: a quarter of what is used, at least 512 KiB, at most 2 MiB. An owner that is faster waits
 * as it always would.
 *
 * From 2 MiB on it is in huge pages where the kernel has them (madvise, transparent_hugepage): with
 * many connections each packet would miss the TLB otherwise. What is smaller stays in small ones.
 *
 * Nothing is ever given back before reserve_fini().
 */
#pragma once

#include "dataplane/base/compiler.h"

#include <stdatomic.h>
#include <stddef.h>

struct reserve {
    char *base;                  /* NULL: none */
    size_t size;                 /* bytes, of whole pages */
    _Atomic size_t used;         /* bytes from the start on */
    struct reserve_ready *ready; /* reserves_prepare()'s: in lines that the owner does not write */
};

/* Any thread; @r must not move until reserve_fini(). Returns 0 or -ENOMEM. */
NODISCARD int reserve_init(struct reserve *r, size_t size);
void reserve_fini(struct reserve *r);

/* By its owner: all below @bytes is in use, or about to be. */
static inline void reserve_use(struct reserve *r, size_t bytes)
{
    /* Only a hint, so that nothing needs to be seen with it. */
    atomic_store_explicit(&r->used, bytes, memory_order_relaxed);
}

/* Prepares what comes next in every one. Not by a worker: it waits for the kernel. Returns how many
 * bytes it has prepared. */
size_t reserves_prepare(void);
