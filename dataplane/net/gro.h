/*
 * gro.h - segments of one connection that came together, as one packet
 *
 * What a port would do with LRO, for a burst of received packets: consecutive segments of
 * a connection, in order, with the same headers but for their place, become a train
 * (base/pkt.h), and pass the layers at the price of one. The head keeps its headers, and
 * they speak of the head alone; those behind it are payload.
 *
 * Merged is only what TCP would have found equal, and whose checksums are right: plain
 * Ethernet (the same tag, if any), IP without options, fragments or extension headers,
 * same TTL, ECN and flow label; flags ACK, and PSH on the last; same acknowledgement,
 * window and options; all of the same length, but for a shorter last one. Whatever else
 * comes ends the merging of its flow, so that no flow sees its segments in another order.
 *
 * A flow takes a train whole (flow_ops.rx_train), or its packets one by one, each with
 * the header it would have had: so the others need not know about trains.
 */
#pragma once

#include "dataplane/net/flow.h"
#include "dataplane/net/net.h"

#define GRO_FLOWS 8 /* of a burst, in which the next segment is waited for */

/* Sets the hashes of a burst, too (net_peek()). Returns how many packets are left in @pkts. */
unsigned gro_merge(struct net *net, struct pkt **pkts, unsigned n);

/* A received train of @key's flow, from its TCP header on, that has passed IP. Takes it if
 * DROP_NONE. */
enum drop gro_deliver(struct net *net, const struct flow_key *key, struct pkt *train);
