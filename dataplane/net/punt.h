/*
 * punt.h - what is the kernel's, of what arrives, and what it may send
 *
 * An explicit list (machine.punt) names packets that are not ours: BGP, BFD, SSH, OSPF, LLDP, ...
 * A flow of ours always wins, as the list is looked at behind the flow table, and so does a
 * listener, whose port cannot be on the list. What is neither stays where it was: it is answered by
 * us, or dropped.
 *
 *   any worker    net_rx() --> punt_find(): the kernel's? --> ops->punt() --+
 *   the first     net_to_kernel() <-- (a ring, from other workers) ---------+
 *                    within the rates? --> ops->to_kernel()
 *                 net_from_kernel(): on the list? --> ops->tx()
 *
 * The kernel opens connections too: from a port that it chooses to a listed one of another machine.
 * The first worker remembers the five-tuple of what it lets out, and answers to that are let in.
 * All workers read that table without a lock, as an entry is one number: a keyed 64-bit hash of the
 * five-tuple. Who has not been heard of for an hour is forgotten, and in a full bucket the one
 * longest silent.
 *
 * What goes to the kernel is limited: by machine.punt_rate in all, by a rule's own rate, and what
 * no rule names but the kernel needs (ARP and ND answers, echo replies) by a tenth of punt_rate
 * each.
 *
 * One struct punt for all workers. The list is set when it is made; the rest is written by the
 * first worker alone.
 */
#pragma once

#include "config/model/machine.h"
#include "dataplane/base/hash.h"
#include "dataplane/net/drop.h"
#include "dataplane/net/flow.h"
#include "dataplane/net/limit.h"

#include <stdatomic.h>

#define PUNT_BUCKETS 512
#define PUNT_BUCKET 8
#define PUNT_IDLE_US (UINT64_C(3600) * 1000000)

/* Rules of the configuration, in its order, and two more. */
#define PUNT_NEIGHBORS MACHINE_MAX_PUNTS
#define PUNT_ECHO_REPLIES (MACHINE_MAX_PUNTS + 1)
#define PUNT_RULES (MACHINE_MAX_PUNTS + 2)

/* That a packet is the kernel's, and by which rule: for punt_admit(). */
#define PUNT_NO UINT32_MAX

#define PUNT_COUNTERS(X)                                                                           \
    X(to_kernel, "packets for the kernel")                                                         \
    X(limited, "packets for the kernel that were dropped: beyond the rate")                        \
    X(from_kernel, "packets that the kernel sent")

#define PUNT_COUNTER_FIELD(name, text) uint64_t name;
struct punt_counters {
    PUNT_COUNTERS(PUNT_COUNTER_FIELD)
};

/* Numbers (ports, protocols, types), in order, and who has them. */
struct punt_entry {
    uint16_t number;
    uint8_t ports; /* of the machine: a bit each */
    uint8_t rule;
};
struct punt_list {
    uint64_t has[65536 / 64];
    uint32_t n;
    struct punt_entry entries[MACHINE_MAX_PUNTS * MACHINE_MAX_PUNT_PORTS];
};

struct punt {
    /* set at start */
    struct punt_list tcp, udp, protocols, types;
    uint8_t ports; /* those with an interface of the kernel's */
    struct hash_key secret;

    /* connections of the kernel: written by the first worker, read by all; 0: a free place */
    _Atomic uint64_t tags[PUNT_BUCKETS][PUNT_BUCKET];

    /* owned by the first worker; the counters are read by control, relaxed */
    uint64_t used_us[PUNT_BUCKETS][PUNT_BUCKET];
    struct limit all, limits[PUNT_RULES]; /* ->rate 0: none of its own */
    struct punt_counters counters[PUNT_RULES];
};

/* For a machine whose ports have a kernel_interface. NULL: no memory. */
struct punt *punt_new(const struct machine_conf *machine, uint64_t now_us);
void punt_free(struct punt *u);

/*
 * What arrived by @port for @key->local is the kernel's, unless a flow of ours has it: a ticket; or
 * PUNT_NO. The ports of @key count for TCP and UDP alone. Any worker.
 */
uint32_t punt_find(const struct punt *u, uint8_t port, const struct flow_key *key);

/* May a TCP segment to @local from @remote be the kernel's? Such segments are not merged: it gets
 * frames as they came. */
static inline bool punt_may_have_tcp(const struct punt *u, uint16_t local, uint16_t remote)
{
    return ((u->tcp.has[local / 64] >> local % 64 | u->tcp.has[remote / 64] >> remote % 64) & 1) !=
           0;
}

/* The same for a frame that is not IP. */
uint32_t punt_find_type(const struct punt *u, uint8_t port, uint16_t type);

/* A ticket of what the kernel needs and no rule names: PUNT_NEIGHBORS, PUNT_ECHO_REPLIES; PUNT_NO
 * if
 * @port has no interface of the kernel's. */
uint32_t punt_other(const struct punt *u, uint8_t port, uint32_t rule);

/* May it go to the kernel now? First worker. */
enum drop punt_admit(struct punt *u, uint32_t ticket, uint64_t now_us);

/*
 * May the frame of @len bytes, which the kernel sends by @port, leave? Those of the list, and what
 * goes with them: ARP and neighbour discovery, echo requests, ICMP errors, reports of group
 * membership. Remembers connections that it opens. First worker.
 */
enum drop punt_may_leave(struct punt *u, uint8_t port, const uint8_t *frame, uint32_t len,
                         uint64_t now_us);

/* How many connections of the kernel are remembered. Any thread. */
uint32_t punt_n_flows(const struct punt *u);
