#include "dataplane/base/strmap.h"

void strmap_init(struct strmap *m, struct arena *a, uint32_t max)
{
    uint32_t size = 4;

    while (size < max * 2)
        size *= 2;
    *m = (struct strmap){ .mask = size - 1 };
    hash_key_random(&m->seed);
    m->slots = arena_alloc(a, size * sizeof(m->slots[0]));
}

static struct strmap_slot *find(const struct strmap *m, struct slice key)
{
    uint32_t at = (uint32_t)hash_sip(&m->seed, key.ptr, key.len) & m->mask;

    while (m->slots[at].key.ptr != NULL && !slice_eq(m->slots[at].key, key))
        at = (at + 1) & m->mask;
    return &m->slots[at];
}

bool strmap_add(struct strmap *m, struct slice key, void *value)
{
    struct strmap_slot *slot;

    if (m->n * 2 > m->mask)
        return false;
    slot = find(m, key);
    if (slot->key.ptr != NULL)
        return false;
    *slot = (struct strmap_slot){ key, value };
    m->n++;
    return true;
}

void *strmap_get(const struct strmap *m, struct slice key)
{
    return m->n == 0 ? NULL : find(m, key)->value;
}
