/*
 * net.h - packets in, as far as "whose is this?", and packets out
 *
 * struct net is one worker's view of the network: its interfaces (one per port
 * and VLAN), neighbours, routes and flow table. Everything in it is owned by the
 * worker. Layers above attach by handlers: a flow (net/flow.h) for a known
 * five-tuple, a protocol handler for the rest.
 *
 * net_rx() is the one place where a received packet is counted and freed when a
 * layer refuses it: each layer returns an enum drop (net/drop.h).
 *
 * Sending: net_route() resolves a destination once into a struct net_dst that a
 * connection keeps; net_tx() writes the Ethernet and IP headers into the
 * packet's headroom and hands it to the transmit function. While a neighbour
 * is being resolved a few packets per neighbour wait; the rest are dropped and
 * counted. If it never answers, the owners of those that wait are told by the
 * same call as for an ICMP "host unreachable".
 *
 * A packet given to net_tx() may have a second holder (TCP's retransmission
 * queue): see base/pkt.h for what the way out may do with it.
 *
 * Both families, side by side: an address says which it is, and what differs is
 * in ip4.c and ip6.c, arp.c and nd.c. Routes are an immutable fib (fib.h) that may be
 * replaced as a whole; fragments are put together in frag.c; what paths take
 * is remembered in pmtu.c.
 */
#pragma once

#include "config/model/machine.h"
#include "dataplane/base/core.h"
#include "dataplane/base/ipaddr.h"
#include "dataplane/net/drop.h"

struct net;
struct flow_table;
struct punt;

/* What net needs from the ports below it; the worker (or a test) fills it in. */
struct net_port_ops {
    /* Takes the packet in any case; it is a whole frame, or a train (base/pkt.h) if the port takes
     * them: see net_tx(). Sent at the end of the turn. Until then it may not be linked by ->next,
     * which belongs to the other holder. */
    void (*tx)(void *ctx, uint8_t port, struct pkt *p);
    /* Gives other workers a copy of an ARP or neighbour discovery frame, so that each learns its
     * neighbours: a copy for each, with PKT_STEERED set, into its net_rx(). May be NULL. */
    void (*share)(void *ctx, const struct pkt *p);
    /* Local ports for connections to @remote from @local whose replies arrive at this worker: fills
     * @ports with @n of them, from the @from-th on and round again, and returns how many there are.
     * May be NULL: all. */
    uint32_t (*local_ports)(void *ctx, const struct ipport *remote, const struct ipaddr *local,
                            uint32_t from, uint16_t *ports, uint32_t n);
    /* Hands @p, a frame that was put together from fragments, to the worker that owns its flow.
     * True: it is taken. May be NULL: all flows are this worker's. */
    bool (*steer)(void *ctx, struct pkt *p);
    /* @p, the frame as it came in, is the kernel's; ->hash is its ticket (punt.h). Takes it to the
     * first worker's net_to_kernel(). Only if there is a punt. */
    void (*punt)(void *ctx, struct pkt *p);
    /* Takes @p to the kernel's interface of p->port. First worker, only if there is a punt. */
    void (*to_kernel)(void *ctx, struct pkt *p);
};

struct net_port_info {
    uint8_t mac[6];
    uint16_t mtu;
    bool tx_ip_csum, tx_tcp_csum; /* the port fills these in */
    uint8_t train_max; /* packets of a train that it takes, at most; up to 1: no trains */
};

struct net_conf {
    const struct machine_conf *machine; /* ports, addresses, routes */
    const struct net_port_info *ports;  /* by port index, as in machine->ports */
    const struct net_port_ops *ops;
    void *ctx;
    struct punt *punt;  /* of all workers; NULL: nothing is the kernel's */
    uint32_t max_flows; /* of the flow table; 0: twice the machine's connections and half-open */
    bool merge;         /* what belongs together in a received burst becomes a train (gro.h) */
};

/* NULL, with a line in the log, if an address or a route makes no sense, or out of memory. */
struct net *net_new(struct core *core, const struct net_conf *conf);
void net_free(struct net *net);

/* Before the first packet, on the worker. IPv6 addresses are looked for duplicates and then in use;
 * the @first worker alone speaks of it to the network, and announces our addresses. */
void net_start(struct net *net, bool first);

/* Lookups go to @fib from now on, which stays the caller's: until another is set, and this worker
 * has passed a quiet point. NULL: to that of the configuration. On the worker. */
struct fib;
void net_set_fib(struct net *net, const struct fib *fib);

/*
 * What the kernel has, made ready for lookups: immutable, of whoever built it. net_set_mirror()
 * puts it in the place of the last one, as net_set_fib(). On the worker.
 */
struct net_mirror_neigh {
    struct ipaddr addr; /* with its scope, if it is link-local */
    uint8_t iface;
    uint8_t mac[6];
};
struct net_mirror {
    struct fib *fib; /* the configuration's routes are in it, too */
    uint32_t n_neighs;
    struct net_mirror_neigh neighs[];
};
void net_set_mirror(struct net *net, const struct net_mirror *m);

/* Takes every packet. */
void net_rx(struct net *net, struct pkt **pkts, unsigned n);

/* The first worker's: what any of them has punted, if the rates allow; and what the kernel sends
 * (p->port says by which port), if the list does. Take every packet. */
void net_to_kernel(struct net *net, struct pkt **pkts, unsigned n);
void net_from_kernel(struct net *net, struct pkt **pkts, unsigned n);

/* Where packets to one destination leave. Small enough to live in a connection. */
struct net_dst {
    struct neigh *neigh; /* next hop, referenced; NULL after net_dst_put() */
    uint16_t mtu;        /* of the path, as far as known, and as the port's `mss` allows */
    uint8_t ip_hdr;      /* bytes of the IP header that net_tx() writes: 20 or 40 */
    uint8_t iface;       /* index, for net alone */
    uint32_t label;      /* IPv6: of the flow */
};

struct flow_key;

/* Resolves @remote. *@local is the source address, or is set to one if its family is IP_NONE. One
 * of several equal next hops is chosen at random. 0, -EHOSTUNREACH (no route, or one that says so),
 * -ENETUNREACH (a blackhole) or -EADDRNOTAVAIL. Not for addresses of ours. */
NODISCARD int net_route(struct net *net, const struct ipaddr *remote, struct ipaddr *local,
                        struct net_dst *ret);

/* The same for a flow, which has its addresses: the same flow has the same next hop, as long as
 * that answers, and the same flow label. */
NODISCARD int net_route_flow(struct net *net, const struct flow_key *key, struct net_dst *ret);

/* Routes may have changed since @dst was found, or its next hop does not answer. True: there is
 * another way, and @dst is that one. */
bool net_reroute(struct net *net, const struct flow_key *key, struct net_dst *dst);

/* Another source address for @dst, as good as *@local, for connections that it has no port for: the
 * next one after it, round and round. False: there is no other. */
bool net_other_source(const struct net *net, const struct net_dst *dst, const struct ipaddr *remote,
                      struct ipaddr *local);

/* The path to @remote takes @mtu: for the routes to come, and for PMTU_AGE_US. Who says so has
 * checked it. */
void net_path_mtu(struct net *net, const struct ipaddr *remote, uint16_t mtu);

/* What is known of it now, which may be more than @dst->mtu, of when it was routed. */
uint16_t net_dst_path_mtu(const struct net *net, const struct net_dst *dst,
                          const struct ipaddr *remote);
void net_dst_put(struct net *net, struct net_dst *dst);

/*
 * Writes the headers and sends @p, whose data starts at the transport header. Takes @p.
 *
 * A train of TCP segments, no more than net_dst_train_max() of them, all but the last of the same
 * length, has the header of its first segment, with the flags of all, and in the place of the
 * checksum the sum of the pseudo header without its length, be it the port or drivers/offload.c
 * that will cut it up. The IP header that is written here has the length of all. ->l4_len is set.
 */
void net_tx(struct net *net, const struct net_dst *dst, const struct ipaddr *local,
            const struct ipaddr *remote, uint8_t protocol, struct pkt *p);

/* What the link that @dst leaves by takes, whatever is known of the path behind it: what may come
 * back by it. */
uint16_t net_dst_link_mtu(const struct net *net, const struct net_dst *dst);

/* What the port that @dst leaves by computes itself, and the packets of a train that it takes. */
bool net_dst_tcp_csum(const struct net *net, const struct net_dst *dst);
uint32_t net_dst_train_max(const struct net *net, const struct net_dst *dst);

/* The neighbour has just shown that it receives what we send: it need not be asked again. */
void net_dst_confirm(struct net *net, const struct net_dst *dst);

/* Is this an address of ours? */
bool net_is_local(const struct net *net, const struct ipaddr *addr);

/* Where flows of this worker are found (net/flow_table.h). */
struct flow_table *net_flows(struct net *net);

/*
 * A packet of a flow nobody has. Its data starts at the transport header, the IP
 * addresses are passed beside. Takes @p only if it returns DROP_NONE.
 */
typedef enum drop (*net_proto_fn)(void *ctx, struct pkt *p, const struct ipaddr *src,
                                  const struct ipaddr *dst);
void net_set_proto(struct net *net, uint8_t protocol, net_proto_fn fn, void *ctx);

/*
 * An ICMP error about a packet that we sent: for the handler of its protocol. @mtu is for
 * "fragmentation needed", else 0. @payload is the start of the offending transport header (8
 * bytes).
 */
typedef void (*net_error_fn)(void *ctx, const struct ipport *local, const struct ipport *remote,
                             int err, uint16_t mtu, const uint8_t payload[8]);
void net_set_error(struct net *net, uint8_t protocol, net_error_fn fn, void *ctx);

/* Counters of net itself, and drops by reason. */
#define NET_COUNTERS(X)                                                                            \
    X(pkts_in, "packets received")                                                                 \
    X(bytes_in, "bytes received, with Ethernet headers")                                           \
    X(pkts_out, "packets sent")                                                                    \
    X(bytes_out, "bytes sent, with Ethernet headers")                                              \
    X(arp_conflicts, "ARP frames in which another machine claims an address of ours")              \
    X(neigh_failed, "neighbours that did not answer")                                              \
    X(neigh_table_full, "neighbours not remembered for want of room")                              \
    X(icmp_errors_in, "ICMP errors about packets of ours")                                         \
    X(icmp_errors_out, "ICMP errors sent")                                                         \
    X(nd_conflicts, "frames in which another machine claims an IPv6 address of ours")              \
    X(duplicate_addresses, "IPv6 addresses not used, as another machine has them")                 \
    X(frags_joined, "datagrams put together from fragments")                                       \
    X(path_mtus, "path MTUs learned")                                                              \
    X(dead_hops, "next hops passed over, as they did not answer")                                  \
    X(refused_routes, "destinations refused by a blackhole or unreachable route")                  \
    X(ports_exhausted, "searches for a local port that found none free")

#define NET_COUNTER_FIELD(name, text) uint64_t name;
struct net_counters {
    NET_COUNTERS(NET_COUNTER_FIELD)
    uint64_t drops[DROP_COUNT];
};
const struct net_counters *net_counters(const struct net *net);

/*
 * Every address of @of, if it is next to us, is at @mac from now on, and is not asked for: a
 * machine that does not answer, or one that stands for many. The longest prefix counts. At the
 * start, before anything is sent there. -ENOSPC: there are 64 of them already.
 */
NODISCARD int net_set_static_neigh(struct net *net, const struct ipprefix *of,
                                   const uint8_t mac[6]);

/* For `isthmusctl neighbors`: calls @fn for every entry. */
struct neigh_info {
    struct ipaddr addr;
    uint8_t mac[6];
    uint8_t port;
    uint16_t vlan;
    const char *state;
    uint64_t age_us; /* since it was last heard of; since it was first asked for, if never */
};
void net_each_neigh(struct net *net, void (*fn)(const struct neigh_info *n, void *ctx), void *ctx);

/* For `isthmusctl addresses`. */
struct net_addr_info {
    struct ipaddr addr;
    uint8_t prefix_len, port;
    uint16_t vlan;
    const char *state;  /* "in use", "tentative", "duplicate", "deprecated" */
    const char *origin; /* "configured", "link-local", "router" */
};
void net_each_addr(struct net *net, void (*fn)(const struct net_addr_info *a, void *ctx),
                   void *ctx);

/* For `isthmusctl routes`: one call for each next hop of @n routes from the *@at-th on, which moves
 * on; true: there are no more. */
struct net_route_info {
    struct ipprefix prefix;
    struct ipaddr via; /* IP_NONE: on link */
    uint8_t port;
    uint16_t vlan;
    const char *kind;   /* "forward", "blackhole", "unreachable" */
    const char *origin; /* "fixed", "router", "kernel" */
    const char *state;  /* of the next hop as a neighbour; "": it is none yet */
};
bool net_each_route(struct net *net, uint32_t *at, uint32_t n,
                    void (*fn)(const struct net_route_info *r, void *ctx), void *ctx);
