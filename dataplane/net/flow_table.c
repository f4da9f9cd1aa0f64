#include "dataplane/net/flow_table.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define PASSED_MAX UINT8_MAX
#define FLOW_HOT_LINES 5
#define PROBE_MAX 32 /* buckets; never reached by a keyed hash at our load */

static size_t span(const struct flow_table *t)
{
    return (size_t)(t->mask + 1) * sizeof(struct flow_bucket);
}

int flow_table_init(struct flow_table *t, uint32_t max, const struct hash_key *secret)
{
    uint64_t n = 8;

    /* Four flows in a bucket of seven, when full. */
    while (n * 4 < max)
        n *= 2;

    *t = (struct flow_table){ .secret = *secret, .mask = (uint32_t)n - 1, .max = max };
    if (reserve_init(&t->mem, span(t)) < 0)
        return -ENOMEM;
    reserve_use(&t->mem, span(t)); /* a flow may be anywhere in it */
    t->buckets = (struct flow_bucket *)t->mem.base;
    return 0;
}

void flow_table_fini(struct flow_table *t)
{
    reserve_fini(&t->mem);
    t->buckets = NULL;
}

static uint32_t hash_of(const struct flow_table *t, const struct flow_key *key)
{
    uint8_t v4[13];

    if (key->remote.family != IP_V4)
        return (uint32_t)hash_sip(&t->secret, key, sizeof(*key));

    memcpy(v4, key->remote.b, 4);
    memcpy(v4 + 4, key->local.b, 4);
    memcpy(v4 + 8, &key->remote_port, 2);
    memcpy(v4 + 10, &key->local_port, 2);
    v4[12] = key->protocol;
    return (uint32_t)hash_sip(&t->secret, v4, sizeof(v4));
}

static uint8_t tag_of(uint32_t hash)
{
    uint8_t tag = (uint8_t)(hash >> 24);

    return tag != 0 ? tag : 1;
}

static struct flow *find(const struct flow_table *t, const struct flow_key *key, uint32_t hash)
{
    const uint8_t tag = tag_of(hash);

    for (uint32_t probe = 0; probe < PROBE_MAX; probe++) {
        const struct flow_bucket *b = &t->buckets[(hash + probe) & t->mask];

        for (unsigned i = 0; i < FLOW_BUCKET; i++)
            if (b->tag[i] == tag && memcmp(&b->flow[i]->key, key, sizeof(*key)) == 0)
                return b->flow[i];
        if (likely(b->passed == 0))
            return NULL;
    }
    return NULL;
}

void flow_table_prefetch(const struct flow_table *t, uint32_t hash)
{
    __builtin_prefetch(&t->buckets[hash & t->mask]);
}

const struct flow *flow_table_guess(const struct flow_table *t, uint32_t hash)
{
    const struct flow_bucket *b = &t->buckets[hash & t->mask];
    const uint8_t tag = tag_of(hash);

    for (unsigned i = 0; i < FLOW_BUCKET; i++)
        if (b->tag[i] == tag)
            return b->flow[i];
    return NULL;
}

/* What a connection needs for nearly every segment lies in its first lines. */
void flow_table_prefetch_flow(const struct flow_table *t, uint32_t hash)
{
    const char *f = (const char *)flow_table_guess(t, hash);

    for (unsigned line = 0; f != NULL && line < FLOW_HOT_LINES; line++)
        __builtin_prefetch(f + line * CACHE_LINE);
}

uint32_t flow_table_hash(const struct flow_table *t, const struct flow_key *key)
{
    return hash_of(t, key);
}

struct flow *flow_table_find_hashed(const struct flow_table *t, const struct flow_key *key,
                                    uint32_t hash)
{
    return find(t, key, hash);
}

struct flow *flow_table_find(const struct flow_table *t, const struct flow_key *key)
{
    return find(t, key, hash_of(t, key));
}

static int free_place(const struct flow_bucket *b)
{
    for (int i = 0; i < FLOW_BUCKET; i++)
        if (b->tag[i] == 0)
            return i;
    return -1;
}

/* Marks the first @n buckets from @hash on as passed by one more flow. */
static void mark_passed(struct flow_table *t, uint32_t hash, uint32_t n)
{
    for (uint32_t probe = 0; probe < n; probe++) {
        struct flow_bucket *b = &t->buckets[(hash + probe) & t->mask];

        if (b->passed < PASSED_MAX)
            b->passed++;
    }
}

int flow_table_add(struct flow_table *t, struct flow *f)
{
    f->hash = hash_of(t, &f->key);
    if (t->n >= t->max)
        return -ENOMEM;
    if (find(t, &f->key, f->hash) != NULL)
        return -EEXIST;

    for (uint32_t probe = 0; probe < PROBE_MAX; probe++) {
        struct flow_bucket *b = &t->buckets[(f->hash + probe) & t->mask];
        int at = free_place(b);

        if (at < 0)
            continue;
        b->tag[at] = tag_of(f->hash);
        b->flow[at] = f;
        mark_passed(t, f->hash, probe);
        t->n++;
        return 0;
    }
    return -ENOMEM;
}

/* The place that holds @f, and how many buckets it lies from its own. */
static struct flow_bucket *place_of(const struct flow_table *t, const struct flow *f, unsigned *at,
                                    uint32_t *probes)
{
    for (uint32_t probe = 0; probe < PROBE_MAX; probe++) {
        struct flow_bucket *b = &t->buckets[(f->hash + probe) & t->mask];

        for (unsigned i = 0; i < FLOW_BUCKET; i++) {
            if (b->flow[i] == f && b->tag[i] != 0) {
                *at = i;
                *probes = probe;
                return b;
            }
        }
    }
    return NULL;
}

void flow_table_del(struct flow_table *t, struct flow *f)
{
    uint32_t probes;
    unsigned at;
    struct flow_bucket *b = place_of(t, f, &at, &probes);

    assert(b != NULL);
    b->tag[at] = 0;
    b->flow[at] = NULL;
    t->n--;

    for (uint32_t probe = 0; probe < probes; probe++) {
        b = &t->buckets[(f->hash + probe) & t->mask];
        if (b->passed < PASSED_MAX)
            b->passed--;
    }
}

void flow_table_replace(struct flow_table *t, struct flow *old, struct flow *new)
{
    uint32_t probes;
    unsigned at;
    struct flow_bucket *b = place_of(t, old, &at, &probes);

    assert(b != NULL);
    new->hash = old->hash;
    b->flow[at] = new;
}
