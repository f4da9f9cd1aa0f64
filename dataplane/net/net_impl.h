/*
 * net_impl.h - struct net, for the files of this folder
 */
#pragma once

#include "dataplane/base/bytes.h"
#include "dataplane/net/fib.h"
#include "dataplane/net/flow_table.h"
#include "dataplane/net/frag.h"
#include "dataplane/net/gro.h"
#include "dataplane/net/iface.h"
#include "dataplane/net/limit.h"
#include "dataplane/net/nd.h"
#include "dataplane/net/neigh.h"
#include "dataplane/net/net.h"
#include "dataplane/net/pmtu.h"
#include "dataplane/net/punt.h"

#define NET_PROTOCOLS 256

struct net_proto {
    net_proto_fn fn;
    void *ctx;
    net_error_fn error;
    void *error_ctx;
};

struct net {
    /* set at start */
    struct core *core;
    const struct net_port_ops *ops;
    void *ctx;
    struct iface_table ifaces;
    struct fib *conf_fib; /* of the configuration */
    struct punt *punt;    /* of all workers, or NULL */
    bool merge;

    /* owned by the worker */
    const struct fib *fib; /* in force */
    bool first;            /* speaks to the network for all workers */
    struct flow_table flows;
    struct neigh_table neighs;
    struct limit echo, errors, echo6, errors6, shares, reports;
    struct frag_table frags;
    struct routers routers;
    struct pmtu_cache pmtus;
    struct net_counters counters;
    struct net_proto protos[NET_PROTOCOLS];
};

/* route.c: an address of ours for what goes out by @i to @remote, or NULL. @link_local: may be one
 * for this link alone. */
const struct iface_addr6 *net_source6(const struct net *net, const struct iface *i,
                                      const struct ipaddr *remote, bool link_local);

/* Any IPv4 address of ours, or NULL. */
const struct iface_addr *net_any_addr4(const struct net *net);

/* Both are of the link with this scope, if they are link-local. */
void net_set_scopes(uint8_t scope, struct ipaddr *a, struct ipaddr *b);

/* net.c: sets ->hash of a TCP frame without options of IP, and asks for what will be needed of the
 * flow table. */
void net_peek(const struct net *net, struct pkt *p);
/*
 * net.c: gives @p to the kernel, as the frame that starts at @frame, if @ticket says so. True: it
 * is taken.
 */
bool net_punt(struct net *net, struct pkt *p, const uint8_t *frame, uint32_t ticket);

/* The same for a packet of ours that others quote; a flow of ours wins. */
bool net_punt_quoted(struct net *net, struct pkt *p, const uint8_t *frame,
                     const struct flow_key *key);

/* A copy for the kernel of an answer about a neighbour, which it may have asked for. */
void net_punt_copy(struct net *net, struct pkt *p, const uint8_t *frame);

/* Counts and frees. */
static inline void net_drop(struct net *net, struct pkt *p, enum drop why)
{
    net->counters.drops[why] += pkt_n(p);
    pkt_free(p);
}

/* The flow of a packet with this key, whose hash it may have already; or NULL. */
static inline struct flow *net_flow_of(const struct net *net, const struct flow_key *key,
                                       const struct pkt *p)
{
    return likely((p->flags & PKT_FLOW_HASH) != 0)
               ? flow_table_find_hashed(&net->flows, key, p->hash)
               : flow_table_find(&net->flows, key);
}

/*
 * A packet of TCP or a train, from its TCP header on, that has passed IP: to its flow. False: it
 * has none, and nothing was done. Else @why says what became of it; it is taken if DROP_NONE.
 */
static inline bool net_to_flow(struct net *net, const struct ipaddr *remote,
                               const struct ipaddr *local, uint8_t protocol, struct pkt *p,
                               enum drop *why)
{
    struct flow_key key;
    struct flow *f;

    if (unlikely(p->len < 4))
        return false;
    key = (struct flow_key){ .remote = *remote,
                             .local = *local,
                             .remote_port = get16(p->data),
                             .local_port = get16(p->data + 2),
                             .protocol = protocol };
    if (unlikely(p->n_more > 0)) {
        *why = gro_deliver(net, &key, p);
        return true;
    }
    f = net_flow_of(net, &key, p);
    if (unlikely(f == NULL))
        return false;
    *why = f->ops->rx(f, p);
    return true;
}
