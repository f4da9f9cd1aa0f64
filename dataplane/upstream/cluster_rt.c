/* The control thread's half of a cluster: what is the same as before, and in which slots it lives.
 */
#include "dataplane/base/strmap.h"
#include "dataplane/upstream/cluster.h"

static bool same_endpoints(const struct cluster_conf *a, const struct cluster_conf *b)
{
    if (a->n_endpoints != b->n_endpoints)
        return false;
    for (uint32_t i = 0; i < a->n_endpoints; i++)
        if (!ipport_eq(&a->endpoints[i].address, &b->endpoints[i].address))
            return false;
    return true;
}

_Static_assert(sizeof(struct ipport) == sizeof(struct ipaddr) + sizeof(uint16_t), "no padding");

static struct slice key_of(const struct endpoint_conf *e)
{
    return (struct slice){ (const char *)&e->address, sizeof(e->address) };
}

/* Slots for the endpoints from @from on: that of @was with the same address, or a new one. */
static void match_endpoints(struct cluster_rt *c, const struct cluster_rt *was, uint32_t from,
                            uint32_t n_workers)
{
    const uint32_t n_old = was != NULL ? was->conf->n_endpoints : 0;
    struct arena scratch;
    struct strmap old;

    arena_init(&scratch, 0);
    strmap_init(&old, &scratch, n_old);
    for (uint32_t i = from; i < n_old; i++) {
        struct slot **found = arena_alloc(&scratch, sizeof(*found));

        *found = was->endpoints[i];
        strmap_add(&old, key_of(&was->conf->endpoints[i]), found);
    }
    for (uint32_t i = from; i < c->conf->n_endpoints; i++) {
        struct slot **found = strmap_get(&old, key_of(&c->conf->endpoints[i]));

        c->endpoints[i] = found != NULL && *found != NULL ? slot_get(*found) : slot_new(n_workers);
        if (found != NULL)
            *found = NULL; /* an address that is there twice has two slots */
    }
    arena_fini(&scratch);
}

/* How many at the front are the same: of most clusters, all. */
static uint32_t share_endpoints(struct cluster_rt *c, const struct cluster_rt *was)
{
    uint32_t i = 0;

    while (was != NULL && i < MIN(c->conf->n_endpoints, was->conf->n_endpoints) &&
           ipport_eq(&c->conf->endpoints[i].address, &was->conf->endpoints[i].address)) {
        c->endpoints[i] = slot_get(was->endpoints[i]);
        i++;
    }
    return i;
}

void cluster_rt_init(struct cluster_rt *c, struct arena *a, const struct cluster_conf *conf,
                     const struct cluster_rt *was, uint32_t n_workers)
{
    uint32_t shared;

    *c = (struct cluster_rt){ .conf = conf };
    c->endpoints = arena_alloc(a, conf->n_endpoints * sizeof(c->endpoints[0]));
    shared = share_endpoints(c, was);
    if (shared < conf->n_endpoints)
        match_endpoints(c, was, shared, n_workers);
    if (was == NULL) {
        c->slot = slot_new(n_workers);
        return;
    }
    c->slot = slot_get(was->slot);
    c->tls_epoch = was->tls_epoch + !tls_conf_eq(was->conf->tls, conf->tls);
    c->epoch = was->epoch + (c->tls_epoch != was->tls_epoch || !same_endpoints(was->conf, conf));
}

void cluster_rt_fini(struct cluster_rt *c)
{
    for (uint32_t i = 0; i < c->conf->n_endpoints; i++)
        slot_put(c->endpoints[i]);
    slot_put(c->slot);
}
