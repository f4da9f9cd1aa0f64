/*
 * ip6.h - IPv6 in and out (RFC 8200), and ICMPv6 (RFC 4443)
 *
 * A host's view, as in ip4.h. A packet without extension headers takes the short
 * way; the others are walked (ext6.c) within limits: so many headers, so many
 * bytes, so many options (RFC 8504, 5.3), each kind once, routing refused.
 */
#pragma once

#include "dataplane/net/iface.h"

enum ip6_limit {
    IP6_HDR = 40,
    IP6_FRAGMENT_HDR = 8,
    IP6_MTU_MIN = 1280,
    IP6_HOP_LIMIT = 64,
    IP6_HEADERS_MAX = 6,   /* extension headers of one packet */
    IP6_HEADERS_LEN = 256, /* bytes of them */
    IP6_OPTIONS_MAX = 8,   /* of one header, without padding */
    IP6_PADDING_MAX = 7,   /* bytes in a row */
};

enum ip6_next {
    IP6_HOP_BY_HOP = 0,
    IP6_TCP = 6,
    IP6_UDP = 17,
    IP6_ROUTING = 43,
    IP6_FRAGMENT = 44,
    IP6_ICMP = 58,
    IP6_NONE = 59,
    IP6_DESTINATION = 60,
};

/* Fields of a header that has been checked. */
struct ip6 {
    const uint8_t *hdr;
    struct ipaddr src, dst;
    uint32_t hdr_len; /* with the extension headers that were walked */
    uint32_t next_at; /* offset of the byte that names ->protocol */
    uint8_t protocol, hop_limit;
    bool group;     /* came in a multicast frame */
    bool own;       /* from an address of ours */
    bool tentative; /* to an address that is not in use */
};

/* Where the frame begins that holds @ip. */
static inline const uint8_t *ip6_frame(const struct pkt *p, const struct ip6 *ip)
{
    return ip->hdr - p->l2_len;
}

/* @group: the frame was not for us alone. Taken only if DROP_NONE. */
enum drop ip6_rx(struct net *net, const struct iface *i, struct pkt *p, bool group);

/* As net_tx(). */
void ip6_tx(struct net *net, const struct net_dst *dst, const struct ipaddr *local,
            const struct ipaddr *remote, uint8_t protocol, struct pkt *p);

/* One piece of a datagram, from byte @off on. Takes @p. */
void ip6_tx_fragment(struct net *net, const struct net_dst *dst, const struct ipaddr *local,
                     const struct ipaddr *remote, uint8_t protocol, uint32_t id, uint32_t off,
                     bool more, struct pkt *p);

/* Writes the header that makes @p->data a packet; there is headroom. */
void ip6_push(struct pkt *p, const struct ipaddr *src, const struct ipaddr *dst, uint8_t protocol,
              uint8_t hop_limit, uint32_t label);

/* Tells the sender of @p, a packet of ours from its IP header on, that it cannot be delivered. */
void ip6_undeliverable(struct net *net, uint8_t iface, const struct pkt *p);

/* May @addr be the address of another machine? */
bool ip6_is_host(const struct net *net, const struct ipaddr *addr);

/*
 * ext6.c: reads the extension headers of @p, whose data is the packet from ->hdr on, up to a
 * fragment header or what is not an extension header. Whoever asks to be told of what we do not
 * understand is told.
 */
enum drop ext6_walk(struct net *net, const struct pkt *p, struct ip6 *ip);

/* The upper-layer protocol of a packet of @len bytes from its IP header on, and where its header
 * is; false: it is not there, or in a later fragment. For packets that others quote. */
bool ext6_find(const uint8_t *ip, uint32_t len, uint8_t *protocol, uint32_t *at);

/* icmp6.c: @p's data starts at the ICMP header; taken only if DROP_NONE. */
enum drop icmp6_rx(struct net *net, const struct iface *i, struct pkt *p, const struct ip6 *ip);

enum icmp6_type {
    ICMP6_UNREACHABLE = 1,
    ICMP6_TOO_BIG = 2,
    ICMP6_TIME_EXCEEDED = 3,
    ICMP6_PARAMETER = 4,
    ICMP6_ECHO = 128,
    ICMP6_ECHO_REPLY = 129,
    ICMP6_MLD_QUERY = 130,
    ICMP6_MLD_REPORT = 131,
    ICMP6_MLD_DONE = 132,
    ICMP6_ROUTER_SOLICIT = 133,
    ICMP6_ROUTER_ADVERT = 134,
    ICMP6_NEIGH_SOLICIT = 135,
    ICMP6_NEIGH_ADVERT = 136,
    ICMP6_REDIRECT = 137,
    ICMP6_MLD2_REPORT = 143,
};

enum icmp6_code {
    ICMP6_CODE_PORT = 4,       /* of UNREACHABLE */
    ICMP6_CODE_REASSEMBLY = 1, /* of TIME_EXCEEDED */
    ICMP6_CODE_HEADER = 0,     /* of PARAMETER: field, next header, option, first fragment */
    ICMP6_CODE_NEXT = 1,
    ICMP6_CODE_OPTION = 2,
    ICMP6_CODE_FIRST = 3,
};

/*
 * Sends an error about the packet of @len bytes that starts at ip->hdr (as much of it as is
 * there), unless it is one that none may be sent about (RFC 4443, 2.4 (e)). Rate limited.
 */
void icmp6_error(struct net *net, const struct ip6 *ip, uint32_t len, uint8_t type, uint8_t code,
                 uint32_t word);
