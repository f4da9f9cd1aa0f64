/*
 * ip4.h - IPv4 in and out (RFC 791, 1122), and ICMP (RFC 792)
 *
 * A host's view: we take what is sent to an address of ours, by whichever
 * interface it comes (RFC 1122, 3.3.4.2, the weak model), and forward nothing.
 * Fragments are dropped and counted, and what we send must not be fragmented
 * (DF): path MTU discovery finds what fits.
 */
#pragma once

#include "dataplane/net/iface.h"

enum ip4_limit {
    IP4_HDR = 20,
    IP4_TTL = 64,
    IP4_PROTO_ICMP = 1,
    IP4_PROTO_TCP = 6,
    IP4_PROTO_UDP = 17,
};

/* Fields of a header that has been checked. */
struct ip4 {
    const uint8_t *hdr;
    uint32_t src, dst;
    uint8_t hdr_len, protocol;
    bool group; /* came in a multicast or broadcast frame */
};

/* @group: the frame was not for us alone. Taken only if DROP_NONE. */
enum drop ip4_rx(struct net *net, const struct iface *i, struct pkt *p, bool group);

/* As net_tx(). */
void ip4_tx(struct net *net, const struct net_dst *dst, const struct ipaddr *local,
            const struct ipaddr *remote, uint8_t protocol, struct pkt *p);

/* Tells the sender of @p, a packet of ours from its IP header on, that it cannot be delivered. */
void ip4_undeliverable(struct net *net, const struct pkt *p);

/* May @addr be the address of another machine? */
bool ip4_is_host(const struct net *net, uint32_t addr);

/* icmp4.c: @p's data starts at the ICMP header; taken only if DROP_NONE. */
enum drop icmp4_rx(struct net *net, const struct iface *i, struct pkt *p, const struct ip4 *ip);

/* Sends "unreachable" about @p, whose data starts behind the IP header. Rate limited. */
void icmp4_unreachable(struct net *net, const struct iface *i, const struct pkt *p,
                       const struct ip4 *ip);
