#include "dataplane/base/core.h"

void core_init(struct core *c, uint32_t id, struct pkt_pool *pool, uint64_t now_us,
               uint64_t wall_us)
{
    *c = (struct core){ .now_us = now_us, .wall_us = wall_us, .id = id, .pool = pool };
    wheel_init(&c->wheel, now_us);
    list_init(&c->work);
    hash_key_random(&c->secret);
    c->rng = hash_mix(c->secret.k[0]) | 1;
}

unsigned core_run_work(struct core *c, unsigned budget)
{
    struct list *l;
    unsigned n = 0;

    while (n < budget && (l = list_pop_head(&c->work)) != NULL) {
        struct work *w = container_of(l, struct work, link);

        n++;
        w->fn(w); /* last: it may free @w */
    }
    return n;
}
