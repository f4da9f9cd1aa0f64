#include "config/netlink/table.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>

void table_init(struct table *t, const struct table_conf *conf)
{
    *t = (struct table){ .conf = *conf };
    t->view.neighs = calloc(TABLE_NEIGHS_MAX, sizeof(t->view.neighs[0]));
}

void table_fini(struct table *t)
{
    free(t->view.routes);
    free(t->view.neighs);
    *t = (struct table){ .room = 0 };
}

void table_clear(struct table *t)
{
    t->view.n_routes = t->view.n_neighs = 0;
}

static bool is_of_interest(const struct table *t, uint32_t ifindex)
{
    for (uint32_t i = 0; i < t->conf.n_ifs; i++)
        if (t->conf.ifs[i] == ifindex)
            return true;
    return false;
}

static void keep_our_hops(const struct table *t, struct kernel_route *r)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < r->n_hops; i++)
        if (is_of_interest(t, r->hops[i].ifindex))
            r->hops[n++] = r->hops[i];
    memset(&r->hops[n], 0, (r->n_hops - n) * sizeof(r->hops[0]));
    r->n_hops = n;
}

static bool make_room(struct table *t)
{
    const uint32_t room = MIN(MAX(t->room * 2, 64u), t->conf.max_routes);
    struct kernel_route *more;

    if (t->view.n_routes < t->room)
        return true;
    if (room <= t->room)
        return false;
    more = realloc(t->view.routes, room * sizeof(*more));
    if (more == NULL)
        return false;
    t->view.routes = more;
    t->room = room;
    return true;
}

static int add_route(struct table *t, const struct nlmsghdr *m, struct mirror_counters *counters)
{
    struct kernel_route r;
    int rc = message_route(m, &r);

    if (rc < 0)
        return rc;
    keep_our_hops(t, &r);
    if (r.type == KERNEL_ROUTE_FORWARD && r.n_hops == 0)
        return -ENOENT;
    if (!make_room(t)) {
        counters->refused_routes++;
        return -ENOSPC;
    }
    t->view.routes[t->view.n_routes++] = r;
    return 0;
}

static int add_neigh(struct table *t, const struct nlmsghdr *m, struct mirror_counters *counters)
{
    struct kernel_neigh n;
    int rc = message_neigh(m, &n);

    if (rc < 0 || !is_of_interest(t, n.ifindex))
        return rc;
    if (t->view.neighs == NULL || t->view.n_neighs == TABLE_NEIGHS_MAX) {
        counters->refused_neighbors++;
        return -ENOSPC;
    }
    t->view.neighs[t->view.n_neighs++] = n;
    return 0;
}

void table_add(struct table *t, const void *bytes, size_t len, struct mirror_counters *counters)
{
    const struct nlmsghdr *m;
    int rc;

    while ((m = message_next(&bytes, &len)) != NULL) {
        rc = m->nlmsg_type == RTM_NEWROUTE   ? add_route(t, m, counters)
             : m->nlmsg_type == RTM_NEWNEIGH ? add_neigh(t, m, counters)
                                             : 0;
        counters->malformed += rc == -EBADMSG;
    }
    counters->malformed += len > 0;
}

/* By prefix, then by metric. */
static int by_prefix(const void *a, const void *b)
{
    const struct kernel_route *x = a, *y = b;
    int order = memcmp(&x->prefix, &y->prefix, sizeof(x->prefix));

    if (order != 0)
        return order;
    if (x->metric != y->metric)
        return x->metric < y->metric ? -1 : 1;
    return memcmp(x, y, sizeof(*x));
}

static int by_address(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct kernel_neigh));
}

static bool has_hop(const struct kernel_route *r, const struct kernel_hop *h)
{
    for (uint32_t i = 0; i < r->n_hops; i++)
        if (memcmp(&r->hops[i], h, sizeof(*h)) == 0)
            return true;
    return false;
}

/* The hops of a route that is worth the same. */
static void join(struct kernel_route *r, const struct kernel_route *more)
{
    for (uint32_t i = 0; i < more->n_hops && r->n_hops < MACHINE_MAX_HOPS; i++)
        if (!has_hop(r, &more->hops[i]))
            r->hops[r->n_hops++] = more->hops[i];
}

void table_settle(struct table *t)
{
    struct table_view *v = &t->view;
    uint32_t n = 0;

    if (v->n_routes > 0)
        qsort(v->routes, v->n_routes, sizeof(v->routes[0]), by_prefix);
    for (uint32_t i = 0; i < v->n_routes; i++) {
        struct kernel_route *last = n > 0 ? &v->routes[n - 1] : NULL;

        if (last == NULL || memcmp(&last->prefix, &v->routes[i].prefix, sizeof(last->prefix)) != 0)
            v->routes[n++] = v->routes[i];
        else if (last->metric == v->routes[i].metric && last->type == v->routes[i].type)
            join(last, &v->routes[i]);
    }
    v->n_routes = n;
    if (v->n_neighs > 0)
        qsort(v->neighs, v->n_neighs, sizeof(v->neighs[0]), by_address);
}

bool table_view_eq(const struct table_view *a, const struct table_view *b)
{
    return a->n_routes == b->n_routes && a->n_neighs == b->n_neighs &&
           (a->n_routes == 0 ||
            memcmp(a->routes, b->routes, a->n_routes * sizeof(a->routes[0])) == 0) &&
           (a->n_neighs == 0 ||
            memcmp(a->neighs, b->neighs, a->n_neighs * sizeof(a->neighs[0])) == 0);
}
