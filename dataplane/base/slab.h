/*
 * slab.h - fixed-size objects from one reserved range, for one thread
 *
 * The whole range is reserved as address space when the slab is made
 * (reserve.h) and becomes memory shortly before objects are used, so nothing
 * costs much before it exists and nothing on the packet path calls an
 * allocator. Freed objects are reused last in, first out, while they are still
 * in the cache. Running out is an ordinary answer (NULL, counted).
 *
 * Under AddressSanitizer free objects are poisoned.
 */
#pragma once

#include "dataplane/base/reserve.h"

#include <stdbool.h>
#include <stdint.h>

struct slab {
    struct reserve mem;
    uint32_t size;      /* of one object, a multiple of the cache line */
    uint32_t max;       /* objects */
    uint32_t n_touched; /* objects ever handed out: those below are valid memory */
    uint32_t in_use;
    bool raw;
    uint64_t failed; /* slab_alloc() found nothing */
    void *free;
};

/* Returns 0 or -ENOMEM. @s must not move until slab_fini(). */
NODISCARD int slab_init(struct slab *s, uint32_t size, uint32_t max);
/* The same for objects that are not zeroed: whoever takes one writes it before it is read. */
NODISCARD int slab_init_raw(struct slab *s, uint32_t size, uint32_t max);
void slab_fini(struct slab *s);

/* Returns an object, zeroed if the slab is not raw, or NULL. */
void *slab_alloc(struct slab *s);
void slab_free(struct slab *s, void *obj);

/* The number of @obj among those of @s, and the object of that number. */
static inline uint32_t slab_index(const struct slab *s, const void *obj)
{
    return (uint32_t)((size_t)((const char *)obj - s->mem.base) / s->size);
}

static inline void *slab_at(const struct slab *s, uint32_t index)
{
    return s->mem.base + (size_t)index * s->size;
}
