/* From a destination to a neighbour, and a source address for it. */
#include "dataplane/net/addr6.h"
#include "dataplane/net/ip4.h"
#include "dataplane/net/ip6.h"
#include "dataplane/net/net_impl.h"

#include <errno.h>

enum { TCP_MIN_HDR = 20 };

/* ---- source addresses */

/* RFC 6724, 5: rules 2 (scope), 3 (not deprecated), 8 (longest match), in this order. */
static unsigned worth(const struct net *net, const struct iface_addr6 *a,
                      const struct ipaddr *remote)
{
    const bool near = addr6_is_link_local(remote) || addr6_is_group(remote);

    return (addr6_is_link_local(&a->addr) == near ? 512u : 0) +
           (a->preferred_until_us > net->core->now_us ? 256u : 0) + addr6_common(&a->addr, remote);
}

const struct iface_addr6 *net_source6(const struct net *net, const struct iface *i,
                                      const struct ipaddr *remote, bool link_local)
{
    const struct iface_addr6 *best = NULL;

    for (uint32_t k = 0; k < i->n_addrs6; k++) {
        const struct iface_addr6 *a = &i->addrs6[k];

        if (a->addr.family == IP_NONE || a->state != ADDR6_IN_USE ||
            (addr6_is_link_local(&a->addr) && !link_local))
            continue;
        if (best == NULL || worth(net, a, remote) > worth(net, best, remote))
            best = a;
    }
    return best;
}

const struct iface_addr *net_any_addr4(const struct net *net)
{
    for (uint32_t i = 0; i < net->ifaces.n; i++)
        if (net->ifaces.ifaces[i].n_addrs > 0)
            return &net->ifaces.ifaces[i].addrs[0];
    return NULL;
}

/* The one nearest to the next hop. */
static bool source4(const struct net *net, const struct iface *i, const struct ipaddr *next_hop,
                    struct ipaddr *ret)
{
    const struct iface_addr *a = iface_on_link(i, ipaddr_u32(next_hop));

    if (a == NULL)
        a = i->n_addrs > 0 ? &i->addrs[0] : net_any_addr4(net);
    if (a != NULL)
        *ret = ipaddr_v4(a->addr);
    return a != NULL;
}

static bool source6(const struct net *net, const struct iface *i, const struct ipaddr *remote,
                    struct ipaddr *ret)
{
    const struct iface_addr6 *a = net_source6(net, i, remote, addr6_is_link_local(remote));

    /* The weak model: an address of another interface is ours as well. */
    for (uint32_t k = 0; a == NULL && k < net->ifaces.n; k++)
        a = net_source6(net, &net->ifaces.ifaces[k], remote, false);
    if (a != NULL)
        *ret = a->addr;
    return a != NULL;
}

static bool may_send_from(const struct net *net, const struct ipaddr *local,
                          const struct ipaddr *remote)
{
    const struct iface_addr6 *a;

    if (local->family != remote->family)
        return false;
    if (local->family == IP_V4)
        return iface_any_has(&net->ifaces, ipaddr_u32(local));
    a = iface6_any_find(&net->ifaces, local);
    return a != NULL && a->state == ADDR6_IN_USE;
}

/* ---- next hops */

struct path {
    struct ipaddr next_hop;
    uint8_t iface;
};

/* What chooses among equals, computed when it is asked for. */
struct chooser {
    const struct flow_key *key; /* NULL: chance */
    bool known;
    uint32_t hash;
};

static uint32_t hash_of(struct net *net, struct chooser *c)
{
    if (!c->known)
        c->hash = c->key != NULL ? flow_table_hash(&net->flows, c->key)
                                 : (uint32_t)(core_random(net->core) >> 32);
    c->known = true;
    return c->hash;
}

/*
 * Highest random weight: when a hop falls out or comes back only its own flows move. A hop that
 * does not answer is passed over, if there is another.
 */
static const struct fib_hop *choose(struct net *net, const struct fib_hop *hops, uint32_t n,
                                    struct chooser *c)
{
    const struct fib_hop *best = NULL, *best_dead = NULL;
    uint64_t most = 0, most_dead = 0;

    for (uint32_t k = 0; k < n; k++) {
        const uint64_t weight = hash_mix((uint64_t)hash_of(net, c) << 32 | (k + 1));

        if (hops[k].via.family != IP_NONE && neigh_is_dead(net, hops[k].iface, &hops[k].via)) {
            if (weight >= most_dead) {
                most_dead = weight;
                best_dead = &hops[k];
            }
        } else if (weight >= most) {
            most = weight;
            best = &hops[k];
        }
    }
    net->counters.dead_hops += best_dead != NULL && best != NULL && most_dead > most;
    return best != NULL ? best : best_dead;
}

static int by_route(struct net *net, const struct ipaddr *remote, struct chooser *c,
                    const struct fib_route *r, struct path *ret)
{
    const struct fib_hop *hop = fib_hops(net->fib, r);

    if (r->kind != FIB_FORWARD || r->n_hops == 0) {
        net->counters.refused_routes++;
        return r->kind == FIB_BLACKHOLE ? -ENETUNREACH : -EHOSTUNREACH;
    }
    if (r->n_hops > 1)
        hop = choose(net, hop, r->n_hops, c);
    *ret = (struct path){ hop->via.family != IP_NONE ? hop->via : *remote, hop->iface };
    return 0;
}

/* By a router that has advertised itself: one that answers, if there is one. */
static int by_router(struct net *net, struct chooser *c, struct path *ret)
{
    struct fib_hop hops[ROUTERS_MAX];
    const struct router *router;
    const struct fib_hop *hop;
    uint32_t n = 0;

    while ((router = router_default(net, n)) != NULL)
        hops[n++] = (struct fib_hop){ router->addr, router->iface };
    if (n == 0)
        return -EHOSTUNREACH;
    hop = n > 1 ? choose(net, hops, n, c) : &hops[0];
    *ret = (struct path){ hop->via, hop->iface };
    return 0;
}

/* The only interface with IPv6, or -1: its link is meant, if none is named. */
static int only_link(const struct net *net)
{
    int only = -1;

    for (uint32_t k = 0; k < net->ifaces.n; k++) {
        if (net->ifaces.ifaces[k].n_addrs6 == 0)
            continue;
        if (only >= 0)
            return -1;
        only = (int)k;
    }
    return only;
}

static int by_scope(const struct net *net, const struct ipaddr *remote, struct path *ret)
{
    const int iface = remote->scope != 0 ? remote->scope - 1 : only_link(net);

    if (iface < 0 || iface >= (int)net->ifaces.n)
        return -EHOSTUNREACH;
    *ret = (struct path){ *remote, (uint8_t)iface };
    ret->next_hop.scope = (uint8_t)(iface + 1);
    return 0;
}

static int find_path(struct net *net, const struct ipaddr *remote, struct chooser *c,
                     struct path *ret)
{
    const struct fib_route *r = fib_find(net->fib, remote);
    const struct router_prefix *learned;

    if (remote->family == IP_V4)
        return r != NULL ? by_route(net, remote, c, r, ret) : -EHOSTUNREACH;
    if (addr6_is_link_local(remote))
        return by_scope(net, remote, ret);
    learned = router_on_link(net, remote);
    if (learned != NULL && (r == NULL || r->prefix.len < learned->prefix.len)) {
        *ret = (struct path){ *remote, learned->iface };
        return 0;
    }
    return r != NULL ? by_route(net, remote, c, r, ret) : by_router(net, c, ret);
}

/* ---- routes */

static bool is_host(const struct net *net, const struct ipaddr *a)
{
    switch ((enum ip_family)a->family) {
    case IP_V4:
        return ip4_is_host(net, ipaddr_u32(a));
    case IP_V6:
        return ip6_is_host(net, a);
    case IP_NONE:
        return false;
    }
    return false;
}

static uint16_t link_mtu(const struct iface *i, bool v4)
{
    const uint32_t hdr = TCP_MIN_HDR + (v4 ? (uint32_t)IP4_HDR : (uint32_t)IP6_HDR);
    const uint16_t mtu = v4 ? i->mtu : i->mtu6;

    return i->mss != 0 ? (uint16_t)MIN((uint32_t)mtu, i->mss + hdr) : mtu;
}

uint16_t net_dst_link_mtu(const struct net *net, const struct net_dst *dst)
{
    return link_mtu(&net->ifaces.ifaces[dst->iface], dst->ip_hdr == IP4_HDR);
}

/* What a packet to @remote may hold, with its IP header. */
static uint16_t path_mtu(const struct net *net, const struct iface *i, const struct ipaddr *remote)
{
    return pmtu_get(&net->pmtus, &net->core->secret, remote, link_mtu(i, remote->family == IP_V4),
                    net->core->now_us);
}

static int route(struct net *net, const struct ipaddr *remote, struct ipaddr *local,
                 struct chooser *c, struct net_dst *ret)
{
    struct path path;
    const struct iface *i;
    struct neigh *neigh;
    int rc;

    if (local->family != IP_NONE && !may_send_from(net, local, remote))
        return -EADDRNOTAVAIL;
    if (!is_host(net, remote))
        return -EHOSTUNREACH;
    rc = find_path(net, remote, c, &path);
    if (rc < 0)
        return rc;
    i = &net->ifaces.ifaces[path.iface];
    if (remote->family == IP_V4 && iface_is_broadcast(i, ipaddr_u32(&path.next_hop)))
        return -EHOSTUNREACH;
    if (local->family == IP_NONE &&
        !(remote->family == IP_V4 ? source4(net, i, &path.next_hop, local)
                                  : source6(net, i, remote, local)))
        return -EADDRNOTAVAIL;
    neigh = neigh_get(net, path.iface, &path.next_hop);
    if (neigh == NULL)
        return -EHOSTUNREACH;
    *ret = (struct net_dst){ .neigh = neigh,
                             .mtu = path_mtu(net, i, remote),
                             .ip_hdr = remote->family == IP_V4 ? IP4_HDR : IP6_HDR,
                             .iface = path.iface,
                             .label = remote->family == IP_V6 ? hash_of(net, c) : 0 };
    return 0;
}

int net_route(struct net *net, const struct ipaddr *remote, struct ipaddr *local,
              struct net_dst *ret)
{
    struct chooser c = { .key = NULL };

    return route(net, remote, local, &c, ret);
}

int net_route_flow(struct net *net, const struct flow_key *key, struct net_dst *ret)
{
    struct chooser c = { .key = key };
    struct ipaddr local = key->local;

    return route(net, &key->remote, &local, &c, ret);
}

bool net_reroute(struct net *net, const struct flow_key *key, struct net_dst *dst)
{
    struct net_dst now;

    if (net_route_flow(net, key, &now) < 0)
        return false;
    if (now.neigh == dst->neigh) {
        net_dst_put(net, &now);
        return false;
    }
    net_dst_put(net, dst);
    *dst = now;
    return true;
}

/* Those of the prefix that @local is of: whoever can answer that one can answer these. */
static bool other4(const struct iface *i, struct ipaddr *local)
{
    const uint32_t now = ipaddr_u32(local);
    uint32_t at = 0;

    while (at < i->n_addrs && i->addrs[at].addr != now)
        at++;
    if (at == i->n_addrs)
        return false;
    for (uint32_t k = 1; k < i->n_addrs; k++) {
        const struct iface_addr *a = &i->addrs[(at + k) % i->n_addrs];

        if (((a->addr ^ now) & i->addrs[at].mask) == 0) {
            *local = ipaddr_v4(a->addr);
            return true;
        }
    }
    return false;
}

static bool other6(const struct net *net, const struct iface *i, const struct ipaddr *remote,
                   struct ipaddr *local)
{
    const struct iface_addr6 *now = NULL;
    uint32_t at = 0;

    for (; at < i->n_addrs6 && now == NULL; at++)
        if (ipaddr_eq(&i->addrs6[at].addr, local))
            now = &i->addrs6[at];
    for (uint32_t k = 0; now != NULL && k < i->n_addrs6; k++) {
        const struct iface_addr6 *a = &i->addrs6[(at + k) % i->n_addrs6];

        if (a != now && a->addr.family == IP_V6 && a->state == ADDR6_IN_USE &&
            a->prefix_len == now->prefix_len &&
            addr6_common(&a->addr, &now->addr) >= now->prefix_len &&
            worth(net, a, remote) / 256 == worth(net, now, remote) / 256) {
            *local = a->addr;
            return true;
        }
    }
    return false;
}

bool net_other_source(const struct net *net, const struct net_dst *dst, const struct ipaddr *remote,
                      struct ipaddr *local)
{
    const struct iface *i = &net->ifaces.ifaces[dst->iface];

    return local->family == IP_V4 ? other4(i, local) : other6(net, i, remote, local);
}

uint16_t net_dst_path_mtu(const struct net *net, const struct net_dst *dst,
                          const struct ipaddr *remote)
{
    return path_mtu(net, &net->ifaces.ifaces[dst->iface], remote);
}

void net_path_mtu(struct net *net, const struct ipaddr *remote, uint16_t mtu)
{
    net->counters.path_mtus++;
    pmtu_put(&net->pmtus, &net->core->secret, remote, mtu, net->core->now_us);
}

void net_set_scopes(uint8_t scope, struct ipaddr *a, struct ipaddr *b)
{
    if (addr6_is_link_local(a))
        a->scope = scope;
    if (addr6_is_link_local(b))
        b->scope = scope;
}

/* ---- for people */

static const char *state_text(const struct net *net, const struct iface_addr6 *a)
{
    switch (a->state) {
    case ADDR6_TENTATIVE:
        return "tentative";
    case ADDR6_DUPLICATE:
        return "duplicate";
    case ADDR6_IN_USE:
        return a->preferred_until_us > net->core->now_us ? "in use" : "deprecated";
    }
    return "";
}

static const char *origin_text(const struct iface_addr6 *a)
{
    if (a->learned)
        return "router";
    return addr6_is_link_local(&a->addr) ? "link-local" : "configured";
}

void net_each_addr(struct net *net, void (*fn)(const struct net_addr_info *a, void *ctx), void *ctx)
{
    for (uint32_t k = 0; k < net->ifaces.n; k++) {
        const struct iface *i = &net->ifaces.ifaces[k];
        struct net_addr_info info = { .port = i->port, .vlan = i->vlan };

        for (uint32_t n = 0; n < i->n_addrs; n++) {
            info.addr = ipaddr_v4(i->addrs[n].addr);
            info.prefix_len = (uint8_t)__builtin_popcount(i->addrs[n].mask);
            info.state = "in use";
            info.origin = "configured";
            fn(&info, ctx);
        }
        for (uint32_t n = 0; n < i->n_addrs6; n++) {
            if (i->addrs6[n].addr.family == IP_NONE)
                continue;
            info.addr = i->addrs6[n].addr;
            info.prefix_len = i->addrs6[n].prefix_len;
            info.state = state_text(net, &i->addrs6[n]);
            info.origin = origin_text(&i->addrs6[n]);
            fn(&info, ctx);
        }
    }
}

static void tell_hop(struct net *net, struct net_route_info *info, const struct fib_hop *hop,
                     void (*fn)(const struct net_route_info *r, void *ctx), void *ctx)
{
    const struct iface *i = &net->ifaces.ifaces[hop->iface];

    info->via = hop->via;
    info->port = i->port;
    info->vlan = i->vlan;
    info->state = hop->via.family != IP_NONE ? neigh_state_of(net, hop->iface, &hop->via) : "";
    fn(info, ctx);
}

static void tell_route(struct net *net, const struct fib_route *r,
                       void (*fn)(const struct net_route_info *r, void *ctx), void *ctx)
{
    static const char *const kinds[] = {
        [FIB_FORWARD] = "forward", [FIB_BLACKHOLE] = "blackhole", [FIB_UNREACHABLE] = "unreachable"
    };
    struct net_route_info info = { .prefix = r->prefix,
                                   .kind = kinds[r->kind],
                                   .origin = r->from_kernel ? "kernel" : "fixed",
                                   .state = "" };

    if (r->n_hops == 0)
        fn(&info, ctx);
    for (uint32_t h = 0; h < r->n_hops; h++)
        tell_hop(net, &info, &fib_hops(net->fib, r)[h], fn, ctx);
}

static void tell_learned(struct net *net, void (*fn)(const struct net_route_info *r, void *ctx),
                         void *ctx)
{
    const struct router *router;

    for (unsigned k = 0; k < ROUTER_PREFIXES_MAX; k++) {
        const struct router_prefix *p = &net->routers.prefixes[k];
        struct net_route_info info = { .prefix = p->prefix, .kind = "forward", .origin = "router" };

        if (p->until_us > net->core->now_us)
            tell_hop(net, &info, &(struct fib_hop){ .iface = p->iface }, fn, ctx);
    }
    for (uint32_t k = 0; (router = router_default(net, k)) != NULL; k++) {
        struct net_route_info info = { .prefix = { .addr = { .family = IP_V6 } },
                                       .kind = "forward",
                                       .origin = "router" };

        tell_hop(net, &info, &(struct fib_hop){ router->addr, router->iface }, fn, ctx);
    }
}

bool net_each_route(struct net *net, uint32_t *at, uint32_t n,
                    void (*fn)(const struct net_route_info *r, void *ctx), void *ctx)
{
    for (; n > 0 && *at < net->fib->n_routes; n--, ++*at)
        tell_route(net, &net->fib->routes[*at], fn, ctx);
    if (*at < net->fib->n_routes)
        return false;
    tell_learned(net, fn, ctx);
    return true;
}
