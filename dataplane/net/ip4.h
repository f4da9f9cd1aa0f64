/*
 * ip4.h - IPv4 in and out (RFC 791, 1122), and ICMP (RFC 792)
 *
 * A host's view: we take what is sent to an address of ours, by whichever
 * interface it comes (RFC 1122, 3.3.4.2, the weak model), and forward nothing.
 * Fragments are put together (frag.h), and what we send must not be fragmented
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

/* One piece of a datagram, from byte @off on. Takes @p. */
void ip4_tx_fragment(struct net *net, const struct net_dst *dst, const struct ipaddr *local,
                     const struct ipaddr *remote, uint8_t protocol, uint32_t id, uint32_t off,
                     bool more, struct pkt *p);

/* Tells the sender of @p, a packet of ours from its IP header on, that it cannot be delivered. */
void ip4_undeliverable(struct net *net, const struct pkt *p);

/* May @addr be the address of another machine? */
bool ip4_is_host(const struct net *net, uint32_t addr);

/* Where the frame begins that holds @ip. */
static inline const uint8_t *ip4_frame(const struct pkt *p, const struct ip4 *ip)
{
    return ip->hdr - p->l2_len;
}

/* icmp4.c: @p's data starts at the ICMP header; taken only if DROP_NONE. */
enum drop icmp4_rx(struct net *net, const struct iface *i, struct pkt *p, const struct ip4 *ip);

enum icmp4_type { ICMP4_UNREACHABLE = 3, ICMP4_TIME_EXCEEDED = 11, ICMP4_PARAMETER = 12 };
enum icmp4_code { ICMP4_CODE_PROTOCOL = 2, ICMP4_CODE_PORT = 3, ICMP4_CODE_REASSEMBLY = 1 };

/*
 * Sends an error about the packet that starts at ip->hdr and has @len bytes behind its header,
 * unless it is itself an ICMP error. Rate limited.
 */
void icmp4_error(struct net *net, const struct ip4 *ip, uint32_t len, uint8_t type, uint8_t code,
                 uint32_t word);
