/*
 * flow_table.h - five-tuple to flow, one worker's
 *
 * Buckets of one cache line hold seven flows and a byte of the hash of each,
 * so that most lookups touch two lines: the bucket and the flow itself. A full
 * bucket sends what does not fit to the next and remembers how many, so that a
 * lookup stops at the first bucket nothing was sent past. The hash is keyed
 * (SipHash): a peer chooses the tuple and must not choose the bucket.
 *
 * The size is fixed when the table is made (reserve.h). A worker reads and writes only its own.
 */
#pragma once

#include "dataplane/base/hash.h"
#include "dataplane/base/reserve.h"
#include "dataplane/net/flow.h"

#define FLOW_BUCKET 7

struct flow_bucket {
    uint8_t tag[FLOW_BUCKET]; /* 0: empty */
    uint8_t passed;           /* flows that would live here but did not fit; stays at 255 */
    struct flow *flow[FLOW_BUCKET];
} CACHE_ALIGNED;

struct flow_table {
    struct hash_key secret;
    struct reserve mem;
    struct flow_bucket *buckets; /* in ->mem */
    uint32_t mask;
    uint32_t n, max;
};

/* Room for @max flows. 0 or -ENOMEM. */
NODISCARD int flow_table_init(struct flow_table *t, uint32_t max, const struct hash_key *secret);
void flow_table_fini(struct flow_table *t);

/*
 * With many flows each packet's is outside the caches. Who has a burst of packets asks for the
 * bucket of one, goes on with another, asks for the flow in it, and finds it at once in the end.
 */
void flow_table_prefetch(const struct flow_table *t, uint32_t hash);
void flow_table_prefetch_flow(const struct flow_table *t, uint32_t hash);

/* A flow of the bucket, most likely the right one, as a byte of the hash says so; its key is not
 * compared. NULL: there is none. */
const struct flow *flow_table_guess(const struct flow_table *t, uint32_t hash);

/* As flow_table_find(), for a key whose hash is known. */
struct flow *flow_table_find_hashed(const struct flow_table *t, const struct flow_key *key,
                                    uint32_t hash);

/* The keyed hash of @key: for whatever else a flow decides. */
uint32_t flow_table_hash(const struct flow_table *t, const struct flow_key *key);

struct flow *flow_table_find(const struct flow_table *t, const struct flow_key *key);

/* 0, -EEXIST, or -ENOMEM if the table is full. @f->key is set. */
NODISCARD int flow_table_add(struct flow_table *t, struct flow *f);

/* @f is in the table. */
void flow_table_del(struct flow_table *t, struct flow *f);

/* Puts @new (with the same key) where @old was: cannot fail. */
void flow_table_replace(struct flow_table *t, struct flow *old, struct flow *new);
