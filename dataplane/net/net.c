#include "dataplane/net/net.h"

#include "dataplane/net/eth.h"
#include "dataplane/net/ip4.h"
#include "dataplane/net/net_impl.h"

#include <errno.h>
#include <stdlib.h>

#define DEFAULT_CONNECTIONS 65536
#define DEFAULT_HALF_OPEN 4096

/* A second, at once. */
#define ECHO_RATE 1000, 100
#define ERROR_RATE 1000, 50
#define SHARE_RATE 1000, 256

static uint32_t max_flows(const struct net_conf *conf)
{
    uint32_t conns = conf->machine->tcp.max_connections, half = conf->machine->tcp.max_half_open;

    if (conf->max_flows != 0)
        return conf->max_flows;
    /* A connection may leave one in TIME_WAIT behind. */
    return 2 * (conns != 0 ? conns : DEFAULT_CONNECTIONS) + (half != 0 ? half : DEFAULT_HALF_OPEN);
}

struct net *net_new(struct core *core, const struct net_conf *conf)
{
    struct net *net = calloc(1, sizeof(*net));

    if (net == NULL)
        return NULL;
    net->core = core;
    net->ops = conf->ops;
    net->ctx = conf->ctx;
    limit_init(&net->echo, ECHO_RATE, core->now_us);
    limit_init(&net->errors, ERROR_RATE, core->now_us);
    limit_init(&net->shares, SHARE_RATE, core->now_us);

    if (iface_table_init(&net->ifaces, conf->machine, conf->ports) < 0 ||
        fib_init(&net->fib, conf->machine, &net->ifaces) < 0)
        goto err_net;
    if (neigh_table_init(&net->neighs, net) < 0)
        goto err_net;
    if (flow_table_init(&net->flows, max_flows(conf), &core->secret) < 0)
        goto err_neighs;
    return net;

err_neighs:
    neigh_table_fini(&net->neighs);
err_net:
    free(net);
    return NULL;
}

void net_free(struct net *net)
{
    if (net == NULL)
        return;
    flow_table_fini(&net->flows);
    neigh_table_fini(&net->neighs);
    free(net);
}

void net_announce(struct net *net)
{
    for (uint32_t i = 0; i < net->ifaces.n; i++)
        for (uint32_t k = 0; k < net->ifaces.ifaces[i].n_addrs; k++)
            arp_announce(net, &net->ifaces.ifaces[i], net->ifaces.ifaces[i].addrs[k].addr);
}

void net_rx(struct net *net, struct pkt **pkts, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        enum drop why;

        if (i + 1 < n)
            __builtin_prefetch(pkts[i + 1]->data);
        net->counters.pkts_in++;
        net->counters.bytes_in += pkts[i]->len;
        why = eth_rx(net, pkts[i]);
        if (unlikely(why != DROP_NONE))
            net_drop(net, pkts[i], why);
    }
}

/* The source address for packets that leave by @r: the one nearest to the next hop. */
static uint32_t source_for(const struct iface *i, uint32_t next_hop)
{
    const struct iface_addr *a = iface_on_link(i, next_hop);

    return a != NULL ? a->addr : i->addrs[0].addr;
}

int net_route(struct net *net, const struct ipaddr *remote, struct ipaddr *local,
              struct net_dst *ret)
{
    const struct fib_route *r;
    const struct iface *i;
    struct neigh *neigh;
    uint32_t addr, next_hop;

    if (local->family != IP_NONE && !net_is_local(net, local))
        return -EADDRNOTAVAIL;
    if (remote->family != IP_V4)
        return -EHOSTUNREACH;
    addr = ipaddr_u32(remote);
    r = fib_find(&net->fib, addr);
    if (r == NULL || !ip4_is_host(net, addr))
        return -EHOSTUNREACH;

    i = &net->ifaces.ifaces[r->iface];
    next_hop = r->via != 0 ? r->via : addr;
    if (iface_is_broadcast(i, next_hop))
        return -EHOSTUNREACH;
    neigh = neigh_get(net, r->iface, next_hop);
    if (neigh == NULL)
        return -EHOSTUNREACH;

    if (local->family == IP_NONE)
        *local = ipaddr_v4(source_for(i, next_hop));
    ret->neigh = neigh;
    ret->mtu = i->mtu;
    ret->iface = r->iface;
    return 0;
}

void net_dst_put(struct net *net, struct net_dst *dst)
{
    if (dst->neigh != NULL)
        neigh_put(dst->neigh);
    dst->neigh = NULL;
}

void net_tx(struct net *net, const struct net_dst *dst, const struct ipaddr *local,
            const struct ipaddr *remote, uint8_t protocol, struct pkt *p)
{
    ip4_tx(net, dst, local, remote, protocol, p);
}

bool net_dst_tcp_csum(const struct net *net, const struct net_dst *dst)
{
    return net->ifaces.ifaces[dst->iface].tcp_csum;
}

void net_dst_confirm(struct net *net, const struct net_dst *dst)
{
    neigh_confirm(dst->neigh);
}

bool net_is_local(const struct net *net, const struct ipaddr *addr)
{
    return addr->family == IP_V4 && iface_any_has(&net->ifaces, ipaddr_u32(addr));
}

struct flow_table *net_flows(struct net *net)
{
    return &net->flows;
}

void net_set_proto(struct net *net, uint8_t protocol, net_proto_fn fn, void *ctx)
{
    net->protos[protocol].fn = fn;
    net->protos[protocol].ctx = ctx;
}

void net_set_error(struct net *net, uint8_t protocol, net_error_fn fn, void *ctx)
{
    net->protos[protocol].error = fn;
    net->protos[protocol].error_ctx = ctx;
}

const struct net_counters *net_counters(const struct net *net)
{
    return &net->counters;
}
