/*
 * slot.h - where the live object of something configured is, for each worker
 *
 * A configuration is replaced whole; what lives by it (a cluster with its connections,
 * a listener) goes on. A slot is what the old and the new description of the same thing
 * have in common: each refers to it, and through it a worker finds its live object
 * without looking for a name.
 *
 * The control thread makes slots and counts references, with which a slot goes; workers
 * read and write their own pointer, while they pin a runtime that refers to it.
 */
#pragma once

#include "dataplane/base/own.h"

#include <stdio.h>

struct slot {
    uint32_t refs; /* the control thread's */
    struct {
        CACHE_ALIGNED void *live; /* NULL: none yet, or none any more */
    } of[];                       /* of each worker */
};
_Static_assert(offsetof(struct slot, of) == CACHE_LINE &&
                   sizeof(((struct slot *)NULL)->of[0]) == CACHE_LINE,
               "no line is written by two threads");

/* With one reference. */
static inline struct slot *slot_new(uint32_t n_workers)
{
    struct slot *s = own_alloc(1, sizeof(*s) + n_workers * sizeof(s->of[0]));

    if (s == NULL) {
        perror("slot");
        abort(); /* as an arena without a limit does */
    }
    s->refs = 1;
    return s;
}

static inline struct slot *slot_get(struct slot *s)
{
    s->refs++;
    return s;
}

static inline void slot_put(struct slot *s)
{
    if (--s->refs == 0)
        free(s);
}
