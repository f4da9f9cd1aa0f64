/*
 * flow.h - the head of everything that receives packets of one five-tuple
 *
 * tcp/ (and later l4/) embeds a struct flow and puts it into the flow table of
 * its worker; net_rx() finds it and calls ops->rx. The key is seen from here:
 * local is us.
 */
#pragma once

#include "dataplane/base/ipaddr.h"
#include "dataplane/net/drop.h"

struct pkt;
struct flow;

/* Compared and hashed as memory: the padding is zero. */
struct flow_key {
    struct ipaddr remote, local;
    uint16_t remote_port, local_port;
    uint8_t protocol;
    uint8_t _pad[3];
};

struct flow_ops {
    /* A packet of this flow; its data starts at the transport header. Taken only if DROP_NONE. */
    enum drop (*rx)(struct flow *f, struct pkt *p);
    /* A train of segments (gro.h) as one: true if it is taken. Else, or if this is NULL, they come
     * one by one. */
    bool (*rx_train)(struct flow *f, struct pkt *train);
    /* May a connection of ours to the same place have this tuple, if no other is left? NULL: no. */
    bool (*yields)(const struct flow *f);
    /* A packet of it comes soon, and its own lines are there: asks for those it points to. NULL:
     * there are none. */
    void (*prefetch)(const struct flow *f);
};

struct flow {
    struct flow_key key;
    uint32_t hash; /* the table's */
    const struct flow_ops *ops;
};

static inline void flow_key_init(struct flow_key *key, uint8_t protocol,
                                 const struct ipport *remote, const struct ipport *local)
{
    *key = (struct flow_key){ .remote = remote->addr,
                              .local = local->addr,
                              .remote_port = remote->port,
                              .local_port = local->port,
                              .protocol = protocol };
}
