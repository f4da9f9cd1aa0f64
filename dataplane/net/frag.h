/*
 * frag.h - fragments put together, both families (RFC 791, 8200), on a tight budget
 *
 * Fragments are what attackers like and what the open Internet hardly needs, so
 * everything here has a bound: datagrams and packets of a worker, packets of a
 * datagram, and time (15 s). When there is no room the oldest datagram is given
 * up. Fragments that overlap (RFC 5722, for IPv4 too) or contradict each other
 * spoil their datagram, the rest of which is refused as it comes; a first
 * fragment that holds no whole TCP header is never taken (RFC 1858, 7112).
 *
 * What is whole is an ordinary frame again, in one packet buffer, and takes the
 * way in from the start; maybe at another worker, which owns its flow
 * (net_port_ops.steer). A datagram that does not fit one buffer is refused,
 * with one exception: an echo request is answered piece by piece, whatever its size.
 *
 * The port steers all fragments of a datagram to one worker (drivers/steer.h).
 */
#pragma once

#include "dataplane/base/slab.h"
#include "dataplane/base/wheel.h"
#include "dataplane/net/iface.h"

#define FRAG_DATAGRAMS 128
#define FRAG_PACKETS 256
#define FRAG_PIECES 16 /* of one datagram */
#define FRAG_TIMEOUT_US UINT64_C(15000000)
#define FRAG_BUCKETS 64

/* One fragment. ->off counts bytes. */
struct frag_info {
    struct ipaddr src, dst;
    uint32_t id, off;
    uint8_t protocol; /* IPv6: what follows the fragment header */
    bool more, ce;
    uint16_t hdr_len; /* from the IP header to the payload */
};

struct frag_piece {
    struct pkt *p; /* its data is the payload, its headers are still in front */
    uint32_t off, len;
};

struct frag {
    struct list by_age;
    struct frag *next; /* of its bucket */
    struct net *net;
    struct frag_info key; /* of its first fragment, once that is there */
    uint8_t iface;
    bool spoiled, ce;
    uint64_t until_us;
    uint32_t total; /* 0: the last fragment is not there yet */
    uint32_t have;
    uint32_t n_pieces;
    struct frag_piece pieces[FRAG_PIECES]; /* in order */
};

struct frag_table {
    struct slab slab;
    struct list by_age; /* the oldest first: the next to go */
    struct wheel_timer timer;
    struct net *net;
    uint32_t n, n_packets;
    struct frag *buckets[FRAG_BUCKETS];
};

NODISCARD int frag_table_init(struct frag_table *t, struct net *net);
void frag_table_fini(struct frag_table *t);

/* May a fragment with @len bytes of @payload be one? What can be said without its datagram. */
enum drop frag_check(const struct frag_info *f, const uint8_t *payload, uint32_t len);

/* @p's data is the packet from the IP header on. Taken only if DROP_NONE. */
enum drop frag_rx(struct net *net, const struct iface *i, struct pkt *p, const struct frag_info *f);
