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

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct slot {
    uint32_t refs; /* the control thread's */
    void *live[];  /* of each worker; NULL: none yet, or none any more */
};

/* With one reference. */
static inline struct slot *slot_new(uint32_t n_workers)
{
    struct slot *s = calloc(1, sizeof(*s) + n_workers * sizeof(s->live[0]));

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
