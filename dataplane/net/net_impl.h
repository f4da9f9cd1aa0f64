/*
 * net_impl.h - struct net, for the files of this folder
 */
#pragma once

#include "dataplane/net/fib.h"
#include "dataplane/net/flow_table.h"
#include "dataplane/net/iface.h"
#include "dataplane/net/limit.h"
#include "dataplane/net/neigh.h"
#include "dataplane/net/net.h"

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
    struct fib fib;

    /* owned by the worker */
    struct flow_table flows;
    struct neigh_table neighs;
    struct limit echo, errors, shares;
    struct net_counters counters;
    struct net_proto protos[NET_PROTOCOLS];
};

/* Counts and frees. */
static inline void net_drop(struct net *net, struct pkt *p, enum drop why)
{
    net->counters.drops[why]++;
    pkt_free(p);
}
