#include "dataplane/net/net.h"

#include "dataplane/base/bytes.h"
#include "dataplane/base/own.h"
#include "dataplane/net/eth.h"
#include "dataplane/net/gro.h"
#include "dataplane/net/ip4.h"
#include "dataplane/net/ip6.h"
#include "dataplane/net/net_impl.h"

#include <stdlib.h>

#define DEFAULT_CONNECTIONS 65536
#define DEFAULT_HALF_OPEN 4096

/* A second, at once. */
#define ECHO_RATE 1000, 100
#define ERROR_RATE 1000, 50
#define SHARE_RATE 1000, 256
#define REPORT_RATE 10, 20

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
    struct net *net = own_alloc(1, sizeof(*net));

    if (net == NULL)
        return NULL;
    net->core = core;
    net->ops = conf->ops;
    net->ctx = conf->ctx;
    net->merge = conf->merge;
    net->punt = conf->punt;
    limit_init(&net->echo, ECHO_RATE, core->now_us);
    limit_init(&net->errors, ERROR_RATE, core->now_us);
    limit_init(&net->echo6, ECHO_RATE, core->now_us);
    limit_init(&net->errors6, ERROR_RATE, core->now_us);
    limit_init(&net->shares, SHARE_RATE, core->now_us);
    limit_init(&net->reports, REPORT_RATE, core->now_us);
    routers_init(&net->routers, net);

    if (iface_table_init(&net->ifaces, conf->machine, conf->ports) < 0 ||
        fib_of_machine(conf->machine, &net->ifaces, NULL, 0, &net->conf_fib) < 0)
        goto err_net;
    net->fib = net->conf_fib;
    if (neigh_table_init(&net->neighs, net) < 0)
        goto err_fib;
    if (frag_table_init(&net->frags, net) < 0)
        goto err_neighs;
    if (flow_table_init(&net->flows, max_flows(conf), &core->secret) < 0)
        goto err_frags;
    return net;

err_frags:
    frag_table_fini(&net->frags);
err_neighs:
    neigh_table_fini(&net->neighs);
err_fib:
    fib_free(net->conf_fib);
err_net:
    free(net);
    return NULL;
}

void net_free(struct net *net)
{
    if (net == NULL)
        return;
    flow_table_fini(&net->flows);
    frag_table_fini(&net->frags);
    neigh_table_fini(&net->neighs);
    for (uint32_t i = 0; i < net->ifaces.n; i++)
        for (uint32_t k = 0; k < net->ifaces.ifaces[i].n_addrs6; k++)
            nd_address_stop(&net->ifaces.ifaces[i].addrs6[k]);
    wheel_stop(&net->core->wheel, &net->routers.timer);
    fib_free(net->conf_fib);
    free(net);
}

void net_start(struct net *net, bool first)
{
    net->first = first;
    for (uint32_t i = 0; i < net->ifaces.n; i++) {
        struct iface *iface = &net->ifaces.ifaces[i];

        for (uint32_t k = 0; first && k < iface->n_addrs; k++)
            arp_announce(net, iface, iface->addrs[k].addr);
        for (uint32_t k = 0; k < iface->n_addrs6; k++)
            nd_address_start(net, &iface->addrs6[k]);
    }
}

void net_set_fib(struct net *net, const struct fib *fib)
{
    net->fib = fib != NULL ? fib : net->conf_fib;
}

void net_set_mirror(struct net *net, const struct net_mirror *m)
{
    net_set_fib(net, m->fib);
    neigh_give(net, m->neighs, m->n_neighs);
}

void net_peek(const struct net *net, struct pkt *p)
{
    const uint8_t *ip = p->data + ETH_HDR, *tcp;
    struct flow_key key = { .protocol = IP4_PROTO_TCP };
    uint16_t type;

    if (p->len < ETH_HDR + IP6_HDR) /* enough for a tag, IPv4 and ports, too */
        return;
    type = get16(p->data + 12);
    if (type == ETH_TYPE_VLAN) {
        type = get16(p->data + 16);
        ip += ETH_VLAN_TAG;
    }
    if (type == ETH_TYPE_IP4 && ip[0] == 0x45 && ip[9] == IP4_PROTO_TCP) {
        key.remote = ipaddr_v4(get32(ip + 12));
        key.local = ipaddr_v4(get32(ip + 16));
        tcp = ip + IP4_HDR;
    } else if (type == ETH_TYPE_IP6 && ip[6] == IP6_TCP && ip[0] >> 4 == 6 &&
               p->len >= ETH_HDR + ETH_VLAN_TAG + IP6_HDR + 4) {
        key.remote = ipaddr_v6(ip + 8);
        key.local = ipaddr_v6(ip + 24);
        tcp = ip + IP6_HDR;
    } else {
        return;
    }
    key.remote_port = get16(tcp);
    key.local_port = get16(tcp + 2);
    p->hash = flow_table_hash(&net->flows, &key);
    p->flags |= PKT_FLOW_HASH;
    flow_table_prefetch(&net->flows, p->hash);
}

/*
 * The packets of a burst are of different flows, as a rule. While one is worked on, what the next
 * ones will need is on its way: the header, then the bucket of the flow table, then the flow, then
 * what the flow has elsewhere.
 */
enum { AHEAD_FRAME = 8, AHEAD_BUCKET = 6, AHEAD_FLOW = 4, AHEAD_MORE = 2 };

struct ahead {
    struct pkt **pkts;
    unsigned n;
    bool peeked; /* their headers have been read */
};

static void ask_for_frame(const struct ahead *a, unsigned i)
{
    if (i < a->n && !a->peeked)
        __builtin_prefetch(a->pkts[i]->data);
}

static void ask_for_bucket(const struct net *net, const struct ahead *a, unsigned i)
{
    if (i < a->n && !a->peeked)
        net_peek(net, a->pkts[i]);
}

static void ask_for_flow(const struct net *net, const struct ahead *a, unsigned i)
{
    if (i < a->n && (a->pkts[i]->flags & PKT_FLOW_HASH) != 0)
        flow_table_prefetch_flow(&net->flows, a->pkts[i]->hash);
}

/* Looked up again: a packet in between may have ended the flow that was asked for. */
static void ask_for_more(const struct net *net, const struct ahead *a, unsigned i)
{
    const struct flow *f;

    if (i >= a->n || (a->pkts[i]->flags & PKT_FLOW_HASH) == 0)
        return;
    f = flow_table_guess(&net->flows, a->pkts[i]->hash);
    if (f != NULL && f->ops->prefetch != NULL)
        f->ops->prefetch(f);
}

static void look_ahead_first(const struct net *net, const struct ahead *a)
{
    for (unsigned i = 0; i < MIN(a->n, AHEAD_FRAME); i++)
        ask_for_frame(a, i);
    for (unsigned i = 0; i < MIN(a->n, AHEAD_BUCKET); i++)
        ask_for_bucket(net, a, i);
    for (unsigned i = 0; i < MIN(a->n, AHEAD_FLOW); i++)
        ask_for_flow(net, a, i);
    for (unsigned i = 0; i < MIN(a->n, AHEAD_MORE); i++)
        ask_for_more(net, a, i);
}

static void look_ahead(const struct net *net, const struct ahead *a, unsigned i)
{
    ask_for_frame(a, i + AHEAD_FRAME);
    ask_for_bucket(net, a, i + AHEAD_BUCKET);
    ask_for_flow(net, a, i + AHEAD_FLOW);
    ask_for_more(net, a, i + AHEAD_MORE);
}

static void count_in(struct net *net, struct pkt **pkts, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        net->counters.pkts_in += pkt_n(pkts[i]);
        net->counters.bytes_in += pkt_total_len(pkts[i]);
    }
}

void net_rx(struct net *net, struct pkt **pkts, unsigned n)
{
    const bool merge = net->merge && n > 1; /* which looks at all of them first */
    struct ahead ahead;

    count_in(net, pkts, n);
    if (merge)
        n = gro_merge(net, pkts, n);
    ahead.pkts = pkts;
    ahead.n = n;
    ahead.peeked = merge;
    look_ahead_first(net, &ahead);
    for (unsigned i = 0; i < n; i++) {
        enum drop why;

        look_ahead(net, &ahead, i);
        why = eth_rx(net, pkts[i]);
        if (unlikely(why != DROP_NONE))
            net_drop(net, pkts[i], why);
    }
}

/* ---- the kernel's share */

bool net_punt(struct net *net, struct pkt *p, const uint8_t *frame, uint32_t ticket)
{
    if (likely(ticket == PUNT_NO))
        return false;
    pkt_push(p, (uint32_t)(p->data - frame));
    p->flags = 0;
    p->hash = ticket;
    net->ops->punt(net->ctx, p);
    return true;
}

bool net_punt_quoted(struct net *net, struct pkt *p, const uint8_t *frame,
                     const struct flow_key *key)
{
    if (net->punt == NULL ||
        (key->protocol == IP4_PROTO_TCP && flow_table_find(&net->flows, key) != NULL))
        return false;
    return net_punt(net, p, frame, punt_find(net->punt, p->port, key));
}

void net_punt_copy(struct net *net, struct pkt *p, const uint8_t *frame)
{
    const uint32_t front = (uint32_t)(p->data - frame);
    const uint32_t ticket =
        net->punt != NULL ? punt_other(net->punt, p->port, PUNT_NEIGHBORS) : PUNT_NO;
    struct pkt *copy;

    if (ticket == PUNT_NO || (p->flags & PKT_STEERED) != 0)
        return;
    pkt_push(p, front);
    copy = pkt_copy(net->core->pool, p);
    pkt_pull(p, front);
    if (copy == NULL) {
        net->counters.drops[DROP_TX_NO_PKT]++;
        return;
    }
    copy->port = p->port;
    net_punt(net, copy, copy->data, ticket);
}

void net_to_kernel(struct net *net, struct pkt **pkts, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        const enum drop why = punt_admit(net->punt, pkts[i]->hash, net->core->now_us);

        if (why != DROP_NONE)
            net_drop(net, pkts[i], why);
        else
            net->ops->to_kernel(net->ctx, pkts[i]);
    }
}

void net_from_kernel(struct net *net, struct pkt **pkts, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct pkt *p = pkts[i];
        const enum drop why =
            punt_may_leave(net->punt, p->port, p->data, p->len, net->core->now_us);

        if (why != DROP_NONE) {
            net_drop(net, p, why);
            continue;
        }
        p->flags = 0;
        net->counters.pkts_out++;
        net->counters.bytes_out += p->len;
        net->ops->tx(net->ctx, p->port, p);
    }
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
    const enum stage was = stage_enter(&net->core->stages, STAGE_NET);

    if (local->family == IP_V4)
        ip4_tx(net, dst, local, remote, protocol, p);
    else
        ip6_tx(net, dst, local, remote, protocol, p);
    stage_leave(&net->core->stages, was);
}

bool net_dst_tcp_csum(const struct net *net, const struct net_dst *dst)
{
    return net->ifaces.ifaces[dst->iface].tcp_csum;
}

uint32_t net_dst_train_max(const struct net *net, const struct net_dst *dst)
{
    return net->ifaces.ifaces[dst->iface].train_max;
}

void net_dst_confirm(struct net *net, const struct net_dst *dst)
{
    neigh_confirm(dst->neigh);
}

bool net_is_local(const struct net *net, const struct ipaddr *addr)
{
    return addr->family == IP_V4 ? iface_any_has(&net->ifaces, ipaddr_u32(addr))
                                 : iface6_any_find(&net->ifaces, addr) != NULL;
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
