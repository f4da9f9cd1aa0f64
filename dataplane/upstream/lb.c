#include "dataplane/upstream/cluster_priv.h"

static struct endpoint *next_of(struct cluster *c, struct endpoint *e)
{
    struct list *l = e->link.next;

    return container_of(l == &c->endpoints ? l->next : l, struct endpoint, link);
}

static struct endpoint *round_robin(struct cluster *c)
{
    struct endpoint *e = c->next;

    if (e == NULL)
        return NULL;
    c->next = next_of(c, e);
    return e;
}

const struct lb_ops lb_round_robin = { "round_robin", round_robin };

const struct lb_ops *lb_find(enum lb_policy policy)
{
    switch (policy) {
    case LB_ROUND_ROBIN:
        return &lb_round_robin;
    }
    return NULL;
}
