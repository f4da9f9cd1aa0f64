/*
 * ring.h - pointers from one thread to another
 *
 * A bounded queue over rte_ring, without locks: one consumer, and one or
 * several producers. A full ring is an ordinary answer.
 */
#pragma once

#include "dataplane/base/compiler.h"

#include <stdbool.h>

struct ring;

enum ring_producers { RING_ONE_PRODUCER, RING_MANY_PRODUCERS };

/* Holds @size pointers, a power of two. NULL: no memory. */
struct ring *ring_new(unsigned size, enum ring_producers producers);
void ring_free(struct ring *r);

/* False: full. */
bool ring_push(struct ring *r, void *obj);

/* Returns how many of @n were taken: the first ones. */
unsigned ring_push_burst(struct ring *r, void *const *objs, unsigned n);
unsigned ring_pop_burst(struct ring *r, void **objs, unsigned n);
