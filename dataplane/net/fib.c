#include "dataplane/net/fib.h"

#include "dataplane/base/log.h"
#include "dataplane/net/addr6.h"

#include <errno.h>
#include <stdlib.h>

/* ---- keys */

static uint64_t read64(const uint8_t *p)
{
    uint64_t x;

    memcpy(&x, p, sizeof(x));
    return __builtin_bswap64(x);
}

/* An IPv4 address is the first four bytes of ->b, and zeros follow. */
static struct fib_key key_of(const struct ipaddr *a)
{
    return (struct fib_key){ read64(a->b), read64(a->b + 8) };
}

static int key_cmp(const struct fib_key *a, const struct fib_key *b)
{
    if (a->hi != b->hi)
        return a->hi < b->hi ? -1 : 1;
    return a->lo == b->lo ? 0 : a->lo < b->lo ? -1 : 1;
}

/* The last address of a prefix that begins at @start. */
static struct fib_key key_end(struct fib_key start, unsigned len)
{
    if (len <= 64)
        return (struct fib_key){ start.hi | (len == 64 ? 0 : UINT64_MAX >> len), UINT64_MAX };
    return (struct fib_key){ start.hi, start.lo | (len == 128 ? 0 : UINT64_MAX >> (len - 64)) };
}

/* False: there is none. */
static bool key_next(struct fib_key *k)
{
    if (++k->lo == 0)
        return ++k->hi != 0;
    return true;
}

/* ---- building */

#define DEPTH_MAX 130 /* prefixes within one another, of every length, and none */

struct builder {
    struct fib *fib;
    struct fib_ranges *to;
    uint32_t stack[DEPTH_MAX];
    unsigned depth;
};

static void range(struct builder *b, struct fib_key start, uint32_t route)
{
    struct fib_ranges *to = b->to;

    if (to->n > 0 && key_cmp(&to->starts[to->n - 1], &start) == 0) {
        to->routes[to->n - 1] = route;
        return;
    }
    if (to->n > 0 && to->routes[to->n - 1] == route)
        return;
    to->starts[to->n] = start;
    to->routes[to->n++] = route;
}

static struct fib_key end_of(const struct builder *b, uint32_t route)
{
    const struct ipprefix *p = &b->fib->routes[route].prefix;

    return key_end(key_of(&p->addr), p->len);
}

/* Ends the innermost prefix: what is around it goes on. */
static void close_prefix(struct builder *b)
{
    struct fib_key at = end_of(b, b->stack[--b->depth]);

    if (key_next(&at))
        range(b, at, b->stack[b->depth - 1]);
}

/* Routes are sorted: an outer prefix comes before those in it. */
static void cut(struct fib *f, struct fib_ranges *to, enum ip_family family)
{
    struct builder b = { .fib = f, .to = to, .stack = { FIB_NONE }, .depth = 1 };

    range(&b, (struct fib_key){ 0, 0 }, FIB_NONE);
    for (uint32_t i = 0; i < f->n_routes; i++) {
        const struct fib_key start = key_of(&f->routes[i].prefix.addr);

        if (f->routes[i].prefix.addr.family != family)
            continue;
        while (b.depth > 1) {
            const struct fib_key end = end_of(&b, b.stack[b.depth - 1]);

            if (key_cmp(&end, &start) >= 0)
                break;
            close_prefix(&b);
        }
        range(&b, start, i);
        b.stack[b.depth++] = i;
    }
    while (b.depth > 1)
        close_prefix(&b);
}

/* By family, address, length; equals stay in the order in which they came. */
static int by_prefix(const void *a, const void *b)
{
    const struct fib_entry *x = *(const struct fib_entry *const *)a,
                           *y = *(const struct fib_entry *const *)b;
    const struct fib_key kx = key_of(&x->prefix.addr), ky = key_of(&y->prefix.addr);
    int order = (int)x->prefix.addr.family - y->prefix.addr.family;

    if (order == 0)
        order = key_cmp(&kx, &ky);
    if (order == 0)
        order = (int)x->prefix.len - y->prefix.len;
    return order != 0 ? order : x < y ? -1 : 1;
}

static bool same_prefix(const struct ipprefix *a, const struct ipprefix *b)
{
    return a->len == b->len && ipaddr_eq(&a->addr, &b->addr);
}

static bool has_gateways(const struct fib *f, const struct fib_route *r)
{
    return r->kind == FIB_FORWARD && r->n_hops > 0 && fib_hops(f, r)->via.family != IP_NONE;
}

static bool hop_is_there(const struct fib *f, const struct fib_route *r, const struct fib_hop *h)
{
    for (uint32_t i = 0; i < r->n_hops; i++)
        if (fib_hops(f, r)[i].iface == h->iface && ipaddr_eq(&fib_hops(f, r)[i].via, &h->via))
            return true;
    return false;
}

/* The hops of @e for @r, the route that was added last. */
static void add_hops(struct fib *f, struct fib_route *r, const struct fib_entry *e)
{
    for (uint32_t i = 0; i < e->n_hops && r->n_hops < FIB_HOPS_MAX; i++) {
        if (hop_is_there(f, r, &e->hops[i]))
            continue;
        f->hops[f->n_hops++] = e->hops[i];
        r->n_hops++;
    }
}

static void add(struct fib *f, const struct fib_entry *e)
{
    struct fib_route *last = f->n_routes > 0 ? &f->routes[f->n_routes - 1] : NULL;

    if (last != NULL && same_prefix(&last->prefix, &e->prefix)) {
        if (e->from_kernel == last->from_kernel && has_gateways(f, last) &&
            e->kind == FIB_FORWARD && e->hops[0].via.family != IP_NONE)
            add_hops(f, last, e);
        return;
    }
    f->routes[f->n_routes] = (struct fib_route){
        .prefix = e->prefix, .kind = e->kind, .from_kernel = e->from_kernel, .first_hop = f->n_hops
    };
    add_hops(f, &f->routes[f->n_routes++], e);
}

static bool alloc_ranges(struct fib_ranges *r, uint32_t n)
{
    r->starts = malloc((2 * (size_t)n + 1) * sizeof(*r->starts));
    r->routes = malloc((2 * (size_t)n + 1) * sizeof(*r->routes));
    return r->starts != NULL && r->routes != NULL;
}

static struct fib *alloc_fib(const struct fib_entry *entries, uint32_t n)
{
    struct fib *f = calloc(1, sizeof(*f));
    size_t n_hops = 0;
    uint32_t n4 = 0;

    if (f == NULL)
        return NULL;
    for (uint32_t i = 0; i < n; i++) {
        n_hops += entries[i].n_hops;
        n4 += entries[i].prefix.addr.family == IP_V4;
    }
    f->routes = calloc(n + 1, sizeof(*f->routes));
    f->hops = calloc(n_hops + 1, sizeof(*f->hops));
    if (f->routes != NULL && f->hops != NULL && alloc_ranges(&f->v4, n4) &&
        alloc_ranges(&f->v6, n - n4))
        return f;
    fib_free(f);
    return NULL;
}

int fib_new(const struct fib_entry *entries, uint32_t n, struct fib **ret)
{
    const struct fib_entry **sorted;
    struct fib *f;

    if (n > FIB_MAX)
        return -E2BIG;
    sorted = malloc((n + 1) * sizeof(const struct fib_entry *));
    f = sorted != NULL ? alloc_fib(entries, n) : NULL;
    if (f == NULL) {
        free(sorted);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < n; i++)
        sorted[i] = &entries[i];
    qsort(sorted, n, sizeof(const struct fib_entry *), by_prefix);
    for (uint32_t i = 0; i < n; i++)
        add(f, sorted[i]);
    free(sorted);
    cut(f, &f->v4, IP_V4);
    cut(f, &f->v6, IP_V6);
    *ret = f;
    return 0;
}

void fib_free(struct fib *f)
{
    if (f == NULL)
        return;
    free(f->v4.starts);
    free(f->v4.routes);
    free(f->v6.starts);
    free(f->v6.routes);
    free(f->routes);
    free(f->hops);
    free(f);
}

const struct fib_route *fib_find(const struct fib *f, const struct ipaddr *addr)
{
    const struct fib_ranges *r = addr->family == IP_V4 ? &f->v4 : &f->v6;
    const struct fib_key key = key_of(addr);
    uint32_t low = 0, high = r->n;

    /* The last range that begins at @key or before: the first begins at 0. */
    while (high - low > 1) {
        const uint32_t middle = low + (high - low) / 2;

        if (key_cmp(&r->starts[middle], &key) <= 0)
            low = middle;
        else
            high = middle;
    }
    return r->routes[low] != FIB_NONE ? &f->routes[r->routes[low]] : NULL;
}

/* ---- of the configuration */

static int port_by_name(const struct machine_conf *machine, const char *name)
{
    for (uint32_t i = 0; i < machine->n_ports; i++)
        if (machine->ports[i].name != NULL && strcmp(machine->ports[i].name, name) == 0)
            return (int)i;
    return -1;
}

static bool is_on_link(const struct iface *i, const struct ipaddr *via, bool port_is_named)
{
    if (via->family == IP_V4)
        return iface_on_link(i, ipaddr_u32(via)) != NULL;
    /* Every link has its link-local addresses: which one is meant must be said. */
    if (addr6_is_link_local(via) && !port_is_named)
        return false;
    return i->n_addrs6 > 0 && iface6_on_link(i, via);
}

/* The interface that leads to @via: where it is on link, else (on link itself) the first of the
 * port. */
static int iface_for(const struct machine_conf *machine, const struct iface_table *ifaces,
                     const struct fixed_route_conf *conf, const struct ipaddr *via)
{
    int port = conf->port != NULL ? port_by_name(machine, conf->port) : -1;

    if (conf->port != NULL && port < 0)
        return -1;
    for (uint32_t i = 0; i < ifaces->n; i++) {
        if (port >= 0 && ifaces->ifaces[i].port != port)
            continue;
        if (via->family == IP_NONE)
            return port >= 0 ? (int)i : -1;
        if (is_on_link(&ifaces->ifaces[i], via, port >= 0))
            return (int)i;
    }
    return -1;
}

static bool is_ours(const struct iface_table *ifaces, const struct ipaddr *a)
{
    return a->family == IP_V4 ? iface_any_has(ifaces, ipaddr_u32(a))
                              : iface6_any_find(ifaces, a) != NULL;
}

static int refuse(const struct ipprefix *p, const struct ipaddr *via, const char *why)
{
    char prefix[IPADDR_STRLEN], hop[IPADDR_STRLEN];

    log_error("net", "route %s/%u via %s: %s", ipaddr_str(&p->addr, prefix), p->len,
              via->family == IP_NONE ? "link" : ipaddr_str(via, hop), why);
    return -EINVAL;
}

static int add_hop(struct fib_entry *e, const struct machine_conf *machine,
                   const struct iface_table *ifaces, const struct fixed_route_conf *conf,
                   const struct ipaddr *via)
{
    struct fib_hop *hop = &e->hops[e->n_hops];
    int iface = via->family == IP_NONE || via->family == conf->prefix.addr.family
                    ? iface_for(machine, ifaces, conf, via)
                    : -1;

    if (iface < 0)
        return refuse(&conf->prefix, via, "no interface leads there");
    hop->iface = (uint8_t)iface;
    hop->via = *via;
    if (via->family == IP_V6 && addr6_is_link_local(via))
        hop->via.scope = (uint8_t)(iface + 1);
    if (via->family != IP_NONE && is_ours(ifaces, &hop->via))
        return refuse(&conf->prefix, via, "its next hop is an address of ours");
    e->n_hops++;
    return 0;
}

static int entry_of(struct fib_entry *e, const struct machine_conf *machine,
                    const struct iface_table *ifaces, const struct fixed_route_conf *conf)
{
    static const enum fib_kind kinds[] = { [ROUTE_FORWARD] = FIB_FORWARD,
                                           [ROUTE_BLACKHOLE] = FIB_BLACKHOLE,
                                           [ROUTE_UNREACHABLE] = FIB_UNREACHABLE };
    const unsigned bits = conf->prefix.addr.family == IP_V4 ? 32 : 128;
    int rc = 0;

    *e = (struct fib_entry){ .prefix = conf->prefix, .kind = kinds[conf->type] };
    if (conf->prefix.addr.family == IP_NONE || conf->prefix.len > bits)
        return refuse(&conf->prefix, &conf->via[0], "there is no such prefix");
    if (e->kind != FIB_FORWARD)
        return 0;
    for (uint32_t i = 0; rc == 0 && i < MACHINE_MAX_HOPS; i++)
        if (i == 0 || conf->via[i].family != IP_NONE)
            rc = add_hop(e, machine, ifaces, conf, &conf->via[i]);
        else
            break;
    return rc;
}

static void add_on_link(struct fib_entry *e, struct ipaddr addr, uint8_t len, uint32_t iface)
{
    for (unsigned i = 0; i < sizeof(addr.b); i++) {
        const unsigned keep = len <= i * 8 ? 0 : MIN(8u, len - i * 8u);

        addr.b[i] &= (uint8_t)(0xff00u >> keep);
    }
    *e = (struct fib_entry){ .prefix = { addr, len },
                             .n_hops = 1,
                             .hops = { { .iface = (uint8_t)iface } } };
}

/* Link-local prefixes are no routes: their scope says where they lead. */
static uint32_t add_interface(struct fib_entry *to, const struct iface *i, uint32_t index)
{
    uint32_t n = 0;

    for (uint32_t k = 0; k < i->n_addrs; k++) {
        const struct iface_addr *a = &i->addrs[k];

        add_on_link(&to[n++], ipaddr_v4(a->addr), (uint8_t)__builtin_popcount(a->mask), index);
    }
    for (uint32_t k = 0; k < i->n_addrs6; k++)
        if (!addr6_is_link_local(&i->addrs6[k].addr))
            add_on_link(&to[n++], i->addrs6[k].addr, i->addrs6[k].prefix_len, index);
    return n;
}

int fib_of_machine(const struct machine_conf *machine, const struct iface_table *ifaces,
                   const struct fib_entry *more, uint32_t n_more, struct fib **ret)
{
    const size_t max = (size_t)MACHINE_MAX_PORTS * MACHINE_MAX_ADDRS + machine->n_routes + n_more;
    struct fib_entry *entries = calloc(max, sizeof(*entries));
    uint32_t n = 0;
    int rc = 0;

    if (entries == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < ifaces->n; i++)
        n += add_interface(&entries[n], &ifaces->ifaces[i], i);
    for (uint32_t i = 0; i < machine->n_routes && rc == 0; i++)
        rc = entry_of(&entries[n++], machine, ifaces, &machine->routes[i]);
    if (rc == 0 && n_more > 0)
        memcpy(&entries[n], more, n_more * sizeof(*more));
    if (rc == 0)
        rc = fib_new(entries, n + n_more, ret);
    free(entries);
    return rc;
}
